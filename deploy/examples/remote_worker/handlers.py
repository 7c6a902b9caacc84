"""Handlers of the worker example: the daemon and the workers load the same file."""

from __future__ import annotations

import asyncio

from daemon.handlers import Context, handler

FRAMES_A_SECOND = 25


@handler("film.encode")
async def encode(file: str, seconds: int, *, context: Context) -> dict[str, object]:
    """Encode frame by frame; progress is shown by `sagad show`, and a cancelled execution ends it here too."""
    frames = seconds * FRAMES_A_SECOND
    for frame in range(frames):
        await asyncio.sleep(0)
        context.progress({"frames": frame + 1, "of": frames})
    return {"file": file.replace(".mov", ".mp4"), "frames": frames}


@handler("film.title")
async def title(encoded: dict[str, object]) -> str:
    """Say what there is."""
    return f"{encoded['file']}, {encoded['frames']} frames"
