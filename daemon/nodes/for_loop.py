"""`for`: repeat the body a number of times, or for each number of a range, one after the other.

With `for: 3` `loop.item` is 0, 1, 2; with `for: {from: 1, to: 4}` it is 1, 2, 3, 4; with
`for: {from: 10, to: 1, step: -3}` it is 10, 7, 4, 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from daemon.core.events import StepError
from daemon.core.node import Begin, Beginning, Fail, NodeType, Repeat, Turns
from daemon.core.schema_parts import either, mapping, ref
from daemon.core.templates import Template
from daemon.nodes.reading import Reader
from daemon.nodes.repeating import COUNTED, loop_keys, loop_turns

if TYPE_CHECKING:
    from collections.abc import Mapping

LARGEST = 2**53
"""So that every reader of JSON reads the same number."""


class For(Struct, frozen=True):
    """The range, or the number of turns as `last` alone, and how the body is repeated."""

    last: Template
    turns: Turns
    first: Template | None = None
    step: Template | None = None


def parse(own: Mapping[str, Any]) -> For:
    """Compile the range and the conditions."""
    reader = Reader()
    turns = loop_turns(reader, own, COUNTED)
    match own["for"]:
        case {"to": last, **rest}:
            first, step = rest.get("from", 0), rest.get("step", 1)
            if step == 0:
                reader.refuse("the step is zero", ("for", "step"), "leave it out for 1")
            return reader.finish(
                For(
                    reader.template(last, "for", "to"),
                    turns,
                    reader.template(first, "for", "from"),
                    reader.template(step, "for", "step"),
                )
            )
        case count:
            return reader.finish(For(reader.template(count, "for"), turns))


def begin(config: For, beginning: Beginning) -> Begin:
    """Ask for a turn for each number."""
    values: dict[str, int] = {}
    for name, template in (("to", config.last), ("from", config.first), ("step", config.step)):
        value = template.render(beginning.scope).value if template is not None else int(name == "step")
        if isinstance(value, bool) or not isinstance(value, int) or abs(value) > LARGEST:
            what = f"`{name}`" if config.first is not None else "the number of turns"
            return Fail(StepError(f"{what} must be a whole number, and is {str(value)[:80]}", "loop"))
        values[name] = value
    if not values["step"]:
        return Fail(StepError("the step is zero", "loop"))
    if config.first is None:
        return Repeat(total=max(values["to"], 0))
    total = (values["to"] - values["from"]) // values["step"] + 1
    return Repeat(total=max(total, 0), first=values["from"], step=values["step"])


_NUMBER = either("A whole number, or an expression that gives one.", {"type": "integer"}, ref("template"))

NODE_TYPE = NodeType(
    name="for",
    summary="Repeats its body a number of times; in it, `loop.item` is the turn's number, from 0, or the range's.",
    schema=either(
        "How often, or `{from: …, to: …, step: …}`.",
        {"type": "integer", "x-expected": "a whole number", "minimum": 0},
        ref("template", "How often: an expression that gives a whole number."),
        mapping(
            "A range of numbers, both ends among them.",
            {
                "from": {**_NUMBER, "description": "The first number; 0 if not given."},
                "to": {**_NUMBER, "description": "The last number."},
                "step": {**_NUMBER, "description": "From one to the next; 1 if not given, and not 0."},
            },
            "to",
        ),
    ),
    keys=loop_keys(COUNTED),
    parse=parse,
    templates=lambda config: tuple(each for each in (config.last, config.first, config.step) if each is not None),
    begin=begin,
    turns=lambda config: config.turns,
)
