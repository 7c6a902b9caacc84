"""Where commands about the past read and write: the store itself, or the daemon. Both give the same views.

Comes from: `comparing`, `asking`, `snapshots`. Goes to: daemon/runtime, or `connection`.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from daemon.api.executions import cursor_of, read_cursor
from daemon.cli.checking import plain_compiler_of
from daemon.cli.connection import Connection
from daemon.cli.sources import DaemonSource, StoreSource
from daemon.cli.stores import is_memory, opened
from daemon.runtime.as_of import AsOf, question
from daemon.runtime.checkpoints import Checkpoints
from daemon.runtime.clock import SystemClock
from daemon.runtime.comparing import compared, patch_of
from daemon.runtime.history import History
from daemon.runtime.moments import side_at
from daemon.runtime.plans import Plans
from daemon.runtime.snapshot_taking import SnapshotTaker
from daemon.runtime.views import plain
from eventstore.index import ExecutionFilter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from uuid import UUID

    from daemon.cli.sources import Source
    from daemon.runtime.moments import Moment
    from daemon.settings import Settings
    from eventstore.store import Store

LONG_S = 600.0
"""How much longer than usual an answer may take for which all events of an execution are read."""
LOOKED_AT_ONCE = 200


class Past(Protocol):
    """Looks at the past of executions, and keeps their snapshots. Raises as `Source` does, and Rejected or Failed."""

    source: Source

    def diff(self, before: tuple[UUID, Moment], after: tuple[UUID, Moment], *, patch: bool) -> Any:
        """Return what differs, as data or as a JSON Patch."""

    def as_of(self, asked: AsOfQuestion, cursor: str | None) -> dict[str, Any]:
        """Return a page of the executions that matched at a time."""

    def checkpoints(self, execution_id: UUID) -> list[dict[str, Any]]:
        """Return the versions that have a name."""

    def snapshots(self, execution_id: UUID) -> dict[str, Any]:
        """Return what is stored, with sizes."""

    def mark(self, execution_id: UUID, name: str, moment: Moment) -> dict[str, Any]:
        """Give a version a name, and store its snapshot."""

    def clear(self, execution_id: UUID, version: int | None) -> int:
        """Delete snapshots; return how many."""

    def validate(self, execution_id: UUID) -> list[dict[str, Any]]:
        """Check each snapshot."""

    def export(self, execution_id: UUID, version: int | None) -> dict[str, Any]:
        """Return a snapshot as a document."""

    def take_in(self, document: bytes, execution_id: UUID) -> dict[str, Any]:
        """Store the snapshot of a document."""


class AsOfQuestion(NamedTuple):
    """What `sagad as-of` was asked."""

    at: datetime
    workflow: str | None
    status: str | None
    trigger: str | None
    since: datetime | None
    where: str | None
    show: Sequence[str]


@contextmanager
def past_of(settings: Settings, url: str | None) -> Iterator[Past]:
    """Give the store; with a URL, or where the store is in the daemon's memory, the daemon."""
    if url is not None or is_memory(settings):
        with Connection(settings, url) as connection:
            yield DaemonPast(connection)
        return
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        store = runner.run(stack.enter_async_context(opened(settings)))
        try:
            yield StorePast(store, runner, settings)
        finally:
            runner.run(stack.aclose())


class StorePast:
    """Works on the store."""

    def __init__(self, store: Store, runner: asyncio.Runner, settings: Settings) -> None:
        compiler, clock = plain_compiler_of(settings), SystemClock()
        self.source: Source = StoreSource(store, runner, compiler, settings.throttle)
        self._store = store
        self._run = runner.run
        self._history = History(store.log, store.snapshots, store.deletions)
        self._plans = Plans(store.definitions, compiler.compile_stored, clock)
        taker = SnapshotTaker(store.snapshots, self._history, clock, settings.snapshots, spawn=asyncio.ensure_future)
        self._checkpoints = Checkpoints(store.log, store.snapshots, self._history, self._plans, taker)

    def diff(self, before: tuple[UUID, Moment], after: tuple[UUID, Moment], *, patch: bool) -> Any:
        """Return what differs."""
        sides = [
            self._run(side_at(self._history, self._checkpoints, *side, events=not patch)) for side in (before, after)
        ]
        return plain(patch_of(*sides) if patch else compared(*sides))

    def as_of(self, asked: AsOfQuestion, cursor: str | None) -> dict[str, Any]:
        """Return a page of the executions that matched at a time."""
        which = ExecutionFilter(
            workflow=asked.workflow,
            trigger=asked.trigger,
            since=asked.since,
            limit=LOOKED_AT_ONCE,
            after=read_cursor(cursor) if cursor else None,
        )
        read = question(asked.at, asked.status, asked.where, asked.show)
        page = self._run(AsOf(self._store.index, self._history, self._plans).page(read, which))
        last = page.last
        return {
            "executions": plain(page.found),
            "looked_at": page.looked_at,
            "unclear": page.unclear,
            "why_unclear": page.why_unclear,
            "next": None if last is None else cursor_of(last.started_at, last.execution_id),
        }

    def checkpoints(self, execution_id: UUID) -> list[dict[str, Any]]:
        """Return the versions that have a name."""
        return [each._asdict() for each in self._run(self._checkpoints.named(execution_id))]

    def snapshots(self, execution_id: UUID) -> dict[str, Any]:
        """Return what is stored, with sizes."""
        view: dict[str, Any] = plain(self._run(self._checkpoints.stored(execution_id)))
        return view

    def mark(self, execution_id: UUID, name: str, moment: Moment) -> dict[str, Any]:
        """Give a version a name, and store its snapshot."""
        made = self._checkpoints.take(execution_id, label=name, version=moment.version, at=moment.at)
        return self._run(made)._asdict()

    def clear(self, execution_id: UUID, version: int | None) -> int:
        """Delete snapshots; return how many."""
        return self._run(self._checkpoints.clear(execution_id, version=version))

    def validate(self, execution_id: UUID) -> list[dict[str, Any]]:
        """Check each snapshot."""
        return list(self._run(self._checkpoints.validate(execution_id)))

    def export(self, execution_id: UUID, version: int | None) -> dict[str, Any]:
        """Return a snapshot as a document."""
        view: dict[str, Any] = plain(self._run(self._checkpoints.export(execution_id, version)))
        return view

    def take_in(self, document: bytes, execution_id: UUID) -> dict[str, Any]:
        """Store the snapshot of a document."""
        return self._run(self._checkpoints.take_in(document, execution_id))._asdict()


