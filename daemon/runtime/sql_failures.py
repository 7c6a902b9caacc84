"""Stable codes for what databases refuse, and which of it may pass by itself.

| code | means | tried again |
|---|---|---|
| `sql_unique_violation`, and so `foreign_key`, `not_null`, `check`, `exclusion` | a constraint | no |
| `sql_serialization_failure`, `sql_deadlock`, `sql_lock_timeout` | another transaction was in the way | yes |
| `sql_timeout` | the database gave it up, and undid it | yes |
| `sql_unavailable` | there was no connection | yes |
| `sql_lost` | the connection was lost, or gave no answer: the statement may have taken effect | yes |
| `sql_read_only`, `sql_denied` | not allowed | no |
| `sql_data` | a value that the column or cast does not take | no |
| `sql_statement` | the statement itself is wrong | no |
| `sql_error` | anything else | no |

Comes from: `sql_postgres`, `sql_sqlite`. Goes to: the step's error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from daemon.nodes.context import StepFailure

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

_BY_STATE: Mapping[str, str] = {
    "23505": "sql_unique_violation",
    "23503": "sql_foreign_key_violation",
    "23502": "sql_not_null_violation",
    "23514": "sql_check_violation",
    "23P01": "sql_exclusion_violation",
    "40001": "sql_serialization_failure",
    "40P01": "sql_deadlock",
    "55P03": "sql_lock_timeout",
    "57014": "sql_timeout",
    "25006": "sql_read_only",
    "42501": "sql_denied",
    "0A000": "sql_statement",
}
_BY_CLASS: Mapping[str, str] = {
    "08": "sql_lost",
    "22": "sql_data",
    "23": "sql_error",
    "28": "sql_denied",
    "42": "sql_statement",
    "53": "sql_unavailable",
    "57": "sql_lost",
}
_MAY_PASS = frozenset(
    {"sql_serialization_failure", "sql_deadlock", "sql_lock_timeout", "sql_timeout", "sql_unavailable", "sql_lost"}
)
_SQLITE: tuple[tuple[str, str], ...] = (
    ("SQLITE_CONSTRAINT_UNIQUE", "sql_unique_violation"),
    ("SQLITE_CONSTRAINT_PRIMARYKEY", "sql_unique_violation"),
    ("SQLITE_CONSTRAINT_ROWID", "sql_unique_violation"),
    ("SQLITE_CONSTRAINT_FOREIGNKEY", "sql_foreign_key_violation"),
    ("SQLITE_CONSTRAINT_NOTNULL", "sql_not_null_violation"),
    ("SQLITE_CONSTRAINT_CHECK", "sql_check_violation"),
    ("SQLITE_BUSY", "sql_lock_timeout"),
    ("SQLITE_LOCKED", "sql_lock_timeout"),
    ("SQLITE_INTERRUPT", "sql_timeout"),
    ("SQLITE_READONLY", "sql_read_only"),
    ("SQLITE_CANTOPEN", "sql_unavailable"),
    ("SQLITE_IOERR", "sql_unavailable"),
    ("SQLITE_MISMATCH", "sql_data"),
    ("SQLITE_ERROR", "sql_statement"),
)


def of_postgres(error: psycopg.Error) -> StepFailure:
    """Return how the attempt fails. The message leaves out the values that Postgres quotes in its details."""
    state = error.sqlstate or ""
    code = _BY_STATE.get(state) or _BY_CLASS.get(state[:2])
    if code is None:
        away = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and not state
        code = "sql_lost" if away else "sql_data" if isinstance(error, psycopg.DataError) else "sql_error"
    named = {
        "sqlstate": state,
        "constraint": error.diag.constraint_name,
        "table": error.diag.table_name,
        "column": error.diag.column_name,
    }
    details = {name: value for name, value in named.items() if value}
    message = error.diag.message_primary or str(error) or type(error).__name__
    return StepFailure(message, code, retryable=code in _MAY_PASS, details=details or None)


def of_sqlite(error: sqlite3.Error) -> StepFailure:
    """Return how the attempt fails."""
    name = getattr(error, "sqlite_errorname", "")
    code = next((code for beginning, code in _SQLITE if name.startswith(beginning)), None)
    if code is None:
        code = "sql_statement" if type(error).__name__ == "ProgrammingError" else "sql_error"
    return StepFailure(str(error), code, retryable=code in _MAY_PASS, details={"sqlite": name} if name else None)


def timed_out(connection: str, limit_s: float) -> StepFailure:
    """Return the failure of a statement that was not done in time."""
    return StepFailure(f"the database {connection} was not done within {limit_s:g} s", "sql_timeout")


def lost(connection: str, limit_s: float) -> StepFailure:
    """Return the failure of a statement that got no answer, not even that it was given up."""
    return StepFailure(f"the database {connection} gave no answer within {limit_s:g} s", "sql_lost")


def unavailable(connection: str, reason: str) -> StepFailure:
    """Return the failure of a statement for which there was no connection."""
    return StepFailure(f"the database {connection} cannot be reached: {reason}", "sql_unavailable")
