"""Messages of the Debug Adapter Protocol on a stream: a header that gives the length, then JSON.

Comes from: `adapter`. Goes to: an editor.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

MAX_BYTES = 16 * 2**20
"""Of one message."""
_LENGTH = b"content-length:"


class BadMessage(Exception):
    """What came is no message of the protocol; the connection is of no use any more."""


async def read_message(reader: StreamReader) -> dict[str, Any] | None:
    """Return the next message; None when the other side has closed. Raises BadMessage."""
    length = None
    try:
        while line := (await reader.readline()).strip():
            if line.lower().startswith(_LENGTH):
                length = int(line[len(_LENGTH) :])
        if length is None:
            if reader.at_eof():
                return None
            raise BadMessage("the header has no Content-Length")
        if not 0 <= length <= MAX_BYTES:
            raise BadMessage(f"a message of {length} bytes; at most {MAX_BYTES} are read")
        message = msgspec.json.decode(await reader.readexactly(length))
    except asyncio.IncompleteReadError:
        return None
    except (ValueError, msgspec.MsgspecError) as error:
        raise BadMessage(str(error)) from error
    if not isinstance(message, dict):
        raise BadMessage("the message is no object")
    return message


def write_message(writer: StreamWriter, message: dict[str, Any]) -> None:
    """Send a message."""
    text = msgspec.json.encode(message)
    writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(text), text))


async def standard_streams() -> tuple[StreamReader, StreamWriter]:
    """Return this process's standard input and output as streams; what else is printed goes to the standard error."""
    loop = asyncio.get_running_loop()
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, out)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
