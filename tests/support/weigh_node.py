"""A node type of another package, whole: `weigh` puts something on a scale, and leaves by `heavy` or `light`.

    parcel: {weigh: "{{ input.weight }}", limit: 10, retry: {max_attempts: 3}}

Nothing of sagad is changed for it. A package offers it in its pyproject.toml:

    [project.entry-points."sagad.nodes"]
    weigh = "our_package.weigh_node:NODE_TYPE"
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from daemon.core.node import Begin, Beginning, NodeType, Run
from daemon.core.schema_parts import ref, whole_number
from daemon.core.templates import Template
from daemon.nodes.answers import Again, Port
from daemon.nodes.context import StepFailure
from daemon.nodes.reading import Reader

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.nodes.answers import Answer
    from daemon.nodes.context import NodeContext


class Weigh(Struct, frozen=True):
    """What is put on the scale, and from which weight on it is heavy."""

    weight: Template
    limit: int


def parse(own: Mapping[str, Any]) -> Weigh:
    """Compile the template; what the schemas say was checked before."""
    reader = Reader()
    return reader.finish(Weigh(reader.template(own["weigh"], "weigh"), own.get("limit", 20)))


def begin(config: Weigh, beginning: Beginning) -> Begin:
    """Have the shell put it on the scale."""
    return Run(config.weight.render(beginning.scope).value)


async def execute(context: NodeContext, value: Any) -> Answer:
    """Wait once until the scale stands still, then read it."""
    if not isinstance(value, int | float):
        raise StepFailure(f"{value!r} cannot be weighed", "weigh", retryable=False)
    if context.state is None:
        return Again("0s", {"still": True})
    return Port("heavy" if value > context.config.limit else "light", {"weight": value})


NODE_TYPE = NodeType(
    name="weigh",
    summary="Weighs something.",
    schema=ref("template", "The weight in kilograms."),
    keys={"limit": whole_number("What is heavier than this is heavy.", minimum=1, default=20)},
    parse=parse,
    templates=lambda config: (config.weight,),
    ports=lambda _: ("heavy", "light"),
    begin=begin,
    execute=execute,
)
