"""Handlers that write a line for each run, and hold on while a file is there."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from daemon.handlers import Context, handler

FOLDER = Path(os.environ.get("JOURNAL_FOLDER", "."))


@handler("journal.work")
async def work(name: str, *, context: Context) -> str:
    """Note the run, wait while `hold-NAME` is there, give the name back."""
    with (FOLDER / "journal").open("a") as journal:
        journal.write(f"{name} {context.idempotency_key} {context.attempt} {os.getpid()}\n")
    try:
        while (FOLDER / f"hold-{name}").exists():  # noqa: ASYNC110  another process has no event
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        (FOLDER / f"cancelled-{name}").touch()
        raise
    return name


@handler("journal.quick")
def quick(n: int) -> int:
    """Return at once."""
    return n + 1
