"""What steps do in the simulation: succeed, fail, hang, ignore that they are cancelled. The witness sees it all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from daemon.durable import CallFailed, DurableContext, Undo, durable
from daemon.handlers import Context, Pause, StepFailure, handler

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


@handler("sim.asks")
async def asks(value: Any = None, *, context: Context) -> str | Pause:
    """Pause for a number, not always for the first time only."""
    run = _witness().begin(context)
    if context.resumed is None or run.dice.random() < 0.2:
        return Pause("which?", {"type": "integer"}, state=context.attempt, timeout="6s")
    return run.succeed()


@handler("sim.tell")
async def tell(notice: dict[str, Any], *, context: Context) -> str:
    """Tell somebody."""
    run = _witness().begin(context)
    await asyncio.sleep(run.dice.random())
    return run.succeed()


@durable("sim.flow")
async def flow(ctx: DurableContext) -> list[str]:
    """Call side by side, sleep, give up a wait, and live with what fails."""
    undo = Undo("sim.quick", kind="idempotent", retry={"max_attempts": 9, "initial": "1s"})
    retry = {"max_attempts": 3, "initial": "500ms"}
    done: list[str] = []
    try:
        async with asyncio.timeout(4):
            async with asyncio.TaskGroup() as group:
                group.create_task(ctx.step("sim.work", timeout="3s", retry=retry, compensate=undo))
                group.create_task(ctx.sleep(3 * ctx.random()))
                group.create_task(ctx.signal("go"))
            done.append("in time")
    except TimeoutError:
        done.append("too late")
    except ExceptionGroup as errors:
        done += [error.code for error in errors.exceptions if isinstance(error, CallFailed)]
    done.append(await ctx.step("sim.quick", retry=retry, compensate=undo))
    return done


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
