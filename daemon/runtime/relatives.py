"""Which executions one was started by, and has started: read from its events, without decoding the others.

Comes from: `expiry`. Goes to: eventstore/archive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import msgspec
from msgspec import Struct

from daemon.core.events import ChildStarted, ExecutionStarted, UndoRequested
from eventstore.errors import Undecodable

if TYPE_CHECKING:
    from eventstore.codec import Codec
    from eventstore.store import Store

PAGE = 1000


class Relatives(NamedTuple):
    """Of one execution."""

    parents: set[UUID]
    """One that is undone for another than its parent has two."""
    children: set[UUID]


class _Named(Struct):
    execution_id: UUID


class _Telling(Struct):
    """What is read of an event, of whatever version: fields are only ever added."""

    parent: _Named | None = None
    child: UUID | None = None


_NAMES = {event.NAME for event in (ChildStarted, ExecutionStarted, UndoRequested)}
_decode = msgspec.json.Decoder(_Telling).decode


async def relatives_of(store: Store, codec: Codec, execution_id: UUID, last_version: int) -> Relatives:
    """Return them. Raises Undecodable for an event that tells of them and cannot be read."""
    found = Relatives(set(), set())
    for version in range(0, last_version, PAGE):
        rows = await store.archive.rows(execution_id, after_version=version, up_to_version=version + PAGE)
        for row in rows:
            if row.topic.partition("/")[0] not in _NAMES:
                continue
            try:
                telling = _decode(codec.unseal(bytes(row.state)))
            except msgspec.MsgspecError as error:
                raise Undecodable(f"{row}: {error}") from error
            if telling.parent is not None:
                found.parents.add(telling.parent.execution_id)
            if telling.child is not None:
                found.children.add(telling.child)
    return found
