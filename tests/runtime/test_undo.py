"""Sagas on a whole daemon: what runs, what is asked, what the API, the command line and the lists say of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daemon.core.commands import AnswerUndo, CancelExecution
from daemon.core.state import Running, cause
from daemon.runtime.undo import effects_of, undo_view
from daemon.runtime.views import execution_view, plain
from daemon.runtime.why import why
from eventstore.index import ExecutionFilter
from tests.support import gated_handlers
from tests.support.daemons import finished, in_flight, running, settings_for, start, until

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from daemon.assembled import Daemon

TRIP = """
workflow: trip
undo: UNDO
nodes:
  look: {task: pass, side_effects: none}
  flight: {task: pass, with: {value: 7}, compensate: {task: pass, with: {value: "{{ step.output }}"}}}
  hotel: {task: pass, compensate: {task: flaky, with: {name: "{{ input }}"}}}
  mail: {task: pass}
  pay: {task: gate, with: {name: "{{ input }}"}, compensate: {task: gate, with: {name: "{{ input }}-undo"}}}
  end: {fail: {message: no money, code: declined}}
edges: [look -> flight -> hotel -> mail -> pay -> end]
"""


def trip(mode: str = "automatic") -> str:
    return TRIP.replace("UNDO", mode)


async def paid(daemon: Daemon, name: str) -> UUID:
    """Start a trip and let it be paid for."""
    gated_handlers.gates[name].set()
    return await start(daemon, "trip", name)


async def answer(daemon: Daemon, target: UUID, address: str, choice: str) -> None:
    state = await until(daemon, target, asks(address))
    assert isinstance(state, Running)
    await daemon.engine.send(
        target,
        AnswerUndo(
            address=address,
            question=state.asking[address].version,
            choice=choice,
            note="by phone",
            actor="ann",
            at=daemon.clock.now(),
        ),
    )


def asks(address: str) -> Any:
    return lambda state: isinstance(state, Running) and address in state.asking


async def test_what_was_done_is_undone_by_handlers_newest_first(tmp_path: Path) -> None:
    gated_handlers.gates["undone-undo"].set()
    async with running(settings_for(tmp_path, trip())) as daemon:
        target = await paid(daemon, "undone")
        state = await finished(daemon, target)
        history = await daemon.history.events(target)
    begun = [each.event.address for each in history if each.event.NAME == "StepStarted"]
    assert begun[-3:] == ["pay~undo", "hotel~undo", "flight~undo"]
    assert (state.status, state.error.code if state.error else "") == ("failed", "declined")
    assert gated_handlers.runs[f"{target}/flight~undo"] == 1


async def test_an_undo_goes_on_where_a_lost_daemon_left_it(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, trip(), store_url=f"sqlite:///{tmp_path}/log.db")
    async with running(settings) as first:
        target = await paid(first, "lost-in-undo")
        await until(first, target, in_flight("pay~undo"))
        [row] = await first.store.index.executions(ExecutionFilter(status="compensating"))
        assert (row.execution_id, row.cause) == (target, "step")
    gated_handlers.gates["lost-in-undo-undo"].set()
    async with running(settings) as second:
        assert (await finished(second, target)).status == "failed"


async def test_a_failing_compensation_is_asked_about_explained_and_listed(tmp_path: Path) -> None:
    gated_handlers.gates["asked-undo"].set()
    gated_handlers.failures["asked"] = 1
    async with running(settings_for(tmp_path, trip())) as daemon:
        target = await paid(daemon, "asked")
        state = await until(daemon, target, asks("hotel"))
        plan = await daemon.plans.pinned(state.definition)  # type: ignore[union-attr]
        said = why(state, plan, daemon.clock.now())
        assert said.status == "compensating"
        assert said.summary.startswith("It has failed, what it has done is being undone, and it waits for 1 thing.")
        assert said.causes[0].sentence.startswith(
            "Step hotel: the compensation failed: not yet; a person decides (retry"
        )
        [row] = await daemon.store.index.executions(ExecutionFilter(status="compensating"))
        assert row.cause == cause(state) == "person"
        view = plain(undo_view(target, state, await daemon.history.events(target), plan))
        assert [(each["address"], each["status"]) for each in view["effects"]] == [
            ("flight", "executed"), ("hotel", "compensating"), ("mail", "executed"), ("pay", "compensated"),
        ]  # fmt: skip
        assert [(each["address"], each["input"]) for each in view["plan"]] == [
            ("hotel", {"name": "asked"}), ("flight", {"value": 7}),
        ]  # fmt: skip
        assert view["asking"][0]["choices"] == ["retry", "skip", "done"]
        await answer(daemon, target, "hotel", "retry")
        ended = await finished(daemon, target)
        view = plain(undo_view(target, ended, await daemon.history.events(target), None))
    assert [each["status"] for each in view["effects"] if each["kind"]] == ["compensated"] * 3
    assert (view["undoing"], view["plan"], view["asking"], view["mode"]) == (False, [], [], None)
    assert "look" in [each["address"] for each in view["effects"]], "without the plan nobody knows that it is harmless"


async def test_a_person_lets_a_plan_run_step_by_step(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, trip("confirm_each"))) as daemon:
        target = await paid(daemon, "confirmed")
        await answer(daemon, target, "pay", "done")
        await answer(daemon, target, "hotel", "skip")
        await answer(daemon, target, "flight", "go")
        state = await finished(daemon, target)
        effects = effects_of([(each.version, each.event) for each in await daemon.history.events(target)], None)
    statuses = {each.address: (each.status, each.actor, each.note) for each in effects if each.kind}
    assert statuses == {
        "pay": ("by_hand", "ann", "by phone"),
        "hotel": ("left", "ann", "by phone"),
        "flight": ("compensated", None, None),
    }
    assert state.status == "failed"


async def test_a_cancelled_execution_waits_for_the_step_at_work_and_gives_the_rest_up(tmp_path: Path) -> None:
    text = (
        trip()
        .replace("edges: [look -> flight", "edges: [look -> side, look -> flight")
        .replace("  end:", "  side: {task: gate, with: {name: '{{ input }}-side'}}\n  end:")
    )
    async with running(settings_for(tmp_path, text)) as daemon:
        target = await start(daemon, "trip", "cut")
        await until(daemon, target, lambda state: in_flight("pay")(state) and in_flight("side")(state))
        await gated_handlers.entered["cut-side"].wait()
        await daemon.engine.send(target, CancelExecution(reason="enough", actor="ann", at=daemon.clock.now()))
        await gated_handlers.cancelled["cut-side"].wait()
        gated_handlers.gates["cut"].set()
        gated_handlers.gates["cut-undo"].set()
        state = await finished(daemon, target)
        view = plain(execution_view(target, state, await daemon.history.events(target)))
    assert (state.status, state.reason) == ("cancelled", "enough")
    statuses = {step["address"]: step["status"] for step in view["steps"]}
    assert (statuses["side"], statuses["pay"], statuses["pay~undo"]) == ("abandoned", "succeeded", "succeeded")
