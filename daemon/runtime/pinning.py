"""Pins, as the API, the CLI and lists show them.

Comes from: daemon/api, daemon/cli. Goes to: eventstore/pins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from daemon.runtime.views import row_view

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from eventstore.index import ExecutionRow
    from eventstore.pins import Pin, Pins

_logger = structlog.get_logger(__name__)


async def pin(pins: Pins, wanted: Pin) -> bool:
    """Pin an execution, and say so; False when there is none. Raises Unavailable."""
    done = await pins.put(wanted)
    if done:
        said = {"execution_id": str(wanted.execution_id), "actor": wanted.by, "reason": wanted.reason}
        _logger.info("execution_pinned", **said)
    return done


async def unpin(pins: Pins, execution_id: UUID, *, actor: str) -> bool:
    """Unpin it, and say so; False when it was not pinned. Raises Unavailable."""
    done = await pins.drop(execution_id)
    if done:
        _logger.info("execution_unpinned", execution_id=str(execution_id), actor=actor)
    return done


def pin_view(pin: Pin | None) -> dict[str, Any] | None:
    """Return who has pinned an execution, when and why; None for one that is not pinned."""
    return None if pin is None else {"at": pin.at, "by": pin.by, "reason": pin.reason}


async def listed(pins: Pins, rows: Sequence[ExecutionRow]) -> list[dict[str, Any]]:
    """Return executions as lists show them, with their pins."""
    found = await pins.of([row.execution_id for row in rows])
    return [{**row_view(row), "pin": pin_view(found.get(row.execution_id))} for row in rows]
