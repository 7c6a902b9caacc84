"""The result cache on a whole daemon: who runs, who waits, what is stored, and what a loss in between does."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from daemon.core.commands import CancelExecution
from daemon.core.events import StepCached, StepStarted
from daemon.core.state import Running, Succeeded
from daemon.core.values import from_json
from daemon.runtime.result_cache import CLAIM_TTL
from daemon.runtime.undo import effects_of
from daemon.runtime.views import execution_view, plain
from daemon.runtime.why import why
from daemon.settings import Cache
from daemon.testing.clock import FakeClock, settle
from eventstore.errors import Unavailable
from eventstore.results import Claim, Which
from tests.support import gated_handlers
from tests.support.daemons import PATIENCE_S, finished, in_flight, running, settings_for, start, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from uuid import UUID

    from daemon.assembled import Daemon
    from daemon.core.state import State
    from tests.support.services import OwnService

QUOTES = """
workflow: quotes
nodes:
  quote:
    task: gate
    with: {name: "{{ input.gate }}", value: "{{ input.value }}"}
    cache: {key: "{{ input.key }}", ttl: 1h}
    timeout: 5m
output: "{{ quote }}"
---
workflow: others
nodes:
  quote: {task: gate, with: {name: "{{ input.gate }}", value: "other"}, cache: {key: "{{ input.key }}", ttl: 1h}}
output: "{{ quote }}"
---
workflow: flaky
nodes:
  ask:
    task: flaky
    with: {name: "{{ input.gate }}"}
    cache: {key: "{{ input.key }}", ttl: 1h, name: shared}
    retry: {max_attempts: 2, initial: 1s}
output: "{{ ask }}"
---
workflow: trips
nodes:
  legs:
    parallel: 5
    do:
      nodes:
        quote:
          task: gate
          with: {name: "{{ input.gate }}", value: "{{ parallel.index }}"}
          cache: {key: "{{ input.key }}", ttl: 1h}
      output: "{{ quote }}"
output: "{{ legs }}"
"""


async def quoted(daemon: Daemon, name: str, value: Any = 1, *, key: str = "", workflow: str = "quotes") -> UUID:
    return await start(daemon, workflow, {"gate": name, "value": value, "key": key or name})


async def result(daemon: Daemon, target: UUID) -> Any:
    state = await finished(daemon, target)
    assert state.error is None, state.error
    return from_json(state.output)


async def hit(daemon: Daemon, target: UUID) -> StepCached | None:
    """Return the event by which the execution has got another's result."""
    found = [each.event for each in await daemon.history.events(target)]
    return next((event for event in found if isinstance(event, StepCached)), None)


async def kept(daemon: Daemon) -> int:
    """Return how many results there are."""
    return len(await daemon.cache.backend.kept(Which(), now=daemon.clock.now(), limit=99, after=None))


async def stored(daemon: Daemon, number: int = 1) -> None:
    """Return when so many results are kept."""
    async with asyncio.timeout(PATIENCE_S):
        while await kept(daemon) < number:  # noqa: ASYNC110  the store gives no event
            await asyncio.sleep(0)


async def test_two_daemons_share_a_redis(tmp_path: Path, redis_server: OwnService) -> None:
    """Each has a store of its own; what one has made the other has too, until it is cleared."""
    gated_handlers.gates["redis"].set()
    settings = settings_for(tmp_path, QUOTES, cache=Cache(backend="redis", url=redis_server.url))
    async with running(settings) as one, running(settings) as other:
        assert await result(one, await quoted(one, "redis", 1)) == 1
        await stored(one)
        assert await result(other, await quoted(other, "redis", 2)) == 1
        await other.cache.backend.clear(Which())
        assert await result(one, await quoted(one, "redis", 3)) == 3


def ran(target: UUID, address: str = "quote") -> int:
    return gated_handlers.runs[f"{target}/{address}"]


