"""AMQP values that the broker takes and our driver does not: one such message must not stop its queue, or the daemon.

pamqp gives the connection up at a timestamp beyond the year 9999 (microseconds, say, where seconds are meant) and at
text that is not UTF-8. What it reads it cannot always send again.

Comes from: `rabbitmq_client`, `rabbitmq_message`.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from pamqp import decode

if TYPE_CHECKING:
    from datetime import datetime

_TIMESTAMP_BYTES = 8
_read_timestamp = decode.timestamp


def read_leniently() -> None:
    """Make pamqp, for this process, read a time that is none as no time, and text that is not UTF-8 as far as it is."""
    decode.METHODS["timestamp"] = decode.TABLE_MAPPING[b"T"] = _timestamp
    decode.METHODS["shortstr"] = _short_text


def sendable(value: Any) -> Any:
    """Return a header's value as pamqp read it in a form in which it can send it."""
    match value:
        case bytes():
            return bytearray(value)
        case float():
            return value if _is_single(value) else repr(value)
        case list():
            return [sendable(each) for each in value]
        case dict():
            return {name: sendable(each) for name, each in value.items()}
    return value


def _timestamp(value: bytes) -> tuple[int, datetime | None]:
    try:
        return _read_timestamp(value)
    except (ValueError, OverflowError, OSError):
        return _TIMESTAMP_BYTES, None


def _short_text(value: bytes) -> tuple[int, str]:
    end = value[0] + 1
    return end, value[1:end].decode(errors="replace")


def _is_single(value: float) -> bool:
    try:
        struct.pack(">f", value)
    except OverflowError:
        return False
    return True
