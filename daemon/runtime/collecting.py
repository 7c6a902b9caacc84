"""Messages that are collected before an execution begins: debounced, or in batches.

One execution at a time collects messages of a key: it holds the one slot there is for that, until it begins. And each
message is part of one execution for ever: it takes a slot of its own that is never given back. Both are checked in the
append, so that a message which is delivered again, to whichever daemon, is found to be taken.

Messages of one key are worked off one after the other, in the order in which they came.

Comes from: `intake`. Goes to: `engine`.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from msgspec.structs import replace

from daemon.core.admission import NoSlot, NotCollecting, collecting_name, message_slot, rendered
from daemon.core.commands import CollectMessage
from daemon.core.errors import ExecutionFinished, InvalidInput
from daemon.core.expressions import EvaluationError
from daemon.core.values import from_json
from eventstore.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from daemon.core.commands import StartExecution
    from daemon.core.plan import Plan
    from daemon.runtime.engine import Engine
    from daemon.runtime.mailbox import Handled
    from eventstore.slots import Slots

TRIES = 20
"""How often it is looked who collects, when that changes at the same moment."""


class Collecting:
    """Hands messages to the executions that collect them."""

    def __init__(self, engine: Engine, slots: Slots) -> None:
        self._engine = engine
        self._slots = slots
        self._lines: dict[tuple[str, str], list[asyncio.Future[None]]] = {}

    async def take(self, plan: Plan, start: StartExecution) -> tuple[UUID, Handled]:
        """Add the message that `start` is made of to the execution that collects its key, or start that execution.

        Return the execution that has it now; no events, when it had it before. Raises InvalidInput for an input that
        the key cannot be read from, and what the engine raises.
        """
        message = CollectMessage(
            message=str(start.execution_id), scope=plan.definition.workflow, input=start.input, at=start.at
        )
        try:
            key = rendered(plan.start.key, {"input": from_json(start.input), "env": plan.env})
        except EvaluationError as error:
            raise InvalidInput(f"the key by which messages are collected: {error}") from error
        start = replace(start, collect=message, collect_key=key)
        queue = collecting_name(plan.definition.workflow), key
        async with self._in_line(queue):
            for _ in range(TRIES):
                holders = await self._slots.holders(*queue, most=1)
                try:
                    if holders:
                        return holders[0].execution_id, await self._engine.send(holders[0].execution_id, message)
                    return start.execution_id, await self._engine.send(start.execution_id, start, plan=plan)
                except (NotCollecting, ExecutionFinished):
                    continue
                except NoSlot:
                    slot = message_slot(message.scope, message.message)
                    if kept := await self._slots.holders(slot.limit, slot.key, most=1):
                        return kept[0].execution_id, await self._engine.send(kept[0].execution_id, message)
        raise Unavailable(f"who collects messages of {plan.definition.workflow} changes too fast")

    @asynccontextmanager
    async def _in_line(self, queue: tuple[str, str]) -> AsyncIterator[None]:
        """Wait for those before in this line."""
        line, done = self._lines.setdefault(queue, []), asyncio.get_running_loop().create_future()
        before = line[-1] if line else None
        line.append(done)
        try:
            if before is not None:
                await asyncio.wait({before})
            yield
        finally:
            done.set_result(None)
            line.remove(done)
            if not line:
                del self._lines[queue]
