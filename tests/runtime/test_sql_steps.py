"""Steps that use databases, in a daemon: nodes and handlers share them, and `validate` knows their names."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from daemon.core.errors import Misconfigured
from daemon.core.values import from_json
from daemon.nodes import all_node_types
from daemon.runtime.definitions import Compiler
from daemon.settings import Secrets
from daemon.settings_outside import Connection
from tests.support.daemons import finished, running, settings_for, start

if TYPE_CHECKING:
    from pathlib import Path

WORKFLOW = """
workflow: shop
nodes:
  make: {sql: {connection: shop, query: "create table stock (key text unique, item text)", fetch: none}}
  by_hand: {task: stock.add, with: {item: tea}}
  by_node:
    sql:
      connection: shop
      query: insert into stock values (%(idempotency_key)s, %(item)s) returning key
      params: {item: "{{ secret.ITEM }}"}
      fetch: value
  again: {sql: {connection: shop, query: "insert into stock values (%(key)s, '')", params: {key: "{{ by_node }}"}, fetch: none}}
  refused: {transform: "{{ again.error.code }}"}
  elsewhere: {task: stock.add_elsewhere}
  told: {transform: "{{ elsewhere.error.code }}"}
edges: [make -> by_hand -> by_node -> again, again.error -> refused -> elsewhere, elsewhere.error -> told]
output: ["{{ by_hand }}", "{{ by_node }}", "{{ refused }}", "{{ told }}"]
"""  # noqa: E501  one line a node


async def test_nodes_and_handlers_share_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is the step's own, a violated constraint goes by the error edge, and no secret is in the log."""
    (tmp_path / "ITEM").write_text("coffee")
    connections = {"shop": Connection(url=f"sqlite:///{tmp_path}/shop.db")}
    settings = settings_for(
        tmp_path,
        WORKFLOW,
        handlers="tests.support.sql_handlers",
        connections=connections,
        secrets=Secrets(dir=tmp_path),
    )
    async with running(settings) as daemon:
        execution_id = await start(daemon, "shop")
        state = await finished(daemon, execution_id)
        shown = (await daemon.metrics.exposition()).decode()
        assert 'sagad_client_circuit{client="sql:shop"} 0.0' in shown
        assert 'sagad_client_rejected_total{client="sql:shop"} 0.0' in shown
        assert [(status.name, status.state) for status in daemon.clients()] == [("sql:shop", "closed")]
    assert from_json(state.output) == ["tea", f"{execution_id}/by_node", "sql_unique_violation", "no_services"]
    with sqlite3.connect(tmp_path / "shop.db") as stock:
        rows = stock.execute("select * from stock order by item desc").fetchall()
    assert rows == [(f"{execution_id}/by_hand", "tea"), (f"{execution_id}/by_node", "coffee")]


@pytest.mark.parametrize("place", ["", "task: work, compensate: "])
def test_a_connection_that_the_settings_do_not_have_is_found_with_its_place(place: str) -> None:
    text = f"workflow: w\nnodes:\n  a: {{{place}{{sql: {{connection: shap, query: select 1}}}}}}\n"
    text = text if place else text.replace("{{", "{").replace("}}}", "}}")
    compiler = Compiler(node_types=all_node_types(), handlers=["work"], env={}, connections=["shop"])
    with pytest.raises(Misconfigured) as refused:
        compiler.load_text(text)
    [problem] = refused.value.problems
    assert (problem.message, problem.line) == ("the settings have no connection 'shap'", 3)
    assert problem.hint == "add [connections.shap] with its url; did you mean 'shop'?"
