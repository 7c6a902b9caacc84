"""An execution as a test sees it: what can be asked at once, what is waited for, what is sent to it.

Comes from: `flow`. Goes to: `stage`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack, overload

from msgspec import Struct

from daemon.core import events as e
from daemon.core.address import node_of
from daemon.core.branch_events import Edits, InputEdit, StepEdit
from daemon.core.commands import AnswerUndo, CancelExecution
from daemon.core.state import Failed, Finished, InFlight, Limited, Queued, Retrying, Running, Succeeded
from daemon.core.values import from_json, to_json
from daemon.runtime.branches import ForkWish
from daemon.runtime.projection import status_of
from daemon.runtime.views import STEP_STATUSES
from daemon.runtime.why import why
from daemon.testing.errors import Misused, WorkflowFailed
from daemon.testing.fakes import meant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID

    from daemon.core.state import State, Step
    from daemon.runtime.branches import Mode
    from daemon.testing.stage import Stage

    AnyEvent = TypeVar("AnyEvent", bound=e.Event)

_EVENTS = {event.NAME: event for event in e.EVENT_TYPES}
_SHOWN_CHARACTERS = 200
ACTOR = "test"


class StepSeen(Struct, frozen=True, kw_only=True):
    """A step, as far as it has come."""

    address: str
    status: str
    """`not reached`, `queued`, `running`, `retrying`, `sleeping`, `awaiting`, `deciding`, `suspended`, `succeeded`,
    `failed` or `skipped`."""
    attempt: int = 0
    """0 for a step that has none, or none yet."""
    input: Any = None
    """What was really sent, secrets masked."""
    output: Any = None
    error: e.StepError | None = None
    port: str = ""
    """By which it was left; empty while it is not, or when no edge fires."""


class Wish(TypedDict, total=False):
    """What is different in a fork."""

    input: object
    variables: Mapping[str, object]
    steps: Mapping[str, object]
    """Results by address."""
    accept_undone: bool


class Execution:
    """One execution. What is a property here is as it is now, without waiting."""

    def __init__(self, stage: Stage, execution_id: UUID) -> None:
        self.id = execution_id
        self._stage = stage

    @property
    def state(self) -> State:
        """All that the fold of its events knows."""
        return self._stage.tape.state(self.id)

    @property
    def status(self) -> str:
        """`running` | `completed` | `failed` | `cancelled`."""
        return status_of(self.state)

    @property
    def finished(self) -> bool:
        """Whether it has ended, in whatever way."""
        return isinstance(self.state, Finished)

    @property
    def waits_for(self) -> str:
        """What it waits for, in the sentences of `sagad why`."""
        answer = why(self.state, None, self._stage.time.clock.now())
        return "\n".join([f"{answer.status}: {answer.summary}", *(f"  {cause.sentence}" for cause in answer.causes)])

    @overload
    def events(self, kind: type[AnyEvent], *, step: str | None = None) -> list[AnyEvent]: ...
    @overload
    def events(self, kind: str | None = None, *, step: str | None = None) -> list[Any]: ...
    def events(self, kind: type[Any] | str | None = None, *, step: str | None = None) -> list[Any]:
        """Return its events in order: all, those of a kind (`"StepSucceeded"`, or the class), those of a step."""
        wanted: type[Any] | None = _EVENTS.get(kind) if isinstance(kind, str) else kind
        if isinstance(kind, str) and wanted is None:
            raise Misused(f"there are no events called {kind!r}{meant(kind, _EVENTS)}")
        return [
            event
            for event in self._stage.tape.events(self.id)
            if (wanted is None or isinstance(event, wanted))
            and (step is None or getattr(event, "address", None) == step)
        ]

    def step(self, address: str) -> StepSeen:
        """Return the step at this address (`charge`, `each[3].charge`); raises Misused when no node can be there."""
        self._stage.script.cast.check_node(node_of(address))
        found = self._stage.tape.steps(self.id).get(address)
        return self._seen(address, found) if found is not None else StepSeen(address=address, status="not reached")

    @property
    def steps(self) -> dict[str, StepSeen]:
        """All steps that were reached, by address."""
        return {address: self._seen(address, step) for address, step in self._stage.tape.steps(self.id).items()}

    async def result(self) -> Any:
        """Wait for its end; return the output. Raises WorkflowFailed for another end, Stuck when there will be none."""
        await self._stage.until(lambda: self.finished, lambda: f"the execution does not end. {self.waits_for}")
        state = self.state
        if isinstance(state, Finished) and state.status == "completed":
            return from_json(state.output)
        raise self._failure(state)

    async def until(self, condition: Callable[[Execution], bool]) -> None:
        """Wait until this holds: `lambda it: it.step("review").status == "awaiting"`. Raises Stuck if it never will."""
        await self._stage.until_told(lambda: condition(self), lambda: f"it does not come to that. {self.waits_for}")

    async def signal(self, name: str, data: object = None, *, signal_id: str | None = None) -> None:
        """Send a signal; return when it is durable. The same `signal_id` counts once."""
        self._stage.signals += 1
        identity = signal_id or f"test-{self._stage.signals}"
        await self._stage.act(
            lambda daemon: daemon.intake.signal(self.id, name, data, signal_id=identity, actor=ACTOR),
            f"the signal {name!r}",
        )

    async def cancel(self, reason: str = "the test wants it") -> None:
        """Ask it to end."""
        command = CancelExecution(reason=reason, actor=ACTOR, at=self._stage.time.clock.now())
        await self._stage.act(lambda daemon: daemon.engine.send(self.id, command), "the cancellation")

    async def rewind(self, to: str, *, undo: Mode = "automatic", keep_signals: bool = True) -> None:
        """Let it go on from its past: `before:charge`, `after:charge`, a version. What it has done since is undone."""
        self._stage.signals += 1
        identity = f"test-{self._stage.signals}"
        await self._stage.act(
            lambda daemon: daemon.branches.rewind(
                self.id, to, mode=undo, keep_signals=keep_signals, rewind_id=identity, actor=ACTOR
            ),
            f"the rewind to {to}",
        )

    async def fork(self, at: str, **wish: Unpack[Wish]) -> Execution:
        """Begin a fork at a place in its past, with these edits; return that when it is durable."""
        self._stage.signals += 1
        whole = ForkWish(where=at, key=f"test-{self._stage.signals}", actor=ACTOR, **_edits(wish))
        fork_id, _ = await self._stage.act(lambda daemon: daemon.branches.fork(self.id, whole), f"the fork at {at}")
        return Execution(self._stage, fork_id)

    async def approve(self, step: str, *, by: str, comment: str = "", data: object = None) -> None:
        """Approve as this person. Raises NotAllowed for who is not asked, InvalidInput for data against the form."""
        await self._decide(step, "approved", by, comment, data)

    async def reject(self, step: str, *, by: str, comment: str = "", data: object = None) -> None:
        """Reject as this person; see `approve`."""
        await self._decide(step, "rejected", by, comment, data)

    async def delegate(self, step: str, to: str, *, by: str) -> None:
        """Let another decide what this person is asked."""
        await self._stage.act(lambda daemon: daemon.people.delegate(self.id, step, to, actor=by), "the delegation")

    async def resume_step(self, step: str, given: object = None, *, resume_id: str | None = None) -> None:
        """Give a step input that its handler pauses for, or will. The same `resume_id` counts once."""
        self._stage.signals += 1
        identity = resume_id or f"test-{self._stage.signals}"
        await self._stage.act(
            lambda daemon: daemon.people.resume_step(self.id, step, given, resume_id=identity, actor=ACTOR),
            f"the input for {step}",
        )

    async def answer_undo(self, choice: str, step: str = "", *, note: str = "") -> None:
        """Answer what the undo asks about a step, or about the plan. Raises Misused when it asks nothing there."""
        asking = self.state.asking if isinstance(self.state, Running) else {}
        if step not in asking:
            what = f"about {step}" if step else "about the plan"
            raise Misused(f"the undo asks nothing {what}. {self.waits_for}")
        command = AnswerUndo(
            address=step,
            question=asking[step].version,
            choice=choice,
            note=note,
            actor=ACTOR,
            at=self._stage.time.clock.now(),
        )
        await self._stage.act(lambda daemon: daemon.engine.send(self.id, command), "the answer")

    async def _decide(self, step: str, decision: str, by: str, comment: str, data: object) -> None:
        await self._stage.act(
            lambda daemon: daemon.people.decide(self.id, step, decision, actor=by, comment=comment, data=data),
            f"the decision about {step}",
        )

    def _seen(self, address: str, step: Step) -> StepSeen:
        started = self.events(e.StepStarted, step=address)
        error: e.StepError | None = None
        output: Any = None
        port, attempt = "", started[-1].attempt if started else 0
        match step:
            case Succeeded():
                made = [each.output for each in self.events(e.StepSucceeded, step=address)]
                made += [each.output for each in self.events(e.StepCached, step=address)]
                output, port = from_json(made[-1]), step.port
            case Failed():
                output, port, error = from_json(step.output), step.port, step.error
            case Retrying():
                error = step.error
            case InFlight() | Queued() | Limited():
                attempt = step.attempt
            case _:
                pass
        return StepSeen(
            address=address,
            status=STEP_STATUSES[type(step)],
            attempt=attempt,
            input=from_json(started[0].input) if started else None,
            output=output,
            error=error,
            port=port,
        )

    def _failure(self, state: State) -> WorkflowFailed:
        if not isinstance(state, Finished):
            raise TypeError("it has not ended")
        error, steps = state.error, [_line(step) for step in self.steps.values()]
        where = f" in step {state.failed_step}" if state.failed_step else ""
        what = f"{error.message} (code {error.code})" if error is not None else state.reason
        message = "\n".join([f"{state.workflow} {state.status}{where}: {what}", *steps])
        return WorkflowFailed(message, status=state.status, error=error, step=state.failed_step)


def _edits(wish: Wish) -> dict[str, Any]:
    edits = Edits(
        input=InputEdit(to_json(wish["input"])) if "input" in wish else None,
        variables={name: to_json(value) for name, value in wish.get("variables", {}).items()},
        steps={address: StepEdit(to_json(value)) for address, value in wish.get("steps", {}).items()},
    )
    return {"edits": edits, "accept_undone": wish.get("accept_undone", False)}


def _line(step: StepSeen) -> str:
    told = step.error.message if step.error is not None else repr(step.output) if step.output is not None else ""
    attempts = f", attempt {step.attempt}" if step.attempt > 1 else ""
    return f"  {step.address}: {step.status}{attempts} {told[:_SHOWN_CHARACTERS]}".rstrip()
