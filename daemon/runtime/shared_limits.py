"""The limits of the settings, as plans have them.

Comes from: daemon/settings. Goes to: `definitions`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core.durations import parse_duration
from daemon.core.throttle import MICROSECOND, SharedLimit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from daemon.core.plan import Plan
    from daemon.settings import Settings


def shared_limits(settings: Settings) -> Mapping[str, SharedLimit]:
    """Return them by name."""
    return {
        name: SharedLimit(
            name=name,
            most=limit.concurrency,
            interval_us=None if limit.rate is None else max(parse_duration(limit.per) // MICROSECOND // limit.rate, 1),
            burst=limit.burst,
            node_types=limit.node_types,
            handlers=limit.handlers,
        )
        for name, limit in settings.throttle.items()
    }


def shared_names(plans: Iterable[Plan]) -> frozenset[str]:
    """Return the names of the limits of the settings that workflows name."""
    written = [limit for plan in plans for limit in plan.definition.throttle]
    written += [limit for plan in plans for node in plan.definition.nodes.values() for limit in node.throttle]
    return frozenset(limit.shared for limit in written if limit.shared is not None)
