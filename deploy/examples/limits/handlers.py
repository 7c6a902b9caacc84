"""Handlers of the limits example: a service that takes two files at once."""

from __future__ import annotations

import asyncio

from daemon.handlers import StepFailure, handler

MOST = 2
_open: set[str] = set()


@handler("service.send")
async def send(file: str) -> str:
    """Send a file; the service refuses a third one at the same time."""
    if len(_open) >= MOST:
        raise StepFailure("too much at once", code="busy")
    _open.add(file)
    try:
        await asyncio.sleep(0.02)
    finally:
        _open.discard(file)
    return f"{file} is there"
