"""A handler that remembers what it was told."""

from __future__ import annotations

from typing import Any

from daemon.handlers import handler

told: list[Any] = []


@handler("tell")
async def tell(input: Any) -> None:  # noqa: A002  the name says that it takes all of `with`
    told.append(input)
