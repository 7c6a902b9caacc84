"""`sql`: ask or change a database with one statement, which is a transaction.

The query is a fixed text; values travel apart from it, in `params`. `%(idempotency_key)s` is the step's key, the same
at each attempt: an insert that has it in a unique column, with `on conflict do nothing`, takes effect once.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from daemon.core.durations import DurationError, parse_duration
from daemon.core.node import Beginning, NodeType, Run
from daemon.core.problems import did_you_mean
from daemon.core.schema_parts import choice, mapping, mapping_of, ref, text, whole_number, yes_no
from daemon.core.templates import Template
from daemon.nodes.reading import Reader
from daemon.nodes.statements import DEFAULT_MAX_BYTES, DEFAULT_MAX_ROWS, KEY, BadQuery, Statement, places_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.nodes.context import NodeContext

CONNECTION_NAME = r"^[A-Za-z][A-Za-z0-9_-]{0,63}$"


class Sql(Struct, frozen=True, kw_only=True):
    """Which database, and the statement but for its values."""

    connection: str
    statement: Statement
    params: Template


def parse(own: Mapping[str, Any]) -> Sql:
    """Check the query's places against `params`, and compile those, secrets allowed."""
    reader, given = Reader(), own["sql"]
    params = given.get("params", {})
    _check_places(reader, given["query"], params)
    return reader.finish(
        Sql(
            connection=given["connection"],
            statement=Statement(
                query=given["query"],
                fetch=given.get("fetch", "all"),
                timeout=_timeout(reader, given),
                read_only=given.get("read_only", False),
                max_rows=given.get("max_rows", DEFAULT_MAX_ROWS),
                max_bytes=given.get("max_bytes", DEFAULT_MAX_BYTES),
            ),
            params=reader.template(params, "sql", "params", allow_secrets=True),
        )
    )


def _check_places(reader: Reader, query: str, params: Mapping[str, Any]) -> None:
    if KEY in params:
        reader.refuse(f"`{KEY}` is there by itself", ("sql", "params", KEY), "take it out, or give it another name")
    try:
        places = places_of(query)
    except BadQuery as error:
        reader.refuse(error.message, ("sql", "query"), error.hint)
        return
    for name in sorted(places - params.keys() - {KEY}):
        hint = f"add {name} to `params`; {did_you_mean(name, params)}"
        reader.refuse(f"the query's place %({name})s has no value", ("sql", "query"), hint)
    for name in sorted(params.keys() - places - {KEY}):
        hint = f"write %({name})s in the query, or take it out"
        reader.refuse(f"the query has no place for `{name}`", ("sql", "params", name), hint)


def _timeout(reader: Reader, given: Mapping[str, Any]) -> timedelta | None:
    if "timeout" not in given:
        return None
    try:
        return parse_duration(given["timeout"])
    except DurationError as error:
        reader.refuse(error.message, ("sql", "timeout"), error.hint)
        return None


def begin(config: Sql, beginning: Beginning) -> Run:
    """Ask for the statement: its values are on record, its query is in the definition."""
    rendered = config.params.render(beginning.scope)
    return Run(rendered.value, rendered.secrets)


async def execute(context: NodeContext, value: Any) -> object:
    """Run the statement; what it gives is the output."""
    config: Sql = context.config
    statement = config.statement
    return await context.services.sql(
        config.connection,
        statement.query,
        {**value, KEY: context.idempotency_key},
        fetch=statement.fetch,
        timeout=_shortest(statement.timeout, context.deadline),
        read_only=statement.read_only,
        max_rows=statement.max_rows,
        max_bytes=statement.max_bytes,
    )


def _shortest(timeout: timedelta | None, deadline: datetime | None) -> timedelta | None:
    """Return how long the statement may take; None leaves it to the connection."""
    if deadline is None:
        return timeout
    left = max(deadline - datetime.now(UTC), timedelta(milliseconds=1))
    return left if timeout is None else min(timeout, left)


_SQL = mapping(
    "The statement, which is a transaction by itself.",
    {
        "connection": text(
            "Name of the database in the daemon's settings: `[connections.NAME]`.",
            pattern=CONNECTION_NAME,
            examples=["orders"],
        )
        | {"x-expected": "the name of a connection"},
        "query": text(
            "One statement, without templates. Values have places: `%(id)s`; a percent sign is `%%`. The place"
            f" `%({KEY})s` is the step's idempotency key.",
            minLength=1,
            examples=["select total from orders where id = %(id)s"],
        ),
        "params": mapping_of(
            "The values of the places, by name; a list is an array, a mapping is `jsonb` (in SQLite, both are JSON)."
            " Secrets may be used.",
            ref("value", "The value."),
        ),
        "fetch": choice(
            "What the output is: `all` rows as a list of mappings; the `one` row, or null; the one row's only column as"
            " a `value`, or null; `none`: `{rows}`, how many were changed.",
            "all",
            "one",
            "value",
            "none",
            default="all",
        ),
        "timeout": ref(
            "duration", "When the database gives the statement up; the connection's `timeout_s` if not given."
        ),
        "read_only": yes_no("Whether the database refuses every change.", default=False),
        "max_rows": whole_number(
            "More rows fail the step; nothing is changed then.", minimum=1, maximum=1_000_000, default=DEFAULT_MAX_ROWS
        ),
        "max_bytes": whole_number(
            "A longer result, as JSON, fails the step; nothing is changed then.",
            minimum=1,
            maximum=1024**3,
            default=DEFAULT_MAX_BYTES,
        ),
    },
    "connection",
    "query",
)

NODE_TYPE = NodeType(
    name="sql",
    summary="Asks or changes a database with one statement; its output is the rows, or how many were changed.",
    schema=_SQL,
    parse=parse,
    templates=lambda config: (config.params,),
    begin=begin,
    execute=execute,
    connection=lambda config: config.connection,
)
