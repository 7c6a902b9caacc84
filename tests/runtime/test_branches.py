"""Forks and rewinds on real daemons: what is repeated, what is undone, what others know of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from daemon.cli.upkeep import changes
from daemon.core.branch_events import Edits, InputEdit, StepEdit
from daemon.core.errors import Rejected
from daemon.core.state import Finished, Running
from daemon.core.values import from_json, to_json
from daemon.runtime.branches import ForkWish
from tests.support import booking_handlers
from tests.support.daemons import finished, running, settings_for, start, until
from tests.support.stores import store_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from uuid import UUID

    from daemon.assembled import Daemon
    from daemon.core.state import State

__all__ = ("store_url",)

TEXT = """
workflow: booking
vars: {rate: 1}
nodes:
  reserve:
    task: reserve
    with: {world: "{{ input.world }}", amount: "{{ input.amount }}"}
    compensate: {task: undo, with: {of: "{{ step.output }}"}}
  charge:
    task: charge
    with: {world: "{{ input.world }}", amount: "{{ reserve.amount * vars.rate }}"}
    compensate: {task: undo, with: {of: "{{ step.output }}"}}
  ship: {task: ship, with: {world: "{{ input.world }}", order: "{{ charge }}", fail: "{{ input.fail }}"}}
edges: [reserve -> charge -> ship]
output: "{{ ship }}"
"""


@pytest.fixture
async def daemon(tmp_path: Path, store_url: str) -> AsyncIterator[Daemon]:
    settings = settings_for(tmp_path, TEXT, handlers="tests.support.booking_handlers", store_url=store_url)
    async with running(settings) as daemon:
        yield daemon


@pytest.fixture
def world(request: pytest.FixtureRequest) -> str:
    booking_handlers.done.pop(request.node.name, None)
    return str(request.node.name)


def done(world: str, what: str) -> list[str]:
    return [key for name, key in booking_handlers.done[world] if name == what]


async def booked(daemon: Daemon, world: str, *, fail: bool = False) -> Finished:
    execution_id = await start(daemon, "booking", {"world": world, "amount": 5, "fail": fail})
    return await finished(daemon, execution_id)


def output_of(state: State) -> Any:
    assert isinstance(state, Finished)
    return from_json(state.output)


async def forked(daemon: Daemon, source: UUID, where: str, **wish: Any) -> Finished:
    fork, _ = await daemon.branches.fork(source, ForkWish(where=where, actor="ann", **wish))
    return await finished(daemon, fork)


async def test_a_fork_without_edits_ends_as_its_source(daemon: Daemon, world: str) -> None:
    """From the end of every decision; services that know the keys do nothing twice but what came later."""
    source = await booked(daemon, world)
    last_decision = source.version - 1
    forks = [await forked(daemon, source.execution_id, str(version)) for version in range(1, last_decision)]
    assert [output_of(fork) for fork in forks] == [output_of(source)] * len(forks)
    assert done(world, "reserve") == [f"{source.execution_id}/reserve"]
    row = await daemon.store.index.fork(forks[0].execution_id)
    assert row is not None
    assert row.source == source.execution_id
    assert {row.execution_id for row in await daemon.store.index.forks(source.execution_id)} == {
        fork.execution_id for fork in forks
    }
    assert await daemon.history.load(source.execution_id) == source


async def test_a_fork_that_is_edited_goes_another_way(daemon: Daemon, world: str) -> None:
    """Its source failed, for the parcel was lost; with the result of before, and another rate, it does not."""
    source = await booked(daemon, world, fail=True)
    assert source.status == "failed"
    edits = Edits(
        input=InputEdit(to_json({"world": world, "amount": 5, "fail": False})),
        variables={"rate": to_json(3)},
    )
    with pytest.raises(Rejected, match="what reserve had done was undone since"):
        await forked(daemon, source.execution_id, "before:charge", edits=edits)
    fork = await forked(daemon, source.execution_id, "before:charge", edits=edits, accept_undone=True)
    assert output_of(fork)["charged"] == 15
    again = await forked(daemon, source.execution_id, "before:reserve", edits=edits)
    assert output_of(again)["charged"] == 15


async def test_a_fork_of_a_fork(daemon: Daemon, world: str) -> None:
    """A place that is older than the fork lies in its source, and is forked from there."""
    source = await booked(daemon, world)
    edits = Edits(steps={"charge": StepEdit(to_json({"charged": 7}))})
    first = await forked(daemon, source.execution_id, "after:charge", edits=edits)
    assert output_of(first) == {"charged": 7}
    second = await forked(daemon, first.execution_id, "before:charge")
    row = await daemon.store.index.fork(second.execution_id)
    assert row is not None
    assert row.source == source.execution_id
    third = await forked(daemon, first.execution_id, "after:charge")
    assert output_of(third) in ({"charged": 7}, output_of(source))


async def test_a_rewind_undoes_and_goes_on(daemon: Daemon, world: str) -> None:
    """The charge is undone and made again by another key; the reservation stays as it is."""
    source = await booked(daemon, world)
    await daemon.branches.rewind(source.execution_id, "before:charge", actor="ann")
    await until(daemon, source.execution_id, lambda state: isinstance(state, Running))
    state = await finished(daemon, source.execution_id)
    assert output_of(state) == output_of(source)
    assert len(done(world, "reserve")) == 1
    assert len(done(world, "undo")) == 1
    first, second = done(world, "charge")
    assert first == f"{source.execution_id}/charge"
    assert second.startswith(f"{source.execution_id}@")
    assert len(done(world, "ship")) == 1, "it was not undone, so it is the same call"
    events = [recorded.event.NAME for recorded in await daemon.history.timeline(source.execution_id)]
    assert events.count("ExecutionCompleted") == 1
    assert events.count("StepStarted") == 1 + 1 + 1 + 1


async def test_the_index_can_be_made_anew(daemon: Daemon, world: str) -> None:
    """From the log alone, with forks and rewinds in it."""
    source = await booked(daemon, world)
    fork = await forked(daemon, source.execution_id, "before:ship")
    await daemon.branches.rewind(source.execution_id, "before:reserve", actor="ann")
    await until(daemon, source.execution_id, lambda state: isinstance(state, Running))
    await finished(daemon, source.execution_id)
    index = daemon.store.index
    before = [await index.execution(each) for each in (source.execution_id, fork.execution_id)]
    row = await index.fork(fork.execution_id)
    await index.rebuild(changes(daemon.store.log, lambda *_: None, {"events": 0, "executions": 0}))
    assert [await index.execution(each) for each in (source.execution_id, fork.execution_id)] == before
    assert await index.fork(fork.execution_id) == row


async def test_a_snapshot_does_not_hide_a_rewind(daemon: Daemon, world: str) -> None:
    """Loaded from a snapshot that was taken before it, the execution is the same."""
    source = await booked(daemon, world)
    await daemon.checkpoints.take(source.execution_id, label="before")
    await daemon.branches.rewind(source.execution_id, "before:charge", actor="ann")
    await until(daemon, source.execution_id, lambda state: isinstance(state, Running))
    state = await finished(daemon, source.execution_id)
    whole = await daemon.history.state_at(source.execution_id, version=state.version)
    assert whole == state


async def test_a_checkpoint_names_a_place(daemon: Daemon, world: str) -> None:
    source = await booked(daemon, world)
    await daemon.checkpoints.take(source.execution_id, label="reserved", version=5)
    past = await daemon.branches.past(source.execution_id, "checkpoint:reserved")
    assert past.cut.version == 5
    with pytest.raises(Rejected, match="reservd"):
        await daemon.branches.past(source.execution_id, "checkpoint:reservd")
