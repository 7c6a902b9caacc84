"""The databases that workflows use, by the names that the settings give them.

Comes from: daemon/settings. Goes to: `sql_postgres`, `sql_sqlite`, by way of `services`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from daemon.core.problems import did_you_mean
from daemon.core.templates import SecretName, compile_template
from daemon.nodes.context import StepFailure
from daemon.nodes.gates import Gate, GateRule
from daemon.nodes.statements import BadQuery, places_of
from daemon.runtime.secrets import SecretUnknown
from daemon.runtime.sql_postgres import Postgres
from daemon.runtime.sql_sqlite import Sqlite
from daemon.settings_outside import Connection, rate_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from daemon.nodes.gates import GateStatus
    from daemon.nodes.statements import Statement
    from daemon.settings_outside import Client

AWAY = frozenset({"sql_unavailable", "sql_lost"})
"""Codes of failures that say that the database is down."""


class Database(Protocol):
    """One database; may be used by many steps at once."""

    async def run(self, statement: Statement) -> Any:
        """Run the statement in a transaction of its own; return its result in JSON types.

        Raises `StepFailure` with a code of `sql_failures`; then nothing has been changed, but for `sql_lost`, after
        which nobody can tell.
        """

    async def close(self) -> None:
        """Disconnect. May be called more than once."""


class Databases:
    """All of them; nothing is connected before it is used."""

    def __init__(self, settings: Mapping[str, Connection], resolve: Callable[[str], str]) -> None:
        """`resolve` gives secrets by name."""
        self._open: Mapping[str, Database] = {
            name: database_of(name, connection, resolve) for name, connection in settings.items()
        }
        self._gates = {name: Gate(f"sql:{name}", gate_rule(connection)) for name, connection in settings.items()}

    async def run(self, name: str, statement: Statement) -> Any:
        """Run a statement; see `Database.run`. An unknown name fails with code `sql_connection_unknown`."""
        database = self._open.get(name)
        if database is None:
            message = f"the settings have no connection {name!r}; {did_you_mean(name, self._open)}"
            raise StepFailure(message, "sql_connection_unknown", retryable=False)
        try:
            missing = places_of(statement.query) - statement.params.keys()
        except BadQuery as error:
            raise StepFailure(f"{error.message}: {error.hint}", "sql_statement", retryable=False) from error
        if missing:
            message = f"the query has places without a value: {', '.join(sorted(missing))}"
            raise StepFailure(message, "sql_statement", retryable=False)
        async with self._gates[name].passed() as call:
            try:
                result = await database.run(statement)
            except SecretUnknown as error:
                raise StepFailure(str(error), "secret", retryable=False) from error
            except StepFailure as failure:
                call.went(good=failure.code not in AWAY)
                raise
            call.went(good=True)
            return result

    def statuses(self) -> list[GateStatus]:
        """Tell how the gates before them are."""
        return [gate.status for gate in self._gates.values()]

    async def close(self) -> None:
        """Disconnect from all."""
        for database in self._open.values():
            await database.close()


def database_of(name: str, settings: Connection, resolve: Callable[[str], str]) -> Database:
    """Return the database that the settings describe."""
    kind = Sqlite if settings.url.startswith("sqlite:") else Postgres
    return kind(name, settings, lambda: filled_url(settings.url, resolve))


def gate_rule(settings: Client | Connection) -> GateRule:
    """Return what the settings let through."""
    calls, per_s = rate_of(settings) or (None, 1.0)
    return GateRule(
        calls=calls,
        per_s=per_s,
        at_once=None if isinstance(settings, Connection) else settings.max_connections,
        failures=settings.circuit_failures or None,
        open_s=settings.circuit_open_s,
    )


def filled_url(url: str, resolve: Callable[[str], str]) -> str:
    """Return the URL with its secrets in place: quoted where they are a part of it, as they are where they are all.

    Raises `SecretUnknown`.
    """
    slots = compile_template(url, allow_secrets=True).render({}).secrets
    if not slots:
        return url
    parts = slots[0].parts
    if len(parts) == 1 and isinstance(parts[0], SecretName):
        return resolve(parts[0].secret)
    return "".join(part if isinstance(part, str) else quote(resolve(part.secret), safe="") for part in parts)
