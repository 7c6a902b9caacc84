"""The stores of tests: what kinds there are, how they fail, and what a new daemon finds in them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from daemon.testing import Flow, Sagad

STEPS = """
workflow: steps
nodes:
  a: {task: shop.work, with: {number: "{{ input }}"}}
  nap: {wait: 1h}
  b: {task: shop.work, with: {number: "{{ a }}"}}
edges: [a -> nap, nap -> b]
output: "{{ b }}"
"""


def steps(sagad: Sagad, store: str | None = None) -> Flow:
    flow = sagad.workflow(STEPS, store=store)
    flow.fake("shop.work", calls=lambda number: number + 1)
    return flow


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres"])
async def test_it_runs_on_every_kind_of_store(sagad: Sagad, kind: str, request: pytest.FixtureRequest) -> None:
    store = kind if kind != "postgres" else request.getfixturevalue("postgres_url")
    flow = steps(sagad, store)
    execution = await flow.start(1)
    await execution.until(lambda execution: "nap" in execution.steps)
    await flow.restart()
    assert await execution.result() == 3
    assert len(flow.calls("shop.work")) == 2


async def test_the_store_is_gone_afterwards(sagad: Sagad) -> None:
    flow = steps(sagad, "sqlite")
    await (await flow.start(1)).result()
    file = Path(flow.stage.settings.store.url.removeprefix("sqlite:///"))
    assert file.exists()  # noqa: ASYNC240  nothing else is to be done meanwhile
    await sagad.close()
    assert not file.parent.exists()


@pytest.mark.parametrize("answer_lost", [False, True], ids=["refused", "answer-lost"])
async def test_a_store_that_fails_is_asked_again(sagad: Sagad, *, answer_lost: bool) -> None:
    flow = steps(sagad)
    sagad.store.fails(after=1, answer_lost=answer_lost)
    execution = await flow.start(1)
    assert await execution.result() == 3
    assert len(flow.calls("shop.work")) == 2
    assert sagad.store.failed == 1


async def test_a_store_that_fails_at_once_delays_the_start(sagad: Sagad) -> None:
    flow = steps(sagad)
    sagad.store.fails(times=2)
    assert await (await flow.start(1)).result() == 3
    assert sagad.store.failed == 2


async def test_a_new_daemon_takes_up_a_handler_at_work(sagad: Sagad) -> None:
    flow = sagad.workflow("workflow: w\nnodes: {work: {task: shop.work}}\noutput: '{{ work }}'")
    flow.fake("shop.work", returns="done", takes="1h")
    execution = await flow.start()
    await sagad.clock.advance("30m")
    await flow.restart()
    await sagad.clock.advance("59m")
    assert execution.status == "running"
    assert await execution.result() == "done"
    assert len(flow.calls("shop.work")) == 2


async def test_the_same_key_is_the_same_execution(sagad: Sagad) -> None:
    flow = steps(sagad)
    one, two = await flow.start(1, key="A7"), await flow.start(1, key="A7")
    assert one.id == two.id
    await one.result()
    assert len(flow.calls("shop.work")) == 2


def test_workers_of_pytest_have_stores_of_their_own() -> None:
    from daemon.testing.databases import make_unique_name  # noqa: PLC0415  it reads the environment

    assert os.environ.get("PYTEST_XDIST_WORKER", "main") in make_unique_name("x")
    assert make_unique_name("x") != make_unique_name("x")
