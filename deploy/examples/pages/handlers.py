"""Handlers of the pages example: five bills, two on a page."""

from __future__ import annotations

from typing import Any

from daemon.handlers import handler

PAGE = 2


@handler("bills.open")
async def open_bills(day: str, after: int | None) -> dict[str, Any]:
    """Give the open bills after this number; `next` is what the page after is asked by, None behind the last.

    A table is read like this too: `where id > after order by id limit 2`. What was on the pages before is not read
    again, and rows that come or go meanwhile shift nothing.
    """
    open_now = [{"id": number, "day": day} for number in (3, 5, 8, 13, 21)]
    rest = [bill for bill in open_now if after is None or bill["id"] > after]
    page = rest[:PAGE]
    return {"items": page, "next": page[-1]["id"] if len(rest) > PAGE else None}


@handler("bills.remind")
async def remind(bill: int) -> str:
    """Write to the customer."""
    return f"reminded of {bill}"
