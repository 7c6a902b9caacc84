"""Payloads made smaller after they were written: zlib, under the encryption of the store, if it has one.

What was packed says so by how it begins, and no payload begins so by itself: it is JSON. Its hash is still that of the
value. Values of a subject are ciphertext already, so little is gained there.

Comes from: `codec`, daemon/runtime/room.
"""

from __future__ import annotations

import zlib

from eventstore.errors import Undecodable

_MARK = b"\x00sagad-z"


def packed(data: bytes) -> bytes:
    """Return the payload packed."""
    return _MARK + zlib.compress(data)


def unpacked(data: bytes) -> bytes:
    """Undo `packed`; what was not packed is as it is. Raises Undecodable when it is damaged."""
    if not data.startswith(_MARK):
        return data
    try:
        return zlib.decompress(data[len(_MARK) :])
    except zlib.error as error:
        raise Undecodable(f"cannot unpack: {error}") from error
