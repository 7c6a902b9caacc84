"""`sagad cache`: what is kept, and clearing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import Running, Sagad, halt, launch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SMALL = '{"order_id": "A1", "total": 5}'


@pytest.fixture
def caching(folder: Path) -> Iterator[Running]:
    """Run a daemon whose workflow keeps what was charged."""
    flow = folder / "flows" / "order.yaml"
    cached = 'charge: {task: charge, cache: {key: "{{ input.order_id }}", ttl: 1h},'
    flow.write_text(flow.read_text().replace("charge: {task: charge,", cached))
    daemon = launch(folder)
    yield daemon
    halt(daemon)


def test_results_are_listed_and_cleared(sagad: Sagad, caching: Running) -> None:
    """A second execution gets the first one's result, until it is cleared by the key that the expression gives."""
    first = sagad("start", "order", "-i", SMALL, "--wait", "--json").json["execution_id"]
    second = sagad("start", "order", "-i", SMALL, "--wait", "--json").json["execution_id"]
    assert "cached: 5" in sagad("show", second).out
    [row] = sagad("cache", "list", "--json").json
    assert (row["name"], row["execution_id"], row["address"]) == ("order/charge", first, "charge")
    assert row["hash"][:12] in sagad("cache", "list", "--workflow", "order").out

    assert sagad("cache", "clear", "--key", "A2").out == "cleared: 0\n"
    assert sagad("cache", "clear", "--name", "order/charge", "--key", "A1").out == "cleared: 1\n"
    third = sagad("start", "order", "-i", SMALL, "--wait", "--json").json["execution_id"]
    assert "cached" not in sagad("show", third).out
    [row] = sagad("cache", "list", "--json").json
    assert sagad("cache", "clear", "--hash", row["hash"], "--json").json == {"cleared": 1}
    assert sagad("cache", "clear", "--all").out == "cleared: 0\n"


def test_what_to_clear_must_be_said(sagad: Sagad) -> None:
    unclear = sagad("cache", "clear")
    assert (unclear.code, "say which" in unclear.err) == (2, True)
    assert sagad("cache", "clear", "--key", "a", "--hash", "b").code == 2