@pytest.mark.parametrize("backend", ["store", "memory"])
@pytest.mark.parametrize("url", ["memory://", "sqlite:///{folder}/log.db"])
async def test_a_second_step_with_the_key_gets_the_result(tmp_path: Path, url: str, backend: Any) -> None:
    """It runs no handler, and its event tells whose result that is."""
    gated_handlers.gates["second"].set()
    settings = settings_for(tmp_path, QUOTES, store_url=url.format(folder=tmp_path), cache=Cache(backend=backend))
    async with running(settings) as daemon:
        first = await quoted(daemon, "second", {"price": 7})
        assert await result(daemon, first) == {"price": 7}
        await stored(daemon)
        second = await quoted(daemon, "second", {"price": 8})
        assert await result(daemon, second) == {"price": 7}
        event = await hit(daemon, second)
        assert event is not None
        assert (event.cache, event.origin.execution_id, event.origin.address) == ("quotes/quote", first, "quote")
        assert (await hit(daemon, first), ran(first), ran(second)) == (None, 1, 0)


async def test_other_keys_other_nodes_and_later_times_have_results_of_their_own(tmp_path: Path) -> None:
    gated_handlers.gates["own"].set()
    clock = FakeClock()
    async with running(settings_for(tmp_path, QUOTES), clock=clock) as daemon:
        await result(daemon, await quoted(daemon, "own", 1))
        await stored(daemon)
        assert await result(daemon, await quoted(daemon, "own", 2, key="else")) == 2
        assert await result(daemon, await quoted(daemon, "own", workflow="others")) == "other"
        clock.leap(clock.now() + timedelta(hours=1))
        assert await result(daemon, await quoted(daemon, "own", 3)) == 3


async def test_steps_that_ask_at_once_run_the_handler_once(tmp_path: Path) -> None:
    """The others wait, also beyond the one execution, and hold no place meanwhile."""
    async with running(settings_for(tmp_path, QUOTES)) as daemon:
        trip = await quoted(daemon, "once", workflow="trips")
        async with asyncio.timeout(PATIENCE_S):
            await gated_handlers.entered["once"].wait()
        await until(daemon, trip, lambda state: isinstance(state, Running) and len(state.in_flight) == 5)
        await settle()
        assert len(list(daemon.steps.at_work())) == 1
        gated_handlers.gates["once"].set()
        assert await result(daemon, trip) == [0] * 5
        assert sum(ran(trip, f"legs[{number}].quote") for number in range(5)) == 1


async def test_a_failure_is_nobody_elses(tmp_path: Path) -> None:
    """Who has waited for a maker that fails runs by himself, and its success is kept."""
    gated_handlers.failures["nobodys"] = 1
    clock = FakeClock()
    async with running(settings_for(tmp_path, QUOTES), clock=clock) as daemon:
        targets = [await quoted(daemon, "nobodys", workflow="flaky") for _ in range(3)]
        for target in targets:
            await until(daemon, target, lambda state: isinstance(state, Running) and state.sleeping == 1)
        assert [ran(target, "ask") for target in targets] == [1, 1, 1]
        await clock.advance(1)
        assert [await result(daemon, target) for target in targets] == [2, 2, 2]
        await stored(daemon)
        assert sum(ran(target, "ask") for target in targets) == 4


async def test_a_crash_between_result_and_storing_costs_a_run_and_nothing_else(tmp_path: Path) -> None:
    """What the log has is never looked up again; what the cache has not is made anew, by whoever comes next."""
    settings = settings_for(tmp_path, QUOTES, store_url=f"sqlite:///{tmp_path}/log.db")
    gated_handlers.gates["crash"].set()
    async with running(settings) as daemon:
        daemon.cache._store = never  # type: ignore[method-assign]  # the process dies here
        first = await quoted(daemon, "crash", 1)
        assert await result(daemon, first) == 1
    async with running(settings) as daemon:
        assert await daemon.cache.backend.kept(Which(), now=daemon.clock.now(), limit=9, after=None) == []
        claim = await daemon.cache.backend.find("quotes/quote", await key_of(daemon, first), now=daemon.clock.now())
        assert claim.claimed_by is not None
        await daemon.cache.backend.clear(Which())
        assert await result(daemon, await quoted(daemon, "crash", 2)) == 2
        assert ran(first) == 1


async def never(*_: Any, **__: Any) -> None:
    """Stand for what did not happen."""


async def key_of(daemon: Daemon, target: UUID) -> str:
    found = [each.event for each in await daemon.history.events(target)]
    return next(event.cache_key for event in found if isinstance(event, StepStarted))


