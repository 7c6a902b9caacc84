"""What faults can befall.

Comes from: `run`. Goes to: `faults`, `postgres_faults`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Mapping

    from tests.faults.chaos.fleet import Fleet
    from tests.faults.chaos.servers import Server
    from tests.faults.chaos.timeline import Timeline


class World(NamedTuple):
    """What faults can befall. `harm_s` is about how long one lasts, `ttl_s` how long a lease does."""

    servers: Mapping[str, Server]
    fleet: Fleet
    timeline: Timeline
    harm_s: float
    ttl_s: float
    skew_s: float
    several: bool
    """Whether daemons may join."""

    def length_s(self, dice: random.Random) -> float:
        """Return how long a fault is to last."""
        return self.harm_s * dice.uniform(0.3, 1.0)


Fault: TypeAlias = "Callable[[World, random.Random], Awaitable[str | None]]"
"""Returns what it has done, None when there was nothing to harm."""
