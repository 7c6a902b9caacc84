"""Random workflows in Python: they compile, are the same in YAML, and nothing runs whose way was not taken."""

from __future__ import annotations

import json
from collections import defaultdict
from random import Random  # the same for a seed, and quick
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from daemon.core.edge_syntax import parse_edge
from daemon.flow import (
    assign,
    branch,
    choose,
    default,
    do_while,
    error_of,
    expr,
    for_each,
    for_times,
    http,
    join,
    parallel,
    publish,
    saga,
    signal,
    size,
    transform,
    variables,
    wait,
    when,
    while_loop,
    workflow,
)
from daemon.flow.marks import sources_in
from daemon.flow.reference import text_of
from daemon.nodes import builtin_node_types
from daemon.runtime.definitions import Compiler
from daemon.runtime.documents import read_documents
from daemon.runtime.yaml_text import to_yaml
from tests.support.flows.building import look

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.core.definition import Definition

COMPILER = Compiler(node_types=builtin_node_types(), handlers=None, env={})


class Author:
    """Writes a workflow's function as the dice fall: each value that is known may be read."""

    def __init__(self, dice: Random, order: Any) -> None:
        self.dice = dice
        self.known = [order]
        self.under: dict[str, tuple[str, str]] = {}
        """Id of each node that stands under a way -> the branch, and the way."""
        self._way: tuple[str, str] | None = None
        self._count = 0

    def id(self) -> str:
        self._count += 1
        name = f"n{self._count}"
        if self._way is not None:
            self.under[name] = self._way
        return name

    def one(self) -> Any:
        return self.dice.choice(self.known)

    def some(self) -> list[Any]:
        return self.dice.choices(self.made(), k=self.dice.randint(1, 3))

    def made(self) -> list[Any]:
        return [each for each in self.known if any(sources_in(text_of(each)))]

    def value(self) -> Any:
        forms = [
            self.one,
            lambda: self.one() + 1,
            lambda: f"{self.one()}-{self.one()}",
            lambda: {"a": [self.one().x, "{{ text }}"], "b": 1.5},
            lambda: when(self.one() > self.dice.randint(-3, 3), self.one(), None),
            lambda: default(self.one()["a b"], "none"),
            lambda: expr(f"{self.one()} | first"),
            lambda: "plain",
        ]
        form: Any = self.dice.choice(forms)
        return form()

    def statements(self, levels: int) -> None:
        for _ in range(self.dice.randint(1, 4)):
            self.statement(levels)

    def statement(self, levels: int) -> None:
        kinds = ["look", "transform", "http", "publish", "wait", "signal", "assign", "join", "after", "error"]
        kinds += ["branch", "choose", "body"] * 2 if levels else []
        kind = self.dice.choice(kinds)
        node_id = self.id()
        match kind:
            case "look":
                self.known.append(look.options(id=node_id)(self.value()))
            case "transform":
                self.known.append(transform(node_id, self.value()))
            case "http":
                self.known.append(http(node_id, "POST", f"https://x/{self.one()}", json=self.value()))
            case "publish":
                self.known.append(publish(node_id, self.value(), memory=f"t-{self.one()}"))
            case "wait":
                self.known.append(wait(node_id, self.one()))
            case "signal":
                self.known.append(signal(node_id, f"s-{self.one()}"))
            case "assign":
                self.known.append(assign(node_id, {"total": variables.total + size([self.one()])}))
            case "after" if self.made():
                self.known.append(look.options(id=node_id, after=self.some())(self.value()))
            case "error" if self.made():
                self.known.append(transform(node_id, error_of(self.dice.choice(self.made())).code))
            case "join" if self.made():
                self.known.append(join(node_id, *self.some()))
            case "branch":
                self.ways(branch(node_id, self.one() > 1), ["true", "false"], levels)
            case "choose":
                self.ways(choose(node_id, {"a": self.one() > 1, "b": self.one() == "x"}), ["a", "b", "default"], levels)
            case "body":
                self.body(node_id, levels)
            case _:
                look.options(id=node_id)()

    def ways(self, taken: Any, ports: list[str], levels: int) -> None:
        outside, before = self._way, list(self.known)
        found: dict[str, list[Any]] = {port: [] for port in ports}
        for port in self.dice.choices(ports, k=self.dice.randint(1, 3)):
            with taken[port]:
                self._way = (taken.source.node, port)
                self.known = [*before, *found[port]]
                self.statements(levels - 1)
                found[port] = self.known[len(before) :]
        self._way = outside
        self.known = [*before, *(each for values in found.values() for each in values)]

    def body(self, node_id: str, levels: int) -> None:
        bodies = [
            lambda: for_each(node_id, self.one()),
            lambda: for_times(node_id, 2),
            lambda: while_loop(node_id, self.one() > 1),
            lambda: do_while(node_id),
            lambda: parallel(node_id, self.one()),
            lambda: saga(node_id),
        ]
        make: Any = self.dice.choice(bodies)
        body = make()
        outside, way = list(self.known), self._way
        with body:
            self._way = None
            if hasattr(body, "item"):
                self.known.append(body.item)
            self.statements(levels - 1)
            if hasattr(body, "again_if"):
                body.again_if(self.one() > 1)
            body.output(self.value())
        self.known, self._way = [*outside, body.result], way


