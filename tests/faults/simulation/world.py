"""One world: a store, a broker, daemons that come and go, people who call them, and the faults between them.

1. daemons start, messages and calls come, faults strike, until the horizon  2. faults end  3. all must come to an end
4. daemons stop in order  5. what is left is checked. All of it is thrown by dice that the seed has made.

Comes from: `run`. Goes to: `seats`, `wire`, `broker`, `clients`, `chaos`, `checks`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING
from uuid import UUID

from daemon.core.commands import ReceiveSignal
from daemon.core.decide import decide
from daemon.core.effects import effects
from daemon.core.events import EVENT_TYPES, UPCASTERS
from daemon.core.evolve import fold
from daemon.core.state import Running, has_work
from daemon.core.values import to_json
from daemon.runtime.history import History
from daemon.runtime.projection import project
from eventstore.codec import Codec
from eventstore.log import Append
from eventstore.store import open_store
from tests.faults.simulation.broker import SESSION_S, SimulatedBroker
from tests.faults.simulation.chaos import strike
from tests.faults.simulation.checks import Acknowledged, overdue, stray_leases, violations
from tests.faults.simulation.clients import Clients
from tests.faults.simulation.dice import dice
from tests.faults.simulation.seats import Seat, SkewedClock, settings_of
from tests.faults.simulation.wire import Wire, at_once, over
from tests.faults.simulation.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from random import Random

    from daemon.core.plan import Plan
    from daemon.core.state import State
    from eventstore.log import Recorded
    from eventstore.memory import MemoryIndex
    from tests.faults.simulation.loop import Process, SimulatedLoop
    from tests.faults.simulation.profile import Profile

CODEC = Codec(EVENT_TYPES, UPCASTERS)
PATIENCE_S = 300.0
"""How long, after the last fault, until all has come to an end,"""
STANDSTILL_S, LONGEST_S = 60.0, 3600.0
"""or as long as there was an event in the last minute, an hour at most."""


class World:
    """See the module."""

    def __init__(self, seed: int, profile: Profile, loop: SimulatedLoop, on_line: Callable[[str], None] | None) -> None:
        self.seed = seed
        self.profile = profile
        self.loop = loop
        self.struck: Counter[str] = Counter()
        """How often each kind of fault has struck."""
        self._on_line = on_line
        loop.at_step = self._at_step
        loop.witness = self.witness = Witness(self)  # type: ignore[attr-defined]  # handlers find it there
        self.wire = Wire(loop, self.dice("wire"), profile, self.tell)
        self.wire.members = lambda: self.leases()[1]
        self.broker = SimulatedBroker(loop, self.dice("broker"), profile, self.tell)
        self.wire.overtake = self._overtake
        self.true_clock = SkewedClock(loop, 0.0, self.dice("clock"))
        self.store = at_once(open_store("memory://", CODEC, memory_now=self.true_clock.now))
        self.plans: Sequence[Plan] = ()
        self._rivals = 0
        self.history = History(self.store.log, self.store.snapshots)
        self.acknowledged = Acknowledged(self)
        self.seats = [self._seat(number) for number in range(1, profile.daemons + 1)]
        self.kill_at: list[int] = sorted(self.dice("kills").randint(1, 600) for _ in range(profile.kills_at_work))
        """After how many steps of all daemons one of them is killed."""
        self._steps = 0

    def dice(self, purpose: str) -> Random:
        """Return dice that nobody else throws."""
        return dice(self.seed, purpose)

    def tell(self, text: str) -> None:
        """Note what happens: it is part of the trace, and a fault is counted by its first two words."""
        self.loop.note(text)
        kind = " ".join(text.split()[:2])
        if not kind.startswith(("handler", "client")):
            self.struck[kind.partition(" daemon")[0]] += 1
        if self._on_line is not None:
            self._on_line(f"{self.loop.time():10.4f} {self.loop.steps:6d} {self.loop.current.name:11} {text}")

    async def live(self) -> list[str]:
        """Run the whole schedule; return what is wrong with it."""
        keepers = [asyncio.ensure_future(seat.keep()) for seat in self.seats]
        clients = Clients(self)
        busy = asyncio.ensure_future(clients.act())
        struck = asyncio.ensure_future(strike(self))
        await asyncio.sleep(self.profile.horizon_s)
        await struck
        self._heal()
        late = await self._come_to_rest(busy)
        await asyncio.gather(*(seat.close() for seat in self.seats))
        await asyncio.gather(*keepers)
        busy.cancel()
        return [*late, *self._problems(), *violations(self)]

    def unfinished(self) -> list[str]:
        """Return what tasks still wait for."""
        processes = (self.loop.world, *(seat.process for seat in self.seats if seat.lives))
        return [f"{process.name}: {task!r}" for process in processes for task in process.unfinished()]

    def events(self) -> Sequence[Recorded]:
        """Return the whole log."""
        found: Sequence[Recorded] = at_once(self.store.log.read_all(limit=1_000_000))
        return found

    def state(self, execution_id: UUID) -> State:
        """Return what the log knows of an execution."""
        found: State = at_once(self.history.load(execution_id))
        return found

    def leases(self) -> tuple[Mapping[UUID, UUID | None], Collection[UUID]]:
        """Return which daemon has the lease of which execution, and who is a member."""
        index: MemoryIndex = self.store.leases._index
        return {target: lease.daemon for target, lease in index.leases.items()}, index.members

    def member_of(self, process: Process) -> UUID | None:
        """Return the id under which the process works."""
        seat = next((seat for seat in self.seats if seat.lives and seat.process is process), None)
        return seat.daemon.membership.id if seat is not None and seat.daemon is not None else None

    def target(self, execution_id: str) -> UUID:
        """Return the id of an execution from its text."""
        return UUID(execution_id)

    def pause(self, process: Process, for_s: float) -> None:
        """Stop a process, and let it go on later; the broker may have given it up by then."""
        self.tell(f"pause {process.name} for {for_s:.1f} s")
        process.paused = True
        self.loop.call_later(for_s, self._go_on, process)
        if for_s > SESSION_S:
            self.loop.call_later(SESSION_S, self.broker.lost, process)

    def _go_on(self, process: Process) -> None:
        process.paused = False

    def _seat(self, number: int) -> Seat:
        dice, skew_s = self.dice(f"seat {number}"), self.profile.skew_s
        clock = SkewedClock(self.loop, dice.uniform(-skew_s, skew_s), dice)
        return Seat(
            f"daemon{number}",
            loop=self.loop,
            clock=clock,
            dice=dice,
            settings=settings_of(self.profile),
            store=lambda: over(self.wire, self.store),
            tell=self.tell,
        )

    def _overtake(self, batch: Sequence[Append]) -> None:
        """Let a tool signal one of these executions first."""
        target = self.dice(f"rival {self._rivals}").choice(batch).execution_id
        before = self.state(target)
        if not isinstance(before, Running):
            return
        self._rivals += 1
        plan = next(plan for plan in self.plans if plan.hash == before.definition)
        command = ReceiveSignal(
            signal_id=f"rival{self._rivals}",
            name=("go", "stay")[self._rivals % 2],
            data=to_json("rival"),
            actor="rival",
            at=self.true_clock.now(),
        )
        events = decide(plan, before, command, None)
        after = fold(events, before)
        hint = has_work(before) and bool(effects(after, events))
        index = project(target, before, events, after, hint=hint)
        at_once(self.store.log.insert([Append(target, before.version, events, index)]))

    def _at_step(self, process: Process) -> None:
        if process is self.loop.world or self.wire.healed:
            return
        self._steps += 1
        if self.kill_at and self._steps >= self.kill_at[0]:
            self.kill_at.pop(0)
            self.kill(next(seat for seat in self.seats if seat.lives and seat.process is process))

    def kill(self, seat: Seat) -> None:
        """Kill the seat's daemon; the broker notices it some time later."""
        if seat.kill():
            process = seat.process
            self.loop.world_later(self.dice(f"session {process.name}").random() * SESSION_S, self.broker.lost, process)

    def _heal(self) -> None:
        self.tell("healed")
        self.wire.healed = self.broker.healed = True
        for seat in self.seats:
            seat.process.paused = False

    async def _come_to_rest(self, busy: asyncio.Future[None]) -> list[str]:
        begun_s, since, events = self.loop.time(), self.true_clock.now(), 0
        end_s = begun_s + PATIENCE_S + 4 * self.profile.skew_s
        while self.loop.time() < end_s:
            await asyncio.sleep(1)
            if (there := len(self.events())) > events:  # a wide workflow on a narrow daemon takes long
                events, end_s = there, max(end_s, min(self.loop.time() + STANDSTILL_S, begun_s + LONGEST_S))
            settled = busy.done() and all(seat.receiving for seat in self.seats) and not self.broker.unsettled()
            if settled and not overdue(self, since) and not stray_leases(self):
                return []
        return [
            f"not at rest {self.loop.time() - begun_s:.0f} s after the last fault",
            *([] if busy.done() else ["clients are still busy"]),
            *(f"{seat.name} receives nothing" for seat in self.seats if not seat.receiving),
            *self.broker.unsettled(),
            *overdue(self, since),
            *stray_leases(self),
        ]

    def _problems(self) -> list[str]:
        found = [
            *self.loop.problems,
            *self.loop.unretrieved(),
            *self.witness.problems,
            *self.wire.problems,
            *self.acknowledged.problems,
        ]
        return [*found, *(problem for seat in self.seats for problem in seat.problems)]
