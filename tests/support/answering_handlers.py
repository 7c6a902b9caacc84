"""Handlers that answer more than a value: in the event loop, in threads and in processes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from daemon.handlers import Again, Context, End, Port, Route, handler

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Page:
    number: int
    attempt: int


def _next_page(context: Context) -> list[Page] | Port | Again:
    """Read three pages, one a call, and then leave by the port `read`."""
    pages = [*(context.state or []), Page(len(context.state or []) + 1, context.attempt)]
    return Port("read", pages) if len(pages) == 3 else Again(timedelta(seconds=10), pages)


@handler("pages.loop")
async def loop(context: Context) -> list[Page] | Port | Again:
    return _next_page(context)


@handler("pages.thread")
def thread(context: Context) -> list[Page] | Port | Again:
    return _next_page(context)


@handler("pages.process", cpu=True)
def process(context: Context) -> list[Page] | Port | Again:
    return _next_page(context)


ANSWERS: dict[str, Callable[[], object]] = {
    "port": lambda: Port("full", Page(1, 2)),
    "route": lambda: Route(["a", "a"], Page(1, 2)),
    "nowhere": lambda: Route((), Page(1, 2)),
    "end": lambda: End(Page(1, 2)),
    "again": lambda: Again("1.5s", Page(1, 2)),
    "plain": lambda: Page(1, 2),
}


@handler("give.loop")
async def give_loop(what: str) -> Any:
    return ANSWERS[what]()


@handler("give.thread")
def give_thread(what: str) -> Any:
    return ANSWERS[what]()


@handler("give.process", cpu=True)
def give_process(what: str) -> Any:
    return ANSWERS[what]()
