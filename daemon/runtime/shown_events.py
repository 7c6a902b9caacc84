"""Events read back from what the API shows of them. Pure.

Comes from: daemon/debugger/remote. Goes to: eventstore/codec.
"""

from __future__ import annotations

from uuid import UUID

import msgspec
from msgspec import Struct

from daemon.core.events import EVENT_TYPES, UPCASTERS, Event
from eventstore.codec import Codec, Stored

_CODEC = Codec(EVENT_TYPES, UPCASTERS)
_TOPICS = {kind.NAME: f"{kind.NAME}/{kind.VERSION}" for kind in EVENT_TYPES}
_NOBODY = UUID(int=0)


class _Shown(Struct):
    version: int
    position: int
    type: str
    at: msgspec.Raw
    data: dict[str, msgspec.Raw]


class _Page(Struct):
    events: list[_Shown]


def shown_events(text: bytes) -> list[Event]:
    """Return the events of an answer to `GET /executions/{id}/events`. Raises `Undecodable` for those of another."""
    return [_event(each) for each in msgspec.json.decode(text, type=_Page).events]


def _event(shown: _Shown) -> Event:
    topic = _TOPICS.get(shown.type, f"{shown.type}/1")
    row = Stored(_NOBODY, shown.version, shown.position, topic, b"")
    found: Event = _CODEC.decode(row, msgspec.json.encode({**shown.data, "at": shown.at}), {})
    return found
