"""Handlers for daemons in other processes: a test sees and holds them back by files in the folder `GATES`."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from daemon.handlers import Context, handler

LOOK_S = 0.01


class Gates:
    """The test's side: `began("a")` counts the runs that stand or stood at gate `a`; `open("a")` lets all through."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self.environ = {"GATES": str(folder)}

    def began(self, name: str) -> int:
        path = self._folder / f"{name}.began"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def open(self, name: str) -> None:
        (self._folder / f"{name}.open").touch()

    async def reached(self, name: str, times: int = 1) -> bool:
        """Tell whether so many runs have come to the gate."""
        return self.began(name) >= times


@handler("gate")
async def gate(name: str, value: Any = None, *, context: Context) -> Any:
    """Give back what came, once the gate is open."""
    folder = Path(os.environ["GATES"])
    with (folder / f"{name}.began").open("a") as file:
        file.write(f"{context.idempotency_key} {context.attempt} {os.getpid()}\n")
    while not (folder / f"{name}.open").exists():  # noqa: ASYNC110  another process opens it
        await asyncio.sleep(LOOK_S)
    return value


@handler("process")
async def process() -> int:
    """Tell which process this is."""
    return os.getpid()
