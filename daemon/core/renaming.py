"""Other ids for nodes, in all that names steps by their addresses: states, events and commands.

Comes from: `evolve_branches`, `redeciding`. Goes to: `address`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from immutables import Map
from msgspec.structs import replace

from daemon.core.address import renamed
from daemon.core.break_events import Breakpoint
from daemon.core.commands import CollectMessage
from daemon.core.events import MessageCollected
from daemon.core.state import Finished, Running

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from msgspec import Struct

    from daemon.core.state import State

S = TypeVar("S", bound="Struct")
T = TypeVar("T")

_TEXTS = ("address", "failed_step", "scope")
_OTHER_SCOPES = (MessageCollected, CollectMessage)
"""What is collected has a scope that is no turn."""
_LISTS = ("addresses", "draining", "cancelled", "to", "done", "members", "passed", "edited")
_PARTS = ("calls", "breakpoints", "stops")
"""Tuples of structs that have addresses in them."""
_BY_ADDRESS = (
    "steps", "in_flight", "awaiting", "people", "children", "limited", "holding", "asking", "groups", "functions",
    "advancing", "calls", "keys", "resumes",
)  # fmt: skip
_WITH_ADDRESS = ("steps", "timers", "leaving", "owed", "groups", "functions", "calls")
"""Maps of structs that have addresses in them."""


def renamed_struct(struct: S, names: Mapping[str, str]) -> S:
    """Return the event, command, or part of a state with the nodes' other ids."""
    named = partial(renamed, names=names)
    found: dict[str, Any] = {}
    for field in struct.__struct_fields__:
        value = getattr(struct, field)
        if field in _TEXTS and not isinstance(struct, _OTHER_SCOPES):
            found[field] = named(value)
        elif field == "timer_id":
            found[field] = _timer(value, named)
        elif field in _LISTS and isinstance(value, tuple):
            found[field] = tuple(map(named, value))
        elif field in _PARTS and isinstance(value, tuple):
            found[field] = tuple(renamed_struct(each, names) for each in value)
        elif isinstance(value, Breakpoint):
            found[field] = renamed_struct(value, names)
        elif field == "node" and isinstance(struct, Breakpoint):
            found[field] = named(value)
    return replace(struct, **found)


def renamed_state(state: State, names: Mapping[str, str]) -> State:
    """Return the state with the nodes' other ids."""
    if not names or not isinstance(state, Running | Finished):
        return state
    named = partial(renamed, names=names)
    found: dict[str, Any] = {}
    for field in (field for field in state.__struct_fields__ if field in {*_BY_ADDRESS, *_WITH_ADDRESS}):
        value = getattr(state, field)
        if field in _WITH_ADDRESS:
            value = _mapped(value, lambda key: key, lambda each: renamed_struct(each, names))
        if field in _BY_ADDRESS:
            value = _mapped(value, named, lambda each: each)
        found[field] = value
    found["seen"] = _mapped(state.seen, lambda key: _received(key, named), lambda each: each)
    if isinstance(state, Running):
        found["timers"] = _mapped(found["timers"], lambda timer_id: _timer(timer_id, named), lambda each: each)
        found["queue"] = _mapped(state.queue, lambda key: key, named)
        if state.breaking is not None:
            found["breaking"] = renamed_struct(state.breaking, names)
        if state.undoing is not None:
            found["undoing"] = renamed_struct(state.undoing, names)
    else:
        found["failed_step"] = named(state.failed_step)
    return replace(state, **found)


def _mapped(values: Map[Any, T], key: Callable[[Any], Any], value: Callable[[T], T]) -> Map[Any, T]:
    return Map({key(name): value(each) for name, each in values.items()})


def _received(key: str, named: Callable[[str], str]) -> str:
    """Return what an input for a step is known by; see `evolve_people.resume_key`."""
    word, *rest = key.split(" ", 2)
    return " ".join((word, named(rest[0]), *rest[1:])) if word == "resume" and rest else key


def _timer(timer_id: str, named: Callable[[str], str]) -> str:
    """Return the id of a step's timer; that of the execution's own limit stays."""
    return named(timer_id) if "#" in timer_id else timer_id
