"""Statements on real databases: what they give, how they fail, and what becomes of lost connections."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
import pytest

from daemon.nodes.context import StepFailure
from daemon.nodes.statements import Statement
from daemon.runtime.databases import Databases, filled_url
from daemon.runtime.secrets import SecretUnknown
from daemon.settings_outside import Connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.support.services import OwnService

TABLE = (
    "create table stock (id integer primary key, item text not null unique, left_over integer check (left_over >= 0))"
)


@pytest.fixture(params=["postgres", "sqlite"])
async def databases(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Databases]:
    postgres = request.param == "postgres"
    url = request.getfixturevalue("fresh_postgres_url") if postgres else f"sqlite:///{tmp_path}/shop.db"
    opened = databases_of(url)
    await opened.run("shop", Statement(query=TABLE, fetch="none"))
    yield opened
    await opened.close()


def databases_of(url: str, **settings: Any) -> Databases:
    return Databases({"shop": Connection(url=url, **settings)}, str)


async def run(databases: Databases, query: str, fetch: Any = "all", **rest: Any) -> Any:
    how = {key: rest.pop(key) for key in ("timeout", "read_only", "max_rows", "max_bytes") if key in rest}
    return await databases.run("shop", Statement(query=query, params=rest, fetch=fetch, **how))


async def failure(databases: Databases, query: str, fetch: Any = "all", **rest: Any) -> StepFailure:
    with pytest.raises(StepFailure) as failed:
        await run(databases, query, fetch, **rest)
    return failed.value


async def insert(databases: Databases, number: int, item: str) -> Any:
    return await run(databases, "insert into stock values (%(n)s, %(item)s, 5)", "none", n=number, item=item)


async def test_what_is_fetched_is_what_was_asked_for(databases: Databases) -> None:
    assert await insert(databases, 1, "50 % more'; --") == {"rows": 1}
    await insert(databases, 2, "tea")
    everything = "select id, item from stock order by id"
    assert await run(databases, everything) == [{"id": 1, "item": "50 % more'; --"}, {"id": 2, "item": "tea"}]
    one = "select id from stock where item = %(item)s"
    assert await run(databases, one, "one", item="tea") == {"id": 2}
    assert await run(databases, one, "value", item="tea") == 2
    assert await run(databases, one, "one", item="?") is None
    assert await run(databases, one, "value", item="?") is None
    assert await run(databases, one, item="?") == []
    assert await run(databases, "update stock set left_over = 1", "none") == {"rows": 2}
    assert await run(databases, "update stock set left_over = 5 %% 3 where id = 1 returning left_over", "value") == 2


@pytest.mark.parametrize(
    ("query", "fetch", "code"),
    [
        ("insert into stock values (1, 'tea', 1)", "none", "sql_unique_violation"),
        ("insert into stock values (2, null, 1)", "none", "sql_not_null_violation"),
        ("insert into stock values (2, 'x', -1)", "none", "sql_check_violation"),
        ("insert into stoc values (2)", "none", "sql_statement"),
        ("selec 1", "all", "sql_statement"),
        ("update stock set left_over = 0", "all", "sql_no_rows"),
        ("select 1 as a, 2 as a", "all", "sql_columns"),
        ("select 1 as a, 2 as b", "value", "sql_columns"),
        ("select 1 union all select 2", "one", "sql_rows"),
        ("select %(nothing)s", "all", "sql_statement"),
        ("select %s", "all", "sql_statement"),
    ],
)
async def test_what_the_database_refuses_has_a_stable_code(
    databases: Databases, query: str, fetch: str, code: str
) -> None:
    """None of these passes by itself, and none has changed anything."""
    await insert(databases, 1, "tea")
    failed = await failure(databases, query, fetch)
    assert (failed.code, failed.retryable) == (code, False)
    assert await run(databases, "select left_over from stock", "value") == 5


async def test_a_result_is_bounded_and_a_change_with_too_large_a_result_is_undone(databases: Databases) -> None:
    for number in range(5):
        await insert(databases, number, f"item {number}")
    change = "update stock set left_over = 0 returning item"
    assert (await failure(databases, change, max_rows=4)).code == "sql_too_large"
    assert (await failure(databases, change, max_bytes=50)).code == "sql_too_large"
    assert await run(databases, "select count(*) from stock where left_over = 0", "value") == 0
    assert len(await run(databases, change, max_rows=5)) == 5


async def test_read_only_refuses_changes(databases: Databases) -> None:
    failed = await failure(databases, "insert into stock values (1, 'tea', 1)", "none", read_only=True)
    assert (failed.code, failed.retryable) == ("sql_read_only", False)
    assert await run(databases, "select count(*) from stock", "value", read_only=True) == 0


async def test_a_statement_that_takes_too_long_is_given_up_by_the_database(databases: Databases) -> None:
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"
    failed = await failure(databases, endless, timeout=timedelta(seconds=0.1))
    assert (failed.code, failed.retryable) == ("sql_timeout", True)
    assert await run(databases, "select 1", "value") == 1


async def test_a_cancelled_step_stops_its_statement(databases: Databases) -> None:
    """The connection is free again: with one connection another statement runs."""
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"
    asking = asyncio.create_task(run(databases, endless))
    done, _ = await asyncio.wait({asking}, timeout=0.2)
    assert not done
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await run(databases, "select 1", "value") == 1


async def test_lists_and_mappings_reach_postgres_as_arrays_and_jsonb(fresh_postgres_url: str) -> None:
    databases = databases_of(fresh_postgres_url)
    assert await run(databases, "select sum(i) from unnest(%(n)s::int[]) i", "value", n=[1, 2, 3]) == 6
    assert await run(databases, "select %(d)s -> 'a' ->> 'b'", "value", d={"a": {"b": "c"}}) == "c"
    await databases.close()


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("timestamptz '2026-03-01 12:00:00+00'", "2026-03-01T12:00:00+00:00"),
        ("date '2026-03-01'", "2026-03-01"),
        ("time '12:30'", "12:30:00"),
        ("interval '1 day 2 hours'", "P1DT7200S"),
        ("12.50::numeric", "12.50"),
        ("'NaN'::float8", "nan"),
        ("1.5::float8", 1.5),
        ("'0c0ffee0-0000-5000-8000-000000000001'::uuid", "0c0ffee0-0000-5000-8000-000000000001"),
        (r"'\xff00'::bytea", {"base64": "/wA="}),
        ("'{\"a\": [1, null]}'::jsonb", {"a": [1, None]}),
        ("array[1, 2]", [1, 2]),
        ("inet '10.0.0.1'", "10.0.0.1"),
        ("null", None),
        ("true", True),
    ],
)
async def test_values_of_postgres_become_json(postgres_url: str, expression: str, value: object) -> None:
    databases = databases_of(postgres_url)
    assert await run(databases, f"select {expression} as it", "value") == value
    await databases.close()


async def test_a_lost_connection_is_replaced(fresh_postgres_url: str) -> None:
    databases = databases_of(fresh_postgres_url, max_connections=1)
    theirs = await run(databases, "select pg_backend_pid()", "value")
    async with await psycopg.AsyncConnection.connect(fresh_postgres_url, autocommit=True) as other:
        await other.execute("select pg_terminate_backend(%s)", [theirs])
    assert await run(databases, "select pg_backend_pid()", "value") != theirs
    await databases.close()


async def test_a_connection_that_is_lost_in_the_middle_leaves_it_open_what_happened(fresh_postgres_url: str) -> None:
    databases = databases_of(fresh_postgres_url)
    sleeping = asyncio.create_task(run(databases, "select pg_sleep(30)"))
    end = "select count(pg_terminate_backend(pid)) from pg_stat_activity where query like 'select pg_sleep%%'"
    async with asyncio.timeout(20):
        while not await run(databases, end, "value"):  # noqa: ASYNC110  the server is asked
            await asyncio.sleep(0.01)
    with pytest.raises(StepFailure) as failed:
        await sleeping
    assert (failed.value.code, failed.value.retryable) == ("sql_lost", True)
    await databases.close()


@pytest.mark.slow
async def test_a_server_that_is_away_fails_retryably_and_comes_back(
    own_service: Callable[[str], OwnService],
) -> None:
    server = await asyncio.to_thread(own_service, "postgres")
    databases = databases_of(server.url, connect_timeout_s=1.0, circuit_failures=0)
    assert await run(databases, "select 1", "value") == 1
    await asyncio.to_thread(server.kill)
    failed = await failure(databases, "select 1")
    assert (failed.code, failed.retryable) == ("sql_unavailable", True)
    await asyncio.to_thread(server.restart)
    for _ in range(20):
        try:
            assert await run(databases, "select 1", "value") == 1
            break
        except StepFailure as again:
            assert again.code == "sql_unavailable"  # noqa: PT017  the pool has its own pauses
    else:
        pytest.fail("the database did not come back")
    await databases.close()


async def test_an_unknown_connection_is_told_with_those_there_are() -> None:
    databases = databases_of("sqlite:///unused.db")
    with pytest.raises(StepFailure, match="no connection 'shap'; did you mean 'shop'") as failed:
        await databases.run("shap", Statement(query="select 1"))
    assert (failed.value.code, failed.value.retryable) == ("sql_connection_unknown", False)


async def test_a_missing_secret_is_told_and_no_url(postgres_url: str) -> None:
    def resolve(name: str) -> str:
        raise SecretUnknown(f"the secret {name} is unknown")

    databases = Databases({"shop": Connection(url="{{ secret.SHOP }}")}, resolve)
    failed = await failure(databases, "select 1")
    assert (failed.code, failed.message) == ("secret", "the secret SHOP is unknown")
    databases = Databases({"shop": Connection(url="{{ secret.SHOP }}")}, {"SHOP": postgres_url}.__getitem__)
    assert await run(databases, "select 1", "value") == 1
    await databases.close()


def test_a_secret_inside_a_url_is_quoted_for_it() -> None:
    url = filled_url("postgresql://app:{{ secret.P }}@db/shop", lambda _: "p@ss/word")
    assert (urlsplit(url).password, urlsplit(url).hostname) == ("p%40ss%2Fword", "db")
    assert filled_url("sqlite:///a.db", str) == "sqlite:///a.db"


async def test_a_database_that_is_away_is_not_asked_again_and_again() -> None:
    databases = databases_of("postgresql://127.0.0.1:9/none", connect_timeout_s=0.2, circuit_failures=2)
    codes = [(await failure(databases, "select 1")).code for _ in range(3)]
    assert codes == ["sql_unavailable", "sql_unavailable", "circuit_open"]
    [status] = databases.statuses()
    assert (status.name, status.state, status.rejected) == ("sql:shop", "open", 1)
    await databases.close()


async def test_what_the_database_refuses_does_not_open_its_circuit(databases: Databases) -> None:
    for _ in range(6):
        assert (await failure(databases, "selec 1")).code == "sql_statement"
    assert [status.state for status in databases.statuses()] == ["closed"]
