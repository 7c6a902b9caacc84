"""`export`, and `run` and `validate` of Python files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Sagad

FLOW = """
from daemon.flow import StepFailure, signal, step, workflow


@step("greet")
async def greet(name: str) -> str:
    if name == "nobody":
        raise StepFailure("there is nobody", "nobody", retryable=False)
    return f"Hello, {name}"


@workflow("greeting")
def greeting(person: dict[str, str]) -> str:
    return greet(person["name"])


@workflow("waiting", input=None)
def waiting(_: object) -> str:
    return signal("go", "go")
"""


def written(sagad: Sagad, text: str = FLOW) -> Path:
    file = sagad.folder / "flow.py"
    file.write_text(text)
    return file


def test_export_writes_what_validate_accepts(sagad: Sagad) -> None:
    """And what is the same definition."""
    written(sagad)
    done = sagad("export", "flow.py:greeting")
    assert (done.code, done.out.splitlines()) == (
        0,
        [
            "# Made of flow.py:greeting by `sagad export`; its handlers are in flow.py.",
            "workflow: greeting",
            "",
            "input: {type: object, additionalProperties: {type: string}}",
            "",
            "nodes:",
            '  greet: {task: greet, with: {name: "{{ input.name }}"}}',
            "",
            'output: "{{ greet }}"',
        ],
    )
    assert sagad("export", "flow.py", "-o", "out.yaml").code == 0
    (sagad.folder / "sagad.toml").write_text('[workflows]\nhandlers = ["flow.py"]\n')
    assert sagad("validate", "out.yaml", "--json").json["workflows"] == ["greeting", "waiting"]
    assert (sagad.folder / "out.yaml").read_text().count("---\n") == 1


def test_export_tells_mistakes_and_writes_nothing(sagad: Sagad) -> None:
    written(sagad, FLOW.replace('person["name"]', "1, 2"))
    done = sagad("export", "flow.py", "-o", "out.yaml")
    assert done.code == 1
    assert "flow.py:14:12: error: greet: too many positional arguments" in done.out
    assert not (sagad.folder / "out.yaml").exists()
    assert sagad("export", "flows/order.yaml").code == 2


def test_validate_checks_python_files_with_their_handlers(sagad: Sagad) -> None:
    """Handlers are checked, since the settings name some; those of the file are among them."""
    written(sagad)
    assert sagad("validate", "flow.py", "--json").json["valid"]
    by_name = FLOW.replace("step, workflow", "step, task, workflow").replace(
        'signal("go", "go")', 'task("a", "no.such")'
    )
    (sagad.folder / "task.py").write_text(by_name)
    done = sagad("validate", "task.py")
    assert done.code == 1
    assert "no.such" in done.out


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "daemon.cli", "run", *arguments, "--port", "0"]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603  our own program


def test_run_carries_out_one_execution(folder: Path) -> None:
    """One file and one command; the output is printed, the exit code says how it ended."""
    (folder / "flow.py").write_text(FLOW)
    done = run(folder, "flow.py:greeting", "--input", '{"name": "Ada"}')
    assert (done.returncode, json.loads(done.stdout)) == (0, "Hello, Ada")
    done = run(folder, "flow.py:greeting", "--input", '{"name": "nobody"}')
    assert done.returncode == 1
    assert "failed: there is nobody (nobody)" in done.stderr


def test_run_says_what_is_wrong_with_the_input(folder: Path) -> None:
    (folder / "flow.py").write_text(FLOW)
    wrong = run(folder, "flow.py:greeting", "--input", '{"name": 7}')
    assert (wrong.returncode, wrong.stderr.splitlines()[-1]) == (1, "error: name: expected text, not the number 7")
    both = run(folder, "flow.py", "--input", "{}")
    assert (both.returncode, both.stderr.splitlines()[-2:]) == (
        2,
        ["error: there are 2 workflows: greeting, waiting", "hint: name one: flow.py:name"],
    )
