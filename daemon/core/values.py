"""JSON values as the core holds them: encoded once, never shared mutable.

A `Json` is the UTF-8 text of one JSON value. It is put into events, snapshots and HTTP answers as it stands; whoever
wants to look inside decodes a copy of his own, so no handler and no expression can change a recorded value.
"""

from __future__ import annotations

from typing import Any

import msgspec

Json = msgspec.Raw

NULL = Json(b"null")

_GONE = (b'{"$forgotten":', b'{"$deleted":')
_LONGEST_MARK = 14

MAX_NESTING = 128
"""Levels of lists and maps in each other in what comes from outside. Far below what a reader of it can take."""

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder().decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


def to_json(value: object) -> Json:
    """Encode a value made of JSON types (and dates, UUIDs, enums, structs, dataclasses, which become their JSON form).

    Equal values give equal text: keys are sorted. Raises TypeError or ValueError for what has no JSON form.
    """
    return value if isinstance(value, Json) else Json(_encode(value))


def bounded_json(value: object) -> Json:
    """Encode a value that comes from outside; see `to_json`. ValueError too when it is nested too deeply."""
    try:
        text = bytes(value) if isinstance(value, Json) else _encode(value)
        if text.count(b"[") + text.count(b"{") <= MAX_NESTING or _levels(_decode(text)) <= MAX_NESTING:
            return Json(text)
    except RecursionError:
        pass
    raise ValueError(f"lists and maps are nested more than {MAX_NESTING} levels deep")


def _levels(value: Any) -> int:
    """Count levels, one more than `MAX_NESTING` at most."""
    level = [value]
    for depth in range(MAX_NESTING + 1):
        inside = (each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list))
        level = [item for items in inside for item in items]
        if not level:
            return depth
    return MAX_NESTING + 1


def is_gone(value: Json) -> bool:
    """Tell whether this stands for a value that was forgotten, or deleted, with its subject or by itself."""
    return bytes(memoryview(value)[:_LONGEST_MARK]).startswith(_GONE)


def size_of(value: Json) -> int:
    """Return the bytes of the value's text."""
    return memoryview(value).nbytes


def from_json(value: Json) -> Any:
    """Decode to new dicts, lists, strings, numbers, booleans and None."""
    return _decode(value)


def from_json_list(value: Json) -> list[Json]:
    """Return the items of a list, each still encoded; raise `msgspec.ValidationError` for any other value."""
    return _decode_list(value)
