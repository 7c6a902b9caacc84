"""Durable functions on real daemons: their memory, changed code, what is refused, a store that is away."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from daemon.core.address import UNDO
from daemon.core.commands import ResumeExecution
from daemon.core.errors import Misconfigured
from daemon.core.events import ChildStarted, StepSucceeded
from daemon.core.state import Running, State, cause
from daemon.core.values import from_json
from daemon.nodes import builtin_node_types
from daemon.runtime.codec import codec_of
from daemon.runtime.definitions import Compiler
from daemon.runtime.why import why
from daemon.settings import Settings
from daemon.testing.clock import settle
from eventstore.store import open_store
from tests.support import gated_handlers
from tests.support.daemons import finished, running, settings_for, start, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from uuid import UUID

    from daemon.assembled import Daemon
    from daemon.testing import Sagad
    from eventstore.store import Store

WORKFLOW = "workflow: w\nnodes: {f: {function: t.flow, with: {n: 5}}}\noutput: '{{ f }}'\n"
HEAD = """
import asyncio, random, socket, threading
from daemon.durable import CallFailed, durable
from daemon.handlers import handler

@handler("t.echo")
async def echo(x: int) -> int:
    return 2 * x

"""


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = await open_store("memory://", codec_of(Settings()))
    yield store
    await store.close()


@pytest.fixture
def flow(tmp_path: Path) -> Callable[..., Settings]:
    """Give `flow(body)`: the settings of a daemon whose function `t.flow` has this body, in a file of its own."""
    made: list[Path] = []

    def write(body: str, *, name: str = "t.flow", more: str = "") -> Settings:
        lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
        made.append(tmp_path / f"flows{len(made)}.py")
        made[-1].write_text(f"{HEAD}{more}\n@durable({name!r})\nasync def flow(ctx, n: int = 0):\n{lines}\n")
        return settings_for(tmp_path, WORKFLOW, handlers=str(made[-1]))

    return write


async def outcome(settings: Settings) -> Any:
    """Run the workflow; return its output, or the code and message of its error."""
    async with running(settings) as daemon:
        state = await finished(daemon, await start(daemon, "w"))
        return from_json(state.output) if state.error is None else (state.error.code, state.error.message)


def paused(state: State) -> bool:
    return isinstance(state, Running) and state.paused is not None and not state.busy


def awaits(state: State) -> bool:
    return isinstance(state, Running) and bool(state.awaiting)


async def signalled(daemon: Daemon, execution_id: UUID, name: str = "go") -> None:
    await daemon.intake.signal(execution_id, name, 7, actor="test")


async def test_a_function_that_only_waits_holds_no_memory(flow: Callable[..., Settings]) -> None:
    """Neither its coroutine nor its execution; the signal brings both back."""
    body = (
        "a = await ctx.step(echo, {'x': n})\nb = await ctx.signal('go')\nreturn [a, b, await ctx.step(echo, {'x': b})]"
    )
    async with running(flow(body)) as daemon:
        execution_id = await start(daemon, "w")
        await until(daemon, execution_id, awaits)
        await settle()
        assert daemon.engine.active == 0
        assert daemon.engine.functions._jobs == {}  # type: ignore[attr-defined]  # what the test is about
        await signalled(daemon, execution_id)
        assert from_json((await finished(daemon, execution_id)).output) == [10, 7, 14]


async def test_an_execution_goes_on_in_the_next_daemon(flow: Callable[..., Settings], store: Store) -> None:
    settings = flow("a = await ctx.step(echo, {'x': n})\nb = await ctx.signal('go')\nreturn [a, b, ctx.random()]")
    async with running(settings, store=store) as daemon:
        execution_id = await start(daemon, "w")
        await until(daemon, execution_id, awaits)
    async with running(settings, store=store) as daemon:
        await signalled(daemon, execution_id)
        assert from_json((await finished(daemon, execution_id)).output) == [10, 7, 0.0]


async def test_changed_code_stops_before_it_does_harm(flow: Callable[..., Settings], store: Store) -> None:
    """Both sides, the event and the line are told; with the right code it goes on where it was."""
    right = flow("a = await ctx.step(echo, {'x': n})\nawait ctx.signal('go')\nreturn a")
    wrong = flow("await ctx.sleep('1h')\na = await ctx.step(echo, {'x': n + 1})\nreturn a")
    async with running(right, store=store) as daemon:
        execution_id = await start(daemon, "w")
        before = await until(daemon, execution_id, awaits)
    async with running(wrong, store=store) as daemon:
        with capture_logs() as logs:
            await signalled(daemon, execution_id)
            state = await until(daemon, execution_id, paused)
        [told] = [each for each in logs if each["event"] == "durable_function_changed"]
        assert told["log_level"] == "error"
        assert (told["version"], told["recorded"]) == (3, 'call 1:echo: step t.echo with {"x":5}')
        assert told["found"] == "call 1: sleep"
        assert told["place"] == f"{wrong.workflows.handlers[0]}:13"
        assert cause(state) == "pause"
        [paused_cause] = why(state, None, daemon.clock.now()).causes
        assert "has changed: event 3 says: call 1:echo" in paused_cause.sentence
        assert ":13)" in paused_cause.sentence
        assert isinstance(state, Running)
        assert isinstance(before, Running)
        assert set(state.steps) == set(before.steps)
        resumed = ResumeExecution(actor="test", at=daemon.clock.now())
        await daemon.engine.send(execution_id, resumed)
        await until(daemon, execution_id, lambda now: paused(now) and now.version > state.version)
    async with running(right, store=store) as daemon:
        await daemon.engine.send(execution_id, ResumeExecution(actor="test", at=daemon.clock.now()))
        assert from_json((await finished(daemon, execution_id)).output) == 10


@pytest.mark.parametrize(
    ("changed", "recorded", "found"),
    [
        ("return 1", "call 1:echo: step t.echo", "it returns"),
        ("raise ValueError('no')", "call 1:echo: step t.echo", "it fails: no"),
        ("a = await ctx.step(echo, {'x': 6})", 'with {"x":5}', 'with {"x":6}'),
        ("await ctx.step('t.other', {'x': n})", "step t.echo", "step t.other"),
        ("await ctx.step(echo, {'x': n}, id='other')", "call 1:echo", "call 1:other"),
        ("await asyncio.gather(ctx.step(echo, {'x': n}))", "call 1:echo", "call 1@1:echo"),
        ("await asyncio.gather(ctx.step(echo, {'x': n}), ctx.sleep(1))", "call 1:echo", "call 1@1:echo"),
        ("await ctx.step(echo, {'x': n})\nawait ctx.sleep(1)", "call 2:go: signal go", "call 2: sleep"),
        (
            "await ctx.step(echo, {'x': n})\nasyncio.create_task(ctx.sleep(1))\nawait ctx.signal('go')",
            "no further call",
            "call 1@1: sleep",
        ),
        ("await ctx.step(echo, {'x': n})", "call 2:go: signal go", "it returns"),
        ("await ctx.step(echo, {'x': n})\nawait asyncio.Event().wait()", "call 2:go: signal go", "no further call"),
        ("await ctx.step(echo, {'x': n})\nctx.uuid()\nawait ctx.signal('go')", "random", "uuid"),
        ("await ctx.step(echo, {'x': n})\nawait ctx.signal('go')", "random", "nothing of that kind"),
        ("await ctx.step(echo, {'x': n})\nctx.random()\nctx.random()\nawait ctx.signal('go')", "nothing", "random"),
    ],
)
async def test_every_change_is_found(
    flow: Callable[..., Settings], store: Store, changed: str, recorded: str, found: str
) -> None:
    """At the first event that differs, whatever it is that differs."""
    right = flow("a = await ctx.step(echo, {'x': n})\nctx.random()\nawait ctx.signal('go')\nreturn a")
    async with running(right, store=store) as daemon:
        execution_id = await start(daemon, "w")
        await until(daemon, execution_id, awaits)
    async with running(flow(changed), store=store) as daemon:
        with capture_logs() as logs:
            await signalled(daemon, execution_id)
            await until(daemon, execution_id, paused)
    [told] = [each for each in logs if each["event"] == "durable_function_changed"]
    assert recorded in told["recorded"]
    assert found in told["found"]


async def test_policies_and_lengths_may_change(flow: Callable[..., Settings], store: Store) -> None:
    """They are no part of the way that the program takes: what has begun keeps what was recorded."""
    body = """
