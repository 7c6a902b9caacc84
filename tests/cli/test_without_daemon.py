"""Commands that need no daemon, and what all commands say when something is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from daemon.cli.program import COMMANDS
from tests.cli.conftest import ROOT, Sagad

if TYPE_CHECKING:
    from pathlib import Path

UNKNOWN = "00000000-0000-0000-0000-000000000001"


def test_a_good_definition_is_valid(sagad: Sagad) -> None:
    done = sagad("validate", "flows")
    assert (done.code, done.out) == (0, "ok order: 4 nodes, 4 edges, 2 triggers\n")


def test_every_problem_is_shown_with_its_line_and_a_caret(sagad: Sagad, folder: Path) -> None:
    file = folder / "flows" / "order.yaml"
    file.write_text(file.read_text().replace("task: charge", "task: charg").replace("reserve ->", "reserv ->"))
    done = sagad("validate", "flows")
    assert done.code == 1
    lines = done.out.splitlines()
    (line,) = (number for number, text in enumerate(lines) if "charg" in text and "error: " in text)
    assert lines[line].startswith("flows/order.yaml:")
    number, column = map(int, lines[line].split(":")[1:3])
    source = file.read_text().splitlines()[number - 1]
    assert lines[line + 1] == f"{number:>5} | {source}"
    assert lines[line + 2].index("^") == len("    1 | ") + column - 1
    found = sagad("validate", "flows", "--json").json
    assert (found["valid"], len(found["problems"]) >= 2) == (False, True)
    assert {"message", "file", "line", "column", "hint"} <= set(found["problems"][0])


def test_a_file_that_is_not_there_is_a_problem(sagad: Sagad) -> None:
    assert (sagad("validate", "none.yaml").code, sagad("validate").code) == (1, 2)


def test_the_schema_is_a_json_schema(sagad: Sagad) -> None:
    assert sagad("schema").json["$schema"].startswith("https://json-schema.org/")


def test_reading_before_there_is_a_store_says_what_to_do(sagad: Sagad) -> None:
    done = sagad("list")
    assert (done.code, "sagad.db" in done.err, "hint: `sagad run`" in done.err) == (2, True, True)
    assert sagad("migrate", "--json").json["schema_version"] >= 1
    assert sagad("list", "--json").json == []
    assert sagad("show", str(uuid4())).code == 3
    assert sagad("show", "abc").code == 3
    assert sagad("show", "not-an-id").code == 2


def test_the_index_of_an_empty_log_is_rebuilt(sagad: Sagad) -> None:
    sagad("migrate")
    assert sagad("index", "rebuild", "--json").json == {"events": 0, "executions": 0}


@pytest.mark.parametrize(
    "arguments",
    [
        ["start", "order"],
        ["cancel", UNKNOWN],
        ["signal", UNKNOWN, "x"],
        ["list", "--url", "http://127.0.0.1:1"],
    ],
)
def test_without_a_daemon_the_answer_says_how_to_start_one(sagad: Sagad, arguments: list[str]) -> None:
    done = sagad(*arguments)
    assert (done.code, "no daemon answers" in done.err, "sagad run" in done.err) == (4, True, True)


def test_wrong_settings_are_told_all_at_once(sagad: Sagad, folder: Path) -> None:
    (folder / "sagad.toml").write_text('[http]\nport = "x"\n[oops]\n')
    for command in (["list"], ["run"], ["doctor"], ["start", "order"]):
        done = sagad(*command)
        assert done.code == (1 if command == ["doctor"] else 2)
        assert "sagad.toml:2:1" in done.out + done.err
        assert "sagad.toml:3:1" in done.out + done.err
    assert sagad("list", "-c", "none.toml").code == 2


def test_definitions_that_cannot_work_keep_the_daemon_from_starting(sagad: Sagad, folder: Path) -> None:
    """Here as a program: the exit code is what an init system sees."""
    (folder / "flows" / "order.yaml").write_text("workflow: order\nnodes: {a: {task: nothing}}\n")
    done = program(folder, "run", "--port", "0")
    assert (done.returncode, "no handler" in done.stderr or "nothing" in done.stderr) == (2, True)
    assert "Traceback" not in done.stderr


def test_a_key_that_is_none_is_told(sagad: Sagad, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGAD_STORE_CIPHER_KEY", "hunter2")
    sagad("migrate")
    done = program(folder, "run", "--port", "0", SAGAD_STORE_CIPHER_KEY="hunter2")
    assert (done.returncode, "cipher_key" in done.stderr, "Traceback" in done.stderr) == (2, True, False)
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "--status", "lost"],
        ["list", "--since", "yesterday"],
        ["state", UNKNOWN, "--version", "1", "--at", "1h"],
        ["start", "order", "--input", "{"],
        ["start", "order", "--input", "@none.json"],
        ["start", "order", "--wait", "--timeout", "5"],
        ["publish", "hook", "--data", "1", "--header", "x"],
        ["publish", "hook", "--data", "1", "--via", "pigeon"],
        ["nothing"],
    ],
    ids=" ".join,
)
def test_commands_that_cannot_work_as_written_end_with_2(sagad: Sagad, arguments: list[str]) -> None:
    done = sagad(*arguments)
    assert done.code == 2
    assert done.err


def test_doctor_says_how_to_mend_what_is_broken(sagad: Sagad, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAGAD_SECRET_HOOK")
    text = (folder / "sagad.toml").read_text().replace("port = 1", "port = 0")
    (folder / "sagad.toml").write_text(
        f'{text}\n[kafka]\nbootstrap = "127.0.0.1:1"\n[rabbitmq]\nurl = "amqp://127.0.0.1:1"\n'
    )
    done = sagad("doctor", "--json")
    assert (done.code, done.json["sound"]) == (1, False)
    broken = {finding["about"]: finding for finding in done.json["findings"] if finding["status"] == "broken"}
    assert set(broken) == {"kafka", "rabbitmq", "trigger order/hook"}
    assert all(finding["mend"] for finding in broken.values())
    assert "mend: " in sagad("doctor").out


def test_doctor_says_how_an_empty_database_is_mended(sagad: Sagad, folder: Path) -> None:
    (folder / "sagad.db").touch()
    done = sagad("doctor")
    assert (done.code, "run `sagad migrate`" in done.out, "start the database" in done.out) == (1, True, False)


def test_doctor_finds_handlers_that_cannot_be_imported(sagad: Sagad, folder: Path) -> None:
    (folder / "handlers.py").write_text("import nothing_of_this_name\n")
    done = sagad("doctor")
    assert (done.code, "nothing_of_this_name" in done.out) == (1, True)


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS), ["index", "rebuild"]], ids=" ".join)
def test_every_command_has_help(sagad: Sagad, command: list[str]) -> None:
    done = sagad(*command, "--help")
    assert done.code == 0
    assert "Usage" in done.out


def test_the_version_is_printed(sagad: Sagad) -> None:
    assert sagad("--version").out.startswith("sagad ")


def test_help_imports_nothing_heavy(folder: Path) -> None:
    """A shell that completes or a person that asks gets the answer at once."""
    script = "import sys; from daemon.cli.program import app; app(['--help'], standalone_mode=False)"
    heavy = "fastapi", "aiokafka", "eventsourcing", "httpx", "daemon.main", "yaml"
    check = f"{script}; print('HEAVY', [name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run(  # noqa: S603  our own program
        [sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.rstrip().endswith("HEAVY []")


def test_nothing_is_coloured_off_a_terminal(sagad: Sagad, folder: Path) -> None:
    sagad("migrate")
    for done in (sagad("list"), sagad("doctor"), sagad("validate", "flows")):
        assert "\x1b[" not in done.out
    assert json.loads(program(folder, "list", "--json").stdout) == []


def program(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a program."""
    command = [sys.executable, "-m", "daemon.cli", *arguments]
    environ = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "SAGAD_SECRET_HOOK": "whsec_AAAA", **variables}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603  our own program
