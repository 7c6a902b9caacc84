"""Handlers that give pages, and one list that is too large for the log."""

from __future__ import annotations

from collections import Counter
from typing import Any

from daemon.handlers import Context, handler

MANY = 100_000
fetched: Counter[str] = Counter()
"""How often each page was asked for, by its idempotency key."""


@handler("numbers.page")
async def page(context: Context, upto: int, size: int, after: int | None = None) -> dict[str, Any]:
    fetched[context.idempotency_key] += 1
    first = 0 if after is None else after
    end = min(first + size, upto)
    return {"items": list(range(first, end)), "next": end if end < upto else None}


@handler("numbers.all")
def all_of_them() -> list[int]:
    return list(range(MANY))
