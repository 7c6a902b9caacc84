"""A private Redis on loopback, which keeps nothing on disk: it is a cache."""

import secrets
import shutil
import socket
from collections.abc import Mapping
from contextlib import suppress

from deploy.private_services.processes import Command, plain_environment
from deploy.private_services.server import Server


class Redis(Server):
    """Starts at once."""

    name = "redis"
    variable = "SAGAD_TEST_REDIS_URL"
    port_names = ("redis",)
    user = "redis"

    @classmethod
    def problem(cls) -> str | None:
        """Say what is missing."""
        return None if shutil.which("redis-server") else "Redis is not installed"

    def prepare(self) -> None:
        """Write the configuration, with a password."""
        configuration = self.home / "redis.conf"
        if configuration.exists():
            return
        lines = [
            "bind 127.0.0.1",
            f"port {self.ports['redis']}",
            f"requirepass {secrets.token_hex(16)}",
            'save ""',
            "appendonly no",
            "maxmemory 128mb",
        ]
        configuration.touch(mode=0o600)
        configuration.write_text("\n".join(lines) + "\n")
        if (account := self.account()) is not None:
            account.own(configuration)

    def commands(self) -> Mapping[str, Command]:
        """Give one process."""
        arguments = [str(shutil.which("redis-server")), str(self.home / "redis.conf"), "--port", str(self._port)]
        return {"redis": Command(arguments=arguments, environment=plain_environment(self.home))}

    def answers(self) -> bool:
        """Ask for a sign of life; that a password is wanted is one too."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(7) == b"-NOAUTH"
        return False

    def url(self) -> str:
        """Give the connection URL."""
        return f"redis://:{self._password()}@127.0.0.1:{self._port}/0"

    @property
    def _port(self) -> int:
        return self.ports["redis"]

    def _password(self) -> str:
        lines = (self.home / "redis.conf").read_text().splitlines()
        return next(line.partition(" ")[2] for line in lines if line.startswith("requirepass "))
