"""What `lifecycle` needs to know of a service."""

import signal
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from deploy.private_services.processes import Account, Command, account_for


class Server(ABC):
    """One private copy of a service: data in `home`, listening on `ports`.

    `lifecycle` calls, in this order: `problem`, `prepare`, `commands`, then `answers` until it is true.
    """

    name: ClassVar[str]
    variable: ClassVar[str]
    """The environment variable by which tests find the service, or a developer hands in another one."""
    port_names: ClassVar[tuple[str, ...]]
    user: ClassVar[str | None]
    """The account used when root starts the server; None where running as root is no trouble."""
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    stop_limit_s: ClassVar[float] = 30
    start_limit_s: ClassVar[float] = 90

    def __init__(self, home: Path, ports: Mapping[str, int]) -> None:
        self.home = home
        self.ports = ports

    def account(self) -> Account | None:
        """Tell whom to run as; None for ourselves."""
        return None if self.user is None else account_for(self.user)

    @classmethod
    @abstractmethod
    def problem(cls) -> str | None:
        """Say why the service cannot be started on this machine; None when it can."""

    @abstractmethod
    def prepare(self) -> None:
        """Make data directory and configuration, unless an earlier start did."""

    @abstractmethod
    def commands(self) -> Mapping[str, Command]:
        """Give the processes by role, in the order of starting; the last one is the server itself."""

    @abstractmethod
    def answers(self) -> bool:
        """Tell whether the server serves clients now."""

    @abstractmethod
    def url(self) -> str:
        """Give the value of `variable`."""
