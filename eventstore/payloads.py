"""Payloads: values too large for the log, stored once by hash. The event holds a reference in their place.

A reference is `{"$ref": sha256, "bytes": n, "preview": text}`. Hash and size are those of the value's JSON text, before
compression and encryption. A payload that was deleted leaves its row without bytes, and reads as
`{"$deleted": sha256, "bytes": n, "preview": text}`.

Comes from: `codec`. Goes to: the table `payloads` of each store.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

import msgspec
from msgspec import Raw

from eventstore.errors import Undecodable

if TYPE_CHECKING:
    from collections.abc import Mapping

MARK = b'{"$ref"'
"""How every reference begins. A user's value that begins so is itself moved out, so the two are never confused."""

PREVIEW_CHARS = 80
_UTF8_BYTES_PER_CHAR = 4
REFERENCE = rb'\{"\$ref":"[0-9a-f]{64}","bytes":\d+,"preview":"(?:[^"\\]|\\.)*"\}'
"""What a reference looks like, as a regular expression."""
_REFERENCE = re.compile(REFERENCE.replace(b"[0-9a-f]{64}", b"([0-9a-f]{64})"), re.DOTALL)


class _Reference(msgspec.Struct, frozen=True):
    ref: str = msgspec.field(name="$ref")
    bytes: int
    preview: str


class _Tombstone(msgspec.Struct, frozen=True):
    deleted: str = msgspec.field(name="$deleted")
    bytes: int
    preview: str


class Payloads(Protocol):
    """What retention may do to payloads; writing and reading them is the log's own business."""

    async def delete(self, payload_hash: str) -> bool:
        """Drop the bytes, keep a tombstone; False when there were none. Appending the same value brings them back."""


def refer(value: Raw) -> tuple[str, bytes, Raw]:
    """Return the hash, the bytes to store, and the reference to hold in their place."""
    data = bytes(value)
    payload_hash = sha256(data).hexdigest()
    preview = data[: PREVIEW_CHARS * _UTF8_BYTES_PER_CHAR].decode("utf-8", "ignore")[:PREVIEW_CHARS]
    return payload_hash, data, Raw(msgspec.json.encode(_Reference(payload_hash, len(data), preview)))


def references_in(data: bytes) -> list[str]:
    """Return the hash of everything in this text that looks like a reference: those meant, maybe more."""
    return [found.decode() for found in _REFERENCE.findall(data)] if MARK in data else []


def is_reference(value: bytes) -> bool:
    """Tell whether the JSON text is exactly a reference as `refer` writes it."""
    return _REFERENCE.fullmatch(value) is not None


def put_back(reference: Raw, payloads: Mapping[str, bytes | None]) -> Raw:
    """Return the value a reference stands for, or its tombstone. Raises Undecodable when the store has no such row."""
    ref = msgspec.json.decode(reference, type=_Reference)
    if ref.ref not in payloads:
        raise Undecodable(f"payload {ref.ref} is not in the store")
    data = payloads[ref.ref]
    if data is not None:
        return Raw(data)
    return Raw(msgspec.json.encode(_Tombstone(ref.ref, ref.bytes, ref.preview)))
