"""Generated definitions on real daemons: killed at an append and now and then, until the execution has ended.

Handlers decide by the step and its attempt alone, as services do that are asked again by the same key. People decide,
give input and send updates, those who may not among them; slots of limits are the store's. The log that is left must
keep the laws of logs, and the index must be that of the log.

Comes from: tests/core/generator. Goes to: tests/testing/test_generated_lives.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from daemon.cli.upkeep import changes
from daemon.core.commands import (
    AnswerUndo,
    CancelExecution,
    HandleUpdate,
    PauseExecution,
    ResumeExecution,
    ResumeStep,
)
from daemon.core.errors import Rejected
from daemon.core.events import StepFailed
from daemon.core.evolve import fold
from daemon.core.saga import CHOICES
from daemon.core.state import Finished, Running
from daemon.core.state_limits import COLLECTING
from daemon.core.values import from_json, to_json
from daemon.durable import CallFailed, DurableContext, durable
from daemon.handlers import Again, Context, End, Pause, Port, StepFailure
from daemon.nodes import all_node_types
from daemon.runtime.definitions import Compiler
from daemon.runtime.projection import execution_row
from daemon.runtime.shadow_check import Life, shadowed
from daemon.testing.flow import start_on
from daemon.testing.lives import Fault
from tests.core.generator import approvals, graphs, inputs
from tests.core.generator.dice import Dice
from tests.core.histories import page_answer
from tests.core.laws import LOG_LAWS, TOO_LARGE

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Sequence
    from datetime import datetime

    from daemon.core.commands import Command
    from daemon.core.events import Event
    from daemon.testing import Execution, Flow, Sagad
    from daemon.testing.stage import Stage
    from eventstore.store import Store

MOST_LOOKS = 300
ENV = {"HOME_TOWN": "Graz"}
QUARTER_OF_AN_HOUR_S = 900.0
FAULTS_UNTIL = 40
"""The append before or after which the daemon dies, at the latest."""


async def live(sagad: Sagad, number: int, store: str) -> int:
    """Run the case of this number; return how many lives it took. Raises AssertionError for what does not hold."""
    dice = Dice("lives", number)
    flow = flow_of(sagad, number, store)
    where: Literal["before", "after"] = dice.pick(("after", "before"))
    stage = flow.new_stage(Fault(dice.between(1, FAULTS_UNTIL), where))
    try:
        given = {"flag": dice.chance(50), "n": dice.below(4), "items": [1, 2][: dice.below(3)], "delay": "3s"}
        execution = await start_on(stage, flow.name, given, f"case-{number}")
        for _ in range(MOST_LOOKS):
            await stage.rest()
            if execution.finished:
                break
            await _go_on(stage, execution, dice)
        assert execution.finished, f"it does not end. {execution.waits_for}"
        await stage.rest()
        await _check(stage, execution)
        return stage.lives
    finally:
        await stage.close()


def flow_of(sagad: Sagad, number: int, store: str) -> Flow:
    """Return the flow with all that its nodes need."""
    document = graphs.definition(Dice("definition", number), f"generated{number}")
    plan = graphs.plan_of(document)
    text = json.dumps(document, indent=1)
    secrets = {"TOKEN": "secret"}
    flow = sagad.workflow(text, store=store, env=ENV, secrets=secrets, handlers=[function])
    if any(node.type.name == "function" for node in plan.nodes.values()):
        flow.fake("t.called", calls=_service(number))
        flow.fake("t.uncalled", calls=_service(number))
    for node in plan.nodes.values():
        if node.type.execute is None:
            continue
        if (handler := node.type.handler(node.config)) is not None:
            flow.fake(handler, calls=_service(number))
        else:
            flow.fake_node(node.id, fails="refused", times=1 + len(node.id) % 2)
    return flow


@durable("t.f")
async def function(ctx: DurableContext, value: Any = None) -> list[str]:
    """Call one thing that can be undone, then two side by side, and sleep; failures are in what it gives."""
    results = [await _called(ctx.step("t.called", value, retry=2, compensate="t.uncalled"))]
    results += await asyncio.gather(*(_called(ctx.step("t.called", each)) for each in ("left", "right")))
    await ctx.sleep("20m")
    return results


async def _called(call: Coroutine[Any, Any, Any]) -> str:
    try:
        return str(await call)[:20]
    except CallFailed as error:
        return error.code


def _service(number: int) -> Any:
    """Return what stands in for a handler."""

    async def service(value: Any = None, *, context: Context) -> Any:
        del value
        dice = Dice("service", number, context.address, context.attempt)
        if dice.chance(15):
            raise StepFailure("broken", dice.pick(("error", "refused", "http_timeout")), retryable=not dice.chance(20))
        if dice.chance(15):
            return Pause("look", timeout=dice.pick((None, "1h")))
        if dice.chance(10):
            return dice.pick((Again("10s", {"page": context.attempt}), End("end"), Port("other", 1), Port("nowhere")))
        return page_answer(context.address) or dice.pick((7, "text", {"id": context.address}, "x" * 1_100))

    return service


async def _go_on(stage: Stage, execution: Execution, dice: Dice) -> None:
    """Give what is waited for, or let time pass; now and then kill the daemon, pause or cancel."""
    state, at = execution.state, stage.time.clock.now()
    assert isinstance(state, Running)
    if dice.chance(15):
        await stage.kill()
    if state.paused is not None:
        await _send(stage, execution, ResumeExecution(actor="test", at=at))
    elif dice.chance(4):
        await _send(stage, execution, PauseExecution(actor="test", at=at))
    elif dice.chance(3) and state.undoing is None:
        await _send(stage, execution, CancelExecution(reason="enough", actor="test", at=at))
    elif COLLECTING in state.holding and dice.chance(60):
        collects = await start_on(stage, state.workflow, from_json(state.input), f"message {state.version}")
        assert collects.id == execution.id
    elif (wishes := [*_wishes(state, dice, at)]) and dice.chance(70):
        await _send(stage, execution, dice.pick(wishes))
    elif state.awaiting and dice.chance(70):
        await execution.signal(min(state.awaiting.values()), 1)
    else:
        await stage.time.advance(QUARTER_OF_AN_HOUR_S)


def _wishes(state: Running, dice: Dice, at: datetime) -> Iterator[Command]:
    """Give what people may want: what they are asked for, and what nobody has asked them."""
    for address, ask in sorted(state.asking.items()):
        choice = dice.pick(CHOICES[ask.kind])
        yield AnswerUndo(address=address, question=ask.version, choice=choice, actor="test", at=at)
    yield from approvals.decisions(state, dice.below(9), at)
    yield from approvals.liberties(dice, state, at)
    early = sorted(state.in_flight) if dice.chance(20) else []
    for address in (*inputs.wanted(state), *early):
        resume_id = f"r{state.version}"
        yield ResumeStep(address=address, resume_id=resume_id, input=to_json(1), actor="test", at=at)
    if dice.chance(10):
        for name in ("add", "note", "close", "broken"):
            update_id = f"u{state.version}"
            yield HandleUpdate(update_id=update_id, name=name, data=to_json(1), actor="test", at=at)


async def _send(stage: Stage, execution: Execution, command: Command) -> None:
    """Send what a person wants; it may come too late, for the daemon has gone on since."""
    with suppress(Rejected):
        await stage.act(lambda daemon: daemon.engine.send(execution.id, command), type(command).__name__)


async def _check(stage: Stage, execution: Execution) -> None:
    """Hold the log to its laws, and the index to the log."""
    store = await stage.stored()
    recorded = await store.log.read(execution.id)
    events = [each.event for each in recorded]
    assert [each.version for each in recorded] == list(range(1, len(recorded) + 1))
    for law in LOG_LAWS:
        law(events)
    state = fold(events)
    assert isinstance(state, Finished)
    assert state == execution.state
    assert await store.index.without_cause() == []
    before = await store.index.execution(execution.id)
    assert before == execution_row(execution.id, state, events[-1].at)
    await store.index.rebuild(changes(store.log, lambda *_: None, {"events": 0, "executions": 0}))
    assert await store.index.execution(execution.id) == before
    assert await store.index.next_due() is None
    assert await store.index.busy(after=None, limit=10) == []
    await _check_shadow(store, events, state)


async def _check_shadow(store: Store, events: Sequence[Event], state: Finished) -> None:
    """Live it again under its own definition: nothing differs, but what was too large is not in the log."""
    if any(isinstance(event, StepFailed) and event.error.code in TOO_LARGE for event in events):
        return
    stored = await store.definitions.get(state.definition)
    assert stored is not None
    plan = Compiler(node_types=all_node_types(), handlers=None, env=ENV).compile_stored(stored.document)
    life = Life(state.execution_id, state.workflow, None, state.started_at, events)
    found = shadowed(life, plan, plan, missing="stop", until=state.finished_at, check_input=lambda _plan, _input: None)
    assert (found.severity, found.reason, found.refused, found.assumed) == ("none", "", [], [])
