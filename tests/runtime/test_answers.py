"""What handlers answer beside a value: from the loop, a thread or a process, through the log, and after a restart."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from daemon.core.commands import CompleteStep, PostponeStep
from daemon.core.events import EVENT_TYPES, UPCASTERS
from daemon.core.node import NodeType, Run
from daemon.core.state import Retrying, Running
from daemon.core.templates import SecretName, SecretSlot
from daemon.core.values import from_json
from daemon.handlers import Again, Context, End, Port, Route, handler
from daemon.nodes.context import NodeContext, StepFailure
from daemon.runtime.handler_registry import HandlerRegistry, load_handlers
from daemon.runtime.signatures import signature_of
from daemon.runtime.step_answers import read_answer
from daemon.testing.clock import FakeClock
from eventstore.codec import Codec
from eventstore.store import open_store
from tests.support.daemons import finished, running, settings_for, start, until
from tests.support.step_bench import bench, node_of_type

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from daemon.core.state import State

HANDLERS = "tests.support.answering_handlers"
LANES = ("loop", "thread", "process")
PAGE = {"number": 1, "attempt": 2}


@pytest.fixture(scope="module")
def handlers() -> HandlerRegistry:
    return load_handlers([HANDLERS])


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize(
    ("what", "port", "to"),
    [
        ("plain", "out", None),
        ("port", "full", None),
        ("route", "out", ("a",)),
        ("nowhere", "out", ()),
        ("end", "", None),
    ],
)
async def test_every_answer_is_reported_from_wherever_a_handler_runs(
    handlers: HandlerRegistry, lane: str, what: str, port: str, to: tuple[str, ...] | None
) -> None:
    async with bench(handlers=handlers) as steps:
        steps.run(f"give.{lane}", {"what": what})
        result = await steps.result()
        assert isinstance(result, CompleteStep)
        assert (from_json(result.output), result.port, result.to) == (PAGE, port, to)


@pytest.mark.parametrize("lane", LANES)
async def test_a_later_call_is_asked_for_from_wherever_a_handler_runs(handlers: HandlerRegistry, lane: str) -> None:
    async with bench(handlers=handlers) as steps:
        steps.run(f"give.{lane}", {"what": "again"}, attempt=3)
        result = await steps.result()
        assert isinstance(result, PostponeStep)
        assert (result.attempt, result.after, from_json(result.state)) == (3, timedelta(seconds=1.5), PAGE)


async def test_the_state_is_the_attempts_own_copy_and_none_at_first() -> None:
    seen = []

    @handler("work")
    async def work(context: Context) -> None:
        seen.append(context.state if context.state is None else list(context.state))
        if context.state is not None:
            context.state.append("changed")

    async with bench(work) as steps:
        steps.run(value={})
        steps.run(value={}, attempt=2, state=["kept"])
        steps.run(value={}, attempt=3, state=["kept"])
        await steps.commands(3)
        assert seen == [None, ["kept"], ["kept"]]


async def test_secrets_are_struck_out_of_the_state() -> None:
    @handler("work")
    async def work(key: str) -> Again:
        return Again("1s", {"cursor": f"{key}/2"})

    slot = SecretSlot(("key",), (SecretName("KEY"),))
    async with bench(work, secrets={"SAGAD_SECRET_KEY": "s3cret-value"}) as steps:
        steps.run(value={"key": "***"}, secrets=(slot,))
        result = await steps.result()
        assert isinstance(result, PostponeStep)
        assert "s3cret" not in bytes(result.state).decode()


async def test_any_node_type_may_answer_so() -> None:
    async def execute(context: NodeContext, value: Any) -> object:
        return Again("1s", value) if context.state is None else End(context.state)

    own = NodeType(
        name="own",
        summary="",
        schema={},
        parse=dict,
        templates=lambda _: (),
        begin=lambda _config, _beginning: Run(1),
        execute=execute,
    )
    async with bench() as steps:
        steps.run(value=7, node=node_of_type(own, {}))
        assert isinstance(await steps.result(), PostponeStep)
        steps.run(attempt=2, state=7, node=node_of_type(own, {}))
        *_, last = await steps.commands(2)
        assert isinstance(last, CompleteStep)
        assert (last.port, from_json(last.output)) == ("", 7)


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        (Port(7), "port", "Port: the name of a port is text, not 7"),  # type: ignore[arg-type]
        (Port(""), "port", "Port: the name of a port is text, not ''"),
        (Route(7), "route", "Route: a route leads to ids of nodes, not to 7"),  # type: ignore[arg-type]
        (Route(["a", 7]), "route", "Route: a route leads to ids of nodes, not to ['a', 7]"),  # type: ignore[list-item]
        (Again("soon"), "again", "Again: 'soon' is not a duration (write it like 200ms, 10s, 5m, 24h, 7d or 1h30m)"),
        (Again(5), "again", "Again: the duration 5 has no unit (write 5s for seconds, 5ms for milliseconds)"),  # type: ignore[arg-type]
        (Again(timedelta(-1)), "again", "Again: -1 day, 0:00:00 is not from 0s to 365000d"),
        (Again(timedelta.max), "again", f"Again: {timedelta.max} is not from 0s to 365000d"),
        (
            End(object()),
            "invalid_output",
            "the result has no JSON form: Encoding objects of type object is unsupported",
        ),
    ],
)
def test_an_answer_that_cannot_be_meant_says_why(answer: object, code: str, message: str) -> None:
    with pytest.raises(StepFailure) as refused:
        read_answer(answer)
    assert (refused.value.code, refused.value.message, refused.value.retryable) == (code, message, False)


def test_a_route_may_be_an_id_or_any_number_of_them() -> None:
    assert [
        getattr(read_answer(Route(to)), "to", None) for to in ("a", ["b", "a", "b"], {"c": 1}.keys(), iter(["d"]))
    ] == [("a",), ("b", "a"), ("c",), ("d",)]


def test_answers_are_no_part_of_what_a_handler_gives() -> None:
    def either() -> int | Port | Again:
        return 1

    def never() -> Port | Route | End | Again:
        return End()

    def only() -> End:
        return End()

    assert [signature_of(each).output_schema() for each in (either, never, only)] == [{"type": "integer"}, {}, {}]


# On a whole daemon.

PAGES = """
workflow: pages
nodes:
  read: {task: pages.%s, ports: [read], timeout: 1h}
  sum: {transform: "{{ read | map(attribute='number') | sum }}"}
  other: {fail: not this way}
