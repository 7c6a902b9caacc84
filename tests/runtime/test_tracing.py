"""Traces leave for a collector, over the wire: all of them, in spite of crashes and of collectors that are away."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from msgspec import structs

from daemon.core import events as e
from daemon.core.trace_ids import execution_span_id, step_span_id, trigger_span_id
from daemon.core.values import NULL
from daemon.runtime.tracing import CURSOR, MAX_SPANS, Away, Traces, Tracing, export_traces
from daemon.testing.clock import FakeClock
from eventstore.errors import Unavailable
from tests.runtime.exporting import (
    BEGUN,
    CALLER,
    COMPLETED,
    DONE,
    EXECUTION,
    FAILED,
    MINUTE_NS,
    NOON,
    NOON_NS,
    OTHER,
    PATIENCE_S,
    TRACE,
    Broken,
    Forgetful,
    collector_at,
    commit,
    exporting,
    history_of,
    ids,
    opened,
    span,
    started,
    until,
    until_exported,
)
from tests.support.otlp_sink import OtlpSink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from daemon.core.spans import Span
    from eventstore.store import Store
    from tests.support.otlp_sink import Received


@pytest.fixture
def sink() -> Iterator[OtlpSink]:
    with OtlpSink() as sink:
        yield sink


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(tmp_path) as store:
        yield store


async def test_a_run_arrives_as_one_closed_trace(store: Store, sink: OtlpSink) -> None:
    await commit(store, started(), BEGUN)
    await commit(store, FAILED, COMPLETED)
    async with exporting(store, sink.url):
        trigger, step, execution = await asyncio.to_thread(sink.wait_for, 3)
    assert {span.trace_id for span in (trigger, step, execution)} == {TRACE}
    assert (trigger.kind, trigger.name, trigger.parent_id) == ("consumer", "process orders", CALLER)
    assert trigger.span_id == trigger_span_id(EXECUTION)
    assert trigger.attributes["messaging.destination.partition.id"] == "3"
    assert trigger.attributes["messaging.kafka.offset"] == 42
    assert (execution.span_id, execution.parent_id) == (execution_span_id(EXECUTION), trigger.span_id)
    assert (execution.name, execution.failed) == ("orders", False)
    assert (step.span_id, step.parent_id) == (step_span_id(EXECUTION, "charge", 1), execution.span_id)
    assert (step.start_ns, step.end_ns) == (NOON_NS + MINUTE_NS, NOON_NS + 3 * MINUTE_NS)
    assert (step.failed, step.message, step.attributes["error.type"]) == (True, "declined", "Declined")
    assert step.attributes["sagad.execution_id"] == str(EXECUTION)
    assert execution.resource["service.name"] == "test"


async def test_a_new_commit_is_exported_without_polling(store: Store, sink: OtlpSink) -> None:
    clock = FakeClock()
    async with exporting(store, sink.url, clock=clock):
        await clock.until_sleeping()
        await commit(store, started(), BEGUN)
        await clock.until_sleeping()
        await until(lambda: clock.pauses() == [1.0])
        await commit(store, DONE)
        await clock.advance(1)
        assert len(await asyncio.to_thread(sink.wait_for, 2)) == 2


async def test_of_several_daemons_one_exports_and_another_goes_on_where_it_was(store: Store, sink: OtlpSink) -> None:
    clock, leading = FakeClock(), "first"
    async with (
        exporting(store, sink.url, clock=clock, leads=lambda: leading == "first"),
        exporting(store, sink.url, clock=clock, leads=lambda: leading == "second"),
    ):
        await commit(store, started(), BEGUN, DONE)
        await clock.advance(2)
        await until_exported(store)
        leading = "second"
        await commit(store, COMPLETED)
        await clock.advance(11)
        await until_exported(store)
        assert len(set(ids(sink.wait_for(3)))) == len(sink.wait_for(3)) == 3


async def test_a_killed_exporter_goes_on_where_it_was(tmp_path: Path, sink: OtlpSink) -> None:
    """Killed between two commits: the step that was open is closed by the next process, and nothing is sent twice."""
    async with opened(tmp_path) as store:
        await commit(store, started(), BEGUN)
        async with exporting(store, sink.url):
            await until_exported(store)
    async with opened(tmp_path) as store:
        await commit(store, DONE, COMPLETED)
        async with exporting(store, sink.url):
            await until_exported(store)
    assert ids(sink.spans) == [
        trigger_span_id(EXECUTION),
        step_span_id(EXECUTION, "charge", 1),
        execution_span_id(EXECUTION),
    ]
    assert sink.spans[1].start_ns == NOON_NS + MINUTE_NS
    assert sink.spans[2].start_ns == NOON_NS


async def test_killed_before_the_cursor_was_saved_it_sends_the_same_again(tmp_path: Path, sink: OtlpSink) -> None:
    async with opened(tmp_path) as store:
        await commit(store, started(), BEGUN, DONE, COMPLETED)
        cursors = Forgetful(store.cursors)
        async with exporting(replace(store, cursors=cursors), sink.url):
            await asyncio.wait_for(cursors.reached.wait(), PATIENCE_S)
    async with opened(tmp_path) as store, exporting(store, sink.url):
        await until_exported(store)
    first, again = sink.spans[:3], sink.spans[3:]
    assert first == again
    assert len(set(ids(first))) == 3


async def test_a_collector_that_is_away_is_waited_for(store: Store) -> None:
    """Nothing is lost or saved while nobody listens; when somebody does, each span comes once."""
    with OtlpSink() as closed:
        port = closed.port
    clock = FakeClock()
    async with exporting(store, closed.url, clock=clock) as tracing:
        await clock.until_sleeping()
        await commit(store, started(), BEGUN, DONE, COMPLETED)
        await until(lambda: clock.pauses() == [1.0])
        await clock.advance(1)
        for pause in (1.0, 2.0, 4.0):
            await until(lambda pause=pause: clock.pauses() == [pause])  # type: ignore[misc]  # mypy cannot infer defaults
            assert not tracing.status.connected
            assert "does not answer" in tracing.status.detail
            await clock.advance(pause)
        await until(lambda: clock.pauses() == [8.0])
        assert await store.cursors.load(CURSOR) == 0
        with OtlpSink(port=port) as sink:
            await clock.advance(8)
            await until_exported(store)
            assert len(sink.spans) == 3
    assert tracing.status.connected


@pytest.mark.parametrize("status", [HTTPStatus.NOT_FOUND, HTTPStatus.FOUND, HTTPStatus.UNAUTHORIZED])
async def test_any_other_answer_than_thanks_is_not_taken_for_it(status: HTTPStatus) -> None:
    with OtlpSink(answer=lambda _spans: status) as sink:
        async with collector_at(sink.url) as collector:
            with pytest.raises(Away, match=str(int(status))):
                await collector.send([span("a")])


async def test_one_bad_span_does_not_keep_the_others_back() -> None:
    def answer(spans: Sequence[Received]) -> int:
        return HTTPStatus.BAD_REQUEST if any(each.name == "bad" for each in spans) else HTTPStatus.OK

    with OtlpSink(answer=answer) as sink:
        async with collector_at(sink.url) as collector:
            await collector.send([span("a"), span("bad"), span("b"), span("c"), span("d")])
        assert [each.name for each in sink.spans] == ["a", "b", "c", "d"]


async def test_text_that_is_not_unicode_is_sent_all_the_same(sink: OtlpSink) -> None:
    async with collector_at(sink.url) as collector:
        await collector.send([structs.replace(span("\ud800"), error="\udfff", attributes={"odd": "a\ud800\0"})])
    (received,) = sink.spans
    assert (received.name, received.message, received.attributes["odd"]) == ("?", "?", "a?\0")


async def test_much_is_sent_in_pieces(store: Store, sink: OtlpSink) -> None:
    many = [e.StepSucceeded(address=f"each[{number}].a", output=NULL, at=NOON) for number in range(MAX_SPANS + 10)]
    await commit(store, started(), *many)
    async with exporting(store, sink.url):
        await until_exported(store)
    assert len(set(ids(sink.spans))) == MAX_SPANS + 11
    assert sink.requests == 2


async def test_stopping_exports_what_is_committed(store: Store, sink: OtlpSink) -> None:
    clock = FakeClock()
    async with exporting(store, sink.url, clock=clock) as tracing:
        await clock.until_sleeping()
        await commit(store, started(), BEGUN, DONE, COMPLETED)
        await tracing.stop()
        await tracing.stop()
        assert len(sink.spans) == 3
        assert await store.cursors.load(CURSOR) == await store.log.head()


async def test_stopping_does_not_wait_for_a_collector_that_is_away(store: Store) -> None:
    with OtlpSink() as closed:
        pass
    await commit(store, started(), BEGUN, DONE)
    async with exporting(store, closed.url) as tracing:
        await until(lambda: not tracing.status.connected)
        await tracing.stop(grace_s=PATIENCE_S)
        assert await store.cursors.load(CURSOR) == 0


async def test_stopping_takes_no_longer_than_it_may(store: Store) -> None:
    class Silent:
        async def send(self, _spans: Sequence[Span]) -> None:
            await asyncio.Event().wait()

    await commit(store, started())
    tracing = Tracing(store, history_of(store), Silent(), FakeClock())
    task = asyncio.create_task(tracing.run())
    await asyncio.sleep(0)
    await tracing.stop(grace_s=0.01)
    assert not task.done()
    task.cancel()
    await asyncio.wait({task})


async def test_stopping_what_never_ran_is_harmless(store: Store) -> None:
    async with collector_at("http://127.0.0.1:9/v1/traces") as collector:
        await Tracing(store, history_of(store), collector, FakeClock()).stop()


async def test_a_store_that_is_away_is_waited_for(store: Store, sink: OtlpSink) -> None:
    await commit(store, started(), BEGUN, DONE)
    clock = FakeClock()
    broken = replace(store, log=Broken(store.log, Unavailable("gone"), Unavailable("gone")))
    async with exporting(broken, sink.url, clock=clock):
        await clock.until_sleeping()
        assert clock.pauses() == [1.0]
        await clock.advance(1)
        await clock.advance(2)
        await until_exported(store)
    assert len(sink.spans) == 2


async def test_an_unreadable_event_is_passed_over(store: Store, sink: OtlpSink) -> None:
    """Its execution has no further spans, all others have theirs."""
    await commit(store, started(), BEGUN)
    await commit(store, started(OTHER), BEGUN, execution_id=OTHER)
    await commit(store, DONE, COMPLETED)
    await commit(store, DONE, COMPLETED, execution_id=OTHER)
    broken = replace(store, log=Broken(store.log, unreadable=2))
    async with exporting(broken, sink.url):
        await until_exported(store)
    assert ids(sink.spans) == [
        trigger_span_id(EXECUTION),
        trigger_span_id(OTHER),
        step_span_id(OTHER, "charge", 1),
        execution_span_id(OTHER),
    ]


async def test_a_part_of_the_log_is_exported_again(store: Store, sink: OtlpSink) -> None:
    await commit(store, started(), BEGUN)
    await commit(store, DONE)
    await commit(store, COMPLETED)
    pages: list[tuple[int, int]] = []

    async def note(position: int, spans: int) -> None:
        pages.append((position, spans))

    async with collector_at(sink.url) as collector:
        traces = Traces(history_of(store))
        reached = await export_traces(store.log, traces, collector, after_position=2, up_to=3, exported=note)
    assert reached == 3
    assert pages == [(3, 1)]
    (step,) = sink.spans
    assert (step.span_id, step.start_ns) == (step_span_id(EXECUTION, "charge", 1), NOON_NS + MINUTE_NS)
    assert await store.cursors.load(CURSOR) == 0


async def test_an_export_ends_at_the_newest_event(store: Store, sink: OtlpSink) -> None:
    await commit(store, started(), BEGUN, DONE, COMPLETED)
    async with collector_at(sink.url) as collector:
        reached = await export_traces(store.log, Traces(history_of(store)), collector, up_to=1_000_000)
    assert reached == await store.log.head()
    assert len(sink.spans) == 3


async def test_executions_that_are_forgotten_are_read_again(store: Store) -> None:
    """Memory is bounded; the spans are the same."""
    for number in range(4):
        await commit(store, started(UUID(int=number + 1)), BEGUN, execution_id=UUID(int=number + 1))
    for number in range(4):
        await commit(store, DONE, COMPLETED, execution_id=UUID(int=number + 1))
    events = await store.log.read_all()
    small = Traces(history_of(store), remembered=1)
    large = Traces(history_of(store))
    assert await small.read(events) == await large.read(events)
    assert await large.read(events) == await large.read(events)
