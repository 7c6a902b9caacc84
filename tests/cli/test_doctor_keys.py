"""`sagad doctor` on the keys in [encryption]: there, readable by their owner only, fit to open what is stored."""

from __future__ import annotations

import asyncio
import sqlite3
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import pytest

from daemon.main import open_daemon
from daemon.settings import load_settings
from tests.cli.conftest import SECRET
from tests.support.daemons import finished

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Sagad

ONE, TWO = (b64encode(bytes([number]) * 32).decode() for number in (1, 2))


def settings(folder: Path, lines: str = "") -> None:
    """Write the settings with this in [encryption]."""
    path = folder / "sagad.toml"
    text = path.read_text().partition("[encryption]")[0].replace("port = 1\n", "port = 0\n")
    path.write_text(f"{text}[encryption]\n{lines}\n")
    path.chmod(0o600)


def carried_out(folder: Path, *, subject: bool = False) -> None:
    """Carry an execution out, with a payload beside the log."""
    flow = folder / "flows" / "order.yaml"
    if subject and "subject:" not in flow.read_text():
        flow.write_text(flow.read_text().replace("workflow: order", 'workflow: order\nsubject: "{{ input.order_id }}"'))

    async def run() -> None:
        async with open_daemon(
            load_settings(folder / "sagad.toml", {}), environ={"SAGAD_SECRET_HOOK": SECRET}
        ) as daemon:
            await daemon.start()
            given = {"order_id": "A1", "total": 5, "note": "x" * 100_000}
            await finished(daemon, (await daemon.intake.start("order", given, actor="test"))[0])

    asyncio.run(run())


def findings(sagad: Sagad, about: str) -> list[tuple[str, str, str]]:
    found: list[dict[str, Any]] = sagad("doctor", "--json").json["findings"]
    return [(each["status"], each["detail"], each["mend"]) for each in found if each["about"] == about]


def test_without_keys_and_without_need_nothing_is_said(sagad: Sagad, folder: Path) -> None:
    settings(folder)
    carried_out(folder)
    assert not [
        findings(sagad, about) for about in ("encryption at rest", "keys of subjects") if findings(sagad, about)
    ]


def test_a_store_that_is_encrypted_is_read(sagad: Sagad, folder: Path) -> None:
    """With a new key before the one that it was written with, too; the keys are named by their ids."""
    settings(folder, f'at_rest_keys = ["{ONE}"]')
    carried_out(folder)
    ((status, detail, _),) = findings(sagad, "encryption at rest")
    assert (status, detail.startswith("key "), "events can be read" in detail) == ("ok", True, True)
    settings(folder, f'at_rest_keys = ["{TWO}", "{ONE}"]')
    ((status, detail, _),) = findings(sagad, "encryption at rest")
    assert (status, detail.startswith("2 keys, ")) == ("ok", True)
    assert ONE not in sagad("doctor").out


@pytest.mark.parametrize("lines", ["", f'at_rest_keys = ["{TWO}"]'])
def test_a_key_that_the_store_was_written_with_is_missing(sagad: Sagad, folder: Path, lines: str) -> None:
    settings(folder, f'at_rest_keys = ["{ONE}"]')
    carried_out(folder)
    settings(folder, lines)
    ((status, detail, mend),) = findings(sagad, "encryption at rest")
    assert (status, "which is not in [encryption] at_rest_keys" in detail) == ("broken", True)
    assert mend.startswith("put the key back")
    assert not findings(sagad, "store")


@pytest.mark.parametrize(
    ("key", "problem"), [("c2hvcnQ=", "it has 5 bytes, and 32 are needed"), ("no key!", "it is not base64")]
)
@pytest.mark.parametrize("name", ["keys", "at_rest_keys"])
def test_what_is_no_key_is_told_without_being_shown(
    sagad: Sagad, folder: Path, name: str, key: str, problem: str
) -> None:
    settings(folder, f'{name} = ["{key}"]')
    ((status, detail, mend),) = findings(sagad, "settings")
    assert (status, f"number 1 is no key: {problem}" in detail) == ("broken", True)
    assert "openssl rand -base64 32" in mend
    assert key not in sagad("doctor").out


def test_a_damaged_event_is_found(sagad: Sagad, folder: Path) -> None:
    settings(folder, f'at_rest_keys = ["{ONE}"]')
    carried_out(folder)
    with sqlite3.connect(folder / "sagad.db") as database:
        (table,) = database.execute("SELECT name FROM sqlite_master WHERE sql LIKE '%originator_version%'").fetchone()
        database.execute(f"UPDATE {table} SET state = substr(state, 1, 40)")  # noqa: S608  the store's own
    ((status, detail, mend),) = findings(sagad, "events")
    assert (status, "it is damaged" in detail, "restore the database" in mend) == ("broken", True, True)


def test_keys_of_subjects_are_unwrapped(sagad: Sagad, folder: Path) -> None:
    """Those that an older key has wrapped are to be wrapped anew; those of a key that is gone are lost."""
    settings(folder, f'keys = ["{ONE}"]')
    carried_out(folder, subject=True)
    assert findings(sagad, "keys of subjects") == [("ok", "1 can be unwrapped", "")]
    settings(folder, f'keys = ["{TWO}", "{ONE}"]')
    ((status, detail, mend),) = findings(sagad, "keys of subjects")
    assert (status, "wrapped by an older key" in detail, "--rewrap" in mend) == ("warning", True, True)
    settings(folder, f'keys = ["{TWO}"]')
    ((status, detail, mend),) = findings(sagad, "keys of subjects")
    assert (status, "which is not in [encryption] keys" in detail) == ("broken", True)
    assert detail.startswith("1 of 1: ")
    assert mend.startswith("put the key back")
    ((status, detail, _),) = findings(sagad, "events")
    assert (status, "cannot be read" in detail) == ("broken", True)


def test_without_a_key_subjects_can_neither_be_sealed_nor_read(sagad: Sagad, folder: Path) -> None:
    settings(folder, f'keys = ["{ONE}"]')
    carried_out(folder, subject=True)
    settings(folder)
    found = findings(sagad, "keys of subjects")
    assert [status for status, _, _ in found] == ["broken", "broken"]
    assert "[encryption] has no `keys` to unwrap them" in found[0][1]
    assert "these workflows say a `subject`: order" in found[1][1]
    assert sagad("doctor").code == 1


def test_settings_with_keys_are_for_their_owner_only(sagad: Sagad, folder: Path) -> None:
    settings(folder, f'at_rest_keys = ["{ONE}"]')
    (folder / "sagad.toml").chmod(0o644)
    ((status, detail, mend),) = findings(sagad, "encryption")
    assert (status, "-rw-r--r--" in detail, "chmod 600" in mend) == ("warning", True, True)
    settings(folder)
    (folder / "sagad.toml").chmod(0o644)
    assert not findings(sagad, "encryption")
