"""A virtual environment for each peer, made once, below a folder that outlives the run.

A peer whose packages cannot be had is not measured, and the report names it and says why.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.bench.peers.catalogue import Peer

ROOT = Path(__file__).parents[3]
STAMP = "requirements.txt"
PIP_LIMIT_S = 600
GO_LIMIT_S = 3600
"""A server is built from its source: ten minutes on two cores."""
UNREACHABLE = ("connection broken by", "Max retries exceeded", "dial tcp", "i/o timeout")
"""What pip and go print when nobody answers."""


class NotInstalledError(Exception):
    """The peer's packages cannot be had; the message is for the report."""


def default_folder() -> Path:
    """Name the folder of the user's cache that the environments go to."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sagad-bench-peers"


def install(peer: Peer, folder: Path) -> Path:
    """Bring the peer's environment in line with its requirements; return its Python.

    Raises:
        NotInstalledError: the package index does not answer, or does not have them; there is no Go to build with.

    """
    home = folder / f"{peer.name}-{sys.version_info.major}.{sys.version_info.minor}"
    python, stamp = home / "bin" / "python", home / STAMP
    wanted = "\n".join([*peer.requirements, *peer.programs]) + "\n"
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"installing {', '.join([*peer.requirements, *peer.programs])} into {home}", file=sys.stderr)
    try:
        venv.create(home, with_pip=True, clear=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotInstalledError(f"no virtual environment could be made in {home}: {error}") from error
    pip = [
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--retries",
        "2",
        "--disable-pip-version-check",
        *peer.requirements,
    ]
    run_installer("pip", peer.requirements[0], pip, PIP_LIMIT_S, {})
    for program in peer.programs:
        run_installer("go", program, ["go", "install", program], GO_LIMIT_S, {"GOBIN": str(home / "bin")})
    stamp.write_text(wanted)
    return python


def run_installer(name: str, what: str, command: Sequence[str], limit_s: float, environment: Mapping[str, str]) -> None:
    """Run pip or go; NotInstalledError when it is not there, fails, or takes too long."""
    try:
        done = subprocess.run(  # noqa: S603  the arguments are ours
            command, capture_output=True, text=True, check=False, timeout=limit_s, env={**os.environ, **environment}
        )
    except FileNotFoundError as error:
        raise NotInstalledError(f"there is no {name} on PATH to build {what} with") from error
    except subprocess.TimeoutExpired as error:
        raise NotInstalledError(f"{name} did not end within {limit_s:.0f} s: does the package index answer?") from error
    if done.returncode:
        raise NotInstalledError(f"{name} could not install {what}: {reason(done.stderr)}")


def reason(output: str) -> str:
    """Pick the line of an installer's output that says what was wrong."""
    if any(sign in output for sign in UNREACHABLE):
        return "the package index is not reachable"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["it did not say why"])[-1]
