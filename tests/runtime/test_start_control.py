"""How executions begin: later, for several messages, or one at a time; nothing is lost and nothing begins twice."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID, uuid4

import msgspec
import pytest

from daemon.core.commands import CancelExecution
from daemon.core.errors import Rejected
from daemon.core.state import Finished, Running
from daemon.core.values import from_json
from daemon.testing.clock import FakeClock
from eventstore.index import ExecutionFilter
from tests.support import gated_handlers
from tests.support.daemons import finished, in_flight, running, settings_for, start, until
from triggers.message import Ack, Inbound

if TYPE_CHECKING:
    from pathlib import Path

    from daemon.assembled import Daemon

HEAD = """
workflow: w
triggers:
  - {name: all, memory: {topic: t}, dedupe: "{{ message.value.id }}"}
start: %s
"""
SHOW = 'nodes: {show: {transform: "{{ input }}"}}\noutput: "{{ show }}"\n'
HOLD = 'nodes: {hold: {task: gate, with: {name: "{{ input.gate }}"}}}\n'


class Taken(NamedTuple):
    """What became of a message. A new id for none."""

    outcome: str
    execution_id: UUID


async def message(daemon: Daemon, **value: Any) -> Taken:
    """Take one message; return the verdict."""
    inbound = Inbound(
        trigger="w/all", source="test", identity=None, body=msgspec.json.encode(value), received_at=daemon.clock.now()
    )
    [verdict] = await daemon.intake([inbound])
    assert isinstance(verdict, Ack)
    return Taken(verdict.outcome, verdict.execution_id or uuid4())


async def count(daemon: Daemon) -> int:
    return len(await daemon.store.index.executions(ExecutionFilter()))


async def test_a_delay_is_a_durable_timer(tmp_path: Path) -> None:
    """The execution exists at once, waits for its timer, and survives the daemon that took it."""
    clock = FakeClock()
    settings = settings_for(tmp_path, HEAD % "{delay: 5m}" + SHOW, store_url=f"sqlite:///{tmp_path}/d.db")
    async with running(settings, clock=clock) as first:
        execution_id = await start(first, "w", 1)
        row = await first.store.index.execution(execution_id)
        assert row is not None
        assert (row.status, row.cause) == ("running", "timer")
    async with running(settings, clock=clock) as second:
        await clock.advance(301)
        state = await finished(second, execution_id)
        assert state.finished_at - state.started_at >= timedelta(minutes=5)


async def test_a_debounce_takes_the_last_message(tmp_path: Path) -> None:
    """Messages of one key start one execution, when none has come for so long; another key has its own."""
    clock = FakeClock()
    text = HEAD % '{debounce: {key: "{{ input.key }}", after: 10s}}' + SHOW
    async with running(settings_for(tmp_path, text), clock=clock) as daemon:
        first = await message(daemon, id="1", key="a", n=1)
        await clock.advance(6)
        second = await message(daemon, id="2", key="a", n=2)
        other = await message(daemon, id="3", key="b", n=3)
        await clock.advance(6)
        assert first.execution_id == second.execution_id != other.execution_id
        assert isinstance(await daemon.history.load(first.execution_id), Running)
        await clock.advance(6)
        state = await finished(daemon, first.execution_id)
        assert from_json(state.output) == {"id": "2", "key": "a", "n": 2}
        assert (await message(daemon, id="4", key="a")).execution_id not in {first.execution_id, other.execution_id}


async def test_a_debounce_ends_in_time(tmp_path: Path) -> None:
    """However many messages come, it begins so long after the first."""
    clock = FakeClock()
    async with running(
        settings_for(tmp_path, HEAD % "{debounce: {after: 10s, at_most: 25s}}" + SHOW), clock=clock
    ) as daemon:
        taken = [await message(daemon, id="0")]
        for number in range(1, 4):
            await clock.advance(8)
            taken.append(await message(daemon, id=str(number)))
        await clock.advance(1.5)
        state = await finished(daemon, taken[0].execution_id)
        assert from_json(state.output) == {"id": "3"}


async def test_a_batch_begins_when_it_is_full(tmp_path: Path) -> None:
    """Its input is the list of what the messages give, in their order; the next message begins another."""
    async with running(settings_for(tmp_path, HEAD % "{batch: {size: 3, within: 1h}}" + SHOW)) as daemon:
        taken = [await message(daemon, id=str(number)) for number in range(4)]
        state = await finished(daemon, taken[0].execution_id)
        assert from_json(state.output) == {"messages": [{"id": "0"}, {"id": "1"}, {"id": "2"}]}
        assert [each.execution_id == taken[0].execution_id for each in taken] == [True, True, True, False]


async def test_a_batch_is_one_append_of_many_messages(tmp_path: Path) -> None:
    """A batch of the broker's is collected in its order."""
    async with running(settings_for(tmp_path, HEAD % "{batch: {size: 40, within: 1h}}" + SHOW)) as daemon:
        inbounds = [
            Inbound(
                trigger="w/all",
                source="test",
                identity=None,
                body=msgspec.json.encode({"id": number}),
                received_at=daemon.clock.now(),
            )
            for number in range(40)
        ]
        verdicts = await daemon.intake(inbounds)
        [execution_id] = {
            verdict.execution_id for verdict in verdicts if isinstance(verdict, Ack) and verdict.execution_id
        }
        state = await finished(daemon, execution_id)
        assert [each["id"] for each in from_json(state.output)["messages"]] == list(range(40))


