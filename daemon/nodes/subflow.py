"""`subflow`: start an execution of another workflow, and wait for its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from daemon.core.node import Beginning, NodeType, Run
from daemon.core.node import Subflow as Stance
from daemon.core.schema_parts import anything, choice, ref, text
from daemon.core.templates import Template
from daemon.nodes.context import ChildStart, StepFailure
from daemon.nodes.reading import Reader

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.nodes.answers import Child
    from daemon.nodes.context import NodeContext


class Subflow(Struct, frozen=True):
    """Which workflow, what it gets, and what becomes of it."""

    workflow: Template
    input: Template
    version: Template
    stance: Stance


def parse(own: Mapping[str, Any]) -> Subflow:
    """Without `with` the child gets an empty mapping."""
    reader = Reader()
    result = reader.template(own["result"], "result") if "result" in own else None
    stance = Stance(result=result, on_close=own.get("on_close", "cancel"))
    workflow, version = reader.template(own["subflow"], "subflow"), reader.template(own.get("version"), "version")
    return reader.finish(Subflow(workflow, reader.template(own.get("with", {}), "with"), version, stance))


def begin(config: Subflow, beginning: Beginning) -> Run:
    """Ask for the child to be started."""
    asked = {name: getattr(config, name).render(beginning.scope).value for name in ("workflow", "input", "version")}
    return Run(asked)


async def execute(context: NodeContext, value: Any) -> Child:
    """Start the child, or have it undone."""
    if "undo" in value:
        return await context.services.undo_child(value["undo"], context)
    workflow, version = value["workflow"], value["version"]
    if not isinstance(workflow, str) or not isinstance(version, str | None):
        message = f"`subflow` takes a workflow's name, and its version as text; they are {workflow!r} and {version!r}"
        raise StepFailure(message, "unknown_workflow", retryable=False)
    start = ChildStart(workflow=workflow, version=version, input=value["input"])
    return await context.services.start_child(start, context)


NODE_TYPE = NodeType(
    name="subflow",
    summary="Starts an execution of another workflow and waits for its end; its output is the step's.",
    schema=text("Name of the workflow.", examples=["shipping"]) | {"x-expected": "a workflow's name"},
    keys={
        "with": ref("value", "The child's input; an empty mapping if not given."),
        "version": text(
            "Hash of the child's definition, or how it begins; the one that is current when the step begins, if not"
            " given.",
            examples=["3f2a9c01"],
        ),
        "result": anything(
            "The step's output instead; it may read `child.output` and `child.id`.",
            examples=["{{ child.output.tracking }}"],
        ),
        "on_close": choice(
            "What becomes of the child when its step is given up, because the execution ends badly, a turn around it"
            " fails, or it has taken longer than `timeout`: `cancel` has it undo what it has done and waits for that,"
            " `terminate` ends it at once, `abandon` lets it go on by itself.",
            "cancel",
            "terminate",
            "abandon",
            default="cancel",
        ),
    },
    parse=parse,
    templates=lambda config: (config.workflow, config.input, config.version),
    begin=begin,
    execute=execute,
    subflow=lambda config: config.stance,
)
