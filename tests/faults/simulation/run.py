"""From a seed to what came of it."""

from __future__ import annotations

import asyncio
import gc
import os
import random
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import structlog

from eventstore.errors import StoreError
from tests.faults.simulation.dice import dice
from tests.faults.simulation.loop import Deadlock, Livelock, SimulatedLoop
from tests.faults.simulation.profile import Profile, draw
from tests.faults.simulation.seats import wired
from tests.faults.simulation.world import World

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator, MutableMapping

    from tests.faults.simulation.mutants import Mutation


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One schedule."""

    seed: int
    profile: Profile
    problems: list[str]
    digest: int
    """The same for the same seed, in every process."""
    steps: int
    virtual_s: float
    events: int
    struck: Counter[str] = field(repr=False)


def simulate(
    seed: int,
    *,
    profile: Profile | None = None,
    mutate: Mutation = lambda _: nullcontext(),
    on_line: Callable[[str], None] | None = None,
) -> Outcome:
    """Run the schedule of this seed. `mutate` may break the world, `on_line` is told what happens."""
    profile = profile or draw(dice(seed, "profile"))
    loop = SimulatedLoop(dice(seed, "loop"), policy=profile.policy, stall=profile.stall)
    errors: list[str] = []
    with _alone(seed, errors):
        world = World(seed, profile, loop, on_line)
        with wired(profile, world.broker) as plans, mutate(world):
            world.plans = plans
            try:
                problems = loop.run_until_complete(world.live())
            except (Deadlock, Livelock, StoreError) as error:
                problems = [f"{type(error).__name__}: {error}", *world.unfinished()]
            finally:
                loop.dispose(collect=True)
    return Outcome(
        seed=seed,
        profile=profile,
        problems=[*problems, *errors],
        digest=loop.digest,
        steps=loop.steps,
        virtual_s=loop.time(),
        events=len(world.events()),
        struck=world.struck,
    )


@contextmanager
def _alone(seed: int, errors: list[str]) -> Iterator[None]:
    """Keep out what would differ from run to run: random bytes, the module's dice, the garbage collector's moments.

    What the product logs as an error is put into `errors`.
    """

    def log(_logger: object, level: str, event: MutableMapping[str, Any]) -> Any:
        if level in ("error", "critical"):
            errors.append(f"logged: {event}")
        raise structlog.DropEvent

    config, state, collecting = structlog.get_config(), random.getstate(), gc.isenabled()
    structlog.configure(processors=[log])
    random.seed(seed)
    gc.disable()
    gc.freeze()  # what is there already is none of the simulation's, and need not be looked through at its end
    try:
        with patch.object(os, "urandom", dice(seed, "bytes").randbytes):
            yield
    finally:
        random.setstate(state)
        structlog.configure(**config)
        asyncio.set_event_loop(None)
        gc.unfreeze()
        if collecting:
            gc.enable()
