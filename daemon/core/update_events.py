"""Events of updates: messages whose sender is given a result at once.

Comes from: `updates`. Goes to: `events`, which has the rules for all of them.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from msgspec import Struct

from daemon.core.values import NULL, Json


class UpdateHandled(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """An update was accepted and has had its effect: the variables that it sets were set before it, in the same append.

    `result` is what its sender was told, and is told again if the same update comes again.
    """

    NAME: ClassVar = "UpdateHandled"
    VERSION: ClassVar = 1

    update_id: str
    name: str
    data: Json
    result: Json = NULL
    actor: str
    at: datetime
