"""A folder with settings, definitions and handlers, and ways to call the command line in it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from typer.testing import CliRunner

from daemon.cli.program import app

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SETTINGS = """
[store]
url = "sqlite:///sagad.db"
[http]
port = {port}
[workflows]
paths = ["flows"]
handlers = ["handlers.py"]
[limits]
grace_s = 0.5
"""
FLOW = """
workflow: order
input: {type: object, required: [order_id, total]}
triggers:
  - {name: queue, memory: {topic: orders}, dedupe: "{{ message.value.order_id }}"}
  - {name: hook, webhook: {path: orders, verify: {scheme: standard-webhooks, secret: "{{ secret.HOOK }}"}}}
nodes:
  reserve: {task: reserve, with: {order: "{{ input }}"}}
  large: {branch: "{{ input.total > 1000 }}"}
  review: {signal: {name: reviewed, timeout: 24h}}
  charge: {task: charge, with: {amount: "{{ input.total }}"}}
edges: [reserve -> large, large.true -> review, large.false -> charge, review -> charge]
output: {charged: "{{ charge }}"}
"""
HANDLERS = """
from pathlib import Path
from typing import Any

from daemon.handlers import handler


@handler("reserve")
async def reserve(order: dict[str, Any]) -> str:
    return "r-" + order["order_id"]


@handler("charge")
async def charge(amount: float) -> float:
    if amount == 13:
        raise ValueError("declined")
    return amount
"""


class Done(NamedTuple):
    """What a command gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Sagad:
    """Calls commands in this process, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str, stdin: str | None = None) -> Done:
        result = CliRunner().invoke(app, [*arguments], input=stdin, catch_exceptions=False)
        return Done(result.exit_code, result.stdout, result.stderr)


class Running(NamedTuple):
    """A daemon in a process of its own."""

    process: subprocess.Popen[str]
    address: str
    log: Path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the folder the working directory, with no settings in the environment but a secret."""
    for name in [name for name in os.environ if name.startswith("SAGAD_") and "TEST" not in name]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SAGAD_SECRET_HOOK", SECRET)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "order.yaml").write_text(FLOW)
    (tmp_path / "handlers.py").write_text(HANDLERS)
    (tmp_path / "sagad.toml").write_text(SETTINGS.format(port=1))
    return tmp_path


@pytest.fixture
def sagad(folder: Path) -> Sagad:
    return Sagad(folder)


@pytest.fixture
def running(folder: Path) -> Iterator[Running]:
    """Run the daemon, and write its port into the settings."""
    daemon = launch(folder)
    yield daemon
    halt(daemon)


def launch(folder: Path) -> Running:
    """Start a daemon on a free port; return when it is ready."""
    log = folder / "daemon.log"
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "daemon.cli", "run", "--port", "0"],
            cwd=folder, env=environ, stderr=stderr, stdout=subprocess.DEVNULL, text=True,
        )  # fmt: skip
    port = until_logged(process, log, r'"port": (\d+)')
    until_logged(process, log, r'"event": "(ready)"')
    file = folder / "sagad.toml"
    file.write_text(file.read_text().replace("port = 1\n", f"port = {port}\n"))
    return Running(process, f"http://127.0.0.1:{port}", log)


def halt(daemon: Running) -> int:
    """Stop it in order; return its exit code."""
    if daemon.process.poll() is None:
        daemon.process.send_signal(signal.SIGTERM)
    return daemon.process.wait(30)


def until_logged(process: subprocess.Popen[str], log: Path, pattern: str) -> str:
    """Return what the pattern's group matches in the log, once it does."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if found := re.search(pattern, log.read_text()):
            return found[1]
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise AssertionError(f"{pattern} was not logged:\n{log.read_text()}")
