"""A snapshot as a JSON document: written, and read back with the exact place of each mistake. Pure.

Comes from: `checkpoints`. Goes to: daemon/api, daemon/cli.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta, Raw, Struct

from daemon.core.errors import InvalidInput
from daemon.core.snapshot import FORMAT, decode_state
from daemon.core.state import NotStarted

if TYPE_CHECKING:
    from daemon.core.state import State
    from eventstore.snapshots import Snapshot

DOCUMENT = "sagad-snapshot/1"
_PART = re.compile(r"\.([^.\[]+)|\[(\d+)\]|\[(\.\.\.)\]")


class SnapshotDocument(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `sagad snapshot export` writes."""

    format: str
    execution_id: UUID
    workflow: str | None
    definition: str | None
    """Hash of the definition that the execution was pinned to."""
    version: Annotated[int, Meta(ge=1)]
    label: str | None = None
    taken_at: datetime
    state_format: str
    """Of what is in `state`."""
    state: Raw


def document_of(snapshot: Snapshot) -> SnapshotDocument:
    """Return the document of a stored snapshot. Raises InvalidInput when this program cannot read the state."""
    state = read_state(snapshot.format, snapshot.state)
    started = None if isinstance(state, NotStarted) else state
    return SnapshotDocument(
        format=DOCUMENT,
        execution_id=snapshot.execution_id,
        workflow=None if started is None else started.workflow,
        definition=None if started is None else started.definition,
        version=snapshot.version,
        label=snapshot.label,
        taken_at=snapshot.taken_at,
        state_format=snapshot.format,
        state=Raw(snapshot.state),
    )


def read_document(text: bytes) -> tuple[SnapshotDocument, State]:
    """Return a document and its state. Raises InvalidInput that says where what is wrong."""
    try:
        document = msgspec.json.decode(text, type=SnapshotDocument)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidInput(f"not a snapshot: {error}") from None
    if document.format != DOCUMENT:
        raise InvalidInput(f"$.format: {document.format!r} cannot be read; this program knows {DOCUMENT!r}")
    if document.taken_at.tzinfo is None:
        raise InvalidInput("$.taken_at: the time names no zone")
    state = read_state(document.state_format, bytes(document.state))
    if state.version != document.version:
        raise InvalidInput(f"$.state.version: it is {state.version}, and $.version is {document.version}")
    if not isinstance(state, NotStarted):
        for name in ("execution_id", "workflow", "definition"):
            inside, outside = getattr(state, name), getattr(document, name)
            if inside != outside:
                raise InvalidInput(f"$.state.{name}: it is {str(inside)!r}, and $.{name} is {str(outside)!r}")
    return document, state


def read_state(form: str, text: bytes) -> State:
    """Return the state. Raises InvalidInput with the place of the mistake, under `$.state`."""
    if form != FORMAT:
        raise InvalidInput(f"$.state_format: {form!r} cannot be read; this program knows {FORMAT!r}")
    try:
        return decode_state(text)
    except msgspec.MsgspecError:
        raise InvalidInput(_exact(text)) from None


def _exact(text: bytes) -> str:
    """Say what is wrong with a state that cannot be decoded, with the keys of maps for the `[...]` of the library.

    Of each map on the way only the entry stays in which the mistake is, found by halving.
    """
    message = _mistake(text)
    try:
        document = msgspec.json.decode(text)
    except msgspec.MsgspecError:
        return f"$.state: {message}"
    keys: list[str] = []
    while (holder := _holder(document, message, keys)) is not None:
        entries = list(holder.items())
        while len(entries) > 1:
            half = entries[: len(entries) // 2]
            holder.clear()
            holder.update(half)
            found = _mistake(msgspec.json.encode(document))
            if found.partition(" - at ")[2] != message.partition(" - at ")[2]:
                half = entries[len(half) :]
                holder.clear()
                holder.update(half)
            entries = half
        keys.append(entries[0][0])
    problem, _, place = message.partition(" - at ")
    for key in keys:
        place = place.replace("[...]", f"[{msgspec.json.encode(key).decode()}]", 1)
    place = place.strip("`").replace("$", "$.state", 1)
    return f"{place or '$.state'}: {problem}"


def _mistake(text: bytes) -> str:
    try:
        decode_state(text)
    except msgspec.MsgspecError as error:
        return str(error)
    return ""


def _holder(document: Any, message: str, keys: list[str]) -> dict[str, Any] | None:
    """Return the map of which the next `[...]` in the message's place is an entry."""
    value, left = document, list(keys)
    for name, index, entry in _PART.findall(message.partition("`$")[2].rstrip("`")):
        if entry and not left:
            return value if isinstance(value, dict) and value else None
        part: Any = left.pop(0) if entry else int(index) if index else name
        if not isinstance(value, dict | list) or part not in (value if isinstance(value, dict) else range(len(value))):
            return None
        value = value[part]
    return None