await ctx.step(echo, {'x': n}, POLICY)
async with asyncio.timeout(TIME):
    await ctx.signal('go')
return TIME
"""
    right = flow(body.replace("POLICY", "timeout='1m'").replace("TIME", "900"))
    other = flow(body.replace("POLICY", "retry=3").replace("TIME", "60"))
    async with running(right, store=store) as daemon:
        execution_id = await start(daemon, "w")
        await until(daemon, execution_id, awaits)
    async with running(other, store=store) as daemon:
        await signalled(daemon, execution_id)
        assert from_json((await finished(daemon, execution_id)).output) == 60


async def test_a_change_on_purpose_keeps_old_executions_on_the_old_way(
    flow: Callable[..., Settings], store: Store
) -> None:
    """`ctx.version` gives what is recorded; what had passed before there was one, has the oldest."""
    first = flow("await ctx.signal('go')\nreturn await ctx.step(echo, {'x': 1})")
    second = flow("v = ctx.version('pay', 1, 2)\nawait ctx.signal('go')\nreturn [v, ctx.version('pay', 1, 2)]")
    third = flow("v = ctx.version('pay', 2, 3)\nawait ctx.signal('go')\nreturn v")
    async with running(first, store=store) as daemon:
        old = await start(daemon, "w")
        await until(daemon, old, awaits)
    async with running(second, store=store) as daemon:
        newer = await start(daemon, "w")
        await until(daemon, newer, awaits)
        await signalled(daemon, old)
        assert from_json((await finished(daemon, old)).output) == [1, 1]
    async with running(third, store=store) as daemon:
        newest = await start(daemon, "w")
        await until(daemon, newest, awaits)
        await signalled(daemon, newer)
        await signalled(daemon, newest)
        assert from_json((await finished(daemon, newer)).output) == 2
        assert from_json((await finished(daemon, newest)).output) == 3


async def test_a_version_that_the_code_has_left_behind_is_a_change(flow: Callable[..., Settings], store: Store) -> None:
    """And one that it no longer asks for is none."""
    first = flow("v = ctx.version('pay', 1, 2)\nctx.random()\nawait ctx.signal('go')\nreturn v")
    async with running(first, store=store) as daemon:
        execution_id = await start(daemon, "w")
        await until(daemon, execution_id, awaits)
    async with running(
        flow("v = ctx.version('pay', 3, 4)\nctx.random()\nawait ctx.signal('go')"), store=store
    ) as daemon:
        await signalled(daemon, execution_id)
        state = await until(daemon, execution_id, paused)
        assert isinstance(state, Running)
        assert state.paused is not None
        assert "version 2 of pay; the code says: versions 3 to 4" in state.paused.reason
    async with running(flow("ctx.random()\nawait ctx.signal('go')\nreturn 9"), store=store) as daemon:
        await daemon.engine.send(execution_id, ResumeExecution(actor="test", at=daemon.clock.now()))
        assert from_json((await finished(daemon, execution_id)).output) == 9


async def test_a_function_that_is_not_there_stops_its_execution(flow: Callable[..., Settings], store: Store) -> None:
    right = flow("await ctx.signal('go')\nreturn 1")
    async with running(right, store=store) as daemon:
        execution_id = await start(daemon, "w")
        await until(daemon, execution_id, awaits)
    other = flow("return 1", name="t.other")
    other.workflows.paths[0].write_text(WORKFLOW.replace("t.flow", "t.other"))
    async with running(other, store=store) as daemon:
        await signalled(daemon, execution_id)
        state = await until(daemon, execution_id, paused)
        assert isinstance(state, Running)
        assert state.paused is not None
        assert "no durable function is registered under that name" in state.paused.reason
    right.workflows.paths[0].write_text(WORKFLOW)
    async with running(right, store=store) as daemon:
        await daemon.engine.send(execution_id, ResumeExecution(actor="test", at=daemon.clock.now()))
        assert from_json((await finished(daemon, execution_id)).output) == 1


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ("await asyncio.to_thread(print)", "error", "cannot use run in executor"),
        ("await asyncio.open_connection('127.0.0.1', 1)", "error", "cannot use create connection"),
        ("await asyncio.create_subprocess_exec('true')", "error", "cannot use subprocess exec"),
        ("asyncio.get_running_loop().call_soon_threadsafe(print)", "error", "cannot use call soon threadsafe"),
        ("while True: await asyncio.sleep(0)", "error", "1000 callbacks have run"),
        ("await asyncio.Event().wait()", "stuck", "nothing can wake it"),
        ("asyncio.current_task().cancel()\nawait asyncio.sleep(0)", "cancelled", "cancelled by itself"),
        ("raise SystemExit(3)", "error", "3"),
        ("asyncio.create_task(leave())\nawait asyncio.sleep(0)\nawait ctx.sleep(1)", "error", "4"),
        ("return object()", "invalid_output", "has no JSON form"),
        ("await ctx.step(echo, object())", "invalid_output", "has no JSON form"),
        ("await ctx.step(print)", "error", "print is no handler"),
        ("await ctx.step('')", "error", "the name of a handler is text"),
        ("await ctx.step('t.missing')", "handler_unknown", "t.missing"),
        ("await ctx.step(echo, {'x': 'no'})", "invalid_input", "with.x: Expected int, got str"),
        ("await ctx.step(echo, id='not a word')", "error", "the id of a call is a word"),
        ("await ctx.step(echo, timeout=-1)", "error", "timeout: "),
        ("await ctx.step(echo, retry={'tries': 3})", "error", "retry: there is no tries"),
        ("await ctx.step(echo, compensate=Undo('t.u', '{{ input }}'))", "error", "sees `step`, and not input"),
        ("await ctx.step(echo, compensate=Undo('t.u', '{{ '))", "error", "compensate: "),
        ("await ctx.step(echo, compensate=Undo('t.u', kind='maybe'))", "error", "the kind is one of"),
        ("await ctx.sleep('soon')", "error", "sleep: "),
        ("await ctx.child('w', on_close='no')", "error", "on_close is one of cancel, terminate, abandon"),
        ("await ctx.child('nowhere')", "unknown_workflow", "nowhere"),
        ("import datetime\nawait ctx.sleep(datetime.datetime(2030, 1, 1))", "error", "has no offset from UTC"),
        ("await ctx.signal('')", "error", "the name of a signal is text"),
        ("await asyncio.sleep(0.01, 'x')\nraise CallFailed('mine', 'my_code')", "my_code", "mine"),
    ],
)
async def test_what_cannot_be_replayed_or_meant_fails_the_function(
    flow: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, body: str, code: str, message: str
) -> None:
    monkeypatch.setattr("daemon.runtime.function_loop.MOST_CALLBACKS", 1000)
    more = "from daemon.durable import Undo\n\nasync def leave():\n    raise SystemExit(4)\n"
    found, said = await outcome(flow(body, more=more))
    assert (found, message in said) == (code, True), said


async def test_the_input_is_bound_as_to_a_handler(flow: Callable[..., Settings]) -> None:
    settings = flow("return n")
    settings.workflows.paths[0].write_text(WORKFLOW.replace("n: 5", "n: five"))
    assert await outcome(settings) == ("invalid_input", "with.n: Expected int, got str")


async def test_what_a_function_is_given_is_the_same_at_each_replay(flow: Callable[..., Settings]) -> None:
    """The time, the dice, ids and texts of tasks; only what happens anew is logged."""
    body = """
