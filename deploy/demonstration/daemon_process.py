"""The daemon as an own process: `sagad run`, the real thing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from deploy.demonstration.stage import Stage

READY_S = 30.0
POLL_S = 0.05


class DaemonFailed(Exception):
    """It ended, or did not become ready; the message has the last of what it said."""


class DaemonProcess:
    """One daemon, from `launch` to `kill` or `stop`; then it may be launched again."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted = False
        self.pid = 0

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def launch(self) -> None:
        """Start it."""
        self._wanted = True
        with self._stage.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "daemon.cli", "run", "--config", str(self._stage.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self._stage.environ),
                start_new_session=True,
            )
        self.pid = self._process.pid

    async def ready(self) -> None:
        """Return when all its connections are up. Raises DaemonFailed."""
        try:
            async with asyncio.timeout(READY_S), httpx.AsyncClient(trust_env=False) as client:
                while not await self._ready(client):  # noqa: ASYNC110  another process
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise DaemonFailed(f"the daemon is not ready after {READY_S:g} s:\n{self._last_words()}") from None

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL, nothing can be tidied up."""
        self._wanted = False
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def stop(self) -> int:
        """Tell it to stop by SIGTERM; return its exit code."""
        self._wanted = False
        if self._process is None:
            return 0
        self._process.terminate()
        return await asyncio.to_thread(self._process.wait)

    async def guard(self) -> None:
        """Raise DaemonFailed when it ends by itself; until cancelled."""
        while True:
            self._check()
            await asyncio.sleep(POLL_S)

    async def _ready(self, client: httpx.AsyncClient) -> bool:
        self._check()
        try:
            return (await client.get(f"{self._stage.url}/readyz")).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def _check(self) -> None:
        if self._wanted and self._process is not None and self._process.poll() is not None:
            code = self._process.returncode
            raise DaemonFailed(f"the daemon ended with exit code {code}:\n{self._last_words()}")

    def _last_words(self) -> str:
        return "\n".join(self._stage.log.read_text(errors="replace").splitlines()[-15:])
