"""The faults, and when they come: a schedule that the seed alone makes.

Each fault is a coroutine that does its harm, lasts, and puts right what it has broken. What it befalls is chosen by its
own dice; a server or daemon has one fault at a time.

Comes from: `run`. Goes to: `postgres_faults`, `servers`, `fleet`; every fault is noted in the timeline.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, NamedTuple

from tests.faults.chaos import postgres_faults
from tests.faults.chaos.fleet import now_s

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.faults.chaos.fleet import Member
    from tests.faults.chaos.servers import Server
    from tests.faults.chaos.world import Fault, World

GROWN_S = 2.0
"""A daemon that has just been started is let be for up to so long, so that there is work to harm."""
FREE_S = 60.0
"""How long a fault waits for a daemon that none befalls."""
WEIGHTS = {"kill": 4, "pause": 3, "stop": 1, "join": 1, "clock": 1, "commit": 3}
"""Of kinds that come oftener than once in a round of all."""


class Planned(NamedTuple):
    """A fault to come."""

    at_s: float
    kind: str
    seed: int


def schedule(seed: int, kinds: Sequence[str], *, first_s: float, every_s: float, until_s: float) -> list[Planned]:
    """Return the faults of a run: rounds in which each kind comes once, some several times, in any order."""
    dice = random.Random(f"{seed} faults")  # noqa: S311  repeatable
    planned: list[Planned] = []
    waiting: list[str] = []
    at_s = first_s
    while at_s < until_s:
        if not waiting:
            waiting = [kind for kind in kinds for _ in range(WEIGHTS.get(kind, 1))]
            dice.shuffle(waiting)
        planned.append(Planned(at_s, waiting.pop(), dice.getrandbits(32)))
        at_s += every_s * dice.uniform(0.5, 1.5)
    return planned


async def carry_out(world: World, planned: Sequence[Planned], began_s: float) -> Counter[str]:
    """Let each fault come at its time, whether those before have ended or not; return how many of each kind did."""
    done: Counter[str] = Counter()
    async with asyncio.TaskGroup() as tasks:
        for fault in planned:
            await asyncio.sleep(max(0.0, began_s + fault.at_s - now_s()))
            tasks.create_task(_one(world, fault, done))
    return done


async def _one(world: World, fault: Planned, done: Counter[str]) -> None:
    dice = random.Random(fault.seed)  # noqa: S311  repeatable
    began = now_s()
    what = await KINDS[fault.kind](world, dice)
    if what is not None:
        done[fault.kind] += 1
    world.timeline.note(
        fault.kind,
        at_s=began,
        ended_s=now_s(),
        struck=what is not None,
        what=what or "nothing to harm",
        seed=fault.seed,
    )


async def _daemon(world: World, dice: random.Random, stack: AsyncExitStack) -> Member | None:
    """Take a daemon that runs and that no fault befalls, as soon as there is one."""
    least_s, until_s = dice.uniform(0.0, GROWN_S), now_s() + FREE_S
    while (member := world.fleet.one(dice, least_s)) is None:
        if now_s() > until_s:
            return None
        await asyncio.sleep(0.05)
    await stack.enter_async_context(member.busy)
    return member


async def kill(world: World, dice: random.Random) -> str | None:
    """SIGKILL a daemon; start it again after a while."""
    async with AsyncExitStack() as stack:
        if (member := await _daemon(world, dice, stack)) is None:
            return None
        await member.kill()
        await asyncio.sleep(dice.choice((0.0, world.length_s(dice))))
        member.start()
        return member.name


async def stop(world: World, dice: random.Random) -> str | None:
    """Stop a daemon in order; start it again."""
    async with AsyncExitStack() as stack:
        if (member := await _daemon(world, dice, stack)) is None:
            return None
        code = await member.stop()
        await asyncio.sleep(world.length_s(dice) / 2)
        member.start()
        return f"{member.name}: {code}"


async def pause(world: World, dice: random.Random) -> str | None:
    """SIGSTOP a daemon, sometimes for longer than its lease; then let it go on."""
    async with AsyncExitStack() as stack:
        if (member := await _daemon(world, dice, stack)) is None:
            return None
        length_s = dice.choice((world.length_s(dice), world.ttl_s + world.length_s(dice)))
        member.tell(signal.SIGSTOP)
        try:
            await asyncio.sleep(length_s)
        finally:
            member.tell(signal.SIGCONT)
        return f"{member.name} for {length_s:.1f} s"


async def join(world: World, dice: random.Random) -> str | None:
    """Let another daemon join for a while: partitions move, and move back."""
    if not world.several:
        return None
    member = world.fleet.add()
    async with member.busy:
        member.start()
        await asyncio.sleep(2 * world.harm_s)
        code = await member.stop()
        return f"{member.name}: {code}"


async def clock(world: World, dice: random.Random) -> str | None:
    """Let a daemon's clock be wrong, and jump, for its next life; then put it right."""
    async with AsyncExitStack() as stack:
        if (member := await _daemon(world, dice, stack)) is None:
            return None
        member.skew = f"{dice.randrange(1 << 30)}:{world.skew_s}"
        try:
            await member.kill()
            member.start()
            await asyncio.sleep(2 * world.harm_s)
            await member.kill()
        finally:
            member.skew = None
        member.start()
        return f"{member.name} by up to {world.skew_s:g} s"


