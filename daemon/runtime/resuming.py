"""The input that a handler goes on with after it has paused: one that came early nobody has checked yet.

Comes from: `step_attempt`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core.commands import SuspendStep
from daemon.core.errors import InvalidInput
from daemon.core.values import NULL, Json, from_json
from daemon.runtime.json_schema import InputSchema

if TYPE_CHECKING:
    from datetime import datetime

    from daemon.core.people import Resumption


def pausing_again(
    resumed: Resumption | None, address: str, attempt: int, state: Json, at: datetime
) -> SuspendStep | None:
    """Return the pause that goes on when the input is not what the handler has asked for; None when it is."""
    if resumed is None or resumed.expects == NULL:
        return None
    try:
        InputSchema(from_json(resumed.expects)).check(from_json(resumed.input))
    except InvalidInput as error:
        return SuspendStep(
            address=address,
            attempt=attempt,
            reason=resumed.reason,
            expects=resumed.expects,
            state=state,
            until=resumed.due,
            problem=str(error),
            at=at,
        )
    return None
