"""Subflows on whole daemons: started, waited for, ended and undone, through crashes and on several daemons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from daemon.core.commands import AnswerUndo, CancelExecution
from daemon.core.leaving import child_id_of
from daemon.core.state import Finished, Running, State, cause
from daemon.core.trace_ids import parse_traceparent, step_span_id
from daemon.core.values import from_json
from daemon.nodes import builtin_node_types
from daemon.runtime.definitions import Compiler
from daemon.runtime.undo import undo_view
from daemon.runtime.views import execution_view, plain, summary_view
from daemon.runtime.why import why
from eventstore.index import ExecutionFilter
from tests.support import gated_handlers
from tests.support.daemons import finished, in_flight, running, settings_for, start, until

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from daemon.assembled import Daemon
    from daemon.settings import Settings

ORDER = """
workflow: order
nodes:
  ship: {subflow: shipping, with: {name: "{{ input }}"}, result: "{{ child.output.pack }}"MORE}
  mail: {task: gate, with: {name: "{{ input }}-mail"}}
edges: [ship -> mail]
"""

SHIPPING = """
workflow: shipping
input: {type: object, properties: {name: {type: string}}}
nodes:
  pack:
    task: gate
    with: {name: "{{ input.name }}-pack", value: 7}
    compensate: {task: pass}
"""

COUNTDOWN = """
workflow: countdown
limits: {depth: 5}
nodes:
  down: {subflow: countdown, with: "{{ input - 1 }}", result: "{{ child.output }}"}
  more: {branch: "{{ input > 0 }}"}
  done: {transform: "at the end"}
edges: [more.true -> down, more.false -> done]
"""

EACH = """
workflow: each
nodes:
  fan:
    parallel: "{{ input }}"
    do:
      nodes: {ship: {subflow: shipping, with: {name: "{{ parallel.currentItem }}"}}}
      output: "{{ ship.pack }}"
