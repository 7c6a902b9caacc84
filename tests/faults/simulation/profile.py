"""What one schedule is made of: which faults, how often, on how many daemons, under which limits.

Each seed draws its own profile, and most leave most kinds of faults out: a schedule with few kinds goes deeper than one
in which everything fails all the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

    from tests.faults.simulation.loop import Policy

TICKING = 5
"""Every so many workflows one has a schedule; no limit holds its executions up, for they never end."""
WORKFLOWS = 300
"""Workflows to choose from, by number; see `workflows.text_of`."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Rates are shares of calls, from 0 to 1; counts are for the whole schedule; times are virtual seconds."""

    policy: Policy
    stall: float
    daemons: int
    workflows: tuple[int, ...]
    messages: int
    duplicates: float
    calls: int
    """By the API: starts, signals, cancels."""
    ttl_s: float
    """After this long without a sign of life a daemon is taken for dead."""
    horizon_s: float
    """Faults come until then; afterwards all must come to an end."""
    max_active: int
    max_running: int
    latency_s: float
    """Longest way to the store, usually."""
    refused: float
    """Calls that the store does not take."""
    lost: float
    """Calls that it carries out, and does not answer."""
    late: float
    """Appends that it carries out long after the caller was told that there is no answer."""
    slow: float
    rival: float
    """Appends that another writer overtakes."""
    outages: int
    """Times in which the store answers nobody."""
    unpublished: float
    """Messages that the broker does not take, or takes without saying so."""
    redelivered: float
    """Messages that come again although they were acknowledged."""
    kills: int
    kills_at_work: int
    """Kills after a number of steps instead of at a time: they fall where there is much to do."""
    restarts: int
    pauses: int
    jumps: int
    """Of a daemon's clock."""
    skew_s: float
    deaf: float
    """How many of those who ask to be woken by the store are not."""


def draw(dice: Random) -> Profile:
    """Throw the dice for one schedule."""

    def at_times(most: float, share: float = 0.4) -> float:
        return dice.random() * most if dice.random() < share else 0.0

    def few(most: int, share: float = 0.4) -> int:
        return dice.randint(1, most) if dice.random() < share else 0

    workflows = tuple(dice.sample(range(WORKFLOWS), dice.choice((1, 1, 2))))
    ticking = any(number % TICKING == 0 for number in workflows)
    daemons = dice.choice((1, 2, 2, 3))
    return Profile(
        policy=dice.choices(("random", "fifo", "priority"), (5, 2, 3))[0],
        stall=at_times(0.02, 0.3),
        daemons=daemons,
        workflows=workflows,
        messages=dice.randint(1, 6),
        duplicates=at_times(0.6),
        calls=dice.randint(0, 5),
        horizon_s=dice.choice((5.0, 10.0, 20.0, 40.0)),
        ttl_s=dice.choice((1.5, 4.0, 10.0)),
        max_active=dice.choice((1, 2, 5, 1000)) if not ticking else 1000,
        max_running=dice.choice((1, 2, 100)) if not ticking else 100,
        latency_s=dice.choice((0.0, 0.001, 0.05, 0.5)),
        refused=at_times(0.2),
        lost=at_times(0.2),
        late=at_times(0.1, 0.25),
        slow=at_times(0.05, 0.25),
        rival=at_times(0.2),
        outages=few(3, 0.3),
        unpublished=at_times(0.3),
        redelivered=at_times(0.3),
        kills=few(4),
        kills_at_work=few(4),
        restarts=few(2, 0.3),
        pauses=few(3, 0.3),
        jumps=few(3, 0.2),
        skew_s=dice.choice((0.0, 0.0, 2.0, 300.0)),
        deaf=dice.choice((0.0, 0.0, 0.5, 1.0)),
    )