async def test_a_collected_message_is_recognised_for_ever(tmp_path: Path) -> None:
    """A message that comes again, while it is collected or long after, is a duplicate: across restarts too."""
    settings = settings_for(
        tmp_path, HEAD % "{batch: {size: 2, within: 1h}}" + SHOW, store_url=f"sqlite:///{tmp_path}/b.db"
    )
    async with running(settings) as first:
        one = await message(first, id="1")
        assert (await message(first, id="1")).outcome == "duplicate"
    async with running(settings) as second:
        assert (await message(second, id="1")).outcome == "duplicate"
        await message(second, id="2")
        await finished(second, one.execution_id)
        assert await message(second, id="2") == ("duplicate", one.execution_id)
        third = await message(second, id="3")
        assert await message(second, id="2") == ("duplicate", one.execution_id)
        assert third.execution_id != one.execution_id
        assert await count(second) == 2


async def test_a_cancelled_collection_makes_room_for_another(tmp_path: Path) -> None:
    """What was collected is gone with it, and the next message begins anew."""
    async with running(settings_for(tmp_path, HEAD % "{batch: {size: 2, within: 1h}}" + SHOW)) as daemon:
        one = await message(daemon, id="1")
        await daemon.engine.send(one.execution_id, CancelExecution(reason="", actor="test", at=daemon.clock.now()))
        assert (await message(daemon, id="2")).execution_id != one.execution_id


async def test_a_singleton_skips(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """While one is at work another is left out, and acknowledged; after it the next one starts."""
    gate = request.node.name
    text = HEAD % '{singleton: {key: "{{ input.key }}", policy: skip}}' + HOLD
    async with running(settings_for(tmp_path, text)) as daemon:
        one = await message(daemon, id="1", key="a", gate=gate)
        assert one.outcome == "started"
        assert (await message(daemon, id="2", key="a", gate=gate)).outcome == "skipped"
        assert (await message(daemon, id="1", key="a", gate=gate)).outcome in {"duplicate", "skipped"}
        other = await message(daemon, id="3", key="b", gate=gate)
        assert other.outcome == "started"
        with pytest.raises(Rejected, match="skipped"):
            await start(daemon, "w", {"key": "a", "gate": gate})
        assert await count(daemon) == 2
        gated_handlers.gates[gate].set()
        await finished(daemon, one.execution_id)
        assert (await message(daemon, id="4", key="a", gate=gate)).outcome == "started"


async def test_a_singleton_queues(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Executions wait before their first step, and begin in the order in which they came."""
    gates = [f"{request.node.name}{number}" for number in range(3)]
    async with running(settings_for(tmp_path, HEAD % "{singleton: {}}" + HOLD)) as daemon:
        ids = [await start(daemon, "w", {"gate": gate}) for gate in gates]
        for place, gate in enumerate(gates):
            await gated_handlers.entered[gate].wait()
            states = [await daemon.history.load(each) for each in ids]
            assert sum(isinstance(state, Running) and not state.limited for state in states) == 1
            gated_handlers.gates[gate].set()
            await finished(daemon, ids[place])


async def test_the_newest_of_a_singleton_has_the_others_cancelled(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The one at work and those that wait are cancelled; the newest begins."""
    gates = [f"{request.node.name}{number}" for number in range(3)]
    async with running(settings_for(tmp_path, HEAD % "{singleton: {policy: cancel_older}}" + HOLD)) as daemon:
        ids = [await start(daemon, "w", {"gate": gates[0]})]
        await until(daemon, ids[0], in_flight("hold"))
        ids += [await start(daemon, "w", {"gate": gate}) for gate in gates[1:]]
        await gated_handlers.entered[gates[2]].wait()
        gated_handlers.gates[gates[2]].set()
        states = [await finished(daemon, each) for each in ids]
        assert [state.status for state in states] == ["cancelled", "cancelled", "completed"]
        assert isinstance(states[0], Finished)
        assert "newer" in states[0].reason