def written(dice: Random) -> tuple[dict[str, Any], dict[str, tuple[str, str]]]:
    authors: list[Author] = []

    @workflow("random", input=None, vars={"total": 0})
    def flow(order: Any) -> Any:
        author = Author(dice, order)
        authors.append(author)
        author.statements(2)
        return author.value()

    return flow.document, authors[0].under


def plan_hash(document: Mapping[str, Any]) -> str:
    [plan] = COMPILER.load_text(json.dumps(document), "flow.json").plans
    return plan.hash


@given(st.integers(0, 2**32))
def test_a_random_workflow_compiles_and_is_the_same_in_yaml(seed: int) -> None:
    """The compiler has nothing against it: every value is read where it can be there."""
    document, _ = written(Random(seed))  # noqa: S311  not for secrets
    text = to_yaml(document)
    [back] = read_documents(text, "flow.yaml")[0]
    assert back.value == document
    [plan] = COMPILER.load_text(text, "flow.yaml").plans
    assert plan.hash == plan_hash(document)


def fired(definition: Definition, chosen: Mapping[str, str]) -> set[str]:
    """Return which nodes run when each leaves by this port (`out` if not said): what `walk` does, in short."""
    into: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for edge in definition.edges:
        into[edge.target].append((edge.source, edge.port))
    known: dict[str, bool] = {}

    def runs(node_id: str) -> bool:
        if node_id not in known:
            sources = into[node_id]
            ways = [runs(source) and chosen.get(source, "out") == port for source, port in sources]
            known[node_id] = any(ways) or not sources
        return known[node_id]

    return {node_id for node_id in definition.nodes if runs(node_id)}


@given(st.integers(0, 2**32))
def test_nothing_runs_whose_way_is_not_taken(seed: int) -> None:
    """Whatever it reads besides, and whatever way is taken: a node in a block runs by that way alone.

    A second block of the same way, and what follows a node of it, may come by other nodes that run by that way only.
    """
    dice = Random(seed)  # noqa: S311  not for secrets
    document, under = written(dice)
    [plan] = COMPILER.load_text(json.dumps(document), "flow.json").plans
    definition = plan.definition
    branches = {branch for branch, _ in under.values()}
    ports = {each: sorted({port for found, port in under.values() if found == each}) for each in branches}
    chosen = {each: dice.choice([*ports[each], "none of them"]) for each in sorted(branches)}
    running = fired(definition, chosen)
    for node_id, (node, port) in under.items():
        if node_id in running:
            assert node in running, (node_id, document)
            assert chosen[node] == port, (node_id, document)


def test_the_edges_are_edges() -> None:
    """What the simulation above reads is what the definition says."""
    assert parse_edge("a.true -> b", ())[0].port == "true"
