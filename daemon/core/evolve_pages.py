"""The fold's part for loops whose items come page by page.

Comes from: `evolve`. Goes to: `state`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from daemon.core import events as e
from daemon.core.address import PAGE, turn_around, turn_of
from daemon.core.evolve_turns import kept_by
from daemon.core.pages import Page, read_page
from daemon.core.state import Running, State, Succeeded, Turn
from daemon.core.values import NULL, is_gone, size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from immutables import Map

    from daemon.core.state import Repeating, Step


def _asked(state: Running, event: e.PageAsked, version: int) -> Running:
    before = state.repeating(event.address)
    offset = before.offset + len(before.items or ())
    return _changed(state, event.address, before, replace(before, items=(), offset=offset), version)


def _taken(state: Running, event: e.PageTaken, version: int) -> Running:
    before, address = state.repeating(event.address), turn_of(event.address, event.number) + PAGE
    fetched = state.steps.get(address)
    if not isinstance(fetched, Succeeded):
        raise TypeError(f"{address} has given no page")
    gone = is_gone(fetched.output)
    page = Page((fetched.output,) * event.count, event.next) if gone else read_page(fetched.output)
    steps, size = _without(state.steps, address), state.size - size_of(fetched.output)
    total = before.offset + len(page.items) if event.next == NULL else None
    after = replace(before, items=page.items, total=total, pages=event.number + 1, cursor=event.next)
    return _changed(replace(state, steps=steps, size=size), event.address, before, after, version)


def _changed(state: Running, address: str, before: Repeating, after: Repeating, version: int) -> Running:
    size = state.size + kept_by(after) - kept_by(before)
    return replace(state, version=version, steps=state.steps.set(address, after), size=size)


def _without(steps: Map[str, Step], address: str) -> Map[str, Step]:
    """Return the steps without a settled one, of which the turn around it keeps nothing either."""
    around = turn_around(address)
    if isinstance(turn := steps.get(around), Turn):
        members = tuple(member for member in turn.members if member != address)
        steps = steps.set(around, replace(turn, members=members))
    return steps.delete(address)


PAGES: Mapping[type[e.Event], Callable[[Running, Any, int], State]] = {e.PageAsked: _asked, e.PageTaken: _taken}
