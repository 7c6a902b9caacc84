"""`parallel`: repeat the body for each item of a list, or a number of times, beside each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from daemon.core.events import StepError
from daemon.core.node import Begin, Beginning, Fail, NodeType, Repeat, Turns
from daemon.core.schema_parts import anything, choice, either, list_of, ref, whole_number
from daemon.core.templates import Template
from daemon.nodes.reading import Reader
from daemon.nodes.repeating import COUNTED, MOST_TURNS, aggregate

if TYPE_CHECKING:
    from collections.abc import Mapping

AT_ONCE = 64


class Parallel(Struct, frozen=True):
    """The items or their number, and how the body is repeated."""

    over: Template
    turns: Turns


def parse(own: Mapping[str, Any]) -> Parallel:
    """Compile what it is over, and what is made of the results."""
    reader = Reader()
    turns = Turns(
        name="parallel",
        limit=own.get("limit", COUNTED.limit),
        at_once=own.get("concurrency", AT_ONCE),
        tolerant=own.get("on_failure", "fail_fast") == "collect",
        enough=own.get("enough"),
        aggregate=aggregate(reader, own),
    )
    return reader.finish(Parallel(reader.template(own["parallel"], "parallel"), turns))


def begin(config: Parallel, beginning: Beginning) -> Begin:
    """Ask for a turn for each item, or for so many."""
    over = config.over.render(beginning.scope).value
    if isinstance(over, list):
        return Repeat(over)
    if isinstance(over, int) and not isinstance(over, bool) and over >= 0:
        return Repeat(total=over)
    return Fail(StepError(f"`parallel` takes a list or a whole number, not {str(over)[:80]}", "parallel"))


NODE_TYPE = NodeType(
    name="parallel",
    summary="Repeats its body beside itself, for each item of a list (`parallel.currentItem`) or a number of times.",
    schema=either(
        "The items, or how often: a list, a whole number, or an expression that gives one of them.",
        {"type": "integer", "x-expected": "a whole number", "minimum": 0},
        ref("template", "An expression that gives a list or a whole number."),
        list_of("The items.", ref("value")),
    ),
    keys={
        "concurrency": whole_number(
            "How many turns may be under way at once.", minimum=1, maximum=10_000, default=AT_ONCE
        ),
        "on_failure": choice(
            "What an error in a turn that nothing takes does: `fail_fast` gives up the other turns and fails the node,"
            " `collect` notes `{error: …}` as what the turn gave.",
            "fail_fast",
            "collect",
            default="fail_fast",
        ),
        "enough": whole_number(
            "So many turns that succeeded end it, and the others are given up; if fewer succeed, the node fails with"
            " the code `not_enough`.",
            minimum=1,
        ),
        "limit": whole_number(
            "More turns than this fail the node with the code `loop_limit`.",
            minimum=1,
            maximum=MOST_TURNS,
            default=COUNTED.limit,
        ),
        "aggregate": anything(
            "The node's output, made of `parallel.results`, what the turns gave, in the order of the items.",
            examples=["{{ parallel.results | sum }}"],
        ),
    },
    parse=parse,
    templates=lambda config: (config.over,),
    begin=begin,
    turns=lambda config: config.turns,
)
