"""`storage`: how much payloads take, straight at the store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from daemon.cli import output
from daemon.cli.faults import BadUsage
from daemon.cli.options import Config, Json, settings_of
from daemon.cli.stores import is_memory, opened
from daemon.runtime.quotas import storage_view

if TYPE_CHECKING:
    from daemon.settings import Settings


def storage(*, as_json: Json = False, config: Config = None) -> None:
    """Show how much the payloads of each workflow take, and its quota. Payloads are values too large for the log."""
    settings = settings_of(config)
    if is_memory(settings):
        raise BadUsage("a store in memory belongs to the daemon's process: ask that at /storage")
    view = asyncio.run(_view(settings))
    if as_json:
        output.print_json(view)
        return
    output.print_table(["WORKFLOW", "PAYLOADS", "BYTES", "OUTSIDE", "QUOTA", "BEYOND IT"], map(_row, view["workflows"]))


async def _view(settings: Settings) -> dict[str, Any]:
    async with opened(settings) as store:
        return await storage_view(store.usage, settings.storage)


def _row(row: dict[str, Any]) -> tuple[Any, ...]:
    quota = row["quota"]
    share = "" if quota is None else f"{quota} ({100 * row['bytes'] // quota} % used)"
    return row["workflow"], row["payloads"], row["bytes"], row["outside"], share, row["policy"] or ""
