"""`task`: run a registered Python handler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from daemon.core.node import Beginning, NodeType, Run
from daemon.core.schema_parts import list_of, ref, text
from daemon.core.templates import Template
from daemon.nodes.reading import Reader

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.nodes.context import NodeContext


class Task(Struct, frozen=True):
    """Which handler, and what it gets."""

    handler: str
    input: Template
    ports: tuple[str, ...] = ()
    """Those that the handler may leave by beside `out`."""


def parse(own: Mapping[str, Any]) -> Task:
    """Without `with` the handler gets an empty mapping."""
    reader = Reader()
    given = reader.template(own.get("with", {}), "with", allow_secrets=True)
    ports = tuple(own.get("ports", ()))
    for index, port in enumerate(ports):
        path = ("ports", index)
        reader.port_name(port, path, type_name="task", taken=("out", "error"))
        if port in ports[:index]:
            reader.refuse(f"the port {port!r} is there twice", path, "take one of them out")
    return reader.finish(Task(own["task"], given, ports))


def begin(config: Task, beginning: Beginning) -> Run:
    """Ask for the handler to be run."""
    rendered = config.input.render(beginning.scope)
    return Run(rendered.value, rendered.secrets)


async def execute(context: NodeContext, value: Any) -> object:
    """Run the handler; what it answers beside a plain value is the step's answer too."""
    return await context.services.call(context.config.handler, value, context)


NODE_TYPE = NodeType(
    name="task",
    summary="Runs a registered Python handler; its result is the step's output.",
    schema=text(
        "Name that the handler is registered under.",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$",
        examples=["inventory.reserve"],
    )
    | {"x-expected": "a handler's name such as inventory.reserve"},
    keys={
        "with": ref("value", "The handler's input; an empty mapping if not given."),
        "ports": list_of(
            "Ways out beside `out`, for a handler that answers `Port(name)`.",
            text("Letters, digits, _ and -.", examples=["declined"]),
            minItems=1,
        ),
    },
    ports=lambda config: ("out", *config.ports),
    parse=parse,
    templates=lambda config: (config.input,),
    begin=begin,
    execute=execute,
    handler=lambda config: config.handler,
)
