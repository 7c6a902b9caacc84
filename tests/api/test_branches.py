"""Forks and rewinds over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from tests.api.conftest import client_of, started
from tests.support.daemons import finished, running, settings_for, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

    from daemon.assembled import Daemon

TEXT = """
workflow: two
vars: {rate: 1}
nodes:
  one: {task: pass, with: {value: "{{ input.n }}"}, compensate: {task: pass, with: {value: "{{ step.output }}"}}}
  two:
    task: pass
    with: {value: "{{ one * vars.rate }}"}
    compensate: {task: pass, with: {value: "{{ step.output }}"}}
edges: [one -> two]
output: "{{ two }}"
"""


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with running(settings_for(tmp_path, TEXT)) as here:
        yield here


@pytest.fixture
async def client(daemon: Daemon) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(daemon) as here:
        yield here


async def ended(daemon: Daemon, client: httpx.AsyncClient) -> UUID:
    execution_id = UUID((await started(client, "two", {"n": 3}))["execution_id"])
    await finished(daemon, execution_id)
    return execution_id


async def test_what_no_compensation_takes_back_is_told(tmp_path: Path) -> None:
    """Also of a step that had begun in the very decision that is taken again."""
    text = TEXT.replace('    compensate: {task: pass, with: {value: "{{ step.output }}"}}\nedges', "edges")
    async with running(settings_for(tmp_path, text)) as daemon, client_of(daemon) as client:
        source = await ended(daemon, client)
        for place, left in (("before:two", ["two"]), ("after:one", ["two"]), ("after:two", [])):
            shown = (await client.get(f"/executions/{source}/past", params={"at": place})).json()
            assert (place, shown["left"]) == (place, left)


async def test_what_a_place_is_like_is_told_before(daemon: Daemon, client: httpx.AsyncClient) -> None:
    source = await ended(daemon, client)
    shown = (await client.get(f"/executions/{source}/past", params={"at": "before:two"})).json()
    assert (shown["version"], shown["again"], shown["under_way"]) == (2, "CompleteStep one", [])
    assert [each["address"] for each in shown["to_undo"]] == ["two"]
    shown = (await client.get(f"/executions/{source}/past", params={"at": "2"})).json()
    assert shown["under_way"] == [{"address": "one", "key": f"{source}/one"}]
    assert [each["address"] for each in shown["to_undo"]] == ["two", "one"]


async def test_a_fork_is_made_and_found_from_both_sides(daemon: Daemon, client: httpx.AsyncClient) -> None:
    source = await ended(daemon, client)
    body: dict[str, Any] = {"at": "before:two", "variables": {"rate": 5}, "key": "k"}
    made = await client.post(f"/executions/{source}/fork", json=body)
    assert (made.status_code, made.json()["source"], made.json()["at_version"]) == (201, str(source), 2)
    fork = UUID(made.json()["execution_id"])
    await finished(daemon, fork)
    assert (await client.get(f"/executions/{fork}")).json()["output"] == 15
    assert (await client.post(f"/executions/{source}/fork", json=body)).json()["execution_id"] == str(fork)
    lineage = (await client.get(f"/executions/{source}/lineage")).json()
    assert (lineage["source"], [each["execution_id"] for each in lineage["forks"]]) == (None, [str(fork)])
    lineage = (await client.get(f"/executions/{fork}/lineage")).json()
    assert lineage["source"] == {"execution_id": str(source), "at_version": 2}
    edited = {"at": "before:two", "input": {"n": 1}, "steps": {"one": {"output": 4}}}
    refused = await client.post(f"/executions/{source}/fork", json={**edited, "at": "1"})
    assert refused.status_code == 201
    await finished(daemon, UUID(refused.json()["execution_id"]))


async def test_a_rewind_is_done_once_for_a_key(daemon: Daemon, client: httpx.AsyncClient) -> None:
    source = await ended(daemon, client)
    for _ in range(2):
        answer = await client.post(
            f"/executions/{source}/rewind", json={"to": "before:two"}, headers={"Idempotency-Key": "once"}
        )
        assert (answer.status_code, answer.json()["to_version"]) == (200, 2)
        await until(daemon, source, lambda state: state.version > 13)
        await finished(daemon, source)
    names = [recorded.event.NAME for recorded in await daemon.history.events(source)]
    assert names.count("ExecutionRewound") == 1


async def test_a_checkpoint_is_restored(daemon: Daemon, client: httpx.AsyncClient) -> None:
    source = await ended(daemon, client)
    await daemon.checkpoints.take(source, label="one", version=5)
    answer = await client.post(f"/executions/{source}/restore", params={"checkpoint": "one"})
    assert (answer.status_code, answer.json()["to_version"]) == (200, 5)
    await until(daemon, source, lambda state: state.version > 13)
    assert (await client.post(f"/executions/{source}/restore", params={"checkpoint": "none"})).status_code == 404


@pytest.mark.parametrize(
    ("request_", "status", "told"),
    [
        (("fork", None), 422, "the body says where, as `at`"),
        (("rewind", None), 422, "the body says where to, as `to`"),
        (("fork", {"at": "before:three"}), 409, "there is no step 'three'; there are: one, two"),
        (("fork", {"at": "500"}), 409, "has no event 500"),
        (("fork", {"at": "0"}), 409, "versions begin at 1"),
        (("fork", {"at": "soon"}), 409, "is no place in an execution"),
        (("fork", {"at": "2020-01-01T00:00:00Z"}), 409, "there was no execution"),
        (("fork", {"at": "2", "variables": {"rat": 1}}), 409, "no variable 'rat'; did you mean 'rate'?"),
        (("fork", {"at": "2", "version": "abcdef"}), 409, "abcdef"),
        (("rewind", {"to": "before:one", "undo": "perhaps"}), 422, "Invalid enum value 'perhaps'"),
    ],
)
async def test_what_cannot_be(
    daemon: Daemon, client: httpx.AsyncClient, request_: tuple[str, Any], status: int, told: str
) -> None:
    path, body = request_
    source = await ended(daemon, client)
    answer = (
        await client.post(f"/executions/{source}/{path}", json=body)
        if body
        else (await client.post(f"/executions/{source}/{path}"))
    )
    assert told in answer.text
    assert answer.status_code == status
