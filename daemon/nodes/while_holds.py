"""`while`: repeat the body while a condition holds, which is asked before each turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daemon.core.node import Beginning, NodeType, Repeat, Turns
from daemon.core.schema_parts import ref
from daemon.nodes.reading import Reader
from daemon.nodes.repeating import SOME, aggregate, condition, loop_keys

if TYPE_CHECKING:
    from collections.abc import Mapping


def parse(own: Mapping[str, Any]) -> Turns:
    """Compile the conditions."""
    reader = Reader()
    return reader.finish(
        Turns(
            name="loop",
            going=condition(reader, own, "while"),
            skip=condition(reader, own, "continue"),
            stop=condition(reader, own, "break"),
            limit=own.get("limit", SOME),
            collect=own.get("collect", False),
            aggregate=aggregate(reader, own),
        )
    )


def begin(_config: Turns, _beginning: Beginning) -> Repeat:
    """Ask for turns until the condition ends them."""
    return Repeat()


NODE_TYPE = NodeType(
    name="while",
    summary="Repeats its body while a condition holds, which is asked before each turn; `loop.previous` is what the"
    " turn before gave.",
    schema=ref("template", "The condition: true goes on."),
    keys=loop_keys(limit=SOME, collect=False),
    parse=parse,
    templates=lambda _config: (),
    begin=begin,
    turns=lambda config: config,
)
