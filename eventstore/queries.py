"""SQL kept in files: named statements and numbered migrations.

A statement stands under `-- name: intent`; its parameters are `:name`. A migration is a file `NNNN_name.sql`.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HEADING = re.compile(r"^-- (\w+): .+$", re.MULTILINE)


class Migration(NamedTuple):
    """One step of the schema; `version` counts from 1 without gaps."""

    version: int
    name: str
    sql: str


@cache
def statements(path: str) -> Mapping[str, str]:
    """Return the named statements of a file under `eventstore/sql`."""
    parts = _HEADING.split(files("eventstore").joinpath("sql", path).read_text())
    return {name: sql.strip().rstrip(";") for name, sql in zip(parts[1::2], parts[2::2], strict=True)}


@cache
def migrations(dialect: str) -> Sequence[Migration]:
    """Return all migrations of `sqlite` or `postgres` in order."""
    folder = files("eventstore").joinpath("sql", dialect)
    found = sorted(entry.name for entry in folder.iterdir() if re.fullmatch(r"\d{4}_\w+\.sql", entry.name))
    return [Migration(int(name[:4]), name[5:-4], folder.joinpath(name).read_text()) for name in found]


def latest_version(dialect: str) -> int:
    """Return the schema version this program works with."""
    return migrations(dialect)[-1].version


@cache
def placeholders(query: str) -> str:
    """Turn `:name` of the shared SQL into psycopg's `%(name)s`."""
    return re.sub(r"(?<!:):(\w+)", r"%(\1)s", query)
