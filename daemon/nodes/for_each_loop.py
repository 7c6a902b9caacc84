"""`forEach`: repeat the body for each item of a list, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from daemon.core.events import StepError
from daemon.core.node import Begin, Beginning, Fail, NodeType, Repeat, Turns
from daemon.core.schema_parts import either, list_of, ref
from daemon.core.templates import Template
from daemon.nodes.reading import Reader
from daemon.nodes.repeating import COUNTED, loop_keys, loop_turns

if TYPE_CHECKING:
    from collections.abc import Mapping


class ForEach(Struct, frozen=True):
    """The items, and how the body is repeated."""

    items: Template
    turns: Turns


def parse(own: Mapping[str, Any]) -> ForEach:
    """Compile items and conditions."""
    reader = Reader()
    items = reader.template(own["forEach"], "forEach")
    return reader.finish(ForEach(items, loop_turns(reader, own, COUNTED)))


def begin(config: ForEach, beginning: Beginning) -> Begin:
    """Ask for a turn for each item."""
    items = config.items.render(beginning.scope).value
    if items is None:  # to `Repeat` it would say that conditions alone end the loop
        return Fail(StepError("the items must be a list, and are nothing", "loop"))
    return Repeat(items)


NODE_TYPE = NodeType(
    name="forEach",
    summary="Repeats its body for each item of a list, one after the other; in it, `loop.item` is the item.",
    schema=either(
        "The items: an expression that gives a list, or a list.",
        ref("template", "An expression that gives a list."),
        list_of("The items.", ref("value")),
    ),
    keys=loop_keys(COUNTED),
    parse=parse,
    templates=lambda config: (config.items,),
    begin=begin,
    turns=lambda config: config.turns,
)
