"""The daemons of a run: `sagad run` in processes of their own, kept alive as a service manager would.

Comes from: `run`. Goes to: `faults`, `load`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tests.support.process import as_toml, free_port

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from random import Random

ROOT = Path(__file__).parents[3]
FOLDER = Path(__file__).parent
STORE_AWAY = 4
"""Exit code of a daemon that finds no store when it starts: it is started again."""
RESTART_PAUSE_S = 0.3
STOP_S = 40.0
_EXCUSED = ("aiokafka", "aiormq", "uvicorn.error")
"""Loggers of libraries that tell of what has befallen their servers."""


class Member:
    """One daemon, and its settings: it has several lives."""

    def __init__(
        self, name: str, folder: Path, parts: Mapping[str, Mapping[str, Any]], environ: Mapping[str, str]
    ) -> None:
        folder.mkdir()
        self.name = name
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "daemon.log"
        self.busy = asyncio.Lock()
        """Held while a fault of it lasts."""
        self.wanted = False
        """Whether it ought to run."""
        self.skew: str | None = None
        """How the clock of its next life jumps; None is the machine's clock."""
        self.lives = 0
        self.born_s = 0.0
        """When its last life began."""
        self.deaths: Counter[str] = Counter()
        """How its lives ended that nobody ended."""
        self._config = folder / "sagad.toml"
        self._config.write_text(as_toml({**parts, "http": {"port": self.port}}))
        self._environ = environ
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        """Whether its process runs, or is paused."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The id of its process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Begin a life."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("SAGAD_")}
        program = ["-m", "tests.faults.chaos.launch", self.skew or "true"]
        self.wanted = True
        self.lives, self.born_s = self.lives + 1, now_s()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  our own program
                [sys.executable, *program, "run", "--config", str(self._config)],
                cwd=ROOT,
                env={**own, **self._environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal, if it lives."""
        if self.alive and self._process is not None:
            self._process.send_signal(number)

    async def kill(self) -> None:
        """SIGKILL."""
        self.wanted = False
        self.tell(signal.SIGKILL)
        code = await self.ended()
        if code != -signal.SIGKILL:
            self._note_end(code, " before a kill")

    async def stop(self) -> int | None:
        """Stop it in order; return its exit code, None when it had to be killed. Another end is noted."""
        self.wanted = False
        self.tell(signal.SIGTERM)
        try:
            code = await self.ended(STOP_S)
        except subprocess.TimeoutExpired:
            self.deaths["did not stop"] += 1
            self.tell(signal.SIGUSR1)
            await asyncio.sleep(1.0)  # for what it writes
            await self.kill()
            return None
        if code not in (0, -signal.SIGTERM):  # the signal, when it was told before it listened
            self._note_end(code, " at a stop")
        return code

    async def ended(self, patience_s: float | None = None) -> int:
        """Return its exit code when it has ended."""
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait, patience_s)

    def look_after(self) -> None:
        """Start it again when it has ended by itself, and note why."""
        if self.wanted and self._process is not None and not self.alive:
            self._note_end(self._process.returncode)
            self.start()

    def _note_end(self, code: int, when: str = "") -> None:
        """Note an end that nobody meant; that there was no store when it started is no fault of its own."""
        if code != STORE_AWAY:
            self.deaths[f"exit code {code}{when}"] += 1

    def complaints(self) -> Counter[str]:
        """Count what its log says at level error, and whatever is not a log line: that is a crash."""
        found: Counter[str] = Counter()
        if not self.log.exists():
            return found
        for line in self.log.read_text(errors="replace").splitlines():
            try:
                entry = msgspec.json.decode(line)
            except msgspec.DecodeError:
                if line.startswith("Traceback"):
                    found["a traceback"] += 1
                continue
            if entry.get("level") in ("error", "critical") and not str(entry.get("logger")).startswith(_EXCUSED):
                found[str(entry.get("event"))] += 1
        return found


class Fleet:
    """All daemons of a run."""

    def __init__(self, folder: Path, parts: Mapping[str, Mapping[str, Any]], environ: Mapping[str, str]) -> None:
        self._folder = folder
        self._parts = parts
        self._environ = environ
        self.members: list[Member] = []

    def add(self) -> Member:
        """Make another member, not started."""
        name = f"daemon-{len(self.members)}"
        member = Member(name, self._folder / name, self._parts, self._environ)
        self.members.append(member)
        return member

    def alive(self) -> list[Member]:
        """Return those that run."""
        return [member for member in self.members if member.alive]

    def one(self, dice: Random, least_s: float) -> Member | None:
        """Return one that has run for so long and that no fault befalls; None when there is none."""
        grown = now_s() - least_s
        free = [member for member in self.alive() if member.born_s <= grown and not member.busy.locked()]
        return dice.choice(free) if free else None

    async def look_after(self) -> None:
        """Keep them alive until cancelled."""
        while True:
            for member in self.members:
                member.look_after()
            await asyncio.sleep(RESTART_PAUSE_S)

    async def stop(self) -> dict[str, int | None]:
        """Stop all in order; return exit codes by name."""
        running = self.alive()
        codes = await asyncio.gather(*(member.stop() for member in running))
        return {member.name: code for member, code in zip(running, codes, strict=True)}

    def clean_up(self) -> None:
        """Kill what is left."""
        for member in self.members:
            member.wanted = False
            if member.alive:
                member.tell(signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(member.pid, 0)


def total(counters: Iterable[Counter[str]]) -> Counter[str]:
    """Add up."""
    return sum(counters, Counter())


def now_s() -> float:
    """Return the time by which a run is measured."""
    return time.monotonic()
