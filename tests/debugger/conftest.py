"""A store with an execution that was carried out, and editors that are connected to a debugger."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from daemon.core.values import from_json
from daemon.main import open_daemon
from daemon.settings import load_settings
from tests.api.conftest import served
from tests.debugger.dap_client import DapClient
from tests.support import gated_handlers
from tests.support.daemons import finished, running, settings_for, start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from daemon.assembled import Daemon

ROOT = Path(__file__).parents[2]
FLOW = """\
workflow: order
vars: {seen: 0}
nodes:
  each:
    forEach: "{{ input.items }}"
    do:
      nodes:
        pack: {task: pack, with: {item: "{{ loop.item }}"}}
        note:
          set: {seen: "{{ vars.seen + 1 }}"}
      edges: [pack -> note]
  charge:
    task: charge
    with: {amount: "{{ input.amount }}"}
edges: [each -> charge]
output: "{{ charge }}"
"""
LINES = {"each": 4, "pack": 8, "note": 9, "charge": 12}
HANDLERS = """
from daemon.handlers import handler


@handler("pack")
async def pack(item: str) -> str:
    return item.upper()


@handler("charge")
async def charge(amount: float) -> float:
    if amount == 13:
        raise ValueError("declined")
    return amount
"""
SETTINGS = """
[store]
url = "sqlite:///{folder}/log.db"
[workflows]
paths = ["{folder}/flow.yaml"]
handlers = ["{folder}/handlers.py"]
"""


class Played(NamedTuple):
    """What there is to be debugged."""

    folder: Path
    done: str
    """Id of the execution that has completed."""
    failed: str

    @property
    def config(self) -> str:
        return str(self.folder / "sagad.toml")

    @property
    def flow(self) -> str:
        return str(self.folder / "flow.yaml")


@pytest.fixture
async def played(tmp_path: Path) -> Played:
    """Carry out two executions in a daemon that is gone then."""
    (tmp_path / "flow.yaml").write_text(FLOW)
    (tmp_path / "handlers.py").write_text(HANDLERS)
    (tmp_path / "sagad.toml").write_text(SETTINGS.format(folder=tmp_path))
    settings = load_settings(tmp_path / "sagad.toml", {})
    ids = []
    async with open_daemon(settings, environ={}) as daemon:
        await daemon.start()
        for amount in (30, 13):
            given = {"items": ["a", "b"], "amount": amount}
            execution_id, _ = await daemon.intake.start("order", given, actor="test")
            await finished(daemon, execution_id)
            ids.append(str(execution_id))
    return Played(tmp_path, *ids)


@asynccontextmanager
async def editor(*arguments: str) -> AsyncIterator[DapClient]:
    """Connect to a debugger in a process of its own by its standard streams, as an editor does."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "daemon.cli", "debug", "--dap", *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield DapClient(process.stdout, process.stdin)
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), 20) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


LIVE = """\
workflow: live
vars: {rate: 1}
nodes:
  a: {task: gate, with: {name: "{{ input.name }}", value: 1}}
  each:
    forEach: [1, 2]
    do:
      nodes:
        x: {task: pass, with: {value: "{{ loop.item * vars.rate }}"}}
      output: "{{ x }}"
  c: {task: flaky, with: {name: "{{ input.name }}"}}
edges: [a -> each, each -> c]
output: ["{{ each }}", "{{ c }}"]
"""
LIVE_LINES = {"a": 4, "each": 5, "x": 9, "c": 11}


class Going(NamedTuple):
    """A daemon with an execution that stands at the gate in `a`."""

    daemon: Daemon
    url: str
    target: UUID
    name: str
    folder: Path

    def open_gate(self) -> None:
        gated_handlers.gates[self.name].set()

    async def output(self) -> object:
        return from_json((await finished(self.daemon, self.target)).output)


@pytest.fixture
async def going(tmp_path: Path) -> AsyncIterator[Going]:
    async with _going(tmp_path) as found:
        yield found


@asynccontextmanager
async def _going(folder: Path) -> AsyncIterator[Going]:
    name = str(folder)
    (folder / "sagad.toml").write_text(
        '[store]\nurl = "memory://"\n[workflows]\nhandlers = ["tests.support.gated_handlers"]\n'
    )
    async with running(settings_for(folder, LIVE)) as daemon, served(daemon) as url:
        target = await start(daemon, "live", {"name": name})
        await gated_handlers.entered[name].wait()
        yield Going(daemon, url, target, name, folder)
