"""`sagad worker` in a process of its own, which a test may kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support.process import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class WorkerProcess:
    """One worker with a daemon's settings; started at once."""

    def __init__(self, config: Path, environ: Mapping[str, str], *arguments: str) -> None:
        self.log = config.with_name(f"worker-{len(list(config.parent.glob('worker-*')))}.log")
        own = {name: value for name, value in os.environ.items() if not name.startswith("SAGAD_")}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603  our own program
                [sys.executable, "-m", "daemon.cli", "worker", "--config", str(config), *arguments],
                cwd=ROOT,
                env={**own, **environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        """SIGKILL: nothing can be tidied up."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Tell it to drain; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def clean_up(self) -> None:
        """End it, and print what it said last: pytest shows that when the test has failed."""
        if self.process.poll() is None:
            self.kill()
        print(f"{self.log.name}:", *self.log.read_text().splitlines()[-40:], sep="\n")  # noqa: T201  for the report
