"""Moments page by page: the same as all at once, and only what is asked for is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from daemon.core.errors import ExecutionNotFound, Rejected, UnknownName
from daemon.core.events import ExecutionStarted, SignalReceived, StepStarted
from daemon.core.values import from_json, to_json
from daemon.debugger import paging
from daemon.debugger.looking import evaluate, said
from daemon.debugger.paging import Pages
from daemon.debugger.recording import recording
from daemon.debugger.session import Session
from daemon.main import open_daemon
from daemon.runtime.branches import ForkWish
from daemon.settings import load_settings
from eventstore.errors import Undecodable
from eventstore.log import Append
from tests.core.spec import minute
from tests.support.daemons import finished

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from daemon.assembled import Daemon
    from daemon.runtime.history import History
    from eventstore.log import Recorded
    from tests.debugger.conftest import Played


class Counting:
    """A history that counts the events it was asked for, and may tell others than it has."""

    def __init__(self, history: History) -> None:
        self._history = history
        self.read = 0
        self.forgotten = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._history, name)

    async def events(self, execution_id: UUID, **which: Any) -> Sequence[Recorded]:
        found = await self._history.events(execution_id, **which)
        self.read += len(found)
        if self.forgotten:
            return [
                replace(each, event=replace(each.event, input=to_json("gone")))
                if isinstance(each.event, ExecutionStarted)
                else each
                for each in found
            ]
        return found


@pytest.fixture
async def daemon(played: Played, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Daemon]:
    """Run a daemon where a page is three events long."""
    monkeypatch.setattr(paging, "EVERY", 3)
    async with open_daemon(load_settings(played.folder / "sagad.toml", {}), environ={}) as daemon:
        await daemon.start()
        yield daemon


async def carried_out(daemon: Daemon, items: int = 3) -> UUID:
    given = {"items": ["a"] * items, "amount": 30}
    execution_id, _ = await daemon.intake.start("order", given, actor="test")
    await finished(daemon, execution_id)
    return execution_id


async def same_as_at_once(daemon: Daemon, execution_id: UUID) -> None:
    """Check every page, and every moment by itself."""
    session = Session(await recording(daemon.history, daemon.plans, execution_id))
    expected = session.moments
    pages = Pages(daemon.history, daemon.plans)
    for first in range(1, len(expected) + 2):
        assert await pages.page(execution_id, first, 4) == (expected[first - 1 : first + 3], len(expected))
    for number, moment in enumerate(expected, 1):
        seen = await pages.one(execution_id, number)
        assert (seen.number, seen.moment) == (number, moment)
    assert (await pages.one(execution_id)).number == len(expected)


async def test_pages_are_the_same_as_all_at_once(daemon: Daemon) -> None:
    await same_as_at_once(daemon, await carried_out(daemon))


async def test_of_a_fork_of_a_fork_the_sources_come_before(daemon: Daemon) -> None:
    source = await carried_out(daemon)
    for _ in range(2):
        source, _ = await daemon.branches.fork(source, ForkWish(where="before:charge", actor="ann"))
        await finished(daemon, source)
    await same_as_at_once(daemon, source)


async def test_what_a_rewind_has_left_behind_is_there_too(daemon: Daemon) -> None:
    source = await carried_out(daemon)
    for _ in range(2):
        await daemon.branches.rewind(source, "before:charge", actor="ann")
        await finished(daemon, source)
    await same_as_at_once(daemon, source)


async def test_a_further_look_reads_a_page_only(daemon: Daemon) -> None:
    """However long the execution is; and what was recorded since is read once."""
    short, long = await carried_out(daemon, 3), await carried_out(daemon, 30)
    history = Counting(daemon.history)
    pages = Pages(history, daemon.plans)  # type: ignore[arg-type]  # it is one for all that is asked of it here
    costs = []
    for execution_id in (short, long):
        _, count = await pages.page(execution_id, 1, 1)
        history.read = 0
        await pages.page(execution_id, count // 2, 2)
        costs.append(history.read)
    assert max(costs) <= 1 + 3 * 4
    await daemon.branches.rewind(long, "before:charge", actor="ann")
    await finished(daemon, long)
    history.read = 0
    assert said((await pages.one(long)).moment) == "order completes"
    assert history.read < 30


async def test_what_the_log_says_no_more_is_not_kept(daemon: Daemon) -> None:
    execution_id = await carried_out(daemon)
    history = Counting(daemon.history)
    pages = Pages(history, daemon.plans)  # type: ignore[arg-type]  # it is one for all that is asked of it here
    assert from_json((await pages.one(execution_id)).moment.context.input)["amount"] == 30
    history.forgotten = True
    assert from_json((await pages.one(execution_id)).moment.context.input) == "gone"


async def test_marks_are_kept_of_a_few_executions(daemon: Daemon) -> None:
    history = Counting(daemon.history)
    pages = Pages(history, daemon.plans)  # type: ignore[arg-type]  # it is one for all that is asked of it here
    ids = [await carried_out(daemon, 1) for _ in range(paging.KEPT + 1)]
    for execution_id in (*ids, ids[-1]):
        history.read = 0
        await pages.one(execution_id)
    again = history.read
    history.read = 0
    await pages.one(ids[0])
    assert history.read > again


async def test_outputs_that_have_left_the_state_come_from_the_log(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large ones that nobody can read any more, also those of a fork's source."""
    monkeypatch.setattr(paging, "EVERY", 3)
    flow = (
        "workflow: large\nnodes:\n  pack: {task: pack, with: {item: '{{ input }}'}}\n"
        "  size: {transform: '{{ pack | length }}'}\n  end: {task: pack, with: {item: x}}\n"
        "edges: [pack -> size -> end]\n"
    )
    (played.folder / "flow.yaml").write_text(flow)
    async with open_daemon(load_settings(played.folder / "sagad.toml", {}), environ={}) as other:
        await other.start()
        source, _ = await other.intake.start("large", "a" * 100_000, actor="test")
        await finished(other, source)
        fork, _ = await other.branches.fork(source, ForkWish(where="before:end", actor="ann"))
        await finished(other, fork)
        pages = Pages(other.history, other.plans)
        for execution_id in (source, fork):
            seen = await pages.one(execution_id)
            assert evaluate("pack | length", seen.moment, seen.outputs) == 100_000


async def test_what_is_not_there_says_so(daemon: Daemon) -> None:
    pages = Pages(daemon.history, daemon.plans)
    execution_id = await carried_out(daemon, 1)
    with pytest.raises(UnknownName, match="there is no moment 99; the execution has"):
        await pages.one(execution_id, 99)
    with pytest.raises(ExecutionNotFound):
        await pages.page(uuid4(), 1, 10)
    waiting = uuid4()
    event = SignalReceived(signal_id="s", name="go", data=to_json(1), actor="t", at=minute(0))
    await daemon.store.log.insert([Append(waiting, 0, (event,))])
    with pytest.raises(Rejected, match="has not started"):
        await pages.one(waiting)
    damaged = StepStarted(address="pack", attempt=2, at=minute(0))
    await daemon.store.log.insert([Append(waiting, 1, (damaged,))])
    with pytest.raises(Undecodable, match="do not fit together"):
        await pages.one(waiting)
