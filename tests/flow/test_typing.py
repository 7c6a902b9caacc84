"""Type checkers see a workflow's function as ordinary code: good code passes, and each mistake is found at its line."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GOOD, BAD = (ROOT / "tests" / "typing" / name for name in ("good.py", "bad.py"))


def found_by_mypy(cache: Path) -> list[tuple[str, int, str]]:
    """Return file, line and code of each error, as a user's strict configuration finds them."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent"]
    options = ["--explicit-package-bases", "--no-error-summary", f"--cache-dir={cache}", str(GOOD), str(BAD)]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603  our own files
    assert not done.stderr, done.stderr
    found = re.findall(r"(\w+\.py):(\d+): error: .*\[([a-z-]+)\]", done.stdout)
    return [(file, int(line), code) for file, line, code in found]


@pytest.mark.slow
def test_mypy_finds_what_is_wrong_and_nothing_else(tmp_path: Path) -> None:
    """Steps, attributes of what they give, items of loops, ways, compensations, triggers."""
    lines = enumerate(BAD.read_text().splitlines(), 1)
    wrong = [("bad.py", number, code) for number, line in lines for code in re.findall(r"# wrong: ([a-z-]+)", line)]
    assert len(wrong) > 25
    assert sorted(found_by_mypy(tmp_path)) == sorted(wrong)
