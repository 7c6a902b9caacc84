"""A world for one durable function: the core, the function's machine, and a log that can crash, without a daemon.

What happens next depends on the log's length and the seed alone, so a run with crashes has the same story as one
without, event for event, if the replay is right.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any

from daemon.core import commands as c
from daemon.core.decide import decide
from daemon.core.effects import ArmTimer, RunStep, owed
from daemon.core.events import Event, StepError
from daemon.core.evolve import fold
from daemon.core.snapshot import decode_state, encode_state
from daemon.core.state import INITIAL, Finished, NotStarted, Running, State
from daemon.core.values import from_json, to_json
from daemon.runtime.function_context import FunctionContext
from daemon.runtime.function_machine import Machine
from daemon.runtime.function_replay import Diverged, replay, story_of
from daemon.runtime.functions import results_of
from eventstore.log import Recorded
from tests.core.spec import EXECUTION, NOON
from tests.support.workflows import plan_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine

    from daemon.core.values import Json

    Function = Callable[[Any, Any], Coroutine[Any, Any, Any]]

JOURNAL = "f[0]"


@dataclass
class World:
    """See the module. `lost` and `crashed`: the appends, from 1, that a crash comes before, and after."""

    function: Function
    seed: int = 0
    lost: Collection[int] = ()
    crashed: Collection[int] = ()
    definition: str = "workflow: w\nundo: automatic\nnodes: {f: {function: t.program, with: '{{ input }}'}}"
    state: State = INITIAL
    events: list[Event] = field(default_factory=list)
    machine: Machine | None = None
    appends: int = 0
    replays: int = 0

    def __post_init__(self) -> None:
        self.plan = plan_of(self.definition)
        self._was_lost: set[int] = set()

    def run(self, value: Any, *, most: int = 2_000) -> World:
        """Let all happen until the execution has ended."""
        start = c.StartExecution(execution_id=EXECUTION, input=to_json(value), actor="test", at=NOON)
        while isinstance(self.state, NotStarted):
            self.send(start)
        while not isinstance(self.state, Finished):
            self.happen()
            assert self.appends < most, "it does not end"
        self.crash()
        return self

    def happen(self) -> None:
        """Let one thing happen that may happen now."""
        state = self.running
        chance = Random(f"{self.seed}/{state.version}")  # noqa: S311  no secret
        choices: list[Callable[[], c.Command]] = []
        if state.advancing:
            choices += [self.advance] * 3
        for effect in owed(state):
            match effect:
                case RunStep():
                    choices.append(lambda effect=effect: _answer(effect, self.now))  # type: ignore[misc]
                case ArmTimer():
                    choices.append(lambda effect=effect: self._fire(effect))  # type: ignore[misc]
        for name in sorted(set(state.awaiting.values())):
            choices.append(lambda name=name: self._signal(name))  # type: ignore[misc]
        assert choices, "nothing can happen any more"
        self.send(chance.choice(choices)())

    def send(self, command: c.Command) -> None:
        """Decide and append; a crash may take the append back, or everything in memory after it."""
        events = decide(self.plan, self.state, command)
        number = self.appends + 1
        if number in self.lost and number not in self._was_lost:
            self._was_lost.add(number)
            self.crash()
            return
        self.appends = number
        self.events += events
        self.state = fold(events, self.state)
        assert decide(self.plan, self.state, command) == (), "deciding twice must be harmless"
        if number in self.crashed:
            self.crash()

    def crash(self) -> None:
        """Lose what is in memory, and read the state again from the log."""
        if self.machine is not None:
            self.machine.end()
            self.machine = None
        if isinstance(self.state, Running):
            assert fold(self.events) == self.state
            self.state = decode_state(encode_state(self.state))

    def advance(self) -> c.Command:
        """Let the function go on, after a replay where it is not in memory."""
        journal = self.running.functions[JOURNAL]
        if self.machine is None:
            replayed = self.replayed()
            assert not isinstance(replayed, Diverged), replayed
            self.machine = replayed
        assert (self.machine.number, self.machine.seen) == (journal.number, journal.seen)
        made = self.machine.advance(results_of(self.running, journal), max(self.now, self.machine.now))
        return c.AdvanceFunction(
            address=JOURNAL,
            number=journal.number,
            seen=self.machine.seen,
            calls=made.calls,
            cancelled=tuple(f"{JOURNAL}.{call}" for call in made.cancelled),
            drawn=made.drawn,
            outcome=made.outcome,
            at=self.machine.now,
        )

    def replayed(self, function: Function | None = None) -> Machine | Diverged:
        """Return the function as the log has it, or where this code differs from it."""
        self.replays += 1
        history = [Recorded(EXECUTION, number, number, event) for number, event in enumerate(self.events, start=1)]
        return replay(story_of(JOURNAL, history), lambda sent: self._machine(sent, function or self.function))

    @property
    def running(self) -> Running:
        """The state, which has not ended."""
        assert isinstance(self.state, Running), self.state
        return self.state

    @property
    def now(self) -> datetime:
        """The time: a second for each event, and what timers have made of it."""
        return max(event.at for event in self.events) + timedelta(seconds=1) if self.events else NOON

    def _machine(self, sent: Json, function: Function) -> Machine:
        async def begin(machine: Machine) -> Any:
            context = FunctionContext(
                machine, execution_id=EXECUTION, workflow="w", address="f", naming=lambda handler: handler.__name__
            )
            return await function(context, from_json(sent))

        return Machine(begin, random=lambda: Random(f"{self.seed}/{len(self.events)}").random())  # noqa: S311  no secret

    def _fire(self, timer: ArmTimer) -> c.Command:
        return c.FireTimer(timer_id=timer.timer_id, at=max(self.now, timer.due))

    def _signal(self, name: str) -> c.Command:
        version = self.running.version
        return c.ReceiveSignal(signal_id=f"s{version}", name=name, data=to_json(version), actor="test", at=self.now)


def _answer(effect: RunStep, at: datetime) -> c.Command:
    """Do a step's work: what comes of it depends on its input and attempt."""
    value = from_json(effect.input)
    number = value.get("n", 0) if isinstance(value, dict) else 0
    fails = effect.address.endswith("bad") or (effect.address.endswith("flaky") and effect.attempt == 1 + number % 2)
    if fails:
        error = StepError("broken", "broken", attempt=effect.attempt)
        return c.FailStep(address=effect.address, attempt=effect.attempt, error=error, jitter=0.0, at=at)
    return c.CompleteStep(address=effect.address, attempt=effect.attempt, output=to_json(number), at=at)
