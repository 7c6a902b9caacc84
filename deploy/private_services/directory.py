"""The place of one set of services, and what is known about each of them between two runs."""

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.private_services import records
from deploy.private_services.kafka import Kafka
from deploy.private_services.postgres import Postgres
from deploy.private_services.rabbitmq import RabbitMQ
from deploy.private_services.records import Record
from deploy.private_services.redis import Redis
from deploy.private_services.server import Server

SERVERS: Mapping[str, type[Server]] = {server.name: server for server in (Postgres, RabbitMQ, Kafka, Redis)}


@dataclass(frozen=True, slots=True)
class Directory:
    """The place of one set of services: NAME/ holds a server's data, NAME.json its record, NAME.log its output."""

    path: Path

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs of this script from changing the same services meanwhile."""
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / ".gitignore").write_text("*\n")
        with (self.path / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @property
    def environment_file(self) -> Path:
        """Name the file to source before running tests."""
        return self.path / "env"

    def log(self, name: str) -> Path:
        """Name the file of a server's output."""
        return self.path / f"{name}.log"

    def record(self, name: str) -> Record | None:
        """Tell what is known about a service."""
        return records.load(self.path / f"{name}.json")

    def keep(self, name: str, record: Record | None) -> None:
        """Note what is known about a service from now on; None forgets it."""
        if record is None:
            (self.path / f"{name}.json").unlink(missing_ok=True)
        else:
            records.save(self.path / f"{name}.json", record)

    def server(self, name: str, port_numbers: Mapping[str, int]) -> Server:
        """Describe a server with its data here."""
        return SERVERS[name](self.path / name, port_numbers)

    def write_environment(self) -> None:
        """Bring the environment file up to date; there is none while nothing is in use."""
        lines = records.render_environment(
            item
            for name, server in SERVERS.items()
            if (record := self.record(name)) is not None
            for item in record.variables(server.variable).items()
        )
        self.environment_file.unlink(missing_ok=True)
        if lines:
            self.environment_file.touch(mode=0o600)
            self.environment_file.write_text(lines)


def default_path(checkout: Path) -> Path:
    """Keep data in the checkout; but where root's own folder is closed to the servers' accounts, keep it apart."""
    inside = checkout / ".services"
    if os.geteuid() != 0 or all(parent.stat().st_mode & 0o001 for parent in inside.parents):
        return inside
    return Path("/var/lib/sagad-services") / str(checkout).strip("/").replace("/", "-")