async def test_a_step_that_was_cut_off_takes_up_its_own_claim(tmp_path: Path) -> None:
    """The next daemon does not wait for a maker that is gone when that is the step itself."""
    settings = settings_for(tmp_path, QUOTES, store_url=f"sqlite:///{tmp_path}/log.db")
    async with running(settings) as first:
        first.cache.backend.release = never  # type: ignore[method-assign]  # killed, it would not have
        target = await quoted(first, "cut-off", 1)
        await until(first, target, in_flight("quote"))
        async with asyncio.timeout(PATIENCE_S):
            await gated_handlers.entered["cut-off"].wait()
    gated_handlers.gates["cut-off"].set()
    async with running(settings) as second:
        assert await result(second, target) == 1
        await stored(second)
        assert ran(target) == 2


async def test_a_recorded_hit_is_never_looked_up_again(tmp_path: Path) -> None:
    """After a restart the step has its result whatever has become of the cache."""
    settings = settings_for(tmp_path, QUOTES, store_url=f"sqlite:///{tmp_path}/log.db")
    gated_handlers.gates["recorded"].set()
    async with running(settings) as daemon:
        await result(daemon, await quoted(daemon, "recorded", 1))
        await stored(daemon)
        target = await quoted(daemon, "recorded", 2)
        assert await result(daemon, target) == 1
        await daemon.cache.backend.clear(Which())
    async with running(settings) as daemon:
        state = await daemon.history.load(target)
        step = getattr(state, "steps", {})["quote"]
        assert isinstance(step, Succeeded)
        assert (step.cached, from_json(step.output), ran(target)) == (True, 1, 0)


async def away(*_: Any, **__: Any) -> Any:
    raise Unavailable("the backend is away")


async def hangs(*_: Any, **__: Any) -> Any:
    await asyncio.Event().wait()


@pytest.mark.parametrize("fault", [away, hangs])
@pytest.mark.parametrize("calls", [("find", "claim", "put", "extend"), ("claim", "put"), ("put",)])
async def test_a_cache_that_is_away_fails_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Callable[..., Any], calls: tuple[str, ...]
) -> None:
    monkeypatch.setattr("daemon.runtime.result_cache.PATIENCE_S", 0.01)
    name = f"away-{fault.__name__}-{len(calls)}"
    gated_handlers.gates[name].set()
    async with running(settings_for(tmp_path, QUOTES)) as daemon:
        for call in calls:
            setattr(daemon.cache.backend, call, fault)
        assert await result(daemon, await quoted(daemon, name, 1)) == 1
        assert await result(daemon, await quoted(daemon, name, 2)) == 2
        if "find" in calls or "claim" in calls:
            counted = (await daemon.metrics.exposition()).decode()
            assert 'sagad_cache_lookups_total{node="quote",outcome="away",workflow="quotes"} 2.0' in counted


async def test_what_is_too_large_is_shared_but_not_kept(tmp_path: Path) -> None:
    gated_handlers.gates["large"].set()
    async with running(settings_for(tmp_path, QUOTES, cache=Cache(max_result_bytes=10))) as daemon:
        target = await quoted(daemon, "large", "x" * 20)
        assert await result(daemon, target) == "x" * 20
        assert await result(daemon, await quoted(daemon, "large", 2)) == 2
        assert await kept(daemon) == 0


async def test_what_was_cleared_while_it_was_made_is_not_kept(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, QUOTES)) as daemon:
        target = await quoted(daemon, "cleared", "old")
        async with asyncio.timeout(PATIENCE_S):
            await gated_handlers.entered["cleared"].wait()
        await daemon.cache.backend.clear(Which(cache="quotes/quote"))
        gated_handlers.gates["cleared"].set()
        assert await result(daemon, target) == "old"
        assert await result(daemon, await quoted(daemon, "cleared", "new")) == "new"