def restarted(name: str) -> Fault:
    """Return the fault that kills a server and starts it again."""

    async def restart(world: World, dice: random.Random) -> str | None:
        server = world.servers[name]
        async with server.busy:
            if name == "postgres" and dice.random() < 0.5:
                server.abort()
            else:
                await server.crash()
            await asyncio.sleep(world.length_s(dice) / 2)
            await server.restart()
        return name

    return restart


def broken_network(name: str) -> Fault:
    """Return the fault of the network to a server: cut, slow, silent, or deaf in one direction."""

    async def disturb(world: World, dice: random.Random) -> str | None:
        server = world.servers[name]
        async with server.busy:
            modes: list[tuple[str, dict[str, float]]] = [
                ("cut", {}),
                ("refuse", {}),
                ("delay", {"s": dice.uniform(0.02, 0.5)}),
                ("drip", {"bytes_per_s": dice.choice((2_000, 20_000))}),
                ("blackhole", {}),
                ("deaf", {}),
                ("deaf", {}),
            ]
            mode, parameters = dice.choice(modes)
            server.proxy.set(mode, **parameters)
            try:
                await asyncio.sleep(world.length_s(dice))
            finally:
                server.proxy.set("pass")
        return f"{name}: {mode} {parameters or ''}".strip()

    return disturb


KINDS: Mapping[str, Fault] = {
    "kill": kill,
    "stop": stop,
    "pause": pause,
    "join": join,
    "clock": clock,
    "postgres restart": restarted("postgres"),
    "rabbitmq restart": restarted("rabbitmq"),
    "kafka restart": restarted("kafka"),
    "postgres network": broken_network("postgres"),
    "rabbitmq network": broken_network("rabbitmq"),
    "kafka network": broken_network("kafka"),
    "commit": postgres_faults.commit,
    "backends": postgres_faults.backends,
    "exhaust": postgres_faults.exhaust,
    "postgres slow disk": postgres_faults.slow_disk,
    "postgres full disk": postgres_faults.full_disk,
}
_NEEDS_POSTGRES = ("commit", "backends", "exhaust")


def kinds_for(servers: Mapping[str, Server], *, several: bool) -> list[str]:
    """Return the kinds of faults that can come to these servers."""
    possible = []
    for kind in KINDS:
        needed = "postgres" if kind in _NEEDS_POSTGRES else kind.split()[0] if " " in kind else None
        if (needed is None or needed in servers) and (kind != "join" or several):
            possible.append(kind)
    return possible
