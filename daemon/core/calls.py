"""The calls of durable functions as nodes: no plan has them, so each is made of what its event says.

Comes from: `draft`, daemon/runtime/steps. Goes to: `plan`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET
from msgspec.structs import replace

from daemon.core.address import UNDO, is_call, node_of, turn_around
from daemon.core.plan import PlannedCompensation, PlannedNode
from daemon.core.retry import RetryPolicy
from daemon.core.throttle import covering

if TYPE_CHECKING:
    from datetime import timedelta

    from daemon.core.function_events import Call, CallUndo
    from daemon.core.plan import Plan
    from daemon.core.state import Running
    from daemon.core.throttle import PlannedLimit

_ONCE = RetryPolicy()
_LIKE = {"step": "task", "child": "subflow"}
"""The type of the node that does the same: limits of the settings that hold for it hold for the call."""


def node_at(plan: Plan, state: Running, address: str) -> PlannedNode:
    """Return the node that a step executes; for a call of a function, or what undoes one, a node made for it."""
    if (node := plan.nodes.get(address)) is not None:  # most are in the outermost scope
        return node
    if not is_call(address):
        return plan.nodes[node_of(address)]
    called = address.removesuffix(UNDO)
    call = state.calls[called]
    function = plan.nodes[node_of(turn_around(called))]
    return _node_of(plan, function, call) if called == address else _undo_node(function, call)


def _node_of(plan: Plan, function: PlannedNode, call: Call) -> PlannedNode:
    undo = None
    if call.undo is not None:
        undo = PlannedCompensation(node=_undo_node(function, call), kind=call.undo.kind)
    elif call.kind == "child":
        undo = PlannedCompensation(node=_undo_node(function, call), kind="idempotent", of_child=True)
    timeout = call.timeout if call.kind != "signal" else None
    node = _node(function, call.kind, call, node_id=call.id, retry=call.retry, timeout=timeout)
    subflow = node.type.subflow(call) if node.type.subflow is not None else None
    limits: tuple[PlannedLimit, ...] = ()
    if node.type.execute is not None:
        limits = covering(plan.shared, _LIKE[call.kind], node.type.handler(call))
    return replace(node, compensation=undo, subflow=subflow, limits=limits, priority=plan.priority)


def _undo_node(function: PlannedNode, call: Call) -> PlannedNode:
    """Return the node of a call's compensation; what undoes a child is the child itself."""
    if (undo := call.undo) is None:
        return _node(function, call.kind, call, node_id=call.id + UNDO, retry=call.retry, timeout=None)
    return _node(function, "undo", undo, node_id=call.id + UNDO, retry=undo.retry, timeout=undo.timeout)


def _node(
    function: PlannedNode,
    kind: str,
    config: Call | CallUndo,
    *,
    node_id: str,
    retry: RetryPolicy | None,
    timeout: timedelta | None,
) -> PlannedNode:
    """Return a node that nothing follows, and whose failure fails nothing: the function is told of it."""
    return PlannedNode(
        id=node_id,
        scope=function.id,
        type=function.type.calls[kind],
        config=config,
        ports=("out", "error"),
        incoming=(),
        outgoing=(),
        retry=retry or _ONCE,
        timeout=timeout,
        on_error="continue",
        default=UNSET,
    )
