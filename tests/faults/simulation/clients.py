"""Who uses the daemons: they publish messages, some twice, some useless, and call the API, again when in doubt."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from daemon.api import waiting
from daemon.api.errors import Busy
from daemon.core.commands import AnswerUndo, CancelExecution
from daemon.core.errors import Rejected
from daemon.core.people import Deciding
from daemon.core.saga import CHOICES
from daemon.core.state import Finished, Running
from eventstore.errors import Conflict, Unavailable
from eventstore.index import ExecutionFilter
from tests.faults.simulation.workflows import name_of
from triggers.errors import BrokerUnavailable
from triggers.publishing import Outbound
from triggers.routing import execution_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from daemon.assembled import Daemon
    from tests.faults.simulation.seats import Seat
    from tests.faults.simulation.world import World

WAIT_S = 10.0
"""How long a caller lets a daemon wait for the end of what it has started."""
ANSWER_S = 30.0
"""How long a caller waits for an answer."""


class Clients:
    """All of them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._dice = world.dice("clients")
        self._names = [name_of(number) for number in world.profile.workflows]

    async def act(self) -> None:
        """Do all there is to do, spread over the time until the horizon."""
        dice, profile = self._dice, self._world.profile
        work: list[Callable[[], Awaitable[None]]] = []
        for number in range(profile.messages):
            work += [self._message(number)] * (
                1 + (dice.random() < profile.duplicates) + (dice.random() < profile.duplicates)
            )
            work += [self._answer(number)] * dice.choice((0, 1, 1, 2))
        work += [self._call(number) for number in range(profile.calls)]
        starts = [asyncio.ensure_future(self._later(each)) for each in work]
        await asyncio.gather(*starts)

    async def _later(self, work: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(self._dice.random() ** 2 * self._world.profile.horizon_s)
        await work()

    def _message(self, number: int) -> Callable[[], Awaitable[None]]:
        dice, name = self._dice, self._dice.choice(self._names)
        body = {"id": f"k{number}", "n": dice.choice((0, 1, 2, 3, 9))}
        raw = json.dumps(body).encode()
        if dice.random() < 0.05:
            raw = dice.choice((b"{", b'{"n": 1}'))
        return lambda: self._publish(name, raw)

    def _answer(self, number: int) -> Callable[[], Awaitable[None]]:
        name, raw = self._dice.choice(self._names), json.dumps({"id": f"k{number}", "n": f"answer {number}"}).encode()
        message_id = f"answer-{number}-{name}"
        return lambda: self._publish(f"{name}.go", raw, message_id)

    async def _publish(self, topic: str, raw: bytes, message_id: str | None = None) -> None:
        """Publish until the broker has confirmed it."""
        broker = self._world.broker
        while True:
            try:
                await broker.publish(Outbound(destination=topic, body=raw, message_id=message_id))
            except BrokerUnavailable:
                await asyncio.sleep(self._dice.random())
            else:
                self._world.acknowledged.published(topic, raw)
                return

    def _call(self, number: int) -> Callable[[], Awaitable[None]]:
        name, kind = (
            self._dice.choice(self._names),
            self._dice.choice(("start", "start", "signal", "cancel", "decide", "people", "people")),
        )
        message = execution_id(f"{name}/orders", f"k{self._dice.randrange(self._world.profile.messages)}")
        match kind:
            case "start":
                key = f"call{number}"
                return lambda: self._insist(lambda daemon: _start(daemon, name, key, self._world))
            case "signal":
                return lambda: self._insist(lambda daemon: _signal(daemon, message, f"call{number}", self._world))
            case "decide":
                choice = self._dice.random()
                return lambda: self._insist(lambda daemon: _decide(daemon, choice))
            case "people":
                by, given = self._dice.choice(("ann", "bob", "cid", "eve")), f"call{number}"
                return lambda: self._insist(lambda daemon: _speak(daemon, by, given))
        return lambda: self._insist(lambda daemon: _cancel(daemon, message, self._world))

    async def _insist(self, operation: Callable[[Daemon], Awaitable[None]]) -> None:
        """Ask any daemon, again and again until one has done it."""
        dice, world = self._dice, self._world
        while True:
            seat = dice.choice(world.seats)
            if seat.up:
                try:
                    await _ask(world, seat, operation)
                except (TimeoutError, Busy, Unavailable, Conflict) as error:
                    world.tell(f"client in-doubt {type(error).__name__}")
                except Rejected as error:
                    world.tell(f"client rejected {type(error).__name__}")
                    return
                else:
                    return
            await asyncio.sleep(dice.random() * 5)


async def _ask(world: World, seat: Seat, operation: Callable[[Daemon], Awaitable[None]]) -> None:
    """Carry it out in the daemon's process; no answer comes from one that dies."""
    loop, daemon = world.loop, seat.daemon
    answer: asyncio.Future[None] = loop.create_future()

    async def serve() -> None:
        error: Exception | None = None
        try:
            assert daemon is not None
            await operation(daemon)
        except Exception as caught:  # noqa: BLE001  it is carried to the caller
            error = caught
        loop.deliver(loop.world, _settle, answer, error)

    loop.spawn(seat.process, serve())
    await asyncio.wait_for(answer, ANSWER_S)


def _settle(answer: asyncio.Future[None], error: Exception | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(None)
    else:
        answer.set_exception(error)


async def _start(daemon: Daemon, workflow: str, key: str, world: World) -> None:
    value: dict[str, Any] = {"n": len(key) % 3, "id": key}
    await waiting.room(daemon)
    started, _ = await waiting.answered(daemon.intake.start(workflow, value, key=key, actor="client"))
    world.acknowledged.started(started)
    state = await waiting.finished(daemon, started, WAIT_S)
    if isinstance(state, Finished):
        world.acknowledged.ended(started)


async def _signal(daemon: Daemon, target: Any, signal_id: str, world: World) -> None:
    given = daemon.intake.signal(target, "go", "called", signal_id=signal_id, actor="client")
    await waiting.answered(given)
    world.acknowledged.signalled(target, signal_id)


async def _cancel(daemon: Daemon, target: Any, world: World) -> None:
    command = CancelExecution(reason="enough", actor="client", at=daemon.clock.now())
    handled = await waiting.answered(daemon.engine.send(target, command))
    if isinstance(handled.state, Finished):
        world.acknowledged.ended(target)


async def _decide(daemon: Daemon, choice: float) -> None:
    """Answer what the newest undo asks that waits for a person."""
    for row in await daemon.store.index.executions(ExecutionFilter(status="compensating", limit=1000)):
        state = await daemon.history.load(row.execution_id)
        for address, ask in sorted(state.asking.items()) if isinstance(state, Running) else ():
            choices = CHOICES[ask.kind]
            command = AnswerUndo(
                address=address,
                question=ask.version,
                choice=choices[int(choice * len(choices))],
                actor="client",
                at=daemon.clock.now(),
            )
            await waiting.answered(daemon.engine.send(row.execution_id, command))
            return


async def _speak(daemon: Daemon, by: str, given: str) -> None:
    """Decide, or give input, wherever people are waited for."""
    for row in await daemon.store.index.executions(ExecutionFilter(status="running", limit=1000)):
        state = await daemon.history.load(row.execution_id)
        asked = {each: state.steps[each] for each in sorted(state.people)} if isinstance(state, Running) else {}
        for address, step in asked.items():
            if isinstance(step, Deciding):
                decision = "rejected" if by == "cid" else "approved"
                answer = daemon.people.decide(row.execution_id, address, decision, actor=by)
            else:
                value = by if by == "eve" else len(by)
                answer = daemon.people.resume_step(row.execution_id, address, value, resume_id=given, actor=by)
            await waiting.answered(answer)
