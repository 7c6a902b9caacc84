"""What a durable function sees as `ctx`; see daemon/durable.

Comes from: `functions`. Goes to: `function_machine`.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import structlog

from daemon.core.function_events import Call
from daemon.runtime.function_calls import (
    ON_CLOSE,
    due_of,
    json_of,
    label_of,
    length_of,
    name_of,
    one_of,
    retry_of,
    text_of,
    undo_of,
)
from daemon.runtime.function_machine import caller

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import datetime

    from structlog.typing import FilteringBoundLogger

    from daemon.durable import Length, Retry, Undo
    from daemon.runtime.function_calls import Naming
    from daemon.runtime.function_machine import Machine


class FunctionContext:
    """Implements `daemon.durable.DurableContext`."""

    def __init__(self, machine: Machine, *, execution_id: UUID, workflow: str, address: str, naming: Naming) -> None:
        self._machine = machine
        self._naming = naming
        self.execution_id = str(execution_id)
        self.workflow = workflow
        self.address = address

    @property
    def replaying(self) -> bool:
        """Whether the function only does again what it has done before."""
        return self._machine.replaying

    @cached_property
    def _logger(self) -> FilteringBoundLogger:
        logger: FilteringBoundLogger = structlog.get_logger("sagad.function").bind(
            execution_id=self.execution_id, workflow=self.workflow, step=self.address
        )
        return logger

    @property
    def logger(self) -> FilteringBoundLogger:
        """Bound to the execution and step; silent while the function is replayed."""
        return _SILENT if self.replaying else self._logger

    def step(
        self,
        handler: str | Callable[..., Any],
        input: Any = None,  # noqa: A002  see `DurableContext`
        *,
        id: str | None = None,  # noqa: A002  see `DurableContext`
        retry: Retry | None = None,
        timeout: Length | None = None,
        compensate: str | Callable[..., Any] | Undo | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Run a handler as a step."""
        name = name_of(handler, self._naming)
        call = Call(
            id="",
            kind="step",
            name=name,
            input=json_of({} if input is None else input),
            timeout=length_of(timeout, "timeout") if timeout is not None else None,
            retry=retry_of(retry),
            undo=undo_of(compensate, self._naming),
        )
        return self._machine.call(call, label_of(name, id), caller())

    def sleep(self, until: Length | datetime) -> Coroutine[Any, Any, None]:
        """Sleep durably."""
        call = Call(id="", kind="sleep", due=due_of(until, self._machine.now))
        return self._slept(self._machine.call(call, "", caller()))

    async def _slept(self, sleeping: Coroutine[Any, Any, Any]) -> None:
        await sleeping

    def signal(self, name: str, timeout: Length | None = None) -> Coroutine[Any, Any, Any]:
        """Wait for a signal."""
        name = text_of(name, "the name of a signal")
        limit = length_of(timeout, "timeout") if timeout is not None else None
        return self._machine.call(Call(id="", kind="signal", name=name, timeout=limit), label_of(name, None), caller())

    def child(
        self,
        workflow: str,
        input: Any = None,  # noqa: A002  see `DurableContext`
        *,
        id: str | None = None,  # noqa: A002  see `DurableContext`
        version: str | None = None,
        retry: Retry | None = None,
        timeout: Length | None = None,
        on_close: str = "cancel",
    ) -> Coroutine[Any, Any, Any]:
        """Start an execution of another workflow, and wait for its end."""
        name = text_of(workflow, "the name of a workflow")
        asked = {"workflow": name, "version": version, "input": {} if input is None else input}
        call = Call(
            id="",
            kind="child",
            name=name,
            input=json_of(asked),
            timeout=length_of(timeout, "timeout") if timeout is not None else None,
            retry=retry_of(retry),
            on_close=one_of(ON_CLOSE, on_close, "on_close"),
        )
        return self._machine.call(call, label_of(name, id), caller())

    def now(self) -> datetime:
        """Return the time at which the function last went on."""
        self._machine.check()
        return self._machine.now

    def random(self) -> float:
        """Return a random number, which is recorded."""
        return float(self._machine.draw("random", self._machine.random, caller()))

    def uuid(self) -> UUID:
        """Return a random UUID, which is recorded."""
        return UUID(self._machine.draw("uuid", uuid4, caller()))

    def version(self, name: str, oldest: int, newest: int) -> int:
        """Return which version of the code this execution follows."""
        return self._machine.version(name, oldest, newest, caller())


def _drop(*_: object) -> Any:
    raise structlog.DropEvent


_SILENT: FilteringBoundLogger = structlog.wrap_logger(
    None, processors=[_drop], wrapper_class=structlog.make_filtering_bound_logger(0)
)
