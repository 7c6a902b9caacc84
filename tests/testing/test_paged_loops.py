"""The testing kit knows loops whose items come page by page: their handlers are faked, and crashes change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from daemon.testing import Unfaked, crash_everywhere

if TYPE_CHECKING:
    from daemon.testing import Flow, Sagad

ORDERS = """
workflow: orders
snapshot_every: 3
nodes:
  each:
    forEach:
      pages: {task: orders.list, with: {after: "{{ page.cursor }}"}, retry: {max_attempts: 3, initial: 1m}}
    do:
      nodes:
        ship: {task: orders.ship, with: {order: "{{ loop.item }}"}}
        nap: {wait: 1h}
      edges: [ship -> nap]
      output: "{{ loop.index }}: {{ ship }}"
output: "{{ each }}"
"""


def pages(after: str | None) -> dict[str, Any]:
    return {"items": ["a", "b"], "next": "b"} if after is None else {"items": ["c"]}


def ship(order: str) -> str:
    return f"{order} has left"


def orders(sagad: Sagad, store: str | None = None) -> Flow:
    flow = sagad.workflow(ORDERS, store=store)
    flow.fake("orders.list", calls=pages, fails="busy", times=1)
    flow.fake("orders.ship", calls=ship)
    return flow


async def test_the_handler_of_the_pages_is_faked_as_any_other(sagad: Sagad) -> None:
    flow = orders(sagad)
    execution = await flow.start()
    assert await execution.result() == ["0: a has left", "1: b has left", "2: c has left"]
    assert flow.calls("orders.list") == [{"after": None}, {"after": None}, {"after": "b"}, {"after": "b"}]
    assert [call["after"] for call in flow.node_calls("each~page")] == [None, None, "b", "b"]


async def test_a_handler_of_pages_that_nobody_plays_is_named(sagad: Sagad) -> None:
    flow = sagad.workflow(ORDERS)
    flow.fake("orders.ship", calls=ship)
    with pytest.raises(Unfaked, match=r"handler orders\.list, of node each~page"):
        await flow.start()


@pytest.mark.parametrize("store", ["memory", "sqlite"])
async def test_a_crash_at_any_append_changes_nothing(sagad: Sagad, store: str) -> None:
    report = await crash_everywhere(orders(sagad, store))
    assert report.points == 2 * report.appends
    assert report.appends == 13  # the start, two attempts of each page with a timer between, three turns with one each
