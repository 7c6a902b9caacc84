"""Holds the steps of one execution before their handlers begin, and their answers before they are recorded.

So what stops is between two decisions: nothing of the engine is held up, and what is recorded is whole.

Comes from: `local`. Goes to: the `execute` of node types.
"""

from __future__ import annotations

import asyncio
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from daemon.debugger.values import replaced

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.core.node import NodeType
    from daemon.debugger.values import Place


class Give(Struct, frozen=True):
    """Record this as the answer."""

    value: Any


Order = Literal["run", "record"] | Give


class Held:
    """An attempt that waits for an order: to begin, or with its answer to be recorded."""

    def __init__(self, address: str, attempt: int, value: Any) -> None:
        self.address = address
        self.attempt = attempt
        self.input = value
        """What its handler is to be sent, with secrets."""
        self.edits: dict[Place, Any] = {}
        """What was put into the input by hand, by where in it; the later ones last."""
        self.waits = True
        """Whether an order is waited for; else its handler is at work, or its answer on the way to the log."""
        self.answered = False
        self.shown = False
        """Whether somebody has seen that it has answered."""
        self.answer: Any = None
        self.error: Exception | None = None
        self._orders: asyncio.Queue[Order] = asyncio.Queue()

    def edit(self, place: Place, value: Any) -> None:
        """Have its handler sent this at a place of the input. Raises Rejected for no such place."""
        self.input = replaced(self.input, place, value)
        self.edits = {**{each: given for each, given in self.edits.items() if each != place}, place: value}

    def order(self, order: Order) -> None:
        """Let it go on."""
        self.waits = self.shown = False
        self._orders.put_nowait(order)

    async def ordered(self) -> Order:
        """Return the order when it comes."""
        return await self._orders.get()

    def has(self, answer: Any, error: Exception | None) -> None:
        """Keep what the handler has given."""
        self.answer, self.error = answer, error
        self.answered = self.waits = True


class Gate:
    """Holds the execution that comes to it first; those that it starts pass through."""

    def __init__(self) -> None:
        self.held: list[Held] = []
        """In the order in which they came."""
        self.changed = asyncio.Event()
        self._execution: str | None = None

    def around(self, node_types: Mapping[str, NodeType]) -> Mapping[str, NodeType]:
        """Return the types with this gate before and after what they run."""
        return {name: self._gated(replace(each, calls=self.around(each.calls))) for name, each in node_types.items()}

    def _gated(self, node_type: NodeType) -> NodeType:
        execute = node_type.execute
        if execute is None:
            return node_type

        async def held(context: Any, value: Any) -> Any:
            self._execution = self._execution or context.execution_id
            if context.execution_id != self._execution:
                return await execute(context, value)
            return await self._pass(Held(context.address, context.attempt, value), execute, context)

        return replace(node_type, execute=held)

    async def _pass(self, held: Held, execute: Any, context: Any) -> Any:
        self.held.append(held)
        self.changed.set()
        try:
            while (order := await held.ordered()) == "run":
                try:
                    held.has(await execute(context, deepcopy(held.input)), None)
                except Exception as error:  # noqa: BLE001  it is raised again, unless another answer is given
                    held.has(None, error)
                self.changed.set()
            if isinstance(order, Give):
                return order.value
            if held.error is not None:
                raise held.error
            return held.answer
        finally:
            self.held.remove(held)
            self.changed.set()
