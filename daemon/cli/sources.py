"""Where reading commands read: the store itself, or the daemon. Both give the same views, as plain JSON values.

Comes from: `reading`. Goes to: daemon/runtime/views, or `connection`.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote
from uuid import UUID

from daemon.cli.checking import plain_compiler_of
from daemon.cli.connection import Connection
from daemon.cli.faults import BadUsage, NoAnswer, NotFound
from daemon.cli.stores import is_memory, opened
from daemon.core.events import ExecutionCancelled, ExecutionCompleted, ExecutionFailed
from daemon.core.state import NotStarted, Running
from daemon.runtime.clock import SystemClock
from daemon.runtime.history import History
from daemon.runtime.pinning import listed, pin_view
from daemon.runtime.plans import MissingDefinition, Plans
from daemon.runtime.quotas import note_reads
from daemon.runtime.standings import limits_view, standings
from daemon.runtime.undo import undo_view
from daemon.runtime.versions import versions_view
from daemon.runtime.views import daemons_view, event_view, execution_view, plain, state_view
from daemon.runtime.why import parked, why
from eventstore.errors import StoreError, Undecodable
from eventstore.index import ExecutionFilter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import TypeVar

    from daemon.runtime.definitions import Compiler
    from daemon.settings import Settings, Throttle
    from eventstore.log import Recorded
    from eventstore.store import Store

    T = TypeVar("T")

POLL_S = 0.5
"""How often a followed execution is looked at in the store."""
SEARCHED = 1000
"""So many of the newest executions can be named by the beginning of their id."""

_ENDINGS = (ExecutionCompleted, ExecutionFailed, ExecutionCancelled)


class Source(Protocol):
    """Reads executions. Raises ExecutionNotFound or NotFound for an unknown one."""

    def executions(self, which: ExecutionFilter) -> list[dict[str, Any]]:
        """Return rows, newest first."""

    def execution(self, execution_id: UUID) -> dict[str, Any]:
        """Return an execution with its steps."""

    def events(self, execution_id: UUID, after: int) -> list[dict[str, Any]]:
        """Return its events after this version."""

    def follow(self, execution_id: UUID, after: int) -> Iterator[dict[str, Any]]:
        """Yield its events as they come, until the last."""

    def state(self, execution_id: UUID, *, version: int | None, at: datetime | None) -> dict[str, Any]:
        """Return its state, now or then."""

    def why(self, execution_id: UUID) -> dict[str, Any]:
        """Return what it waits for."""

    def undo(self, execution_id: UUID) -> dict[str, Any]:
        """Return its undo plan and side-effect log."""

    def daemons(self) -> dict[str, Any]:
        """Return the daemons that work on the store."""

    def limits(self, name: str | None) -> dict[str, Any]:
        """Return the limits that executions share, or one with those that hold it and wait for it."""

    def versions(self, workflow: str) -> dict[str, Any]:
        """Return the definitions that the workflow's executions are pinned to."""


@contextmanager
def source_of(settings: Settings, url: str | None) -> Iterator[Source]:
    """Give the store; with a URL, or where the store is in the daemon's memory, the daemon."""
    if url is not None or is_memory(settings):
        with Connection(settings, url) as connection:
            yield DaemonSource(connection)
        return
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        store = runner.run(stack.enter_async_context(opened(settings)))
        store.reads.wanted = any(quota.policy == "evict_lru" for quota in settings.storage.quotas)
        try:
            yield StoreSource(store, runner, plain_compiler_of(settings), settings.throttle)
        finally:
            with suppress(StoreError):
                runner.run(note_reads(store.usage, store.reads, at=datetime.now(UTC)))
            runner.run(stack.aclose())


def find(source: Source, text: str) -> UUID:
    """Return the id that the text is, or is the beginning of, among the newest executions."""
    whole = whole_id(text)
    return whole or begun(text, (row["execution_id"] for row in source.executions(ExecutionFilter(limit=SEARCHED))))


def whole_id(text: str) -> UUID | None:
    """Return the id that the text is; None for what may be the beginning of one. Raises BadUsage for anything else."""
    try:
        return UUID(text)
    except ValueError:
        pass
    if not text or set(text.lower()) - set("0123456789abcdef-"):
        raise BadUsage(f"{text!r} is not an execution's id, nor the beginning of one")
    return None


