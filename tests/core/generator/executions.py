"""Random executions of random definitions, decided by the core alone: a scheduler answers as it likes, or not at all.

At first everything happens: handlers fail, time out, ask to be called again or answer what cannot be; answers come
late or twice, or out of a cache; handlers pause for input; signals come before anybody waits for them; timers fire
early; slots of limits are taken by others; people pause, cancel, and decide about approvals and about what is to be
undone, also those who may not. Then the world becomes kind, and answers whatever is asked: each execution must end.

Comes from: `graphs`. Goes to: tests/core/laws.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from msgspec import Struct

from daemon.core import commands as c
from daemon.core.address import turn_around
from daemon.core.admission import NoSlot
from daemon.core.break_events import Breakpoint
from daemon.core.calls import node_at
from daemon.core.decide import decide
from daemon.core.effects import Advance, ArmTimer, CancelChild, RunStep, owed
from daemon.core.errors import Rejected
from daemon.core.events import StepError
from daemon.core.evolve import fold
from daemon.core.function_events import Call, CallUndo
from daemon.core.leaving import child_id_of
from daemon.core.retry import RetryPolicy
from daemon.core.saga import CHOICES
from daemon.core.state import INITIAL, Finished, InFlight, Running, State
from daemon.core.state_limits import COLLECTING
from daemon.core.values import Json, to_json
from tests.core.generator import approvals, breakpoints, graphs, inputs
from tests.core.generator.dice import Dice
from tests.core.generator.limits import CROWDS, FREE
from tests.core.generator.shrinking import Choices
from tests.core.generator.values import LARGE
from tests.core.histories import ELSEWHERE, History, Turn, page_answer, starts_child
from tests.core.spec import EXECUTION, NOON

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daemon.core.decide import Crowded
    from daemon.core.plan import Plan

MINUTE = timedelta(minutes=1)
MOST_COMMANDS = 3_000
"""A generated execution that has had so many, most of them kind ones, does not end."""
WILD = 120
"""How many commands come at most before the world becomes kind."""


class Case(Struct, frozen=True):
    """One definition and one execution of it, as far as they could be drawn."""

    document: dict[str, object]
    history: History | None
    """None when the definition is not valid."""
    choices: Choices
    error: Exception | None
    """What came up while it was drawn, which is a fault of the core or of the generator."""
    last: c.Command | None
    """What it came up with."""


def case(seed: int, again: Choices = ()) -> Case:
    """Draw the case of this number; or the one of these choices, see `dice`."""
    define, happen = (
        Dice(purpose, seed, again=again[number] if again else None)
        for number, purpose in enumerate(("definition", "execution"))
    )
    document, world, error = graphs.definition(define), None, None
    try:
        world = World(graphs.plan_of(document), happen)
        world.go_on_to_the_end()
    except Exception as raised:  # noqa: BLE001  whatever it is, it is what is looked for
        error = raised
    history, last = (None, None) if world is None else (world.history, world.last)
    return Case(document, history, (tuple(define.taken), tuple(happen.taken)), error, last)


class Temper(Struct, frozen=True):
    """How the world is in one execution: shares of a hundred."""

    fails: int
    odd: int
    """Answers that are no plain result: other ports, routes, ends, calls again, progress."""
    repeats: int
    """Commands that came before, and answers to what was given up."""
    people: int
    """Pauses, cancellations, timers that are early, signals and inputs that nobody waits for."""
    pauses: int
    """Handlers that pause for input."""
    crowds: int
    """Decisions for which no slot is free, or others wait for it."""


class World:
    """Everything outside of one execution."""

    def __init__(self, plan: Plan, dice: Dice) -> None:
        self._plan = plan
        self._dice = dice
        self._state: State = INITIAL
        self._at: datetime = NOON
        self._turns: list[Turn] = []
        self._asked: dict[tuple[str, int], None] = {}
        self._told = 0
        """How many signals, updates, inputs and messages there were: each is another one."""
        self.last: c.Command | None = None
        pick = dice.pick
        self._temper = Temper(
            fails=pick((0, 5, 15, 50)),
            odd=pick((0, 15)),
            repeats=pick((0, 8)),
            people=pick((0, 5, 15, 40)),
            pauses=pick((0, 5, 25)),
            crowds=pick((0, 20, 80)),
        )

    @property
    def history(self) -> History:
        """What has happened."""
        return History(self._plan, tuple(self._turns))

    def go_on_to_the_end(self) -> None:
        """Let everything happen. Raises AssertionError when it does not end, and what the core raises."""
        wild, mistaken = self._dice.pick((10, 0, 40, WILD)), self._dice.chance(20)
        while not isinstance(self._state, Finished) or (mistaken and _can_be_undone(self._state)):
            assert len(self._turns) < MOST_COMMANDS, "the execution does not end"
            if len(self._turns) >= wild:
                self._do(self._kind_command(), FREE)
            else:
                crowded = self._dice.pick(CROWDS) if self._dice.chance(self._temper.crowds) else FREE
                self._do(self._wild_command(), crowded)

    def _do(self, command: c.Command, crowded: Crowded) -> None:
        self._at = max(self._at, command.at) + timedelta(seconds=1)
        self.last = command
        try:
            events = decide(self._plan, self._state, command, crowded)
        except NoSlot:
            return  # as if it had not come: it may come again
        except Rejected:
            events = ()
        after = fold(events, self._state)
        self._turns.append(Turn(self._state, command, events, after))
        self._state = after
        for effect in owed(after):
            if isinstance(effect, RunStep):
                self._asked[effect.address, effect.attempt] = None

    # What may come next.

    def _kind_command(self) -> c.Command:
        if isinstance(self._state, Finished):
            return c.UndoExecution(reason="mistaken", actor="test", at=self._at)
        if isinstance(self._state, Running) and self._state.paused is not None:
            return c.ResumeExecution(actor="test", at=self._at)
        if isinstance(self._state, Running) and self._state.stop is not None:
            return breakpoints.gone_on(self._state, self._at)
        commands = [*self._answers(self._state)] if isinstance(self._state, Running) else [self._start()]
        assert commands, f"nothing would change anything, and it has not ended: {self._state}"
        return self._dice.pick(commands)

    def _wild_command(self) -> c.Command:
        state, dice = self._state, self._dice
        if isinstance(state, Finished):
            return self._kind_command()
        if not isinstance(state, Running):
            if dice.chance(self._temper.people):
                return self._signal(dice.pick(("go", "stay")))
            return self._start()
        if self._turns and dice.chance(self._temper.repeats):
            return self._again()
        if dice.chance(self._temper.people):
            return self._person(state)
        if state.stop is not None and dice.chance(50):
            return breakpoints.left(dice, state, self._at)
        commands: list[c.Command] = [*self._answers(state)]
        if not commands:
            return self._kind_command()
        command = dice.pick([*commands, *self._liberties(state)])
        if not isinstance(command, c.CompleteStep):
            return command
        if dice.chance(self._temper.pauses):
            return inputs.pause(dice, state, command.address, command.attempt, self._at)
        if dice.chance(self._temper.fails):
            return self._fail(command.address, command.attempt)
        return self._odd(command.address, command.attempt) if dice.chance(self._temper.odd) else command

    def _answers(self, state: Running) -> Iterator[c.Command]:
        """Give what is waited for: handlers that succeed, timers that are due, signals, decisions of people."""
        at, number = self._at, len(self._turns)
        for effect in owed(state):
            match effect:
                case RunStep(address=address, attempt=attempt) if starts_child(self._plan, state, address):
                    child = child_id_of(EXECUTION, address, attempt)
                    yield c.AwaitChild(
                        address=address, attempt=attempt, child=child, workflow="s", definition="d", at=at
                    )
                    yield self._child_ends(address, attempt)
                case CancelChild(address=address, attempt=attempt):
                    yield self._child_ends(address, attempt)
                case RunStep(address=address, attempt=attempt):
                    output = to_json(page_answer(address) or (number % 7, "text", {"id": number}, LARGE)[number % 4])
                    origin = ELSEWHERE if effect.cache_key and number % 3 == 0 else None
                    yield c.CompleteStep(address=address, attempt=attempt, output=output, origin=origin, at=at)
                case Advance(address=address):
                    yield self._advance(state, address)
                    if number % 5 == 0:
                        yield c.StopFunction(
                            address=address, number=effect.number, version=number, recorded="a", found="b", at=at
                        )
                case ArmTimer(timer_id=timer_id, due=due) if state.timers[timer_id].purpose != "execution":
                    yield c.FireTimer(timer_id=timer_id, at=max(at, due))
                case _:
                    pass
        for address in sorted(state.children):
            waits = state.steps[address]
            assert isinstance(waits, InFlight)
            yield self._child_ends(address, waits.attempt)
        for name in sorted(set(state.awaiting.values())):
            yield self._signal(name)
        yield from approvals.decisions(state, number, at)
        for address in inputs.wanted(state):
            yield self._input(address)
        for address in sorted(state.limited):
            yield c.GrantSlots(address=address, at=at)
        if COLLECTING in state.holding:
            yield self._message()
        for address, ask in sorted(state.asking.items()):
            for choice in CHOICES[ask.kind]:
                yield c.AnswerUndo(address=address, question=ask.version, choice=choice, actor="test", at=at)

    def _advance(self, state: Running, address: str) -> c.Command:
        """Let a durable function go on: it calls things twice, gives something up, then ends in one way or another."""
        journal, number = state.functions[address], len(self._turns)
        kind, retry = ("reversible", "idempotent")[number % 2], RetryPolicy(max_attempts=2)
        undo = CallUndo(handler="t.undo", input=to_json("{{ step.output }}"), kind=kind)
        step = Call(id="1:x", kind="step", name="t.x", retry=retry, undo=undo)
        calls = (
            (step, Call(id="1@1", kind="sleep", due=self._at)),
            (Call(id="2:go", kind="signal", name="go", timeout=MINUTE), Call(id="2@1:s", kind="child", name="s")),
        )
        ended = journal.number >= len(calls)
        open_calls = [each for each in sorted(state.calls) if turn_around(each) == address]
        return c.AdvanceFunction(
            address=address,
            number=journal.number,
            seen=journal.seen + len(journal.done),
            calls=() if ended else calls[journal.number],
            cancelled=tuple(open_calls[: number % 2]),
            outcome=(to_json(number), StepError("broken", "broken"))[number % 4 == 0] if ended else None,
            at=self._at,
        )

    def _child_ends(self, address: str, attempt: int) -> c.Command:
        """Let a child end in one way or another, the same one each time that this is asked."""
        number = len(address) + attempt + len(self._turns)
        return c.FinishChild(
            address=address,
            attempt=attempt,
            child=child_id_of(EXECUTION, address, attempt),
            workflow="s",
            definition=("d", "d", "")[number % 3],
            status=("completed", "completed", "failed", "cancelled")[number % 4],
            output=to_json(number),
            owes=number % 2 == 0,
            at=self._at,
        )

    def _start(self) -> c.Command:
        given = {
            "flag": self._dice.chance(50),
            "n": self._dice.below(4),
            "items": ["x", {"y": 1}][: self._dice.below(3)],
            "delay": "3s",
        }
        collect = None if self._plan.start.definition.collect is None else self._message(to_json(given))
        return c.StartExecution(
            execution_id=EXECUTION,
            input=to_json(given),
            collect=collect,
            breakpoints=(Breakpoint(errors=True),) if self._dice.chance(self._temper.people) else (),
            actor="test",
            at=self._at,
        )

    def _message(self, given: Json | None = None) -> c.CollectMessage:
        self._told += 1
        given = given or to_json({"flag": True, "n": self._told, "items": ["x"], "delay": "2s"})
        return c.CollectMessage(message=f"m{self._told}", scope="generated", input=given, at=self._at)

    def _signal(self, name: str) -> c.Command:
        self._told += 1
        signal_id, data = f"s{self._told}", to_json(self._told)
        return c.ReceiveSignal(signal_id=signal_id, name=name, data=data, actor="test", at=self._at)

    def _update(self) -> c.Command:
        self._told += 1
        name, data = self._dice.pick((*sorted(self._plan.updates) * 3, "nowhere")), self._dice.pick((1, "text"))
        return c.HandleUpdate(update_id=f"u{self._told}", name=name, data=to_json(data), actor="test", at=self._at)

    def _input(self, address: str) -> c.Command:
        self._told += 1
        resume_id, given = f"r{self._told}", to_json(self._told)
        return c.ResumeStep(address=address, resume_id=resume_id, input=given, actor="test", at=self._at)

    def _person(self, state: Running) -> c.Command:
        at, dice = self._at, self._dice
        early = [timer_id for timer_id, _ in sorted(state.timers.items())]
        whims: list[list[c.Command]] = [
            [self._signal(dice.pick(("go", "stay", "nobody")))],
            [
                *(c.FireTimer(timer_id=timer_id, at=at) for timer_id in early),
                *(c.FireTimer(timer_id=timer_id, at=max(at, state.timers[timer_id].due)) for timer_id in early),
            ],
            [c.PauseExecution(actor="test", at=at) if state.paused is None else c.ResumeExecution(actor="test", at=at)],
            [c.CancelExecution(reason="enough", actor="test", at=at)],
            *[[breakpoints.asked(dice, self._plan, at)]] * 2,
            *[[self._input(inputs.early(dice, self._plan, state))]] * 3,
        ]
        return dice.pick(dice.pick([each for each in whims if each]))

    def _liberties(self, state: Running) -> Iterator[c.Command]:
        """Give what anybody may try at any time."""
        yield from approvals.liberties(self._dice, state, self._at)
        if self._dice.chance(self._temper.pauses):
            yield self._input(inputs.early(self._dice, self._plan, state))
        if self._plan.updates:
            yield self._update()

    def _again(self) -> c.Command:
        """Repeat a command, or answer what may have been given up since."""
        if self._asked and self._dice.chance(50):
            address, attempt = self._dice.pick(list(self._asked))
            return c.CompleteStep(address=address, attempt=attempt, output=to_json("late"), at=self._at)
        return self._dice.pick(self._turns).command

    # How a handler answers beside giving a result.

    def _fail(self, address: str, attempt: int) -> c.Command:
        error = StepError("broken", self._dice.pick(("error", "refused", "timeout")), "Oops", attempt)
        retryable, jitter = not self._dice.chance(20), self._dice.below(10) / 10
        return c.FailStep(
            address=address, attempt=attempt, error=error, retryable=retryable, jitter=jitter, at=self._at
        )

    def _odd(self, address: str, attempt: int) -> c.Command:
        assert isinstance(self._state, Running)
        node = node_at(self._plan, self._state, address)
        targets = [edge.target for edge in node.outgoing if edge.port == "out"]
        match self._dice.below(6):
            case 0:
                return self._left(address, attempt, port=self._dice.pick([p for p in node.ports if p != "error"]))
            case 1:
                return self._left(address, attempt, to=tuple(self._dice.some(targets, 2)))
            case 2:
                return self._left(address, attempt, port="")
            case 3:
                after, state = timedelta(seconds=self._dice.pick((10, 0, 3600))), to_json({"page": attempt})
                return c.PostponeStep(address=address, attempt=attempt, after=after, state=state, at=self._at)
            case 4:
                number = self._dice.between(1, 3)
                return c.ReportProgress(
                    address=address, attempt=attempt, number=number, progress=to_json(number), at=self._at
                )
            case _:
                return self._left(address, attempt, port=self._dice.pick(("error", "nowhere")), to=("nowhere",))

    def _left(self, address: str, attempt: int, *, port: str = "out", to: tuple[str, ...] | None = None) -> c.Command:
        return c.CompleteStep(address=address, attempt=attempt, output=to_json("odd"), port=port, to=to, at=self._at)


def _can_be_undone(state: Finished) -> bool:
    return state.status == "completed" and bool(state.newest_owed)
