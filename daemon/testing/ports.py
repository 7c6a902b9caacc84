"""The ports of a store as one life of a daemon sees them: they answer nobody who is dead, and tell when they are busy.

Comes from: `lives`. Goes to: eventstore.
"""

from __future__ import annotations

import asyncio
from dataclasses import fields, replace
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from eventstore.store import Store


class Crash(Exception):
    """The process is dead."""


class Gate(Protocol):
    """What stands between one life and its store."""

    def check(self) -> None:
        """Raise Crash for a dead caller."""

    async def through(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Make the call, and note that it is under way."""


class Mortal:
    """A port: every call goes through the gate, and is refused before and after to who is dead."""

    def __init__(self, inner: object, gate: Gate) -> None:
        self._inner = inner
        self._gate = gate

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if not iscoroutinefunction(method):
            self._gate.check()
            return method
        return lambda *args, **kwargs: self._call(method, args, kwargs)

    async def _call(self, method: Callable[..., Awaitable[Any]], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._gate.check()
        try:
            return await self._gate.through(lambda: method(*args, **kwargs))
        finally:
            self._gate.check()


def mortal(store: Store, gate: Gate, log: Mortal) -> Store:
    """Return the store behind the gate, with this as its log."""
    ports: dict[str, Any] = {"log": log}
    for port in fields(store):
        value = getattr(store, port.name)
        if port.name not in ("log", "url", "hints", "schema") and not callable(value):
            ports[port.name] = Mortal(value, gate)
    return replace(store, **ports)


def only_crashes(error: BaseException) -> None:
    """Let what a dead process raises pass; anything else is a bug that death brought to light."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            only_crashes(each)
    elif not isinstance(error, Crash | asyncio.CancelledError):
        raise error
