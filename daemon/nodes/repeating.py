"""The keys that the loops and the fan-out share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daemon.core.schema_parts import anything, ref, whole_number, yes_no

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.core.schema_parts import Schema
    from daemon.core.templates import Template
    from daemon.nodes.reading import Reader

MOST_TURNS = 1_000_000
MANY, SOME = 100_000, 10_000
"""Turns that are allowed when nothing is said: of those that are counted, and of those that only a condition ends."""


def loop_keys(*, limit: int, collect: bool) -> Mapping[str, Schema]:
    """Return the keys of a loop; `limit` and `collect` are what holds when they are not given."""
    return {
        "break": ref("template", "Asked after each turn, and may read what was in it: true ends the loop."),
        "continue": ref("template", "Asked before each turn: true leaves it out."),
        "limit": whole_number(
            "More turns than this fail the node with the code `loop_limit`.",
            minimum=1,
            maximum=MOST_TURNS,
            default=limit,
        ),
        "collect": yes_no(
            "Whether the output is the list of what the turns gave; else it is what the last one gave.", default=collect
        ),
        "aggregate": anything(
            "The node's output, made of `loop.results`, what the turns gave.", examples=["{{ loop.results | sum }}"]
        ),
    }


def condition(reader: Reader, own: Mapping[str, Any], key: str) -> Template | None:
    """Compile the condition under the key, if there is one."""
    return reader.expression(own[key], key) if key in own else None


def aggregate(reader: Reader, own: Mapping[str, Any]) -> Template | None:
    """Compile what is made of the results, if that is given."""
    return reader.template(own["aggregate"], "aggregate") if "aggregate" in own else None
