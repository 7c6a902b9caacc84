"""`function`: run a durable function, Python code whose calls are journaled as steps of this node.

Kinds of calls are the entries of `calls`: a further one is a node type there, whose `begin` is handed the `Call`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from daemon.core.function_events import Call, CallUndo
from daemon.core.node import AwaitSignal, Begin, Beginning, Done, NodeType, Run, RunFunction, Subflow, WaitUntil
from daemon.core.schema_parts import ref, text
from daemon.core.templates import Template, compile_template
from daemon.core.values import from_json
from daemon.nodes import subflow
from daemon.nodes.reading import Reader

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.nodes.context import NodeContext


class Function(Struct, frozen=True):
    """Which durable function, and what it gets."""

    name: str
    input: Template


def parse(own: Mapping[str, Any]) -> Function:
    """Without `with` the function gets an empty mapping."""
    reader = Reader()
    return reader.finish(Function(own["function"], reader.template(own.get("with", {}), "with")))


def begin(config: Function, beginning: Beginning) -> RunFunction:
    """Ask for the function to be run."""
    return RunFunction(config.name, config.input.render(beginning.scope).value)


async def execute(context: NodeContext, value: Any) -> object:
    """Run the handler that the function has called, or that undoes a call."""
    config: Call | CallUndo = context.config
    return await context.services.call(_handler(config), value, context)


def begin_step(call: Call, _: Beginning) -> Begin:
    """Ask for the handler to be run."""
    return Run(call.input)


def begin_child(call: Call, _: Beginning) -> Begin:
    """Ask for the child to be started: the input is that of a `subflow` node."""
    return Run(call.input)


def begin_undo(undo: CallUndo, beginning: Beginning) -> Begin:
    """Ask for the handler to be run that undoes a call; its input is rendered when the call has settled."""
    return Run(compile_template(from_json(undo.input)).render(beginning.scope).value)


def begin_sleep(call: Call, beginning: Beginning) -> Begin:
    """Ask for a timer."""
    if call.due is None or call.due <= beginning.at:
        return Done(beginning.at)
    return WaitUntil(call.due)


def begin_signal(call: Call, _: Beginning) -> Begin:
    """Ask for a signal."""
    return AwaitSignal(call.name, call.timeout)


def _handler(config: Call | CallUndo) -> str:
    return config.handler if isinstance(config, CallUndo) else config.name


def _call_type(name: str, summary: str, begin: Any, execute: Any = None, **more: Any) -> NodeType:
    """Return the type of one kind of call. No definition can name it."""
    return NodeType(
        name=name,
        summary=summary,
        schema={},
        parse=dict,
        templates=lambda _config: (),
        begin=begin,
        execute=execute,
        **more,
    )


NODE_TYPE = NodeType(
    name="function",
    summary="Runs a durable function: Python code whose steps, sleeps and signals are recorded.",
    schema=text(
        "Name that the function is registered under, by `@durable`.",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$",
        examples=["orders.fulfil"],
    )
    | {"x-expected": "a durable function's name such as orders.fulfil"},
    keys={"with": ref("value", "The function's input; an empty mapping if not given.")},
    parse=parse,
    templates=lambda config: (config.input,),
    begin=begin,
    calls={
        "step": _call_type("call", "Runs a handler.", begin_step, execute, handler=_handler),
        "undo": _call_type("call", "Runs the handler that undoes a call.", begin_undo, execute, handler=_handler),
        "sleep": _call_type("sleep", "Sleeps until a time.", begin_sleep),
        "signal": _call_type("signal", "Waits for a signal.", begin_signal),
        "child": _call_type(
            "child",
            "Starts an execution of another workflow and waits for its end.",
            begin_child,
            subflow.execute,
            subflow=lambda call: Subflow(on_close=call.on_close),
        ),
    },
)
