"""The `sql` node by itself: its places, and what it asks for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from daemon.nodes.sql import execute
from tests.support.nodes import FakeContext, FakeServices, executed, refusals, type_and_config

TOTAL = "select total from orders where id = %(id)s"


async def test_values_travel_apart_from_the_query_with_the_key_among_them() -> None:
    """Whatever the input says, the text that reaches the database is that of the definition."""
    services = FakeServices(rows=[{"total": 3}])
    text = f"{{sql: {{connection: shop, query: '{TOTAL}', params: {{id: '{{{{ input }}}}'}}, fetch: value}}}}"
    assert await executed(text, services, input="1; drop table orders") == [{"total": 3}]
    [(connection, query, params, how)] = services.asked
    assert (connection, query) == ("shop", TOTAL)
    assert params == {"id": "1; drop table orders", "idempotency_key": "execution/b"}
    assert (how["fetch"], how["timeout"], how["read_only"]) == ("value", None, False)


@pytest.mark.parametrize(
    ("sql", "path", "message"),
    [
        ("query: \"select '{{ input }}'\"", ("sql", "query"), "a query holds no templates"),
        ("query: 'select %s'", ("sql", "query"), "`%s` in the query has no name"),
        ("query: 'select 5 % 2'", ("sql", "query"), "`% ` in the query has no name"),
        ("query: 'select %(a b)s'", ("sql", "query"), "`%(a b)s` in the query is no place"),
        ("query: 'select %(a)b', params: {a: 1}", ("sql", "query"), "`%(a)b` in the query is no place"),
        ("query: 'select %(a)s'", ("sql", "query"), "the query's place %(a)s has no value"),
        ("query: 'select 1', params: {a: 1}", ("sql", "params", "a"), "the query has no place for `a`"),
        ("query: 'select 1', params: {idempotency_key: x}", ("sql", "params", "idempotency_key"), "is there by itself"),
        ("query: 'select 1', timeout: soon", ("sql", "timeout"), "duration"),
        ("query: 'select %(a)s', params: {a: '{{ }}'}", ("sql", "params", "a"), "nothing"),
    ],
)
def test_a_query_that_cannot_be_is_refused_with_its_place(sql: str, path: tuple[str, ...], message: str) -> None:
    found = refusals(f"{{sql: {{connection: shop, {sql}}}}}")
    assert any(where == path and (message in said or message == "nothing") for where, said in found), found


@pytest.mark.parametrize("sql", ["select 5 %% 2", "select %(idempotency_key)s", "select '%%(a)s'"])
def test_percent_signs_are_doubled_and_the_key_needs_no_value(sql: str) -> None:
    assert refusals(f'{{sql: {{connection: shop, query: "{sql}"}}}}') == []


async def test_a_statement_ends_with_its_attempt() -> None:
    """The database gives up when nobody waits any more, or before, when the node says so."""
    _, config = type_and_config("{sql: {connection: shop, query: 'select 1', timeout: 5s}}")
    services = FakeServices()
    soon = datetime.now(UTC) + timedelta(seconds=2)
    await execute(FakeContext(config, services, deadline=soon), {})
    await execute(FakeContext(config, services, deadline=soon + timedelta(hours=1)), {})
    first, second = [how["timeout"] for *_, how in services.asked]
    assert timedelta(0) < first <= timedelta(seconds=2)
    assert second == timedelta(seconds=5)
