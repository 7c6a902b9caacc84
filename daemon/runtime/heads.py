"""Heads of hash chains as text, to be kept outside of the store, signed where there is a key.

`ID:VERSION:HASH` or `ID:VERSION:HASH:SIGNATURE`; the signature is an HMAC-SHA-256 over what stands before it.

Comes from: daemon/cli/verifying. Goes to: `verification`.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct

from daemon.core.errors import Rejected

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEX_CHARS = 64


class Head(Struct, frozen=True):
    """The hash of one event, which stands for all up to it."""

    execution_id: UUID
    version: int
    hash: bytes

    def __str__(self) -> str:
        return f"{self.execution_id}:{self.version}:{self.hash.hex()}"


def signed(head: Head, keys: Sequence[str]) -> str:
    """Return the head as text, signed with the first key, if there is one."""
    return f"{head}:{_signature(head, keys[0])}" if keys else str(head)


def parse_head(text: str, keys: Sequence[str]) -> Head:
    """Return the head again. Where there are keys, it must be signed with one of them.

    Raises Rejected for a text that is no head, and for a signature that is missing, wrong, or cannot be checked.
    """
    execution_id, version, found, signature = (*text.strip().split(":"), "", "", "", "")[:4]
    try:
        head = Head(UUID(execution_id), int(version), bytes.fromhex(found))
    except ValueError:
        head = None
    whole = f"{head}:{signature}" if signature else f"{head}"
    if head is None or len(found) != _HEX_CHARS or head.version < 1 or text.strip() != whole:
        raise Rejected(f"{text.strip()[:200]!r} is no head: it is ID:VERSION:HASH, as `sagad verify --head` prints it")
    if signature and not keys:
        raise Rejected("the head is signed, and there is no key to check it with: see head_keys in [archive]")
    if keys and not signature:
        raise Rejected("the head is not signed, and could be anybody's: there are head_keys in [archive]")
    if keys and not any(hmac.compare_digest(_signature(head, key).encode(), signature.encode()) for key in keys):
        raise Rejected("the head's signature is not of any key in [archive] head_keys")
    return head


def _signature(head: Head, key: str) -> str:
    return hmac.new(key.encode(), f"sagad head {head}".encode(), sha256).hexdigest()
