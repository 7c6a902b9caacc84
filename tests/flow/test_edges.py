"""Which edges a workflow's function makes: what reads follows, what is told follows, and nothing runs by accident."""

from __future__ import annotations

from typing import Any

from daemon.flow import (
    any_of,
    branch,
    default,
    error_of,
    for_each,
    join,
    parallel,
    port,
    saga,
    transform,
)
from daemon.flow import (
    edges as tell,
)
from tests.support.flows.building import document, edges, look, mistake, nodes


def a(what: Any = None, **options: Any) -> Any:
    return look.options(id="a", **options)(what)


def named(name: str, *what: Any, **options: Any) -> Any:
    return look.options(id=name, **options)(list(what))


def test_what_reads_comes_after() -> None:
    def flow(order: Any) -> Any:
        first = named("a", order)
        return named("b", first.x, order)

    assert edges(flow) == ["a -> b"]


def test_what_follows_from_other_edges_is_not_said_again() -> None:
    def flow(_: Any) -> None:
        first = named("a")
        second = named("b", first)
        third = named("c", first, second)
        named("d", first, second, third)

    assert edges(flow) == ["a -> b", "b -> c", "c -> d"]


def test_what_is_told_stays_even_where_it_follows() -> None:
    def flow(_: Any) -> None:
        first = named("a")
        second = named("b", first)
        named("c", after=[first, second])

    assert edges(flow) == ["a -> b", "a -> c", "b -> c"]


def test_an_output_is_read_too_but_makes_no_edge() -> None:
    def flow(_: Any) -> Any:
        return {"a": named("a"), "b": named("b")}

    assert document(flow)["output"] == {"a": "{{ a }}", "b": "{{ b }}"}
    assert edges(flow) == []


def test_an_error_is_read_behind_its_own_way() -> None:
    def flow(_: Any) -> None:
        first = named("a")
        named("sorry", error_of(first).message)
        named("b", first)

    assert edges(flow) == ["a.error -> sorry", "a -> b"]


def test_both_ways_of_a_step_lead_to_what_reads_both() -> None:
    """The edge from the step itself does not follow from the one by its error."""

    def flow(_: Any) -> None:
        first = named("a")
        mended = named("mend", error_of(first).code)
        transform("b", default(first, mended))

    assert edges(flow) == ["a.error -> mend", "a -> b", "mend -> b"]


def test_what_begins_a_block_begins_by_the_way() -> None:
    def flow(order: Any) -> None:
        large = branch("large", named("a", order) > 1)
        with large.true:
            review = named("review")
            named("b", review)
        with large.false:
            named("c", order)
        named("d", after=[large.false, review])

    assert edges(flow) == [
        "a -> large", "large.true -> review", "review -> b", "large.false -> c", "large.false -> d", "review -> d",
    ]  # fmt: skip


def test_what_a_block_reads_from_outside_is_waited_for_by_the_branch() -> None:
    """Else an edge from outside would let a node begin whose way is not taken."""

    def flow(order: Any) -> None:
        large = branch("large", order > 1)
        price = named("price")
        with large.true:
            named("b", price)
            with branch("deep", order > 2).true:
                named("c", price, named("free"))

    assert edges(flow) == ["price -> large", "large.true -> b", "large.true -> deep", "deep.true -> free", "free -> c"]


def test_what_a_block_is_told_to_come_after_is_waited_for_by_the_branch_too() -> None:
    def flow(order: Any) -> None:
        price = named("price")
        with branch("large", order > 1).true:
            named("b", after=price)

    assert edges(flow) == ["price -> large", "large.true -> b"]


def test_a_way_that_is_taken_up_again_may_read_what_came_of_it() -> None:
    def flow(order: Any) -> None:
        large = branch("large", order > 1)
        with large.true:
            first = named("a")
        outside = named("b", first)
        with large.true:
            named("c", outside)
            named("d", first)

    assert edges(flow) == ["large.true -> a", "a -> b", "large.true -> c", "b -> c", "a -> d"]


def test_what_comes_by_another_way_cannot_be_read_under_this_one() -> None:
    """Whatever edges there were, they would let the node begin by the other way too."""

    def other_way(order: Any) -> None:
        large = branch("large", order > 1)
        with large.true:
            first = named("a")
        with large.false:
            named("b", first)

    def both_ways(order: Any) -> None:
        large = branch("large", order > 1)
        with large.true:
            first = named("a")
        met = named("met", after=[first, large.false])
        with large.true:
            named("b", met)

    for flow, read in ((other_way, "a"), (both_ways, "met")):
        problem = mistake(flow)
        assert problem.message.startswith(f"`{read}` is not there by `large.")
        assert "make it before `large`" in (problem.hint or "")


