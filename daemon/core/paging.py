"""Loops whose items come page by page from a handler.

When all turns of a page have ended, the next page is fetched by a step of its own, at `each[1]~page`; its items take
the place of those before, so the state never holds more than one page. Not earlier: the turns follow one another, so a
page that is fetched ahead is held beside the one that is at work, is fetched for nothing when a condition ends the
loop, and is older than it need be when its turns begin. A page that cannot be fetched fails the loop.

Comes from: `turns`, `walk`. Goes to: `draft`, `settling`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core import events as e
from daemon.core.address import PAGE, node_of, split_turn, turn_around, turn_of
from daemon.core.pages import read_page
from daemon.core.scope import Extended
from daemon.core.settling import fail
from daemon.core.state import Succeeded
from daemon.core.values import from_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.core.draft import Draft
    from daemon.core.state import Repeating

MOST_PAGES = 100_000
"""A loop that comes to so many pages fails, unless its limit of turns is higher: pages may be empty for ever."""


def needs_page(step: Repeating) -> bool:
    """Tell whether the loop can only go on with another page."""
    return step.paged and step.total is None and step.begun == step.offset + len(step.items or ())


def ask(draft: Draft, address: str, step: Repeating) -> None:
    """Have the loop's next page fetched."""
    how, _ = draft.node(address).repeats
    most = max(MOST_PAGES, how.limit)
    if step.pages >= most:
        _fail(draft, address, f"it is not at its end after {most} pages", "loop_limit")
        return
    draft.emit(e.PageAsked(address=address, number=step.pages, at=draft.at))
    draft.ready.append(turn_of(address, step.pages) + PAGE)


def scope_of(draft: Draft, address: str) -> Mapping[str, object]:
    """Return what the templates of the page's step can read: what the loop's can, and `page`."""
    loop, number = split_turn(address.removesuffix(PAGE))
    page = {"number": number, "cursor": from_json(draft.running.repeating(loop).cursor)}
    return Extended(draft.scope.at(turn_around(loop)), {"page": page})


def take(draft: Draft, address: str) -> None:
    """Go on with the items of a page that was fetched; one that was not has failed the loop already."""
    fetched = draft.running.steps.get(address)
    if not isinstance(fetched, Succeeded):
        return
    loop, number = split_turn(address.removesuffix(PAGE))
    how, before, page = draft.plan.nodes[node_of(loop)].turns, draft.running.repeating(loop), read_page(fetched.output)
    draft.emit(e.PageTaken(address=loop, number=number, count=len(page.items), next=page.next, at=draft.at))
    begun = before.offset + len(page.items)
    if how is not None and begun > how.limit:
        message = f"with page {number} there are {begun} turns, more than the limit of {how.limit}"
        _fail(draft, loop, message, "loop_limit")
    elif not page.items and draft.running.repeating(loop).total is None and page.next == before.cursor:
        _fail(draft, loop, f"page {number} is empty, and its `next` is where it began itself: it would never end")
    else:
        draft.repeating[loop] = None


def _fail(draft: Draft, address: str, message: str, code: str = "page") -> None:
    fail(draft, address, e.StepError(message, code), retryable=False)
