"""Given these events, when this command comes, then these events follow.

Times are minutes after `NOON`. Events are compared and shown as plain dicts, so that a difference can be read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
from msgspec import UNSET

from daemon.core import commands as c
from daemon.core.decide import decide, decision
from daemon.core.errors import Rejected
from daemon.core.events import InputEdit, StepError, StepStarted
from daemon.core.evolve import fold
from daemon.core.leaving import child_id_of
from daemon.core.state import INITIAL, Finished, Running
from daemon.core.values import from_json, to_json
from tests.support.workflows import plan_of

if TYPE_CHECKING:
    from collections.abc import Container

    from daemon.core.break_events import Breakpoint
    from daemon.core.child_events import Parent
    from daemon.core.events import Event
    from daemon.core.function_events import Call
    from daemon.core.plan import Plan
    from daemon.core.state import State

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
EXECUTION = UUID("0c0ffee0-0000-5000-8000-000000000001")
FORK = UUID("00000000-0000-0000-0000-0000000000f0")
TWO_STEPS = """
workflow: two
nodes:
  a: {task: t.a, with: "{{ input }}"}
  b: {task: t.b, with: {got: "{{ a.value }}"}}
edges: [a -> b]
output: "{{ b }}"
"""


def minute(number: float) -> datetime:
    return NOON + timedelta(minutes=number)


@dataclass
class Story:
    """One execution, told command by command; each command is also repeated, which must decide nothing."""

    plan: Plan
    state: State = INITIAL
    events: list[Event] = field(default_factory=list)
    first: State = INITIAL
    """What the fold begins with: of a fork, the state of its source."""
    clock: float = 0
    crowded: Container[tuple[str, str]] | None = ()
    """Of what nothing is taken without asking; None for all limits."""

    @classmethod
    def of(cls, text: str) -> Story:
        return cls(plan_of(text))

    def when(self, command: c.Command) -> list[str]:
        """Handle the command; return what it caused, one line for each event."""
        decided, self.state, _ = decision(self.plan, self.state, command, self.crowded)
        self.events += decided
        assert fold(self.events, self.first) == self.state, "the state is the fold"
        assert decide(self.plan, self.state, command) == (), "deciding twice must be harmless"
        return [line(event) for event in decided]

    def start(self, value: Any = None, *, collect: str | None = None, parent: Parent | None = None) -> list[str]:
        at, message = minute(self.clock), None
        if collect is not None:
            message = c.CollectMessage(message=collect, scope="s", input=to_json(value), at=at)
        return self.when(
            c.StartExecution(
                execution_id=EXECUTION,
                input=to_json(value),
                collect=message,
                collect_key="k",
                parent=parent,
                actor="test",
                at=at,
            )
        )

    def migrate(self, text: str, names: dict[str, str] | None = None) -> list[str]:
        """Go on under another definition."""
        types = {node_id: node.type.name for node_id, node in self.plan.nodes.items()}
        command = c.MigrateExecution(names=names or {}, types=types, actor="ann", at=minute(self.clock))
        before, self.plan = self.plan, plan_of(text)
        try:
            return self.when(command)
        except Rejected:
            self.plan = before
            raise

    def collect(self, message: str, value: Any, *, after: float = 0) -> list[str]:
        self.clock += after
        at = minute(self.clock)
        return self.when(c.CollectMessage(message=message, scope="s", input=to_json(value), at=at))

    def grant(self, address: str) -> list[str]:
        return self.when(c.GrantSlots(address=address, at=minute(self.clock)))

    def complete(
        self,
        address: str,
        output: Any = None,
        *,
        attempt: int = 1,
        port: str = "out",
        to: tuple[str, ...] | None = None,
    ) -> list[str]:
        at, value = minute(self.clock), to_json(output)
        return self.when(c.CompleteStep(address=address, attempt=attempt, output=value, port=port, to=to, at=at))

    def postpone(self, address: str, state: Any = None, *, after: float, attempt: int = 1) -> list[str]:
        length, at = timedelta(minutes=after), minute(self.clock)
        return self.when(c.PostponeStep(address=address, attempt=attempt, after=length, state=to_json(state), at=at))

    def fail(
        self,
        address: str,
        code: str = "error",
        *,
        attempt: int = 1,
        type_name: str = "",
        retryable: bool = True,
        jitter: float = 0,
    ) -> list[str]:
        error = StepError("broken", code, type_name, attempt)
        return self.when(
            c.FailStep(
                address=address, attempt=attempt, error=error, retryable=retryable, jitter=jitter, at=minute(self.clock)
            )
        )

    def progress(self, address: str, value: Any, *, attempt: int = 1, number: int = 1) -> list[str]:
        return self.when(
            c.ReportProgress(
                address=address, attempt=attempt, number=number, progress=to_json(value), at=minute(self.clock)
            )
        )

    def fire(self, timer_id: str, *, after: float) -> list[str]:
        self.clock += after
        return self.when(c.FireTimer(timer_id=timer_id, at=minute(self.clock)))

    def signal(self, name: str, data: Any = None, *, signal_id: str = "s1") -> list[str]:
        return self.when(
            c.ReceiveSignal(signal_id=signal_id, name=name, data=to_json(data), actor="test", at=minute(self.clock))
        )

    def update(self, name: str, data: Any = None, *, update_id: str = "u1") -> list[str]:
        return self.when(
            c.HandleUpdate(update_id=update_id, name=name, data=to_json(data), actor="test", at=minute(self.clock))
        )

    def advance(self, *calls: Call, journal: str = "f[0]", outcome: Any = UNSET, **more: Any) -> list[str]:
        """Let a durable function go on: it has seen all results that there are, and calls this."""
        assert isinstance(self.state, Running), "it has ended"
        state = self.state.functions[journal]
        return self.when(
            c.AdvanceFunction(
                address=journal,
                number=state.number,
                seen=more.pop("seen", state.seen + len(state.done)),
                calls=calls,
                outcome=None if outcome is UNSET else outcome if isinstance(outcome, StepError) else to_json(outcome),
                at=minute(self.clock),
                **more,
            )
        )

    def pause(self, reason: str = "") -> list[str]:
        return self.when(c.PauseExecution(reason=reason, actor="ann", at=minute(self.clock)))

    def resume(self) -> list[str]:
        return self.when(c.ResumeExecution(actor="ann", at=minute(self.clock)))

    def breakpoints(self, *points: Breakpoint, stop_next: bool = False) -> list[str]:
        at = minute(self.clock)
        return self.when(c.SetBreakpoints(breakpoints=points, next=stop_next, actor="ann", at=at))

    def leave(self, how: str = "continue", output: Any = None, *, port: str = "out") -> list[str]:
        """Go on from where the execution stands."""
        value, at = to_json(output), minute(self.clock)
        return self.when(c.LeaveBreakpoint(stop=self.stop, how=how, output=value, port=port, actor="ann", at=at))

    def edit(self, *, given: Any = UNSET, **variables: Any) -> list[str]:
        """Change variables, or the input of the step that the execution stands at."""
        other = None if given is UNSET else InputEdit(to_json(given))
        values = {name: to_json(value) for name, value in variables.items()}
        at = minute(self.clock)
        return self.when(c.EditAtBreakpoint(stop=self.stop, variables=values, input=other, actor="ann", at=at))

    @property
    def stop(self) -> int:
        """The version by which the execution stands."""
        assert isinstance(self.state, Running)
        assert self.state.stop is not None, "it does not stand at a breakpoint"
        return self.state.stop.version

    def await_child(self, address: str, *, attempt: int = 1) -> list[str]:
        """Have the step's child started."""
        child = child_id_of(EXECUTION, address, attempt)
        return self.when(
            c.AwaitChild(
                address=address, attempt=attempt, child=child, workflow="w", definition="d", at=minute(self.clock)
            )
        )

    def finish_child(
        self, address: str, status: str = "completed", output: Any = None, *, attempt: int = 1, owes: bool = False
    ) -> list[str]:
        """Have the step's child end; one that failed has the error `declined`."""
        error = StepError("no money", "declined") if status == "failed" else None
        return self.when(
            c.FinishChild(
                address=address,
                attempt=attempt,
                child=child_id_of(EXECUTION, address, attempt),
                workflow="w",
                definition="d",
                status=status,
                output=to_json(output),
                error=error,
                owes=owes,
                at=minute(self.clock),
            )
        )

    def rewind(self, to_version: int, mode: str = "automatic", **more: Any) -> list[str]:
        """Ask for the execution to go on from its past."""
        base, between = fold(self.events[:to_version], self.first), tuple(self.events[to_version:])
        at = minute(self.clock)
        return self.when(
            c.RewindExecution(
                to_version=to_version,
                base=base,
                between=between,
                mode=mode,
                down_to=more.pop("down_to", to_version),
                actor="ann",
                at=at,
                **more,
            )
        )

    def go_back(self, to_version: int, again: c.Command | None = None) -> list[str]:
        """Do what the shell does when all is undone."""
        base, between = fold(self.events[:to_version], self.first), tuple(self.events[to_version:])
        return self.when(
            c.FinishRewind(to_version=to_version, base=base, between=between, again=again, at=minute(self.clock))
        )

    def fork(self, at_version: int, plan: Plan | None = None, **more: Any) -> Story:
        """Return the story of a fork of this execution; what its first decision caused is in its events."""
        base = fold(self.events[:at_version], self.first)
        other = Story(plan or self.plan, first=INITIAL, clock=self.clock)
        command = c.ForkExecution(
            execution_id=FORK,
            source=EXECUTION,
            at_version=at_version,
            base=base,
            actor="ann",
            at=minute(self.clock),
            **more,
        )
        decided, other.state, _ = decision(other.plan, INITIAL, command, self.crowded)
        other.events, other.first = list(decided), base
        assert fold(other.events, other.first) == other.state, "the state is the fold"
        assert decide(other.plan, other.state, command) == (), "deciding twice must be harmless"
        return other

    def undo(self, *, parent: Parent | None = None) -> list[str]:
        """Undo the execution, which has completed."""
        return self.when(c.UndoExecution(reason="mistaken", parent=parent, actor="ann", at=minute(self.clock)))

    def answer(self, address: str, choice: str, *, question: int | None = None) -> list[str]:
        """Answer what is asked about the compensation of this step."""
        asked = self.state.asking.get(address) if isinstance(self.state, Running) else None
        number = question if asked is None else asked.version
        assert number is not None, "nothing is asked"
        return self.when(
            c.AnswerUndo(address=address, question=number, choice=choice, actor="ann", at=minute(self.clock))
        )

    def decide(
        self,
        address: str,
        actor: str,
        decision: str = "approved",
        *,
        comment: str = "",
        data: Any = None,
        groups: tuple[str, ...] = (),
        question: int | None = None,
    ) -> list[str]:
        """Have somebody approve or reject."""
        return self.when(
            c.GiveApproval(
                address=address,
                question=question or self.question(address),
                decision=decision,
                actor=actor,
                groups=groups,
                comment=comment,
                data=to_json(data),
                at=minute(self.clock),
            )
        )

    def delegate(self, address: str, actor: str, to: str, *, groups: tuple[str, ...] = ()) -> list[str]:
        question, at = self.question(address), minute(self.clock)
        return self.when(
            c.DelegateApproval(address=address, question=question, to=to, actor=actor, groups=groups, at=at)
        )

    def question(self, address: str) -> int:
        """Return the version by which the step waits for people now."""
        assert isinstance(self.state, Running)
        return self.state.people[address]

    def suspend(
        self,
        address: str,
        reason: str = "look",
        *,
        expects: Any = None,
        state: Any = None,
        within: float | None = None,
        problem: str = "",
        attempt: int = 1,
    ) -> list[str]:
        """Have the handler pause for input, for so many minutes at most."""
        return self.when(
            c.SuspendStep(
                address=address,
                attempt=attempt,
                reason=reason,
                expects=to_json(expects),
                state=to_json(state),
                until=None if within is None else minute(self.clock + within),
                problem=problem,
                at=minute(self.clock),
            )
        )

    def give_input(self, address: str, value: Any = None, *, resume_id: str = "r1") -> list[str]:
        at, given = minute(self.clock), to_json(value)
        return self.when(c.ResumeStep(address=address, resume_id=resume_id, input=given, actor="ann", at=at))

    @property
    def told(self) -> list[str]:
        """All events, a line for each."""
        return [line(event) for event in self.events]

    @property
    def started(self) -> list[str]:
        """The addresses of the steps that a handler was asked for, in order."""
        return [event.address for event in self.events if isinstance(event, StepStarted)]

    @property
    def result(self) -> Any:
        """The output of the execution, or the code of its error."""
        assert isinstance(self.state, Finished), "it has not ended"
        return from_json(self.state.output) if self.state.error is None else self.state.error.code

    def cancel(self, *, undo: bool = True) -> list[str]:
        return self.when(c.CancelExecution(reason="enough", undo=undo, actor="ann", at=minute(self.clock)))


def line(event: Event) -> str:
    """Return the event on one line: its name, its address, and what tells it from others of its kind."""
    return " ".join([event.NAME, *(f"{name}={value}" for name, value in _fields(event).items())])


def _fields(event: Event) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(event))
    for name in ("at", "execution_id", "definition", "actor", "workflow", "child"):
        plain.pop(name, None)
    if "error" in plain:
        plain["error"] = plain["error"]["code"]
    for name in ("due", "retry_at"):
        if name in plain:
            plain[name] = f"{(datetime.fromisoformat(plain[name]) - NOON).total_seconds() / 60:g}m"
    return {
        name: value if isinstance(value, str) else msgspec.json.encode(value).decode() for name, value in plain.items()
    }