def begun(text: str, ids: Iterable[str]) -> UUID:
    """Return the only id that begins so. Raises BadUsage or NotFound."""
    found = [each for each in ids if each.startswith(text.lower())]
    if len(found) > 1:
        raise BadUsage(f"{text!r} is the beginning of {len(found)} executions: {', '.join(found[:3])}, …")
    if not found:
        raise NotFound(f"none of the newest {SEARCHED} executions has an id that begins with {text!r}")
    return UUID(found[0])


class StoreSource:
    """Reads the store."""

    def __init__(
        self, store: Store, runner: asyncio.Runner, compiler: Compiler, shared: Mapping[str, Throttle]
    ) -> None:
        self._store = store
        self._shared = shared
        self._compiler = compiler
        self._history = History(store.log, store.snapshots, store.deletions)
        self._run = runner.run

    def executions(self, which: ExecutionFilter) -> list[dict[str, Any]]:
        """Return rows, newest first."""
        rows = self._run(self._store.index.executions(which))
        views: list[dict[str, Any]] = plain(self._run(listed(self._store.pins, rows)))
        return views

    def execution(self, execution_id: UUID) -> dict[str, Any]:
        """Return an execution with its steps."""
        version = self._existing(execution_id, 0)[-1].version
        state = self._run(self._history.load(execution_id, up_to_version=version))
        history = self._run(self._history.timeline(execution_id, up_to_version=version))
        pins = self._run(self._store.pins.of([execution_id]))
        pin = pin_view(pins.get(execution_id))
        view: dict[str, Any] = plain({**execution_view(execution_id, state, history), "pin": pin})
        return view

    def events(self, execution_id: UUID, after: int) -> list[dict[str, Any]]:
        """Return its events after this version."""
        return [plain(event_view(recorded)) for recorded in self._existing(execution_id, after)]

    def follow(self, execution_id: UUID, after: int) -> Iterator[dict[str, Any]]:
        """Yield its events as they come: the store is asked again and again."""
        while True:
            row = self._run(self._store.index.execution(execution_id))
            page = self._existing(execution_id, after)
            for recorded in page:
                after = recorded.version
                yield plain(event_view(recorded))
            if page and isinstance(page[-1].event, _ENDINGS):
                return
            if not page and row is not None and row.finished_at is not None:
                return
            self._run(asyncio.sleep(POLL_S))

    def state(self, execution_id: UUID, *, version: int | None, at: datetime | None) -> dict[str, Any]:
        """Return its state, now or then."""
        state = self._run(self._history.state_at(execution_id, version=version, at=at))
        view: dict[str, Any] = plain(state_view(execution_id, state))
        return view

    def why(self, execution_id: UUID) -> dict[str, Any]:
        """Return what it waits for."""
        plans = Plans(self._store.definitions, self._compiler.compile_stored, SystemClock())
        try:
            state = self._run(self._history.existing(execution_id))
            plan = self._run(plans.pinned(state.definition)) if isinstance(state, Running) else None
        except (Undecodable, MissingDefinition) as error:
            parked_view: dict[str, Any] = plain(parked(execution_id, error))
            return parked_view
        holder = self._run(self._store.leases.holder(execution_id))
        name = None if holder is None else holder.name
        waits = self._run(standings(self._store.slots, execution_id, state))
        view: dict[str, Any] = plain(why(state, plan, datetime.now(UTC), holder=name, standings=waits))
        return view

    def undo(self, execution_id: UUID) -> dict[str, Any]:
        """Return its undo plan and side-effect log."""
        history = self._existing(execution_id, 0)
        state = self._run(self._history.load(execution_id, up_to_version=history[-1].version))
        plan = None
        if not isinstance(state, NotStarted):
            plans = Plans(self._store.definitions, self._compiler.compile_stored, SystemClock())
            with suppress(MissingDefinition):  # it only adds which nodes have no side effects
                plan = self._run(plans.pinned(state.definition))
        view: dict[str, Any] = plain(undo_view(execution_id, state, history, plan))
        return view

    def daemons(self) -> dict[str, Any]:
        """Return the daemons that work on the store."""
        leases = self._store.leases
        view: dict[str, Any] = plain(daemons_view(self._run(leases.members()), self._run(leases.counts())))
        return view

    def limits(self, name: str | None) -> dict[str, Any]:
        """Return the limits that executions share."""
        view: dict[str, Any] = plain(self._run(limits_view(self._store.slots, self._shared, limit=name)))
        return view

    def versions(self, workflow: str) -> dict[str, Any]:
        """Return the definitions of the workflow; which one is current only a daemon knows."""
        view: dict[str, Any] = plain(self._run(versions_view(self._store.index, self._store.definitions, workflow)))
        return view

    def _existing(self, execution_id: UUID, after: int) -> Sequence[Recorded]:
        found = self._run(self._history.events(execution_id, after_version=after))
        if not found and self._run(self._store.index.execution(execution_id)) is None:
            raise self._run(self._history.missing(execution_id))
        return found


