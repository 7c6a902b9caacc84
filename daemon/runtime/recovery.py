"""Recovery: at start, take up every execution that a lost process left with work in flight.

Nothing special happens: an execution is loaded and what is owed to it is carried out, as at any time. Executions that
only wait for timers and signals need nothing: their rows are there.

Comes from: `supervisor`. Goes to: `engine.resume`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from daemon.core.errors import Rejected
from eventstore.errors import Conflict, StoreError, Unavailable

if TYPE_CHECKING:
    from uuid import UUID

    from daemon.runtime.engine import Engine
    from eventstore.index import Index

PAGE = 500

_logger = structlog.get_logger(__name__)


async def recover(index: Index, engine: Engine) -> int:
    """Resume all busy executions; return how many.

    One that cannot be taken up (unreadable events, missing definition) is parked: logged as an alarm and left as it is,
    the others go on. Raises Unavailable when the store does not answer, Conflict
    when other writers were first too often: try again.
    """
    resumed, last = 0, None
    while page := await index.busy(after=last, limit=PAGE):
        outcomes = await asyncio.gather(*(_resume(engine, execution_id) for execution_id in page))
        resumed += sum(outcomes)
        last = page[-1]
    return resumed


async def _resume(engine: Engine, execution_id: UUID) -> bool:
    try:
        await engine.resume(execution_id)
    except (Unavailable, Conflict):
        raise
    except (Rejected, StoreError) as error:
        _logger.error("execution_parked", execution_id=str(execution_id), error=str(error))  # noqa: TRY400  foreseen: the message says all
        return False
    return True
