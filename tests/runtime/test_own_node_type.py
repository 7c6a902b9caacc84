"""A node type is one file: that of another package is compiled, described and run like those of sagad."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from daemon.core.errors import Misconfigured
from daemon.core.schema import definition_schema
from daemon.core.values import from_json
from daemon.nodes import all_node_types, builtin_node_types
from daemon.runtime.definitions import Compiler
from tests.support.daemons import finished, running, settings_for, start
from tests.support.weigh_node import NODE_TYPE

if TYPE_CHECKING:
    from pathlib import Path

PARCELS = """
workflow: parcels
nodes:
  parcel: {weigh: "{{ input }}", limit: 10}
  truck: {transform: "by truck: {{ parcel.weight }}"}
  pigeon: {transform: "by pigeon: {{ parcel.weight }}"}
  back: {transform: "{{ parcel.error.message }}"}
edges: [parcel.heavy -> truck, parcel.light -> pigeon, parcel.error -> back]
"""


class Offered:
    """The entry point of a package that offers the type."""

    name, value = "weigh", "our_package.weigh_node:NODE_TYPE"

    def load(self) -> object:
        return NODE_TYPE


def compiler() -> Compiler:
    return Compiler(node_types={**builtin_node_types(), NODE_TYPE.name: NODE_TYPE}, handlers=(), env={})


def test_it_is_compiled_with_its_ports() -> None:
    [plan] = compiler().load_text(PARCELS).plans
    assert plan.nodes["parcel"].ports == ("heavy", "light", "error")


@pytest.mark.parametrize(
    ("wrong", "right", "message"),
    [
        ("limit: 10", "limit: none", "expected a whole number"),
        ("parcel.heavy ->", "parcel.large ->", "`parcel` has no port 'large'"),
        ("parcel.heavy ->", "parcel ->", "leaves by one of several ports"),
        ("{{ input }}", "{{ input", "`{{` has no `}}`"),
    ],
)
def test_its_mistakes_are_told_like_those_of_any_other(wrong: str, right: str, message: str) -> None:
    with pytest.raises(Misconfigured, match=message.replace("{", r"\{")):
        compiler().load_text(PARCELS.replace(wrong, right))


def test_it_is_in_the_schema_that_editors_read() -> None:
    node = definition_schema(compiler().node_types)["$defs"]["weigh_node"]
    assert {"weigh", "limit", "retry", "timeout", "on_error"} <= set(node["properties"])


@pytest.mark.parametrize(
    ("weight", "output"),
    [
        (11, {"truck": "by truck: 11"}),
        (2.5, {"pigeon": "by pigeon: 2.5"}),
        ("much", {"back": "'much' cannot be weighed"}),
    ],
)
async def test_a_daemon_that_is_offered_it_runs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weight: Any, output: Any
) -> None:
    monkeypatch.setattr("daemon.nodes.entry_points", lambda *, group: [Offered()] if group == "sagad.nodes" else [])
    assert all_node_types()["weigh"] is NODE_TYPE
    async with running(settings_for(tmp_path, PARCELS)) as daemon:
        state = await finished(daemon, await start(daemon, "parcels", weight))
    assert (state.error, from_json(state.output)) == (None, output)