edges: [read.read -> sum, read -> other]
output: {pages: "{{ read }}", sum: "{{ sum }}"}
"""


def called_again(attempt: int) -> Callable[[State], bool]:
    """Return the condition that this attempt waits for its time."""

    def waits(state: State) -> bool:
        step = state.steps.get("read") if isinstance(state, Running) else None
        return isinstance(step, Retrying) and step.attempt == attempt

    return waits


@pytest.mark.parametrize("lane", LANES)
async def test_a_handler_is_called_again_with_its_state_until_it_is_through(tmp_path: Path, lane: str) -> None:
    clock = FakeClock()
    store = await open_store("memory://", Codec(EVENT_TYPES, UPCASTERS), memory_now=clock.now)
    async with running(settings_for(tmp_path, PAGES % lane, handlers=HANDLERS), clock=clock, store=store) as daemon:
        target = await start(daemon, "pages")
        for attempt in (2, 3):
            await until(daemon, target, called_again(attempt))
            await clock.advance(10)
        state = await finished(daemon, target)
        pages = [{"number": number, "attempt": number} for number in (1, 2, 3)]
        assert from_json(state.output) == {"pages": pages, "sum": 6}


@pytest.mark.parametrize("lane", LANES)
async def test_the_state_survives_a_restart_between_two_calls(
    tmp_path: Path, lane: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    # The daemon puts its clock right by its database's, so that one stands still too.
    monkeypatch.setattr("eventstore.sqlite_leases.datetime", SimpleNamespace(now=lambda _: clock.now()))
    settings = settings_for(tmp_path, PAGES % lane, handlers=HANDLERS, store_url=f"sqlite:///{tmp_path}/log.db")
    async with running(settings, clock=clock) as first:
        target = await start(first, "pages")
        await until(first, target, called_again(2))
    async with running(settings, clock=clock) as second:
        assert called_again(2)(await second.history.load(target))
        await clock.advance(10)
        await until(second, target, called_again(3))
    async with running(settings, clock=clock) as third:
        await clock.advance(10)
        output = from_json((await finished(third, target)).output)
    assert [page["attempt"] for page in output["pages"]] == [1, 2, 3]
