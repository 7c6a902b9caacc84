"""The lines of a file that holds an execution: JSON, one thing each.

A header; then for each execution a line that names it, followed by its events in order. What an event refers to stands
before it, once in the file: definitions, and payloads by their hash. A trailer has the counts of all, and the SHA-256
of every byte before it. States and payloads stand as they are stored, byte by byte. Nothing depends on when or
where it was written: the same execution gives the same file.

Comes from: `exports`, `archive_file`. Goes to: the file.
"""

from __future__ import annotations

from typing import Any, TypeAlias
from uuid import UUID

import msgspec
from msgspec import Raw, Struct

FORMAT = 1
KIND = "sagad execution"


class Header(Struct, frozen=True, tag="header", tag_field="line", forbid_unknown_fields=True):
    """The first line."""

    kind: str
    format: int
    execution: UUID
    """The one that was asked for; others are in the file because it goes on from them, or has started them."""


class Section(Struct, frozen=True, tag="execution", tag_field="line", forbid_unknown_fields=True, omit_defaults=True):
    """What follows, up to the next of these, is of this execution."""

    id: UUID
    forked_at: int | None = None
    """The version that the next execution goes on from, if it is a fork of this one."""


class EventLine(Struct, frozen=True, tag="event", tag_field="line", forbid_unknown_fields=True):
    """One event."""

    version: int
    topic: str
    hash: str
    """See daemon/core/chain."""
    state: Raw


class EventText(Struct, frozen=True, tag="event_text", tag_field="line", forbid_unknown_fields=True):
    """One event whose stored JSON does not fit a line as it is."""

    version: int
    topic: str
    hash: str
    text: str


class PayloadLine(Struct, frozen=True, tag="payload", tag_field="line", forbid_unknown_fields=True):
    """One payload."""

    hash: str
    value: Raw


class PayloadText(Struct, frozen=True, tag="payload_text", tag_field="line", forbid_unknown_fields=True):
    """One payload whose JSON does not fit a line as it is."""

    hash: str
    text: str


class PayloadDeleted(Struct, frozen=True, tag="payload_deleted", tag_field="line", forbid_unknown_fields=True):
    """One payload that retention has deleted."""

    hash: str


class DefinitionLine(Struct, frozen=True, tag="definition", tag_field="line", forbid_unknown_fields=True):
    """One definition; `hash` is the SHA-256 of its document's text."""

    hash: str
    workflow: str
    document: Raw


class Trailer(Struct, frozen=True, tag="trailer", tag_field="line", forbid_unknown_fields=True, kw_only=True):
    """The last line."""

    executions: int
    events: int
    payloads: int
    definitions: int
    sha256: str


AnyEvent: TypeAlias = EventLine | EventText
AnyPayload: TypeAlias = PayloadLine | PayloadText | PayloadDeleted
Line: TypeAlias = (
    Header | Section | EventLine | EventText | PayloadLine | PayloadText | PayloadDeleted | DefinitionLine | Trailer
)


class Counts(Struct):
    """How many of each there are so far."""

    executions: int = 0
    events: int = 0
    payloads: int = 0
    definitions: int = 0

    def count(self, line: Line) -> None:
        """Count one line."""
        match line:
            case Section():
                self.executions += 1
            case EventLine() | EventText():
                self.events += 1
            case PayloadLine() | PayloadText() | PayloadDeleted():
                self.payloads += 1
            case DefinitionLine():
                self.definitions += 1
            case Header() | Trailer():
                pass

    def trailer(self, digest: str) -> Trailer:
        """Return the line that has them."""
        return Trailer(**msgspec.structs.asdict(self), sha256=digest)


decode_line: Any = msgspec.json.Decoder(Line).decode
_encode = msgspec.json.Encoder().encode


def encode_line(line: Line) -> bytes:
    """Return its text, with the end of the line."""
    return _encode(line) + b"\n"


def event_line(version: int, topic: str, digest: bytes, state: bytes) -> AnyEvent:
    """Return the line of an event."""
    if _fits(state):
        return EventLine(version, topic, digest.hex(), Raw(state))
    return EventText(version, topic, digest.hex(), state.decode())


def payload_line(payload_hash: str, data: bytes | None) -> AnyPayload:
    """Return the line of a payload; None is one that was deleted."""
    if data is None:
        return PayloadDeleted(payload_hash)
    return PayloadLine(payload_hash, Raw(data)) if _fits(data) else PayloadText(payload_hash, data.decode())


def state_of(line: AnyEvent) -> bytes:
    """Return the event's state as it is stored."""
    return bytes(line.state) if isinstance(line, EventLine) else line.text.encode()


def value_of(line: AnyPayload) -> bytes | None:
    """Return the payload as it is stored; None for one that was deleted."""
    match line:
        case PayloadLine():
            return bytes(line.value)
        case PayloadText():
            return line.text.encode()
        case PayloadDeleted():
            return None


def _fits(data: bytes) -> bool:
    """Tell whether JSON can stand in a line, and is read from there as it is."""
    return b"\n" not in data and b"\r" not in data and data.strip() == data