async def test_another_daemon_is_waited_for(tmp_path: Path) -> None:
    """While it gives signs of life; then its result is taken, or else one's own handler runs."""
    clock = FakeClock()
    async with running(settings_for(tmp_path, QUOTES), clock=clock) as daemon:
        backend = daemon.cache.backend
        made = await quoted(daemon, "model", "theirs")
        gated_handlers.gates["model"].set()
        await result(daemon, made)
        await stored(daemon)
        key = await key_of(daemon, made)
        theirs = (await backend.find("quotes/quote", key, now=clock.now())).result
        assert theirs is not None
        await backend.clear(Which())

        claim = Claim(cache="quotes/quote", key=key, workflow="quotes", by=made, expires_at=clock.now() + CLAIM_TTL)
        await backend.claim(claim, now=clock.now())
        waits = await quoted(daemon, "model", "mine")
        await until(daemon, waits, in_flight("quote"))
        await clock.advance(2)
        assert ran(waits) == 0
        await backend.put(theirs, by=made)
        await clock.advance(1)
        assert (await result(daemon, waits), ran(waits)) == ("theirs", 0)

        await backend.clear(Which())
        await backend.claim(claim, now=clock.now())
        alone = await quoted(daemon, "model", "mine")
        await until(daemon, alone, in_flight("quote"))
        await clock.advance(CLAIM_TTL.total_seconds())
        assert (await result(daemon, alone), ran(alone)) == ("mine", 1)


async def test_a_maker_keeps_its_claim_while_it_works(tmp_path: Path) -> None:
    clock = FakeClock()
    async with running(settings_for(tmp_path, QUOTES), clock=clock) as daemon:
        target = await quoted(daemon, "keeps", 1)
        async with asyncio.timeout(PATIENCE_S):
            await gated_handlers.entered["keeps"].wait()
        await clock.advance(2 * CLAIM_TTL.total_seconds())
        found = await daemon.cache.backend.find("quotes/quote", await key_of(daemon, target), now=clock.now())
        assert found.claimed_by is not None
        gated_handlers.gates["keeps"].set()
        await result(daemon, target)


async def test_who_waits_is_cancelled_with_its_execution_and_the_maker_goes_on(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, QUOTES)) as daemon:
        maker = await quoted(daemon, "goes-on", 1)
        async with asyncio.timeout(PATIENCE_S):
            await gated_handlers.entered["goes-on"].wait()
        waits = await quoted(daemon, "goes-on", 2)
        await until(daemon, waits, in_flight("quote"))
        await settle()
        assert (
            "another step makes its result"
            in why(await daemon.history.load(waits), None, daemon.clock.now()).causes[0].sentence
        )
        await daemon.engine.send(waits, CancelExecution(reason="", actor="ann", at=daemon.clock.now()))
        assert (await finished(daemon, waits)).status == "cancelled"
        gated_handlers.gates["goes-on"].set()
        assert await result(daemon, maker) == 1


async def test_a_maker_that_is_cancelled_lets_those_who_wait_go_on(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, QUOTES)) as daemon:
        maker = await quoted(daemon, "stands", 1)
        async with asyncio.timeout(PATIENCE_S):
            await gated_handlers.entered["stands"].wait()
        waits = await quoted(daemon, "passes", 2, key="stands")
        await until(daemon, waits, in_flight("quote"))
        await settle()
        gated_handlers.gates["passes"].set()
        await daemon.engine.send(maker, CancelExecution(reason="", actor="ann", at=daemon.clock.now()))
        assert await result(daemon, waits) == 2


async def test_views_metrics_and_the_side_effect_log_tell_a_hit(tmp_path: Path) -> None:
    gated_handlers.gates["told"].set()
    async with running(settings_for(tmp_path, QUOTES)) as daemon:
        first = await quoted(daemon, "told", 1)
        await result(daemon, first)
        await stored(daemon)
        second = await quoted(daemon, "told", 2)
        state: State = await finished(daemon, second)
        history = await daemon.history.events(second)
        [step] = plain(execution_view(second, state, history))["steps"]
        assert (step["status"], step["output"], step["cached"]["execution_id"]) == ("succeeded", 1, str(first))
        assert step["cached"]["age_s"] >= 0
        [effect] = effects_of(((each.version, each.event) for each in history), None)
        assert effect.status == "cached"
        counted = (await daemon.metrics.exposition()).decode()
        for outcome in ("hit", "miss"):
            assert f'sagad_cache_lookups_total{{node="quote",outcome="{outcome}",workflow="quotes"}} 1.0' in counted