class DaemonSource:
    """Asks the daemon."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def executions(self, which: ExecutionFilter) -> list[dict[str, Any]]:
        """Return rows, newest first, page by page."""
        rows: list[dict[str, Any]] = []
        cursor: str | None = None
        while len(rows) < which.limit:
            answer = self._connection.get(
                "/executions",
                workflow=which.workflow,
                status=which.status,
                trigger=which.trigger,
                since=which.since.isoformat() if which.since else None,
                until=which.until.isoformat() if which.until else None,
                limit=min(1000, which.limit - len(rows)),
                cursor=cursor,
            )
            rows += answer["executions"]
            cursor = answer["next"]
            if cursor is None:
                break
        return rows

    def execution(self, execution_id: UUID) -> dict[str, Any]:
        """Return an execution with its steps."""
        view: dict[str, Any] = self._connection.get(f"/executions/{execution_id}")
        return view

    def events(self, execution_id: UUID, after: int) -> list[dict[str, Any]]:
        """Return its events after this version."""
        found: list[dict[str, Any]] = []
        while page := self._connection.get(f"/executions/{execution_id}/events", after=after, limit=10_000)["events"]:
            found += page
            after = page[-1]["version"]
        return found

    def follow(self, execution_id: UUID, after: int) -> Iterator[dict[str, Any]]:
        """Yield its events as they come; a connection that is cut is taken up where it was."""
        path, ended = f"/executions/{execution_id}/events", False
        while not ended:
            try:
                for line in self._connection.lines(path, "application/x-ndjson", after=after):
                    if line.strip():
                        view = json.loads(line)
                        after, ended = view["version"], view["type"] in _ENDING_NAMES
                        yield view
            except NoAnswer:
                ended = False  # cut off: when nobody answers any more, the next line tells
            ended = ended or self._finished(execution_id, after)

    def state(self, execution_id: UUID, *, version: int | None, at: datetime | None) -> dict[str, Any]:
        """Return its state, now or then."""
        moment = at.isoformat() if at is not None else None
        view: dict[str, Any] = self._connection.get(f"/executions/{execution_id}/state", version=version, at=moment)
        return view

    def why(self, execution_id: UUID) -> dict[str, Any]:
        """Return what it waits for."""
        view: dict[str, Any] = self._connection.get(f"/executions/{execution_id}/why")
        return view

    def undo(self, execution_id: UUID) -> dict[str, Any]:
        """Return its undo plan and side-effect log."""
        view: dict[str, Any] = self._connection.get(f"/executions/{execution_id}/undo")
        return view

    def daemons(self) -> dict[str, Any]:
        """Return the daemons that work on the store."""
        view: dict[str, Any] = self._connection.get("/daemons")
        return view

    def limits(self, name: str | None) -> dict[str, Any]:
        """Return the limits that executions share."""
        view: dict[str, Any] = self._connection.get("/limits" if name is None else f"/limits/{quote(name)}")
        return view

    def versions(self, workflow: str) -> dict[str, Any]:
        """Return the definitions of the workflow."""
        view: dict[str, Any] = self._connection.get(f"/workflows/{quote(workflow, safe='')}/versions")
        return view

    def _finished(self, execution_id: UUID, after: int) -> bool:
        page = self._connection.get(f"/executions/{execution_id}/events", after=after, limit=1)
        return bool(page["finished"]) and not page["events"]


_ENDING_NAMES = {event.NAME for event in _ENDINGS}
