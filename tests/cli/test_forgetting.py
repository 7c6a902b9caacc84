"""`sagad forget`, `sagad subjects`: with a daemon, on its store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import Running, Sagad, halt, launch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "c2l4dGVlbiBieXRlcyBhbmQgc2l4dGVlbiBtb3JlISE="


@pytest.fixture
def daemon(folder: Path) -> Iterator[Running]:
    """Run a daemon whose workflow says whose data it holds."""
    flow = folder / "flows" / "order.yaml"
    flow.write_text(flow.read_text().replace("workflow: order", 'workflow: order\nsubject: "{{ input.order_id }}"'))
    with (folder / "sagad.toml").open("a") as file:
        file.write(f'[encryption]\nkeys = ["{KEY}"]\n')
    daemon = launch(folder)
    yield daemon
    halt(daemon)


FLOW = "flows/order.yaml"


def test_a_subject_is_forgotten_when_it_is_agreed_to(sagad: Sagad, daemon: Running) -> None:
    """What will be gone is shown first; afterwards its values read as forgotten, and verify finds nothing wrong."""
    done = sagad("start", "order", "-i", '{"order_id": "A1", "total": 5}', "--wait", "--json").json["execution_id"]
    assert "A1" in sagad("subjects").out

    asked = sagad("forget", "A1")
    assert (asked.code, "1 executions" in asked.err) == (1, True)
    assert sagad("forget", "A1", "--yes", "--reason", "art. 17").code == 0
    assert "was forgotten at" in sagad("forget", "A1").out

    assert "$forgotten" in sagad("state", done).out
    assert "art. 17" in sagad("subjects").out
    assert sagad("verify", done).code == 0
    for sure in (("what-if", done, "--definition", FLOW), ("fork", done, "--at", "before:charge", "--dry-run")):
        refused = sagad(*sure)
        assert (refused.code, "the subject of the execution was forgotten" in refused.err) == (1, True)
    for several in (("check", FLOW), ("replay", "--from", "1h", "--definition", FLOW)):
        assert sagad(*several).out.splitlines()[-1] == "1 left out: their subjects were forgotten."
    assert sagad("forget", "A2", "--yes").code == 3
    assert sagad("subjects", "--rewrap").out == "wrapped anew: 0\n"


def test_what_is_open_is_cancelled_and_waited_for(sagad: Sagad, daemon: Running) -> None:
    sagad("start", "order", "-i", '{"order_id": "B1", "total": 5000}')
    refused = sagad("forget", "B1", "--yes")
    assert (refused.code, "have not ended" in refused.err) == (1, True)
    assert sagad("forget", "B1", "--yes", "--cancel").code == 0
