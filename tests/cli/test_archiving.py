"""`archive` and `verify` beside a daemon that runs: they read the store, and import into it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Running, Sagad

GIVEN = '{"order_id": "o", "total": 3}'


@pytest.fixture
def booked(sagad: Sagad, running: Running) -> str:
    """Give the id of an execution that has ended."""
    assert running
    done = sagad("start", "order", "--input", GIVEN, "--wait", "--json")
    assert done.code == 0, done.err
    return str(done.json["execution_id"])


def change(folder: Path, sql: str) -> None:
    """Change something behind our back."""
    with closing(sqlite3.connect(folder / "sagad.db")) as connection, connection:
        assert connection.execute(sql).rowcount


def test_an_execution_goes_to_a_file_and_comes_back(sagad: Sagad, folder: Path, booked: str) -> None:
    """Into another store, from which the same file comes; a second time it is refused, or left."""
    done = sagad("archive", "export", booked[:8], "-o", "order.jsonl.gz")
    assert (done.code, "events of 1 executions are in order.jsonl.gz" in done.out) == (0, True)
    assert sagad("archive", "export", booked).out.splitlines()[0].startswith('{"line":"header"')
    assert sagad("verify", "order.jsonl.gz").out.endswith("all are sound.\n")
    (folder / "other.toml").write_text('[store]\nurl = "sqlite:///other.db"\n')
    other = ("-c", "other.toml")
    assert sagad("archive", "import", "order.jsonl.gz", *other).code == 2, "there is no such store"
    assert sagad("migrate", *other).code == 0
    done = sagad("archive", "import", "order.jsonl.gz", "--json", *other)
    assert (done.code, done.json["imported"]) == (0, [booked])
    assert sagad("archive", "export", booked, "-o", "again.jsonl.gz", "--json", *other).json["executions"] == 1
    assert (folder / "again.jsonl.gz").read_bytes() == (folder / "order.jsonl.gz").read_bytes()
    assert sagad("show", booked, "--json", *other).json["status"] == "completed"
    done = sagad("archive", "import", "order.jsonl.gz", *other)
    assert (done.code, "is here already" in done.err) == (1, True)
    assert "1 were there already" in sagad("archive", "import", "order.jsonl.gz", "--on-conflict", "skip", *other).out
    assert not list(folder.glob("*.part"))


def test_all_are_verified_in_processes_and_against_heads(sagad: Sagad, folder: Path, booked: str) -> None:
    """What was changed so that it fits is found by the heads alone, signed here."""
    with (folder / "sagad.toml").open("a") as file:
        file.write('[archive]\nhead_keys = ["a key of many chars"]\n')
    assert sagad("start", "order", "--input", GIVEN, "--wait").code == 0
    heads = sagad("verify", "--all", "--head", "--processes", "2")
    assert (heads.code, len(heads.out.splitlines())) == (0, 2)
    assert all(line.count(":") == 3 for line in heads.out.splitlines())
    (folder / "heads").write_text(heads.out)
    done = sagad("verify", "--all", "--expect", "heads", "--json")
    assert (done.code, done.json["executions"], done.json["broken"]) == (0, 2, [])
    fits = "CAST(replace(state, '\"total\":3', '\"total\":4') AS BLOB)"
    where = f"originator_version = 1 AND originator_id = '{booked.replace('-', '')}'"
    change(folder, f"UPDATE stored_events SET state = {fits} WHERE {where}")  # noqa: S608  no input of others
    assert sagad("verify", "--all").code == 0, "it fits"
    done = sagad("verify", "--all", "--expect", "heads")
    assert (done.code, f"{booked}: an event up to" in done.out, "1 executions are not sound" in done.out) == (
        1,
        True,
        True,
    )
    assert sagad("verify", booked, "--expect", heads.out.replace(":", ":1", 1)).code == 1


def test_heads_are_signed_by_one_and_checked_by_all(sagad: Sagad, folder: Path, booked: str) -> None:
    """With a private key in the settings; who checks needs the public one alone."""
    owner = Ed25519PrivateKey.generate()
    (folder / "head.pem").write_bytes(owner.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = owner.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "head.pub").write_bytes(public)
    settings = (folder / "sagad.toml").read_text()
    (folder / "sagad.toml").write_text(f'{settings}[archive]\nhead_private_key_file = "head.pem"\n')
    head = sagad("verify", booked, "--head").out.strip()
    (folder / "sagad.toml").write_text(settings)
    (folder / "head.pem").unlink()

    assert sagad("verify", booked, "--expect", head, "--public-key", "head.pub").code == 0
    wrong = sagad("verify", booked, "--expect", f"{head[:-2]}00", "--public-key", "head.pub")
    assert (wrong.code, "not of any public key" in wrong.err) == (1, True)
    assert "no public key" in sagad("verify", booked, "--expect", head).err
    assert sagad("verify", booked, "--expect", head, "--public-key", "sagad.toml").code == 2


def test_what_is_broken_is_named(sagad: Sagad, folder: Path, booked: str) -> None:
    assert sagad("archive", "export", booked, "-o", "order.jsonl").code == 0
    file = folder / "order.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines).replace('"total":3', '"total":4', 1))
    done = sagad("verify", "order.jsonl")
    number = next(at for at, line in enumerate(lines, start=1) if '"total":3' in line)
    assert (done.code, f"order.jsonl:{number}: " in done.err) == (1, True)
    change(folder, "DELETE FROM stored_events WHERE originator_version = 2")
    done = sagad("verify", booked)
    assert (done.code, f"{booked}: event 2 is missing" in done.out) == (1, True)
    done = sagad("archive", "export", booked, "-o", "order.jsonl.gz")
    assert (done.code, "event 2" in done.err, (folder / "order.jsonl.gz").exists()) == (1, True, False)
    change(folder, "DELETE FROM stored_events")
    done = sagad("verify", "--all", "--json")
    assert (done.code, [each["execution_id"] for each in done.json["broken"]]) == (1, [booked])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["verify"], 2),
        (["verify", "abcdef12", "--all"], 2),
        (["verify", "--all", "--expect", "nothing"], 1),
        (["archive", "import", "none.jsonl"], 2),
        (["archive", "import", "sagad.toml", "--on-conflict", "perhaps"], 2),
        (["archive", "import", "sagad.toml"], 1),
        (["archive", "export", "00000000-0000-0000-0000-000000000001"], 3),
        (["verify", "00000000-0000-0000-0000-000000000001"], 3),
    ],
)
def test_what_cannot_be_done_is_told(sagad: Sagad, arguments: list[str], code: int) -> None:
    sagad("migrate")
    done = sagad(*arguments)
    assert (done.code, done.err.startswith(("error: ", "Usage"))) == (code, True)


def test_an_empty_store_is_sound(sagad: Sagad) -> None:
    sagad("migrate")
    assert json.loads(sagad("verify", "--all", "--json").out)["events"] == 0
