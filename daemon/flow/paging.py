"""`for_pages`: a loop over items that a step gives page by page.

    @step("bills.open", retry=Retry(5))
    async def open_bills(day: str, after: int | None) -> Page[Bill]:
        return {"items": […], "next": …}                          # without `next` it is the last page

    with for_pages("bills", lambda page: open_bills(day, page.cursor)) as bills:
        remind(bills.item)                                        # a Bill

Comes from: the author. Goes to: `bodies`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NotRequired, TypedDict, TypeVar, Unpack, cast

from msgspec import UNSET

from daemon.flow.bodies import Loop
from daemon.flow.mistakes import mistake
from daemon.flow.reference import Ref
from daemon.flow.undoing import KEPT
from daemon.flow.wiring import current

if TYPE_CHECKING:
    from collections.abc import Callable

    from daemon.flow.options import NodeOptions

T = TypeVar("T")


class Page(TypedDict, Generic[T]):
    """What a step gives that is asked for a page."""

    items: list[T]
    next: NotRequired[object]
    """What the next page is asked by; None, or left out, after the last one."""


class PageAsked:
    """The page that is asked for."""

    number: int
    """From 0."""
    cursor: Any
    """The `next` of the page before; None for the first."""


def for_pages(
    id: str,
    fetch: Callable[[PageAsked], Page[T]],
    *,
    limit: int | None = None,
    **options: Unpack[NodeOptions],
) -> Loop[T]:
    """Repeat a body for each item, one after the other; `fetch` calls the step that gives a page.

    Each page is a step of its own, with the retries and the timeout of the one that is called, and is fetched when the
    turns of the page before have ended. More turns than `limit` are an error.
    """
    wiring = current()
    with wiring.taking() as taken:
        fetch(cast("PageAsked", Ref("page")))
    if len(taken) != 1:
        raise mistake(f"the pages of `{id}` are fetched by one step, and not by {len(taken)}")
    loop = Loop[T](id, {"forEach": "", "limit": UNSET if limit is None else limit}, options, "loop", collects=True)
    node, fetching = loop._node, taken[0]  # noqa: SLF001  our own, a moment old
    node.keys["forEach"] = {"pages": {key: value for key, value in fetching.keys.items() if key not in KEPT}}
    node.reads |= fetching.reads
    return loop
