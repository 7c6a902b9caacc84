"""Limits that executions share, on real daemons: exact, fair, and still true after restarts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from daemon.core.state import Finished, Running
from tests.support import gated_handlers
from tests.support.daemons import finished, running, settings_for, start, until

if TYPE_CHECKING:
    from pathlib import Path

WORKFLOW = """
workflow: limited
nodes:
  a: {task: gate, with: {name: "{{ input.gate }}"}, throttle: {concurrency: 2, key: "{{ input.key }}"}}
"""


async def test_no_more_than_the_limit_are_at_work(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Of three with one key two work; when one is done, the third begins."""
    gates = [f"{request.node.name}{number}" for number in range(3)]
    async with running(settings_for(tmp_path, WORKFLOW)) as daemon:
        ids = [await start(daemon, "limited", {"gate": gate, "key": "k"}) for gate in gates]
        for gate in gates[:2]:
            await gated_handlers.entered[gate].wait()
        third = await daemon.history.load(ids[2])
        assert isinstance(third, Running)
        assert list(third.limited) == ["a"]
        assert (await daemon.store.slots.use("limited/a", "k")).held == 2
        gated_handlers.gates[gates[0]].set()
        await gated_handlers.entered[gates[2]].wait()
        for gate in gates:
            gated_handlers.gates[gate].set()
        for each in ids:
            assert (await finished(daemon, each)).status == "completed"
        assert await daemon.store.slots.uses(most=9) == []
