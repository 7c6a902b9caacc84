"""What steps do in the simulation: succeed, fail, hang, ignore that they are cancelled. The witness sees it all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from daemon.handlers import Context, StepFailure, handler

if TYPE_CHECKING:
    from random import Random

    from tests.faults.simulation.witness import Witness


@handler("sim.work")
async def work(value: Any = None, *, context: Context) -> str:
    """Behave as the dice will have it, differently in each run."""
    run = _witness().begin(context)
    await _behave(run.dice, context)
    return run.succeed()


@handler("sim.quick")
async def quick(value: Any = None, *, context: Context) -> str:
    """Be done within the same turn of the loop, well or not."""
    run = _witness().begin(context)
    if run.dice.random() < 0.2:
        raise StepFailure("not now", code="busy")
    return run.succeed()


async def _behave(dice: Random, context: Context) -> None:
    kind = dice.random()
    if kind < 0.5:
        await asyncio.sleep(dice.choice((0, 0.001, 0.3, 2.0, 10.0)) * dice.random())
    elif kind < 0.6:
        raise StepFailure("no", code="refused", retryable=dice.random() < 0.7)
    elif kind < 0.65:
        await asyncio.sleep(dice.random())
        raise ValueError("broken")
    elif kind < 0.72:
        await asyncio.Event().wait()
    elif kind < 0.77:
        await _ignore_cancellation(dice)
    elif kind < 0.85:
        for number in range(dice.randint(1, 4)):
            context.progress(number)
            await asyncio.sleep(dice.random() * 2)
    elif kind < 0.88:
        raise asyncio.CancelledError
    # and otherwise: nothing at all


async def _ignore_cancellation(dice: Random) -> None:
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        await asyncio.sleep(dice.random() * 8)


def _witness() -> Witness:
    witness: Witness = asyncio.get_running_loop().witness  # type: ignore[attr-defined]  # the simulation's loop has one
    return witness
