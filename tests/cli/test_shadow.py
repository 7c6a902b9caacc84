"""`sagad replay --from`: a part of the log, lived again under another definition."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Done, Running, Sagad


@pytest.fixture
def orders(sagad: Sagad, running: Running) -> list[str]:
    """Run three orders, one of which fails."""
    found = []
    for number, total in enumerate((10, 13, 20)):
        done = sagad("start", "order", "-i", f'{{"order_id": "{number}", "total": {total}}}', "--wait", "--json")
        found.append(str(done.json["execution_id"]))
    assert running.process.poll() is None
    return found


def contents(folder: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return all rows of all tables but those by which a daemon tells that it lives."""
    with sqlite3.connect(folder / "sagad.db") as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            name: sorted(database.execute(f'SELECT * FROM "{name}"').fetchall(), key=repr)  # noqa: S608  names of the database itself
            for name in names
            if "daemon" not in name and "member" not in name
        }


def test_a_part_of_the_log_is_lived_again(sagad: Sagad, orders: list[str], folder: Path) -> None:
    """For people, programs and pipelines, in one process and in two; and nothing changes in the store."""
    [now] = list((folder / "flows").glob("*.yaml"))
    other = folder / "other.yaml"
    other.write_text(now.read_text().replace("{charged:", "{taken:"))
    before = contents(folder)

    def replay(*options: str, file: Path = other) -> Done:
        return sagad("replay", "--from", "0", "--definition", str(file), "--processes", "1", *options)

    same = replay(file=now)
    assert (same.code, same.out) == (0, "3 executions lived again in shadow: 3 none.\n")
    report = folder / "report.xml"
    found = replay("--junit", str(report))
    assert found.code == 1
    assert "3 executions lived again in shadow: 1 none, 2 major." in found.out
    assert "~ output.charged" not in found.out
    assert "- output.charged: 20" in found.out
    assert "+ output.taken: 20" in found.out
    assert ET.parse(report).getroot().get("failures") == "2"  # noqa: S314  our own file
    assert replay("--allow", "major").code == 0
    told = sagad("replay", "--from", "1h", "--to", "0s", "--definition", str(other), "--processes", "2", "--json")
    assert {each["execution_id"] for each in told.json["differing"]} == {orders[0], orders[2]}
    assert [each["execution_id"] for each in replay("--limit", "1", "--json").json["differing"]] == orders[2:]
    assert replay("--trigger", "order/queue", "--json").json["checked"] == 0
    assert replay("--workflow", "order", "--json").json["checked"] == 3
    assert contents(folder) == before


def test_a_step_that_is_new_is_not_made_up(sagad: Sagad, orders: list[str], folder: Path) -> None:
    """The shadow stops there, or goes on as is wished."""
    other = folder / "other.yaml"
    other.write_text(
        (folder / "flows" / "order.yaml")
        .read_text()
        .replace("edges: [", "edges: [charge -> note, ")
        .replace("  charge:", "  note: {task: note, with: 1}\n  charge:")
    )
    command = ("replay", "--from", "0", "--definition", str(other), "--processes", "1")
    stopped = sagad(*command)
    assert "it comes to note, which the log has no result for" in stopped.out
    assert "2 have no recorded result of note." in stopped.out
    null = sagad(*command, "--missing", "null", "--json").json
    assert (null["by_severity"]["minor"], null["differing"][0]["ran"]) == (2, ["note"])
    failed = sagad(*command, "--missing", "fail", "--json").json
    assert failed["by_severity"]["critical"] == 2
    assert len(orders) == 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "say what is to be replayed"),
        (("--from", "0"), "say what is to be replayed"),
        (("abc", "--from", "0", "--definition", "flows/order.yaml"), "not both"),
        (("--from", "soon", "--definition", "flows/order.yaml"), "is not a time"),
        (("--from", "0", "--definition", "flows/order.yaml", "--missing", "guess"), "there is no way 'guess'"),
        (("--from", "0", "--definition", "flows/order.yaml", "--allow", "much"), "there is no severity 'much'"),
    ],
)
def test_wrong_usage_is_told(sagad: Sagad, arguments: tuple[str, ...], told: str) -> None:
    done = sagad("replay", *arguments)
    assert (done.code, told in done.err) == (2, True)


def test_a_workflow_that_is_not_in_the_file_is_told(sagad: Sagad, folder: Path) -> None:
    flows = folder / "two.yaml"
    flows.write_text("workflow: a\nnodes: {x: {transform: 1}}\n---\nworkflow: b\nnodes: {x: {transform: 1}}\n")
    done = sagad("replay", "--from", "0", "--definition", str(flows), "--workflow", "order")
    assert (done.code, "order" in done.err) == (3, True)
