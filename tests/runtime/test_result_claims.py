"""The claims of the result cache by themselves: who lets go of them, and when."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from daemon.runtime.result_cache import CLAIM_TTL, Making, ResultCache, Wanted
from daemon.testing.clock import FakeClock
from eventstore.memory_results import MemoryResults
from tests.core.spec import EXECUTION

if TYPE_CHECKING:
    from collections.abc import Coroutine


async def test_the_claim_of_a_daemon_that_ends_at_once_runs_out_by_itself() -> None:
    """Its tasks are cancelled and no new one begins: that a step lets go of its claim then must not fail."""
    ends = False

    def spawn(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        if ends:
            raise RuntimeError("TaskGroup is shutting down")
        return asyncio.create_task(work)

    backend, clock = MemoryResults(), FakeClock()
    cache = ResultCache(backend, clock, spawn=spawn, max_bytes=1, missed=lambda *_: None)
    wanted = Wanted(
        cache="c",
        key="k",
        ttl=timedelta(hours=1),
        workflow="w",
        node="n",
        execution_id=EXECUTION,
        address="n",
        patience=None,
    )
    making = await cache.ask(wanted)
    ends = True
    assert isinstance(making, Making)
    making.given_up()
    assert (await backend.find("c", "k", now=clock.now())).claimed_by == making.by
    assert (await backend.find("c", "k", now=clock.now() + CLAIM_TTL)).claimed_by is None
