"""The daemon as its users run it: `sagad run` in a process of its own, which a test may kill."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0
"""How long a test waits for what must come."""
LOOK_S = 0.02
"""Another process gives no condition to wait on: it is looked at so often."""
SHOWN_LINES = 60


class SagadProcess:
    """One daemon and its settings. It may be started again after it has ended."""

    def __init__(self, folder: Path, parts: Mapping[str, Mapping[str, Any]], environ: Mapping[str, str]) -> None:
        self.port: int = parts.get("http", {}).get("port") or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.config = folder / "sagad.toml"
        self.log = folder / "daemon.log"
        self.config.write_text(as_toml({**parts, "http": {"port": self.port, **parts.get("http", {})}}))
        self._environ = environ
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process last started."""
        assert self._process is not None, "not started"
        return self._process

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; return at once."""
        assert not self.alive
        own = {name: value for name, value in os.environ.items() if not name.startswith("SAGAD_")}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  our own program
                [sys.executable, "-m", "daemon.cli", "run", "--config", str(self.config)],
                cwd=ROOT,
                env={**own, **self._environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def ready(self) -> None:
        """Return when everything is connected. Fails when it ends before, or takes too long."""
        await self.until(self._is_ready)

    async def readiness(self) -> tuple[int, dict[str, Any]]:
        """Return what `/readyz` answers: status and body. Status 0 when nobody answers."""
        try:
            async with httpx.AsyncClient(trust_env=False) as client:
                answer = await client.get(f"{self.url}/readyz")
        except httpx.TransportError:
            return 0, {}
        return answer.status_code, answer.json()

    async def until(self, condition: Callable[[], Awaitable[bool]], *, patience_s: float = PATIENCE_S) -> None:
        """Return when the condition holds, while the daemon lives."""
        async with asyncio.timeout(patience_s):
            while not await condition():
                assert self.alive, f"the daemon ended with {self.process.returncode}: see its log below"
                await asyncio.sleep(LOOK_S)

    def kill(self) -> None:
        """SIGKILL: nothing can be tidied up."""
        self.process.kill()
        self.process.wait()

    def tell(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def ended(self, patience_s: float = PATIENCE_S) -> int:
        """Return its exit code when it has ended; negative for the signal that ended it."""
        return await asyncio.to_thread(self.process.wait, patience_s)

    async def stop(self) -> int:
        """Tell it to stop in order; return its exit code."""
        self.tell(signal.SIGTERM)
        return await self.ended()

    def said(self) -> str:
        """Return all that it has logged."""
        return self.log.read_text() if self.log.exists() else ""

    def clean_up(self) -> None:
        """End it, and print what it said last: pytest shows that when the test has failed."""
        if self.alive:
            self.kill()
        print("\n".join(self.said().splitlines()[-SHOWN_LINES:]))  # noqa: T201  for the report

    async def _is_ready(self) -> bool:
        return (await self.readiness())[0] == httpx.codes.OK


@pytest.fixture
def sagad(tmp_path: Path) -> Iterator[Callable[..., SagadProcess]]:
    """Give `sagad(workflow, environ={}, store={"url": …}, kafka={…}, …)`: a daemon with these settings, not started."""
    made: list[SagadProcess] = []

    def make(
        workflow: str,
        *,
        handlers: str = "tests.support.order_handlers",
        environ: Mapping[str, str] | None = None,
        **parts: Mapping[str, Any],
    ) -> SagadProcess:
        folder = tmp_path / f"daemon-{len(made)}"
        folder.mkdir()
        (folder / "workflow.yaml").write_text(workflow)
        workflows = {"paths": ["workflow.yaml"], "handlers": [handlers]}
        made.append(SagadProcess(folder, {"workflows": workflows, **parts}, environ or {}))
        return made[-1]

    try:
        yield make
    finally:
        for process in made:
            process.clean_up()


def as_toml(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """Write settings: text, numbers, truths and lists have the same form in JSON."""
    lines: list[str] = []
    for name, part in parts.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in part.items())]
    return "\n".join([*lines, ""])


def free_port() -> int:
    """Return a port that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
