"""The plugin in somebody else's project: its own folder, no settings of pytest, only what an installed sagad brings."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "deploy" / "examples" / "testing"


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    options = ["-q", "-p", "no:cacheprovider", "-W", "error", "-o", "asyncio_default_fixture_loop_scope=function"]
    command = [sys.executable, "-m", "pytest", *options, *arguments]
    return subprocess.run(  # noqa: S603  pytest itself
        command, cwd=folder, env=environment | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )


def test_the_example_passes(tmp_path: Path) -> None:
    folder = shutil.copytree(EXAMPLE, tmp_path / "example", ignore=shutil.ignore_patterns("__pycache__"))
    ran = run_pytest(folder, "--sagad-store", "sqlite")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "6 passed" in ran.stdout


def test_without_its_fixture_nothing_of_the_daemon_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "test_other.py"
    file.write_text("import sys\n\ndef test_other():\n    assert 'daemon.main' not in sys.modules\n")
    ran = run_pytest(tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