"""


def settings_of(folder: Path, more: str = "", **parts: Any) -> Settings:
    """Return settings for all of these workflows."""
    folder.mkdir(exist_ok=True)
    for name, text in (("shipping", SHIPPING), ("countdown", COUNTDOWN), ("each", EACH)):
        (folder / f"{name}.yaml").write_text(text)
    settings = settings_for(folder, ORDER.replace("MORE", more), **parts)
    object.__setattr__(settings.workflows, "paths", (folder,))
    return settings


def child_of(target: UUID) -> UUID:
    return child_id_of(target, "ship", 1)


def waits_for_child(state: State) -> bool:
    return isinstance(state, Running) and "ship" in state.children


def asks(state: State) -> bool:
    return isinstance(state, Running) and bool(state.asking)


def ended(state: State) -> bool:
    return isinstance(state, Finished)


async def begun(daemon: Daemon, name: str) -> UUID:
    """Start an order; return it when its child is at work."""
    target = await start(daemon, "order", name)
    await until(daemon, target, waits_for_child)
    await until(daemon, child_of(target), in_flight("pack"))
    return target


async def shipped(daemon: Daemon, name: str) -> UUID:
    """Start an order; return it when its child has completed."""
    gated_handlers.gates[f"{name}-pack"].set()
    target = await start(daemon, "order", name)
    await until(daemon, target, in_flight("mail"))
    return target


async def cancel(daemon: Daemon, target: UUID) -> None:
    await daemon.engine.send(target, CancelExecution(reason="enough", actor="ann", at=daemon.clock.now()))


async def test_the_parent_waits_for_its_child_in_no_memory_and_goes_on_with_its_output(tmp_path: Path) -> None:
    async with running(settings_of(tmp_path)) as daemon:
        target = await begun(daemon, "plain")
        assert cause(await daemon.history.load(target)) == "child"
        assert await daemon.store.leases.holder(target) is None
        gated_handlers.gates["plain-pack"].set()
        gated_handlers.gates["plain-mail"].set()
        state = await finished(daemon, target)
        assert from_json(state.steps["ship"].output) == 7  # type: ignore[union-attr]
        child = await finished(daemon, child_of(target))
        assert child.parent is not None
        assert (child.parent.execution_id, child.parent.depth) == (target, 1)


async def test_the_child_belongs_to_the_trace_of_the_step(tmp_path: Path) -> None:
    async with running(settings_of(tmp_path)) as daemon:
        target = await begun(daemon, "traced")
        child = await daemon.history.load(child_of(target))
        assert isinstance(child, Running)
        context = parse_traceparent(child.traceparent or "")
        assert context is not None
        assert context.parent_span_id == step_span_id(target, "ship", 1)


async def test_a_childs_lease_goes_when_its_parent_knows_of_its_end(tmp_path: Path) -> None:
    async with running(settings_of(tmp_path)) as daemon:
        target = await shipped(daemon, "told")
        await daemon.children.settled()
        assert child_of(target) not in await daemon.store.index.busy(after=None, limit=10)


async def test_a_parent_is_told_after_a_crash_between_the_childs_end_and_its_own_log(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "w", store_url=f"sqlite:///{tmp_path}/log.db")
    async with running(settings) as first:
        target = await begun(first, "crashed")
        first.children.stop()
        gated_handlers.gates["crashed-pack"].set()
        await until(first, child_of(target), ended)
        assert cause(await first.history.load(target)) == "child"
    async with running(settings) as second:
        await until(second, target, in_flight("mail"))


async def test_cancelling_a_parent_undoes_its_child_first(tmp_path: Path) -> None:
    async with running(settings_of(tmp_path)) as daemon:
        target = await begun(daemon, "cancelled")
        await cancel(daemon, target)
        assert (await daemon.history.load(target)).version
        gated_handlers.gates["cancelled-pack"].set()
        assert (await finished(daemon, target)).status == "cancelled"
        assert (await finished(daemon, child_of(target))).status == "cancelled"
        assert gated_handlers.runs[f"{child_of(target)}/pack~undo"] == 1


async def test_a_parent_that_was_cancelled_on_a_lost_daemon_ends_its_child_on_the_next(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "w", store_url=f"sqlite:///{tmp_path}/log.db")
    async with running(settings) as first:
        target = await begun(first, "cut")
        first.children.stop()
        await cancel(first, target)
        [row] = await first.store.index.executions(ExecutionFilter(status="compensating"))
        assert (row.execution_id, row.cause) == (target, "child")
    gated_handlers.gates["cut-pack"].set()
    async with running(settings) as second:
        assert (await finished(second, target)).status == "cancelled"
        assert (await finished(second, child_of(target))).status == "cancelled"


async def test_a_parent_that_ends_holds_no_memory_while_its_child_asks_a_person(tmp_path: Path) -> None:
    """A daemon with room for one execution would wait for that person otherwise."""
    folder = tmp_path / "w"
    settings = settings_of(folder, store_url=f"sqlite:///{tmp_path}/log.db")
    text = SHIPPING.replace("{task: pass}", '{task: flaky, with: {name: "{{ input.name }}"}, retry: {max_attempts: 1}}')
    (folder / "shipping.yaml").write_text(text)
    gated_handlers.failures["stubborn"] = 1
    async with running(settings) as daemon:
        target = await begun(daemon, "stubborn")
        await cancel(daemon, target)
        gated_handlers.gates["stubborn-pack"].set()
        child = await until(daemon, child_of(target), asks)
        assert isinstance(child, Running)
        await daemon.children.settled()
        assert daemon.engine.active == 0
        assert cause(await daemon.history.load(target)) == "child"
        assert await daemon.store.leases.holder(target) is not None  # a crash would ask the child again
        question = child.asking["pack"].version
        answer = AnswerUndo(address="pack", question=question, choice="skip", actor="ann", at=daemon.clock.now())
        await daemon.engine.send(child_of(target), answer)
        assert (await finished(daemon, target)).status == "cancelled"


async def test_a_failing_parent_undoes_a_child_that_has_completed(tmp_path: Path) -> None:
    async with running(settings_of(tmp_path)) as daemon:
        target = await shipped(daemon, "undone")
        await cancel(daemon, target)
        assert (await finished(daemon, target)).status == "cancelled"
        child = await finished(daemon, child_of(target))
        assert (child.status, child.reason) == ("cancelled", "what its parent has done is undone")
        assert gated_handlers.runs[f"{child_of(target)}/pack~undo"] == 1


async def test_an_abandoned_child_goes_on(tmp_path: Path) -> None:
    async with running(settings_of(tmp_path, ", on_close: abandon")) as daemon:
        target = await begun(daemon, "left")
        await cancel(daemon, target)
        assert (await finished(daemon, target)).status == "cancelled"
        gated_handlers.gates["left-pack"].set()
        assert (await finished(daemon, child_of(target))).status == "completed"


async def test_a_recursion_gives_its_result_and_ends_at_the_limit(tmp_path: Path) -> None:
    async with running(settings_of(tmp_path)) as daemon:
        well = await finished(daemon, await start(daemon, "countdown", 3))
        assert well.status == "completed"
        deep = await finished(daemon, await start(daemon, "countdown", 9))
        assert deep.error is not None
        assert (deep.status, deep.error.code) == ("failed", "child_failed")
        assert len(await daemon.store.index.executions(ExecutionFilter(status="failed"))) == 6


async def test_a_fan_out_over_children_gathers_what_they_give(tmp_path: Path) -> None:
    names = [f"many-{number}" for number in range(20)]
    for name in names:
        gated_handlers.gates[f"{name}-pack"].set()
    async with running(settings_of(tmp_path)) as daemon:
        state = await finished(daemon, await start(daemon, "each", names))
        assert from_json(state.output) == {"fan": [7] * 20}


@pytest.mark.parametrize(
    ("more", "code"),
    [(", version: '00'", "unknown_workflow"), (", with: [1]", "invalid_input")],
)
async def test_what_cannot_be_started_fails_the_step(tmp_path: Path, more: str, code: str) -> None:
    settings = settings_of(tmp_path, more)
    if "with" in more:
        text = (tmp_path / "workflows.yaml").read_text()
        (tmp_path / "workflows.yaml").write_text(text.replace(' with: {name: "{{ input }}"},', "", 1))
    async with running(settings) as daemon:
        state = await finished(daemon, await start(daemon, "order", "wrong"))
        assert state.error is not None
        assert state.error.code == code


async def test_a_version_is_found_by_how_its_hash_begins(tmp_path: Path) -> None:
    async with running(settings_of(tmp_path)) as daemon:
        pinned = daemon.plans.current("shipping").hash
        assert (await daemon.plans.version("shipping", pinned[:8])).hash == pinned
    async with running(settings_of(tmp_path / "again", f", version: '{pinned[:8]}'")) as daemon:
        target = await shipped(daemon, "pinned")
        assert (await daemon.history.load(child_of(target))).definition == pinned  # type: ignore[union-attr]


async def test_people_are_told_of_children(tmp_path: Path) -> None:
    async with running(settings_of(tmp_path)) as daemon:
        target = await begun(daemon, "seen")
        child = child_of(target)
        state = await daemon.history.load(target)
        said = why(state, None, daemon.clock.now())
        assert [(cause.kind, cause.address, cause.child) for cause in said.causes] == [("child", "ship", child)]
        view = plain(execution_view(target, state, await daemon.history.events(target)))
        assert [(step["status"], step["child"]) for step in view["steps"]] == [("awaiting", str(child))]
        seen = plain(summary_view(child, await daemon.history.load(child)))
        assert seen["parent"] == {"execution_id": str(target), "address": "ship"}
        await cancel(daemon, target)
        said = why(await daemon.history.load(target), None, daemon.clock.now())
        assert [cause.kind for cause in said.causes] == ["child", "child"]
        assert "was asked to end" in said.causes[1].sentence


async def test_a_completed_execution_is_undone_by_api_and_command(tmp_path: Path) -> None:
    async with running(settings_of(tmp_path)) as daemon:
        gated_handlers.gates["again-pack"].set()
        target = await start(daemon, "shipping", {"name": "again"})
        state = await finished(daemon, target)
        plan = daemon.plans.current("shipping")
        view = plain(undo_view(target, state, await daemon.history.events(target), plan))
        assert (view["status"], [each["address"] for each in view["plan"]]) == ("completed", ["pack"])
        await daemon.children.undo_completed(target, "mistaken", actor="ann")
        assert (await finished(daemon, target)).status == "cancelled"
        assert gated_handlers.runs[f"{target}/pack~undo"] == 1
        assert await daemon.children.undo_completed(target, "mistaken", actor="ann") == await finished(daemon, target)


def test_a_subflow_that_is_not_read_too_is_a_doubt(tmp_path: Path) -> None:
    compiler = Compiler(node_types=builtin_node_types(), handlers={"gate"}, env={})
    loaded = compiler.load_text(ORDER.replace("MORE", ""), "order.yaml")
    assert [(doubt.message, doubt.line) for doubt in loaded.warnings] == [("there is no workflow 'shipping'", 4)]
