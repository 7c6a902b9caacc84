"""The demonstration and the examples work as they are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "deploy" / "examples").glob("*/sagad.toml"))


def run(command: list[str] | str, folder: Path) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SAGAD_")}
    return subprocess.run(  # noqa: S603  our own programs
        command,
        cwd=folder,
        env={**environ, "PYTHONPATH": str(ROOT), "SAGAD_SECRET_ORDER_HOOK": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
        capture_output=True,
        text=True,
        check=False,
        shell=isinstance(command, str),
    )


@pytest.mark.slow
def test_the_demonstration_ends_well_and_its_commands_work(tmp_path: Path) -> None:
    """Exit code 0, every claim holds, and each command at the end can be copied as it is."""
    done = run([sys.executable, "-m", "deploy.demonstration", "--executions", "16"], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✗" not in done.stdout
    assert "no recorded step ran again" in done.stdout

    commands = re.findall(r"^  (\S*sagad .*?) +#", done.stdout, re.MULTILINE)
    assert len(commands) == 5, done.stdout
    for command in commands:
        shown = run(command, tmp_path)
        assert shown.returncode == 0, shown.stderr
        assert shown.stdout.strip()


def test_the_demonstration_fails_without_its_services(tmp_path: Path) -> None:
    """Exit code 1, and a line that says what is missing."""
    command = [sys.executable, "-m", "deploy.demonstration", "--kafka", "127.0.0.1:1"]
    done = run(command, tmp_path)
    assert done.returncode == 1
    assert "Kafka at 127.0.0.1:1" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("config", EXAMPLES, ids=lambda path: path.parent.name)
def test_an_example_is_valid(config: Path) -> None:
    """Settings, handlers and definition fit each other."""
    flow = config.with_name("flow.py")
    written = str(flow if flow.exists() else config.parent)
    command = [sys.executable, "-m", "daemon.cli", "validate", written, "--config", str(config)]
    done = run(command, ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
