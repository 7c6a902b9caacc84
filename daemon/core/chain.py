"""The hash chain of an execution: each event's hash covers what is stored of it, and the hash of the one before.

So the hash of the last event, the *head*, stands for the whole past: whoever has kept it can tell later whether
anything was changed, taken out, put in or swapped. What is hashed is the stored JSON, before compression and
encryption: the head stays the same in another store, and under another key. Payloads are covered by the hashes that
events refer to them by. The past that a fork shares is covered by where its chain begins.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

_DOMAIN = b"sagad chain 1\0"


def beginning(execution_id: UUID, past: bytes = b"") -> bytes:
    """Return what the chain of an execution begins with; `past` is the hash of the event that a fork goes on from."""
    return sha256(_DOMAIN + execution_id.bytes + past).digest()


def link(before: bytes, version: int, topic: str, state: bytes) -> bytes:
    """Return the hash of an event, of which `before` is the hash of the one before."""
    name = topic.encode("utf-8", "surrogatepass")
    return sha256(before + version.to_bytes(8, "big") + len(name).to_bytes(4, "big") + name + state).digest()
