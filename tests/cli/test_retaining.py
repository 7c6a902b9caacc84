"""`retention`, `archive list` and `archive restore` beside a daemon that runs: they work on its store."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Running, Sagad

GIVEN = '{"order_id": "o", "total": 3}'
RULES = """
[retention]
archive = "file://%s/archive"
[[retention.rules]]
workflow = "ord*"
keep = "1ms"
"""


def test_what_was_kept_long_enough_goes_and_comes_back(sagad: Sagad, folder: Path, running: Running) -> None:
    """The plan says what; a run does it; the reading commands say where it is."""
    assert running
    ids = [sagad("start", "order", "--input", GIVEN, "--wait", "--json").json["execution_id"] for _ in range(2)]
    assert "no rule lets anything go now" in sagad("retention").out
    assert sagad("retention", "run").code == 2
    with (folder / "sagad.toml").open("a") as file:
        file.write(RULES % folder)
    plan = sagad("retention", "--plan", "--json")
    assert (plan.code, plan.json["going"], plan.json["ended"]) == (0, 2, 2)
    shown = sagad("retention", "--plan")
    assert "2 of 2 that have ended would go; 0 have not ended" in shown.out
    done = sagad("retention", "run", "--limit", "1")
    assert (done.code, done.out.strip()) == (0, "1 executions deleted, 1 of them archived")
    assert ids[0] in sagad("archive", "list").out
    [known] = sagad("archive", "list", "--json").json
    assert (known["execution_id"], known["archived_as"].startswith(f"file://{folder}/archive/order/")) == (ids[0], True)
    gone = sagad("state", ids[0])
    assert (gone.code, f"execution {ids[0]} was deleted at " in gone.err) == (3, True)
    assert "archived as file://" in gone.err
    for command in (
        ("show",), ("events",), ("why",), ("replay",), ("debug",), ("debug", "--live"), ("verify",), ("undo",),
        ("lineage",), ("stream",), ("what-if", "--definition", "flows/order.yaml"), ("fork", "--at", "1", "--dry-run"),
        ("rewind", "--to", "1", "--dry-run"), ("snapshot", "validate"), ("snapshot", "clear"), ("archive", "export"),
        ("snapshot", "export", "--to", "x.json"), ("signal", "reviewed"), ("cancel",), ("resume",),
    ):  # fmt: skip
        name = command[:2] if command[0] in {"snapshot", "archive"} else command[:1]
        rest = [part for part in command if part not in name]
        asked = [*name, ids[0], *(["charge"] if command == ("stream",) else []), *rest]
        gone = sagad(*asked)
        assert (gone.code, f"{ids[0]} was deleted at " in gone.err) == (3, True), (asked, gone)
    [stored] = (folder / "archive").rglob("*.gz")
    whole = stored.read_bytes()
    stored.write_bytes(whole[:-30])
    damaged = sagad("archive", "restore", ids[0])
    assert (damaged.code, f"{known['archived_as']}:" in damaged.err) == (1, True), damaged
    stored.write_bytes(whole)
    done = sagad("archive", "restore", ids[0])
    assert (done.code, f"executions are back: {ids[0]}" in done.out) == (0, True)
    assert sagad("show", ids[0], "--json").json["status"] == "completed"
    assert sagad("archive", "list", "--json").json == []
    again = sagad("archive", "restore", ids[0])
    assert (again.code, "is there" in again.err) == (1, True)


def test_what_stays_is_told_with_why(sagad: Sagad, folder: Path, running: Running) -> None:
    """The last execution of a SQLite file stays until something newer was written."""
    assert running
    assert sagad("start", "order", "--input", GIVEN, "--wait").code == 0
    with (folder / "sagad.toml").open("a") as file:
        file.write(RULES % folder)
    done = sagad("retention", "run", "--json")
    assert done.json["deleted"] == 0
    assert [each["executions"] for each in done.json["kept"]] == [1]
    assert "newest event of the log" in sagad("retention", "run").out


def test_what_is_pinned_stays(sagad: Sagad, folder: Path, running: Running) -> None:
    """It says so in lists, and by whom and why."""
    assert running
    ids = [sagad("start", "order", "--input", GIVEN, "--wait", "--json").json["execution_id"] for _ in range(2)]
    done = sagad("pin", ids[0], "--reason", "the auditors")
    assert (done.code, done.out.strip()) == (0, f"{ids[0]} is pinned")
    shown = sagad("show", ids[0]).out
    assert "by cli:" in shown
    assert ": the auditors" in shown
    assert sagad("list").out.count("completed pinned") == 1
    with (folder / "sagad.toml").open("a") as file:
        file.write(RULES % folder)
    assert "1 stay: it is pinned" in sagad("retention").out
    assert sagad("unpin", ids[0], "--json").json["changed"] is True
    assert sagad("unpin", ids[0]).out.strip() == f"{ids[0]} was not pinned"
    assert sagad("retention", "--json").json["going"] == 2
    assert sagad("pin", "0" * 32).code == 3


def test_a_look_at_an_execution_is_noted(sagad: Sagad, folder: Path, running: Running) -> None:
    """Where a quota asks for that; what only lists is no look."""
    assert running
    given = '{"order_id": "%s", "total": 3}' % ("x" * 70_000)
    execution_id = sagad("start", "order", "--input", given, "--wait", "--json").json["execution_id"]
    with (folder / "sagad.toml").open("a") as file:
        file.write('[[storage.quotas]]\nbytes = 1000000\npolicy = "evict_lru"\n')
    [database] = folder.glob("*.db")
    noted = "SELECT count(*) FROM payload_reads"
    for command, looks in (("list", 0), ("show", 1), ("show", 1)):
        assert sagad(command, *([execution_id] if looks else [])).code == 0
        with closing(sqlite3.connect(database)) as connection:
            assert connection.execute(noted).fetchone()[0] >= looks
            assert looks or connection.execute(noted).fetchone() == (0,)


def test_what_payloads_take_is_shown(sagad: Sagad, folder: Path, running: Running) -> None:
    """With the quota that counts for the workflow."""
    assert running
    assert sagad("storage", "--json").json == {"workflows": []}
    given = '{"order_id": "%s", "total": 3}' % ("x" * 70_000)
    assert sagad("start", "order", "--input", given, "--wait").code == 0
    with (folder / "sagad.toml").open("a") as file:
        file.write('[[storage.quotas]]\nworkflow = "ord*"\nbytes = 1000000\npolicy = "evict_oldest"\n')
    shown = sagad("storage")
    assert (shown.code, "1000000 (" in shown.out, "evict_oldest" in shown.out) == (0, True, True)
    [row] = sagad("storage", "--json").json["workflows"]
    assert (row["workflow"], row["bytes"] > 70_000, row["nearly_used"]) == ("order", True, False)
