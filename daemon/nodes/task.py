"""`task`: run a registered Python handler."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from daemon.core.durations import DurationError, parse_duration
from daemon.core.node import Beginning, NodeType, Remote, Run
from daemon.core.schema_parts import list_of, ref, text
from daemon.core.templates import Template
from daemon.nodes.reading import Reader

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.nodes.context import NodeContext


QUEUE_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"
SHORTEST_HEARTBEAT = timedelta(milliseconds=100)


class Task(Struct, frozen=True):
    """Which handler, and what it gets."""

    handler: str
    input: Template
    ports: tuple[str, ...] = ()
    """Those that the handler may leave by beside `out`."""
    remote: Remote | None = None
    """Who runs it; None for the daemon itself, unless its settings say otherwise."""


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
    return reader.finish(Task(own["task"], given, ports, _remote(reader, own)))


def _remote(reader: Reader, own: Mapping[str, Any]) -> Remote | None:
    heartbeat = None
    if "heartbeat" in own:
        if "worker" not in own:
            reader.refuse("only a remote worker has a heartbeat", ("heartbeat",), "add `worker: QUEUE`, or take it out")
        try:
            heartbeat = parse_duration(own["heartbeat"])
        except DurationError as error:
            reader.refuse(error.message, ("heartbeat",), error.hint)
        if heartbeat is not None and heartbeat < SHORTEST_HEARTBEAT:
            reader.refuse("the heartbeat is shorter than 100ms", ("heartbeat",), "a worker gives four signs in it")
    return Remote(own["worker"], heartbeat) if "worker" in own else None


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
        "worker": text(
            "Queue of the remote workers that run the handler (`sagad worker --queue NAME`) in place of the daemon.",
            pattern=QUEUE_NAME,
            examples=["video"],
        )
        | {"x-expected": "the name of a queue"},
        "heartbeat": ref("duration", "A worker that was silent for so long is lost, and the attempt fails."),
    },
    ports=lambda config: ("out", *config.ports),
    parse=parse,
    templates=lambda config: (config.input,),
    begin=begin,
    execute=execute,
    handler=lambda config: config.handler,
    remote=lambda config: config.remote,
)
