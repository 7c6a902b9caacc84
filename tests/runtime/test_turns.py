"""Loops and fan-outs on a whole daemon: what runs, what is cancelled, and how it goes on after a loss."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from daemon.core.state import Running
from daemon.core.values import from_json
from daemon.runtime.views import execution_view, plain
from tests.support import gated_handlers
from tests.support.daemons import PATIENCE_S, finished, in_flight, running, settings_for, start, until

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from daemon.assembled import Daemon
    from daemon.core.state import State

BATCHES = """
workflow: batches
nodes:
  batches:
    forEach: "{{ input.batches }}"
    do:
      nodes:
        lines:
          parallel: "{{ loop.item }}"
          do:
            nodes: {line: {task: pass, with: {value: "{{ parallel.currentItem * 10 }}"}}}
            output: "{{ line }}"
        hold: {task: gate, with: {name: "{{ input.gate }}{{ batches.index }}", value: "{{ lines | sum }}"}}
      edges: [lines -> hold]
      output: "{{ hold }}"
output: "{{ batches }}"
"""

RACE = """
workflow: race
nodes:
  race:
    parallel: 2
    %s
    do:
      nodes:
        one: {branch: "{{ parallel.index == 0 }}"}
        held: {task: gate, with: {name: "{{ input }}"}}
        quick: {signal: go}
        lost: {fail: {message: lost, code: lost}}
      edges: [one.true -> held, one.false -> quick%s]
  after: {task: gate, with: {name: "{{ input }}-after"}}
edges: [race.%s -> after]
"""


async def result(daemon: Daemon, target: UUID) -> Any:
    state = await finished(daemon, target)
    assert state.error is None, state.error
    return from_json(state.output)


async def test_fan_outs_in_a_loop_run_their_handlers_once_each(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, BATCHES)) as daemon:
        for name in ("turns0", "turns1"):
            gated_handlers.gates[name].set()
        target = await start(daemon, "batches", {"batches": [[1, 2, 3], [4]], "gate": "turns"})
        assert await result(daemon, target) == [60, 40]
        keys = [key for key in gated_handlers.runs if key.startswith(str(target))]
        assert len(keys) == 6
        assert all(gated_handlers.runs[key] == 1 for key in keys)


async def test_a_loop_goes_on_where_a_lost_daemon_left_it(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, BATCHES, store_url=f"sqlite:///{tmp_path}/log.db")
    given = {"batches": [[1], [2]], "gate": "lost"}
    async with running(settings) as first:
        gated_handlers.gates["lost0"].set()
        target = await start(first, "batches", given)
        await until(first, target, in_flight("batches[1].hold"))
    gated_handlers.gates["lost1"].set()
    async with running(settings) as second:
        assert await result(second, target) == [10, 20]
        assert gated_handlers.runs[f"{target}/batches[0].hold"] == 1


async def test_the_handlers_of_a_turn_that_is_given_up_are_cancelled(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, RACE % ("on_failure: fail_fast", ", quick -> lost", "error"))) as daemon:
        target = await start(daemon, "race", "given-up")
        await until(daemon, target, in_flight("race[0].held"))
        async with asyncio.timeout(PATIENCE_S):
            await gated_handlers.entered["given-up"].wait()
            await daemon.intake.signal(target, "go", None, signal_id="go", actor="test")
            await gated_handlers.cancelled["given-up"].wait()
        assert in_flight("after")(await until(daemon, target, in_flight("after")))


async def test_a_turn_that_another_daemon_gives_up_is_cancelled_where_it_runs(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, RACE % ("enough: 1", ", quick.error -> lost", "out"))) as first:
        target = await start(first, "race", "elsewhere")
        async with asyncio.timeout(PATIENCE_S):
            await gated_handlers.entered["elsewhere"].wait()
            async with running(first.settings, store=first.store) as second:
                await second.intake.signal(target, "go", None, signal_id="go", actor="test")
                await gated_handlers.cancelled["elsewhere"].wait()


async def test_a_loop_that_takes_breath_goes_on_by_its_timer(tmp_path: Path) -> None:
    body = "{nodes: {x: {transform: '{{ loop.item }}'}}, output: '{{ x }}'}"
    loop = f"{{for: 1000, collect: false, do: {body}}}"
    text = f"workflow: much\nnodes: {{much: {loop}}}\noutput: '{{{{ much }}}}'"
    async with running(settings_for(tmp_path, text)) as daemon:
        target = await start(daemon, "much")
        assert await result(daemon, target) == 999
        assert [each.event.NAME for each in await daemon.history.events(target)].count("TimerFired") > 1


async def test_a_turn_is_shown_with_its_loop(tmp_path: Path) -> None:
    def looping(state: State) -> bool:
        return isinstance(state, Running) and "batches[0].hold" in state.in_flight

    async with running(settings_for(tmp_path, BATCHES)) as daemon:
        target = await start(daemon, "batches", {"batches": [[1]], "gate": "shown"})
        state = await until(daemon, target, looping)
        view = plain(execution_view(target, state, await daemon.history.events(target)))
        shown = {step["address"]: step for step in view["steps"]}
        assert shown["batches"]["turns"] == {"total": 1, "begun": 1, "running": 1, "succeeded": 0, "failed": 0}
        assert shown["batches[0]"]["status"] == "running"
        assert shown["batches[0].lines"]["output"] == [10]
        gated_handlers.gates["shown0"].set()
