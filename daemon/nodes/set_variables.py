"""`set`: give variables of the execution a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daemon.core.address import NODE_ID
from daemon.core.node import Assign, Beginning, NodeType
from daemon.core.schema_parts import anything, mapping_of
from daemon.nodes.reading import Reader

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.core.templates import Template


def parse(own: Mapping[str, Any]) -> dict[str, Template]:
    """Compile the values."""
    reader = Reader()
    return reader.finish({name: reader.template(value, "set", name) for name, value in own["set"].items()})


def begin(config: dict[str, Template], beginning: Beginning) -> Assign:
    """Compute all values from what is known before any of them is set."""
    return Assign({name: value.render(beginning.scope).value for name, value in config.items()})


NODE_TYPE = NodeType(
    name="set",
    summary="Sets variables of the execution, which expressions read as `vars.name`; its output is what it has set.",
    schema=mapping_of("The variables and their new values.", anything("Any value; texts in it may hold expressions."))
    | {"minProperties": 1, "propertyNames": {"pattern": f"^{NODE_ID.pattern}$"}},
    parse=parse,
    templates=lambda config: tuple(config.values()),
    begin=begin,
    variables=tuple,
)