given = [ctx.now().isoformat(), ctx.random(), str(ctx.uuid()), ctx.execution_id, ctx.workflow, ctx.address]
ctx.logger.info("before")
await ctx.signal("go")
ctx.logger.info("after", replaying=ctx.replaying)
loop = asyncio.get_running_loop()
await ctx.sleep(ctx.now())
return [given, loop.is_running(), loop.is_closed(), loop.get_debug()]
"""
    async with running(flow(body)) as daemon:
        with capture_logs() as logs:
            execution_id = await start(daemon, "w")
            await until(daemon, execution_id, awaits)
            history = await daemon.history.events(execution_id)
            await signalled(daemon, execution_id)
            output = from_json((await finished(daemon, execution_id)).output)
    drawn = [from_json(each.value) for recorded in history for each in getattr(recorded.event, "drawn", ())]
    assert output[0][1:] == [*drawn, str(execution_id), "w", "f"]
    assert output[1:] == [True, False, False]
    assert [each["event"] for each in logs if each["event"] in {"before", "after"}] == ["before", "after"]


CHILD = """
workflow: child
nodes:
  work: {task: t.echo, with: {x: "{{ input.n }}"}, compensate: {task: t.echo, with: {x: 0}}}
  hold: {signal: go}
  no: {fail: {message: no, code: refused}}
  one: {branch: "{{ input.n == 1 }}"}
  two: {branch: "{{ input.n == 2 }}"}