class DaemonPast:
    """Asks the daemon."""

    def __init__(self, connection: Connection) -> None:
        self.source: Source = DaemonSource(connection)
        self._connection = connection

    def diff(self, before: tuple[UUID, Moment], after: tuple[UUID, Moment], *, patch: bool) -> Any:
        """Return what differs."""
        (one, was), (other, is_then) = before, after
        return self._connection.get(
            f"/executions/{one}/diff",
            wait_s=LONG_S,
            version=was.version,
            at=_text(was.at),
            checkpoint=was.checkpoint,
            other=str(other),
            to_version=is_then.version,
            to_at=_text(is_then.at),
            to_checkpoint=is_then.checkpoint,
            patch=patch or None,
        )

    def as_of(self, asked: AsOfQuestion, cursor: str | None) -> dict[str, Any]:
        """Return a page of the executions that matched at a time."""
        view: dict[str, Any] = self._connection.get(
            "/as-of",
            wait_s=LONG_S,
            at=_text(asked.at),
            workflow=asked.workflow,
            status=asked.status,
            trigger=asked.trigger,
            since=_text(asked.since),
            where=asked.where,
            show=list(asked.show) or None,
            limit=LOOKED_AT_ONCE,
            cursor=cursor,
        )
        return view

    def checkpoints(self, execution_id: UUID) -> list[dict[str, Any]]:
        """Return the versions that have a name."""
        found: list[dict[str, Any]] = self._connection.get(f"/executions/{execution_id}/checkpoints")["checkpoints"]
        return found

    def snapshots(self, execution_id: UUID) -> dict[str, Any]:
        """Return what is stored, with sizes."""
        view: dict[str, Any] = self._connection.get(f"/executions/{execution_id}/snapshots")
        return view

    def mark(self, execution_id: UUID, name: str, moment: Moment) -> dict[str, Any]:
        """Give a version a name, and store its snapshot."""
        path = f"/executions/{execution_id}/checkpoints"
        when: dict[str, Any] = {"version": moment.version, "at": _text(moment.at)}
        view: dict[str, Any] = self._connection.post(path, {"name": name}, wait_s=LONG_S, **when)
        return view

    def clear(self, execution_id: UUID, version: int | None) -> int:
        """Delete snapshots; return how many."""
        cleared: int = self._connection.delete(f"/executions/{execution_id}/snapshots", version=version)["cleared"]
        return cleared

    def validate(self, execution_id: UUID) -> list[dict[str, Any]]:
        """Check each snapshot."""
        path = f"/executions/{execution_id}/snapshots/validation"
        found: list[dict[str, Any]] = self._connection.get(path, wait_s=LONG_S)["snapshots"]
        return found

    def export(self, execution_id: UUID, version: int | None) -> dict[str, Any]:
        """Return a snapshot as a document."""
        path = f"/executions/{execution_id}/snapshots/document"
        view: dict[str, Any] = self._connection.get(path, wait_s=LONG_S, version=version)
        return view

    def take_in(self, document: bytes, execution_id: UUID) -> dict[str, Any]:
        """Store the snapshot of a document."""
        headers = {"Content-Type": "application/json"}
        path = f"/executions/{execution_id}/snapshots"
        view: dict[str, Any] = self._connection.post_raw(path, document, headers)
        return view


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
