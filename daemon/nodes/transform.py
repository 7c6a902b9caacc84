"""`transform`: compute a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daemon.core.node import Beginning, Done, NodeType
from daemon.core.schema_parts import ref
from daemon.nodes.reading import Reader

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.core.templates import Template


def parse(own: Mapping[str, Any]) -> Template:
    """Compile the value."""
    reader = Reader()
    return reader.finish(reader.template(own["transform"], "transform"))


def begin(config: Template, beginning: Beginning) -> Done:
    """Give the value."""
    return Done(config.render(beginning.scope).value)


NODE_TYPE = NodeType(
    name="transform",
    summary="Computes a value from what is known so far; the value is the step's output.",
    schema=ref("value", "The output: any value, with expressions in its texts."),
    parse=parse,
    templates=lambda config: (config,),
    begin=begin,
)