def test_what_is_in_a_body_cannot_be_come_after_outside() -> None:
    def flow(order: Any) -> None:
        with for_each("lines", order):
            inside = named("a")
        named("b", after=inside)

    problem = mistake(flow)
    assert (problem.message, problem.hint) == ("`a` is in the body of `lines`", "come after `lines`")


def test_a_body_comes_after_what_is_told_in_it() -> None:
    def flow(order: Any) -> None:
        first = named("first")
        with for_each("lines", order):
            named("a", after=first)

    assert edges(flow) == ["first -> lines"]


def test_a_body_reads_by_the_node_that_has_it() -> None:
    def flow(order: Any) -> None:
        rate, limit, first = named("rate"), named("limit"), named("first")
        with for_each("lines", order.lines) as lines:
            lines.skip_if(lines.item > limit)
            with parallel("boxes", 2) as boxes:
                price = named("price", lines.item, rate, boxes.index)
                boxes.collect([price, first])

    assert sorted(edges(flow)) == ["first -> lines", "limit -> lines", "rate -> lines"]
    body = nodes(flow)["lines"]["do"]
    assert "edges" not in body
    assert body["nodes"]["boxes"]["do"]["nodes"]["price"]["with"] == {
        "what": ["{{ lines.item }}", "{{ rate }}", "{{ parallel.index }}"]
    }


def test_a_body_has_edges_of_its_own() -> None:
    def flow(order: Any) -> None:
        with saga("both") as both:
            first = named("a", order)
            both.output(named("b", first))
        named("sorry", error_of(both.result).code)

    made = document(flow)
    assert made["nodes"]["both"]["do"]["edges"] == ["a -> b"]
    assert made["edges"] == ["both.error -> sorry"]


def test_a_body_under_a_way_reads_by_the_branch() -> None:
    def flow(order: Any) -> None:
        price = named("price")
        with branch("large", order > 1).true, for_each("lines", order.lines) as lines:
            named("a", lines.item, price)

    assert edges(flow) == ["price -> large", "large.true -> lines"]


def test_any_of_begins_with_the_first_and_reads_make_no_edge() -> None:
    """One more edge would let it begin before either is there."""

    def flow(order: Any) -> None:
        first, second, third = named("a"), named("b"), named("c")
        transform("d", [default(first, 0), default(second, 0), default(third, order)], after=any_of(first, second))

    assert edges(flow) == ["a -> d", "b -> d"]
    assert nodes(flow)["d"]["after"] == "any"


def test_a_join_comes_after_what_it_joins() -> None:
    def flow(_: Any) -> Any:
        first, second = named("a"), named("b")
        join("all", first, second)
        return join("one", first, second, wait_for="any")

    assert edges(flow) == ["a -> all", "b -> all", "a -> one", "b -> one"]
    assert (nodes(flow)["all"], nodes(flow)["one"]) == ({"join": "all"}, {"join": "any"})


def test_edges_can_be_told_afterwards() -> None:
    def flow(_: Any) -> None:
        first, second, third = named("a"), named("b"), named("c")
        failed = port(first, "error")
        last = named("d")
        tell(first, [second, third], last)
        tell(failed, last)

    assert edges(flow) == ["a -> b", "a -> c", "b -> d", "c -> d", "a.error -> d"]


def test_a_port_is_a_way() -> None:
    def flow(_: Any) -> None:
        first = look.options(id="a")
        made = first()
        with port(made, "declined", dict[str, str]) as refusal:
            named("b", refusal["reason"])
        named("c", after=port(made, "later"))

    assert edges(flow) == ["a.declined -> b", "a.later -> c"]
    assert nodes(flow)["b"]["with"] == {"what": ["{{ a.reason }}"]}


def test_what_has_no_node_cannot_be_followed() -> None:
    problem = mistake(lambda order: named("a", after=order.x))
    assert "this is none" in problem.message


def test_only_one_step_has_a_way() -> None:
    problem = mistake(lambda _: port(named("a") + named("b"), "error"))
    assert "comes from 2 nodes" in problem.message


def test_a_branch_has_only_its_ways() -> None:
    problem = mistake(lambda order: branch("large", order > 1)["maybe"])
    assert (problem.message, problem.hint) == ("`large` has no way 'maybe'", "there are: true, false, error")


def test_a_block_does_not_reach_into_a_body() -> None:
    def flow(order: Any) -> None:
        large = branch("large", order > 1)
        with for_each("lines", order.lines), large.true:
            named("a")

    assert mistake(flow).message == "`large` is in another graph"
