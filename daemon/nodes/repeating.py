"""What the loops have in common, and what the fan-out shares with them.

counted    `for`, `forEach`: it is known how many turns there are; what they give is a list
open       `while`, `doWhile`: a condition ends it; what the last turn gave counts
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from daemon.core.node import NodeType, Repeat, Turns
from daemon.core.schema_parts import anything, ref, whole_number, yes_no
from daemon.nodes.reading import Reader

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.core.schema_parts import Schema
    from daemon.core.templates import Template

MOST_TURNS = 1_000_000


class Defaults(NamedTuple):
    """What holds when a loop says nothing."""

    limit: int
    collect: bool


COUNTED = Defaults(limit=100_000, collect=True)
OPEN = Defaults(limit=10_000, collect=False)


def loop_keys(defaults: Defaults) -> Mapping[str, Schema]:
    """Return the keys of a loop, which `loop_turns` reads."""
    return {
        "break": ref("template", "Asked after each turn, and may read what was in it: true ends the loop."),
        "continue": ref("template", "Asked before each turn: true leaves it out."),
        "limit": whole_number(
            "More turns than this fail the node with the code `loop_limit`.",
            minimum=1,
            maximum=MOST_TURNS,
            default=defaults.limit,
        ),
        "collect": yes_no(
            "Whether the output is the list of what the turns gave; else it is what the last one gave.",
            default=defaults.collect,
        ),
        "aggregate": anything(
            "The node's output, made of `loop.results`, what the turns gave.", examples=["{{ loop.results | sum }}"]
        ),
    }


def loop_turns(reader: Reader, own: Mapping[str, Any], defaults: Defaults) -> Turns:
    """Read the keys of a loop."""
    return Turns(
        name="loop",
        skip=_condition(reader, own, "continue"),
        stop=_condition(reader, own, "break"),
        limit=own.get("limit", defaults.limit),
        collect=own.get("collect", defaults.collect),
        aggregate=aggregate(reader, own),
    )


def open_loop(name: str, asked: str, summary: str) -> NodeType:
    """Return the type of a loop that the condition under its name ends; `asked` is which of `Turns` that is."""

    def parse(own: Mapping[str, Any]) -> Turns:
        reader = Reader()
        turns = replace(loop_turns(reader, own, OPEN), **{asked: _condition(reader, own, name)})
        return reader.finish(turns)

    return NodeType(
        name=name,
        summary=summary,
        schema=ref("template", "The condition: true goes on."),
        keys=loop_keys(OPEN),
        parse=parse,
        templates=lambda _config: (),
        begin=lambda _config, _beginning: Repeat(),
        turns=lambda config: config,
    )


def aggregate(reader: Reader, own: Mapping[str, Any]) -> Template | None:
    """Compile what is made of the results, if that is given."""
    return reader.template(own["aggregate"], "aggregate") if "aggregate" in own else None


def _condition(reader: Reader, own: Mapping[str, Any], key: str) -> Template | None:
    return reader.expression(own[key], key) if key in own else None
