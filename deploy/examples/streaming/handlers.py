"""A writer that gives its text word by word, and a reader of rows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator  # noqa: TC003  annotations of handlers are resolved
from typing import Any

from daemon.handlers import Context, handler


def words(chunk: str) -> dict[str, int]:
    """Count what went through, as for tokens: recorded with the step's result, whoever has read it."""
    return {"words": len(chunk.split())}


@handler("writer.write", collect="text", count=words)
async def write(topic: str, lines: int) -> AsyncIterator[str]:
    """Write some lines; each chunk is seen by readers at once."""
    for line in range(1, lines + 1):
        for word in (f"{line}:", "on", topic):
            await asyncio.sleep(0.01)
            yield f"{word} "


@handler("table.read")
def read(rows: int, context: Context) -> int:
    """Stream rows from a thread, which is held back when they come faster than they can be written."""
    for number in range(rows):
        row: dict[str, Any] = {"row": number}
        context.stream(row)
    return rows
