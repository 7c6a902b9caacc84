"""Starting, recognising and ending processes.

A process is known by its id *and* its start time: after a crash or a reboot the id alone may belong to a stranger.
"""

import contextlib
import os
import pwd
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from deploy.private_services.errors import ServiceError
from deploy.private_services.waiting import holds_within, wait_until

_PROC = Path("/proc")


class Account(NamedTuple):
    """The user that a server runs as; only root can choose one."""

    uid: int
    gid: int

    def own(self, path: Path) -> None:
        """Give the path to the account."""
        os.chown(path, self.uid, self.gid)


def account_for(user: str) -> Account | None:
    """Find whom to run as: None (ourselves) for an ordinary user, else `user`, or `nobody` when it does not exist."""
    if os.geteuid() != 0:
        return None
    for name in (user, "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid)
    raise ServiceError(f"neither the user {user} nor nobody exists, and this server must not run as root")


class _Stat(NamedTuple):
    parent: int
    started: int
    ended: bool


def _stat(pid: int) -> _Stat | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name in parentheses may itself hold spaces and parentheses
    return _Stat(parent=int(fields[1]), started=int(fields[19]), ended=fields[0] in "ZX")


@dataclass(frozen=True, slots=True)
class Process:
    """A process that stays the same one: `started` is its start in clock ticks since the machine's boot."""

    pid: int
    started: int

    @classmethod
    def find(cls, pid: int) -> "Process | None":
        """Look up a running process."""
        stat = _stat(pid)
        return None if stat is None or stat.ended else cls(pid, stat.started)

    def alive(self) -> bool:
        """Tell whether this very process still runs; a zombie does not."""
        return Process.find(self.pid) == self

    def send(self, signal_number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal_number)

    def family(self) -> "tuple[Process, ...]":
        """Itself and all its descendants, parents first; empty when it has ended."""
        if not self.alive():
            return ()
        children: dict[int, list[Process]] = {}
        for entry in _PROC.iterdir():
            if entry.name.isdecimal() and (stat := _stat(int(entry.name))) is not None and not stat.ended:
                children.setdefault(stat.parent, []).append(Process(int(entry.name), stat.started))
        family = [self]
        for member in family:
            family.extend(children.get(member.pid, ()))
        return tuple(family)

    def resident_mib(self) -> float:
        """Memory of the process in MiB, with its share of what it shares with others; 0 when it cannot be read."""
        with contextlib.suppress(OSError):
            for line in (_PROC / str(self.pid) / "smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    return int(line.split()[1]) / 1024
        return 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run. The environment is the whole one: nothing else is inherited."""

    arguments: Sequence[str]
    environment: Mapping[str, str]


def plain_environment(home: Path) -> dict[str, str]:
    """Give the few variables that every server gets: the caller's RABBITMQ_*, PG* or KAFKA_* must not reach it."""
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "LANG": "C.UTF-8", "TZ": "UTC"}


def spawn(command: Command, *, home: Path, log: Path, account: Account | None) -> Process:
    """Start a server that outlives us, in `home`, with its output appended to `log`."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            command.arguments,
            env=dict(command.environment),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **_as_account(account),
        )
    process = Process.find(child.pid)
    if process is None:
        raise ServiceError(f"{command.arguments[0]} ended at once; see {log}")
    return process


def run(arguments: Sequence[str], *, home: Path, environment: Mapping[str, str], account: Account | None) -> None:
    """Run a preparing program to its end.

    Raises:
        ServiceError: it failed; the message holds the end of its output.

    """
    result = subprocess.run(
        arguments,
        env=dict(environment),
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        **_as_account(account),
    )
    if result.returncode != 0:
        output = (result.stdout + result.stderr).strip()[-2000:]
        raise ServiceError(f"{Path(arguments[0]).name} failed with exit code {result.returncode}:\n{output}")


def _as_account(account: Account | None) -> dict[str, Any]:
    return {} if account is None else {"user": account.uid, "group": account.gid, "extra_groups": []}


def terminate(process: Process, *, how: signal.Signals, limit_s: float) -> None:
    """End the process and its descendants in good order, by force when it takes longer than `limit_s`."""
    family = process.family()
    process.send(how)
    if not holds_within(limit_s, lambda: not any(member.alive() for member in family)):
        kill(family)


def kill(family: Sequence[Process]) -> None:
    """SIGKILL all of them, as a crash would, and wait until they are gone."""
    for member in family:
        member.send(signal.SIGKILL)
    wait_until(lambda: not any(member.alive() for member in family), limit_s=10, what="killed processes to vanish")


def working_in(directory: Path) -> bool:
    """Tell whether any process has its working directory there: children may outlive a killed server for a moment."""
    for entry in _PROC.iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                if (entry / "cwd").readlink().is_relative_to(directory):
                    return True
    return False
