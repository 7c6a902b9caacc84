"""What a database is asked: a text with named places, `%(id)s`, and values for them apart.

A value never becomes part of the text, so no value can change what the statement does. A tool of `sql`, and of handlers
that call `context.services.sql`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

from msgspec import Struct

Fetch = Literal["all", "one", "value", "none"]

KEY = "idempotency_key"
"""Name of the place that every statement has without asking: the step's idempotency key."""
DEFAULT_MAX_ROWS = 1_000
DEFAULT_MAX_BYTES = 1024 * 1024

_PLACE = re.compile(r"%(?:%|\((?P<name>[^)]*)\)(?P<kind>.?)|(?P<other>.?))", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class Statement(Struct, frozen=True, kw_only=True):
    """One statement, which is a transaction by itself."""

    query: str
    """With places `%(name)s`; a percent sign is written `%%`."""
    params: Mapping[str, Any] = {}
    """JSON values by the names of their places. To Postgres a list is an array, a mapping is `jsonb`."""
    fetch: Fetch = "all"
    """`all`: a list of rows, each a mapping; `one`: the one row, or None; `value`: its only column; `none`: how many
    rows were changed."""
    timeout: timedelta | None = None
    """When the database is to give it up; None takes the connection's."""
    read_only: bool = False
    """Whether the database is to refuse every change."""
    max_rows: int = DEFAULT_MAX_ROWS
    max_bytes: int = DEFAULT_MAX_BYTES
    """Of the result as JSON. More rows or bytes fail the attempt, and nothing has been changed."""


class BadQuery(ValueError):
    """The text cannot be a query; `hint` says what to write."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


def places_of(query: str) -> frozenset[str]:
    """Return the names of the places in the text. Raises `BadQuery`."""
    if "{{" in query or "{%" in query:
        hint = "write a place such as %(id)s, and its value in `params`: {id: '{{ input.id }}'}"
        raise BadQuery("a query holds no templates: a value in its text could change what it does", hint)
    names: set[str] = set()
    for place in _PLACE.finditer(query):
        if place["other"] is not None:
            raise BadQuery(f"`%{place['other']}` in the query has no name", "write %(name)s, and %% for a percent sign")
        if place["name"] is not None:
            if place["kind"] != "s" or not _NAME.fullmatch(place["name"]):
                raise BadQuery(f"`{place[0]}` in the query is no place", "write %(name)s: letters, digits and _")
            names.add(place["name"])
    return frozenset(names)


def with_colons(query: str) -> str:
    """Return the text with its places as SQLite has them: `:name`."""
    return _PLACE.sub(lambda place: "%" if place["name"] is None else f":{place['name']}", query)
