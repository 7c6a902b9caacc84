"""A private PostgreSQL: TCP on loopback with a generated password, and as durable as a production server."""

import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from deploy.private_services.errors import ServiceError
from deploy.private_services.processes import Command, Process, plain_environment, run, working_in
from deploy.private_services.server import Server

USER = "sagad"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "on",  # durability figures are measured against this server
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
}


def program_directories() -> dict[int, Path]:
    """Find installed servers: major version -> directory of their programs."""
    found = {int(path.parent.name): path for path in Path("/usr/lib/postgresql").glob("[0-9]*/bin") if _complete(path)}
    on_path = shutil.which("postgres")
    if on_path and _complete(directory := Path(on_path).resolve().parent):
        version = subprocess.run([on_path, "--version"], capture_output=True, text=True, check=True).stdout
        if number := re.search(r"\d+", version):
            found.setdefault(int(number.group()), directory)
    return found


def _complete(directory: Path) -> bool:
    return all((directory / program).exists() for program in ("initdb", "postgres", "psql"))


class Postgres(Server):
    """Starts in about 2 s the first time, in 0.2 s afterwards."""

    name = "postgres"
    variable = "SAGAD_TEST_POSTGRES_URL"
    port_names = ("sql",)
    user = "postgres"
    stop_signal = signal.SIGINT  # "fast": ends the sessions, then shuts down cleanly

    @classmethod
    def problem(cls) -> str | None:
        """Say what is missing."""
        return None if program_directories() else "PostgreSQL is not installed"

    @property
    def _data(self) -> Path:
        return self.home / "data"

    @property
    def _password_file(self) -> Path:
        return self.home / "password"

    def _program(self, name: str) -> str:
        directories = program_directories()
        made_by = self._data / "PG_VERSION"
        version = int(made_by.read_text()) if made_by.exists() else max(directories)
        if version not in directories:
            raise ServiceError(f"{self._data} belongs to PostgreSQL {version}, not installed any more: delete it")
        return str(directories[version] / name)

    def prepare(self) -> None:
        """Make the database cluster under another name first: an interrupted initdb leaves nothing half made."""
        if self._data.exists():
            self._forget_killed_server()
            return
        account = self.account()
        self._password_file.write_text(secrets.token_hex(16))
        self._password_file.chmod(0o600)
        if account is not None:
            account.own(self._password_file)
        unfinished = self.home / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        arguments = [self._program("initdb"), f"--pgdata={unfinished}", f"--username={USER}", "--auth=scram-sha-256"]
        arguments += [f"--pwfile={self._password_file}", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        run(arguments, home=self.home, environment=plain_environment(self.home), account=account)
        unfinished.rename(self._data)

    def _forget_killed_server(self) -> None:
        """Remove the lock file of a server that is dead, but still in the process table as a zombie.

        The new server would take the zombie for a living one, for ever where nothing reaps. A child of the dead server
        that still works in the data directory keeps the lock in force.
        """
        lock = self._data / "postmaster.pid"
        if lock.exists() and Process.find(int(lock.read_text().split()[0])) is None and not working_in(self._data):
            lock.unlink()

    def commands(self) -> Mapping[str, Command]:
        """Give one process, which starts its own helpers."""
        arguments = [self._program("postgres"), "-D", str(self._data)]
        for key, value in {**_SETTINGS, "port": str(self.ports["sql"])}.items():
            arguments += ["-c", f"{key}={value}"]
        return {"postgres": Command(arguments=arguments, environment=plain_environment(self.home))}

    def answers(self) -> bool:
        """Run a query."""
        environment = plain_environment(self.home) | {"PGPASSWORD": self._password_file.read_text()}
        where = ["--host=127.0.0.1", f"--port={self.ports['sql']}", f"--username={USER}", "--dbname=postgres"]
        query = [self._program("psql"), "--no-psqlrc", "--quiet", "--tuples-only", *where, "--command=select 1"]
        try:
            result = subprocess.run(query, env=environment, capture_output=True, timeout=5, check=False)
        except subprocess.TimeoutExpired:
            return False
        return result.returncode == 0

    def url(self) -> str:
        """Give the connection URL of the superuser."""
        return f"postgresql://{USER}:{self._password_file.read_text()}@127.0.0.1:{self.ports['sql']}/postgres"
