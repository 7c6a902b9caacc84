"""What is known about each service between two runs of the script: one JSON file each, below the data directory."""

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from deploy.private_services.processes import Process

Kind = Literal["private", "given", "mock"]
"""Started here; handed in by an environment variable; not there, tests imitate it in their own process."""

KAFKA_KIND_VARIABLE = "SAGAD_TEST_KAFKA_KIND"
_KAFKA_KINDS: Mapping[Kind, str] = {"private": "real", "given": "given", "mock": "mock"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One service as it was left. Ports outlive a stop, so that the next start can use the same ones."""

    kind: Kind
    url: str = ""
    ports: Mapping[str, int] = field(default_factory=dict)
    processes: Mapping[str, Process] = field(default_factory=dict)

    def in_use(self) -> bool:
        """Tell whether tests may count on the service; a private one that crashed still counts until it is stopped."""
        return self.kind != "private" or bool(self.processes)

    def running(self) -> bool:
        """Tell whether all processes of a private server are alive."""
        return bool(self.processes) and all(process.alive() for process in self.processes.values())

    def variables(self, variable: str) -> dict[str, str]:
        """Give the environment variables for tests; `variable` is the name of the one that holds the URL."""
        if not self.in_use():
            return {}
        variables = {variable: self.url} if self.kind != "mock" else {}
        if variable == "SAGAD_TEST_KAFKA_BOOTSTRAP":
            variables[KAFKA_KIND_VARIABLE] = _KAFKA_KINDS[self.kind]
        return variables


def load(path: Path) -> Record | None:
    """Read a record; None when there is none."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    content["processes"] = {role: Process(**process) for role, process in content["processes"].items()}
    return Record(**content)


def save(path: Path, record: Record) -> None:
    """Replace the record at once; it is private because the URL may hold a password."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.touch(mode=0o600)
    unfinished.write_text(json.dumps(asdict(record), indent=2) + "\n")
    unfinished.replace(path)


def render_environment(variables: Iterable[tuple[str, str]]) -> str:
    """Give lines that a shell can source."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables)