edges: [work -> one, work -> two, one.true -> hold, two.true -> no]
output: "{{ work }}"
"""


async def test_a_function_starts_children(flow: Callable[..., Settings]) -> None:
    """Each gives its output, or fails the call; one that is given up is cancelled; those that completed are undone."""
    body = """
a = await ctx.child("child", {"n": 3}, id="first")
try:
    await ctx.child("child", {"n": 2})
except CallFailed as error:
    code = error.code
try:
    async with asyncio.timeout(0.05):
        await ctx.child("child", {"n": 1})
except TimeoutError:
    code += " late"
await ctx.signal("go")
raise ValueError(f"{a} {code}")
"""
    settings = flow(body)
    [file] = settings.workflows.paths
    file.write_text(f"{WORKFLOW}---{CHILD}")
    async with running(settings) as daemon:
        execution_id = await start(daemon, "w")
        await until(daemon, execution_id, awaits)
        await signalled(daemon, execution_id)
        state = await finished(daemon, execution_id)
        events = [recorded.event for recorded in await daemon.history.events(execution_id)]
        children = [(each.address, each.child) for each in events if isinstance(each, ChildStarted)]
        ends = {address: await finished(daemon, child) for address, child in children}
    assert state.error is not None
    assert state.error.message == "6 child_failed late"
    assert list(ends) == ["f[0].1:first", "f[0].2:child", "f[0].4:child", "f[0].1:first~undo"]
    assert [end.status for end in ends.values()] == ["cancelled", "failed", "cancelled", "cancelled"]
    undone = [each.address for each in events if isinstance(each, StepSucceeded) and each.address.endswith(UNDO)]
    assert undone == ["f[0].1:first~undo"]


async def test_an_error_that_nobody_takes_is_told(flow: Callable[..., Settings]) -> None:
    """A callback's, or that of a task whose result nobody looks at; the function goes on."""
    body = "asyncio.get_running_loop().call_soon(lambda: 1 / 0)\nawait asyncio.sleep(0)\nreturn 1"
    with capture_logs() as logs:
        assert await outcome(flow(body)) == 1
    assert "function_error_not_taken" in [each["event"] for each in logs]


