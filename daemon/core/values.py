"""JSON values as the core holds them: encoded once, never shared mutable.

A `Json` is the UTF-8 text of one JSON value. It is put into events, snapshots and HTTP answers as it stands; whoever
wants to look inside decodes a copy of his own, so no handler and no expression can change a recorded value.
"""

from __future__ import annotations

from typing import Any

import msgspec

Json = msgspec.Raw

NULL = Json(b"null")

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder().decode


def to_json(value: object) -> Json:
    """Encode a value made of JSON types (and dates, UUIDs, enums, structs, dataclasses, which become their JSON form).

    Equal values give equal text: keys are sorted. Raises TypeError or ValueError for what has no JSON form.
    """
    return value if isinstance(value, Json) else Json(_encode(value))


def from_json(value: Json) -> Any:
    """Decode to new dicts, lists, strings, numbers, booleans and None."""
    return _decode(value)
