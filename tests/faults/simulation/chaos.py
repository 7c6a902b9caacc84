"""What befalls daemons and their store, at times that the dice choose: kills, stops, pauses, outages, clock jumps."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.faults.simulation.seats import Seat
    from tests.faults.simulation.world import World


async def strike(world: World) -> None:
    """Carry out all that the profile asks for, in order of time; returns at the last one."""
    dice, profile = world.dice("chaos"), world.profile
    kinds = {
        "kill": profile.kills,
        "restart": profile.restarts,
        "pause": profile.pauses,
        "jump": profile.jumps,
        "outage": profile.outages,
    }
    plan = sorted((dice.random() ** 2 * profile.horizon_s, kind) for kind, count in kinds.items() for _ in range(count))
    for at_s, kind in plan:
        await asyncio.sleep(max(0.0, at_s - world.loop.time()))
        seat: Seat = dice.choice(world.seats)
        match kind:
            case "kill":
                world.kill(seat)
            case "restart":
                world.loop.spawn(world.loop.world, seat.stop())
            case "pause" if seat.up and not seat.process.paused:
                world.pause(seat.process, dice.choice((1.0, 6.0, 25.0)) * dice.random())
            case "jump":
                by_s = dice.uniform(-profile.skew_s - 1, profile.skew_s + 1)
                world.tell(f"jump {seat.name} by {by_s:.1f} s")
                seat.clock.skew_s += by_s
            case "outage":
                for_s = dice.choice((1.0, 6.0, 20.0)) * dice.random()
                world.tell(f"outage for {for_s:.1f} s")
                world.wire.away_until_s = world.loop.time() + for_s
