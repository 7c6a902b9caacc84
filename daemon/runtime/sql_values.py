"""What databases give, as JSON values, counted while it comes.

Dates and times become ISO 8601 text, intervals ISO 8601 durations, exact decimals text (`"12.50"`: a float would
round), UUIDs and network addresses text, bytes `{base64: …}`, and what JSON has no number for (`NaN`, `Infinity`) text.
Arrays and `jsonb` are lists and mappings.

Comes from: `sql_postgres`, `sql_sqlite`. Goes to: the step's output.
"""

from __future__ import annotations

import math
from base64 import b64encode
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from daemon.nodes.context import StepFailure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daemon.nodes.statements import Statement


def as_json(value: Any) -> Any:
    """Return a database's value in JSON types."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case list() | tuple():
            return [as_json(item) for item in value]
        case dict():
            return {str(key): as_json(item) for key, item in value.items()}
        case bytes() | bytearray() | memoryview():
            return {"base64": b64encode(value).decode()}
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return msgspec.to_builtins(value)
        case Decimal():
            return str(value)
        case _:
            return str(value)


class Collected:
    """The rows of one result, within the statement's bounds."""

    def __init__(self, statement: Statement) -> None:
        self._statement = statement
        self._columns: Sequence[str] = ()
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def name(self, columns: Sequence[str]) -> None:
        """Take the columns' names; again changes nothing. Raises `StepFailure` when two are one."""
        if self._columns:
            return
        self._columns = columns
        if len(set(columns)) < len(columns):
            raise _unfit(f"two columns have one name: {', '.join(columns)}; name them with `as`", "sql_columns")
        if self._statement.fetch == "value" and len(columns) != 1:
            raise _unfit(f"`fetch: value` is for one column, and there are {len(columns)}", "sql_columns")

    def take(self, values: Sequence[Any]) -> None:
        """Add a row. Raises `StepFailure` when it is one too many."""
        row = dict(zip(self._columns, map(as_json, values), strict=True))
        self._bytes += len(msgspec.json.encode(row)) + 1
        self._rows.append(row)
        statement = self._statement
        if statement.fetch != "all" and len(self._rows) > 1:
            raise _unfit(f"`fetch: {statement.fetch}` is for one row at most, and there are more", "sql_rows")
        if len(self._rows) > statement.max_rows:
            raise _unfit(f"the result has more than {statement.max_rows} rows", "sql_too_large")
        if self._bytes > statement.max_bytes:
            raise _unfit(f"the result is larger than {statement.max_bytes} bytes", "sql_too_large")

    def result(self) -> Any:
        """Return what the statement asked to fetch."""
        if self._statement.fetch == "all":
            return self._rows
        row = self._rows[0] if self._rows else None
        return row if row is None or self._statement.fetch == "one" else row[self._columns[0]]


def no_rows() -> StepFailure:
    """Return the failure of a statement that gives no rows although some are asked for."""
    return _unfit("the statement gives no rows; write `fetch: none`", "sql_no_rows")


def _unfit(message: str, code: str) -> StepFailure:
    return StepFailure(message, code, retryable=False)