async def test_what_was_let_go_of_does_nothing_more(flow: Callable[..., Settings]) -> None:
    """Its `finally` blocks run, as always when a coroutine is closed, and reach nothing."""
    body = """
async def stubborn():
    try:
        await asyncio.Event().wait()
    finally:
        asyncio.create_task(asyncio.sleep(1))
        await asyncio.sleep(1)
other = asyncio.create_task(stubborn())
failed = asyncio.create_task(asyncio.wait_for(asyncio.Event().wait(), 0))
try:
    await ctx.signal("go")
finally:
    try:
        await ctx.step(echo, {"x": 1})
    except RuntimeError:
        pass
return 1
"""
    async with running(flow(body)) as daemon:
        execution_id = await start(daemon, "w")
        await until(daemon, execution_id, awaits)
        await signalled(daemon, execution_id)
        assert from_json((await finished(daemon, execution_id)).output) == 1
        events = await daemon.history.events(execution_id)
    assert [each.event.NAME for each in events].count("StepStarted") == 1


async def test_a_store_that_is_away_is_asked_again(sagad: Sagad, flow: Callable[..., Settings]) -> None:
    """Whether the append was refused, or only its answer was lost."""
    [file] = flow("a = [await ctx.step(echo, {'x': i}) for i in range(3)]\nreturn a").workflows.handlers
    for lost in (False, True):
        for after in range(2, 9):
            workflow = sagad.workflow(WORKFLOW, handlers=[Path(file)])
            sagad.store.fails(after=after, times=2, answer_lost=lost)
            execution = await workflow.start(key=f"{lost}-{after}")
            assert await execution.result() == [0, 2, 4]


async def test_a_function_is_let_go_of_when_the_daemon_stops(flow: Callable[..., Settings], store: Store) -> None:
    """Also while one of its handlers is at work, which is then made again."""
    settings = flow("return await ctx.step('gate', {'name': 'stops', 'value': 3})")
    both = (*settings.workflows.handlers, gated_handlers.__name__)
    settings = replace(settings, workflows=replace(settings.workflows, handlers=both))
    async with running(settings, store=store) as daemon:
        execution_id = await start(daemon, "w")
        await gated_handlers.entered["stops"].wait()
    gated_handlers.gates["stops"].set()
    async with running(settings, store=store) as daemon:
        assert from_json((await finished(daemon, execution_id)).output) == 3


def test_a_function_that_is_not_registered_is_told_with_its_place() -> None:
    compiler = Compiler(node_types=builtin_node_types(), handlers=None, env={}, functions={"t.flow"})
    with pytest.raises(Misconfigured) as raised:
        compiler.load_text(WORKFLOW.replace("t.flow", "t.flwo"), "w.yaml")
    [problem] = raised.value.problems
    message = "w.yaml:2:13: no durable function is registered as 't.flwo' (node f; did you mean 't.flow'?)"
    assert str(problem) == message
