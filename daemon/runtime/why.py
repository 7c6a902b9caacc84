"""Why an execution has not finished, or how it ended, in sentences and as data. Pure.

Comes from: `history`. Goes to: daemon/api, daemon/cli.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct

from daemon.core.address import PAGE, split_turn
from daemon.core.calls import node_at
from daemon.core.people import Deciding, Suspended
from daemon.core.saga import CHOICES
from daemon.core.state import Awaiting, Finished, InFlight, NotStarted, Queued, Retrying, Running, Sleeping
from daemon.core.values import NULL
from daemon.runtime.projection import status_of
from daemon.runtime.why_breaks import held, stop_causes
from daemon.runtime.why_limits import limit_causes, start_causes
from daemon.runtime.why_words import Cause, ago, span, time, until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from daemon.core.plan import Plan
    from daemon.core.state import Ask, Leaving, Paused, State, Step, Timer
    from daemon.runtime.standings import Standing


class Why(Struct, frozen=True, kw_only=True):
    """The answer to `sagad why`. `alarm`: nothing will happen by itself, for it waits for nothing, or is parked."""

    status: str
    """As in lists, or `parked`: what is stored of it cannot be used."""
    summary: str
    causes: tuple[Cause, ...] = ()
    alarm: bool = False
    daemon: str | None = None
    """Name of the daemon that has the lease; None when none has it, or none is needed."""


def why(
    state: State,
    plan: Plan | None,
    now: datetime,
    *,
    holder: str | None = None,
    standings: Sequence[Standing] = (),
) -> Why:
    """Say what the execution waits for. The plan it is pinned to adds how many attempts a step has.

    `holder` is the name of the living daemon that has its lease; `standings` how it stands in the queues of limits.
    """
    match state:
        case NotStarted():
            return _not_started(state)
        case Finished():
            return Why(status=state.status, summary=_ending(state))
        case Running():
            causes = tuple(_cause(address, step, state, plan, now) for address, step in _waiting(state))
            causes += (*limit_causes(state, standings, now), *start_causes(state, now))
            causes += tuple(_advance(address, state) for address in sorted(state.advancing))
            causes += tuple(_question(address, ask, now) for address, ask in sorted(state.asking.items()))
            if state.paused is not None:
                causes = (_pause(state.paused, now), *causes)
            causes = (*stop_causes(state, now), *causes)
            causes += tuple(_leaving(child, leaving) for child, leaving in sorted(state.leaving.items()))
            causes += tuple(_breath(timer) for _, timer in sorted(state.timers.items()) if timer.purpose == "turn")
            causes += _rewinding(state)
            limit = _limit(state, now)
            holder = holder if state.busy else None
            lease = _lease(holder) if state.busy else ""
            if not causes:
                summary = "It is not finished and waits for nothing that is recorded. This is a fault of sagad."
                return Why(status="running", summary=summary, alarm=True)
            things = "1 thing" if len(causes) == 1 else f"{len(causes)} things"
            summary = f"It {_undoing(state)}waits for {things}.{limit}{lease}"
            return Why(status=status_of(state), summary=summary, causes=causes, daemon=holder)


def parked(execution_id: UUID, reason: Exception) -> Why:
    """Say that what is stored of the execution cannot be used, why, and what to do."""
    summary = (
        f"It is parked: {reason}. It stays as it is, and the others go on. When that is mended (from a backup, or with"
        f" the program, key or file that is missing), run: sagad resume {execution_id}"
    )
    return Why(status="parked", summary=summary, alarm=True)


def _not_started(state: NotStarted) -> Why:
    names = ", ".join(sorted({signal.name for signal in state.signals.values()}))
    sentence = f"Signalled ({names}), but not started yet: the signals are kept until a message or a call starts it."
    return Why(status="pending", summary=sentence, causes=(Cause(kind="start", sentence=sentence),))


def _ending(state: Finished) -> str:
    took = span(state.finished_at - state.started_at)
    when = f"at {time(state.finished_at)}, after {took}"
    match state.status:
        case "completed":
            return f"It completed {when}."
        case "cancelled":
            return f"It was cancelled {when}" + (f": {state.reason}" if state.reason else ".")
        case _:
            error = f"{state.error.message} (code {state.error.code})" if state.error is not None else "unknown error"
            place = f"Step {state.failed_step} failed" if state.failed_step else "It failed"
            attempts = f" in attempt {state.error.attempt}" if state.error is not None and state.failed_step else ""
            return f"{place}{attempts} {when}: {error}"


def _waiting(state: Running) -> list[tuple[str, Step]]:
    """Return the open steps, those nearest to progress first, as `state.cause` ranks them."""
    ranks: dict[type[Step], int] = {
        InFlight: 0, Queued: 1, Retrying: 2, Sleeping: 2, Awaiting: 3, Deciding: 4, Suspended: 4,
    }  # fmt: skip
    stop = "" if state.stop is None else state.stop.address
    steps = [(address, step) for address, step in state.steps.items() if type(step) in ranks and address != stop]
    return sorted(steps, key=lambda item: (ranks[type(item[1])], item[0]))


def _cause(address: str, step: Step, state: Running, plan: Plan | None, now: datetime) -> Cause:
    most = _max_attempts(plan, address, step, state)
    match step:
        case InFlight(child=UUID() as child):
            sentence = f"Step {address}: waits for the execution {child} since {ago(step.since, now)}."
            return Cause(
                kind="child", sentence=sentence, address=address, since=step.since, attempt=step.attempt, child=child
            )
        case InFlight():
            attempt = _attempt(step.attempt, most)
            shared = ", or another step makes its result," if step.cache_key else ""
            sentence = f"Step {address}: {_handler(address)} is at work{attempt}{shared} since {ago(step.since, now)}."
            return Cause(
                kind="step",
                sentence=sentence,
                address=address,
                since=step.since,
                attempt=step.attempt,
                max_attempts=most,
            )
        case Queued() if state.stop is not None:
            return held(address, step, now)
        case Queued():
            place = sum(1 for ticket in state.queue if ticket <= step.ticket)
            sentence = (
                f"Step {address}: ready, waits for a slot, number {place} in the queue;"
                f" handlers at work: {len(state.in_flight)}."
            )
            return Cause(kind="slot", sentence=sentence, address=address, since=step.since, place=place)
        case Retrying():
            return Cause(
                kind="retry" if step.error is not None else "postponed",
                sentence=_next_attempt(address, step, most, now),
                address=address,
                since=step.since,
                due=step.due,
                attempt=step.attempt,
                max_attempts=most,
            )
        case Sleeping():
            sentence = f"Step {address}: sleeps; it is due {until(step.due, now)}."
            return Cause(kind="timer", sentence=sentence, address=address, since=step.since, due=step.due)
        case Awaiting():
            end = f", at the latest {until(step.due, now)}" if step.due is not None else ", without a time limit"
            sentence = f"Step {address}: waits for the signal {step.name!r} since {ago(step.since, now)}{end}."
            return Cause(
                kind="signal", sentence=sentence, address=address, since=step.since, due=step.due, signal=step.name
            )
        case Deciding() | Suspended():
            sentence = _decision(address, step, now) if isinstance(step, Deciding) else _input(address, step, now)
            return Cause(kind="person", sentence=sentence, address=address, since=step.since, due=step.due)
        case _:
            raise TypeError(f"step {address} is settled")


def _handler(address: str) -> str:
    if not address.endswith(PAGE):
        return "the handler"
    return f"the handler that gives page {split_turn(address.removesuffix(PAGE))[1]}"


def _decision(address: str, step: Deciding, now: datetime) -> str:
    silent = ", ".join(voice.approver for voice in step.voices if not voice.decision)
    decided = ", ".join(f"{voice.actor} ({voice.decision})" for voice in step.voices if voice.decision) or "nobody"
    end = "without a time limit"
    if step.due is not None:
        then = {"approve": "it is approved", "reject": "it is rejected", "fail": "the step fails"}
        end = f"at the latest {until(step.due, now)}: then {then.get(step.on_timeout, 'others are asked')}"
    return (
        f"Step {address}: {step.prompt!r} is asked of {silent} since {ago(step.since, now)};"
        f" {step.need} of {len(step.voices)} must approve; decided so far: {decided}; {end}."
    )


def _input(address: str, step: Suspended, now: datetime) -> str:
    end = f", at the latest {until(step.due, now)}" if step.due is not None else ""
    shape = "" if step.expects == NULL else f" It must match {bytes(step.expects).decode()}."
    problem = f" The last one was refused: {step.problem}." if step.problem else ""
    return (
        f"Step {address}: the handler has paused since {ago(step.since, now)}: {step.reason};"
        f" somebody gives it input{end}.{shape}{problem}"
    )


def _advance(journal: str, state: Running) -> Cause:
    address, function = split_turn(journal)[0], state.functions[journal].function
    sentence = f"Step {address}: the durable function {function} goes on at once, with what has come for it."
    return Cause(kind="step", sentence=sentence, address=address)


def _question(address: str, ask: Ask, now: datetime) -> Cause:
    what = f"Step {address}" if address else "The undo plan"
    choices = ", ".join(CHOICES[ask.kind])
    sentence = f"{what}: {ask.message}; a person decides ({choices}), since {ago(ask.since, now)}."
    return Cause(kind="person", sentence=sentence, address=address or None, since=ask.since)


def _pause(paused: Paused, now: datetime) -> Cause:
    reason = f": {paused.reason}" if paused.reason else ""
    sentence = f"Paused by {paused.actor} since {ago(paused.since, now)}{reason}. `sagad resume` lets it go on."
    return Cause(kind="pause", sentence=sentence, since=paused.since)


def _breath(timer: Timer) -> Cause:
    sentence = f"Step {timer.address}: the loop goes on at once, in its next decision."
    return Cause(kind="timer", sentence=sentence, address=timer.address, due=timer.due)


def _leaving(child: UUID, leaving: Leaving) -> Cause:
    sentence = f"Step {leaving.address}: its execution {child} was asked to end: {leaving.reason}."
    return Cause(kind="child", sentence=sentence, address=leaving.address, attempt=leaving.attempt, child=child)


def _undoing(state: Running) -> str:
    undoing = state.undoing
    if undoing is not None and state.rewinding is not None:
        return f"is being rewound to version {state.rewinding.to_version}, what it has done since is undone, and it "
    return "" if undoing is None else f"has {undoing.status}, what it has done is being undone, and it "


def _rewinding(state: Running) -> tuple[Cause, ...]:
    """Return what is owed to an execution of which all is undone that it had done since."""
    if state.rewinding is None or not state.rewinding.ready:
        return ()
    version = state.rewinding.to_version
    return (
        Cause(kind="step", sentence=f"All is undone that it had done since version {version}: it goes on from there."),
    )


def _next_attempt(address: str, step: Retrying, most: int | None, now: datetime) -> str:
    next_one, due = _attempt(step.attempt, most, "attempt"), until(step.due, now)
    if step.error is None:
        return f"Step {address}: attempt {step.attempt - 1} has asked for another; {next_one} is called {due}."
    return f"Step {address}: attempt {step.attempt - 1} failed ({step.error.message}); {next_one} is due {due}."


def _max_attempts(plan: Plan | None, address: str, step: Step, state: Running) -> int | None:
    """Return how many attempts there are at most as it stands: those that were postponed are not counted."""
    node = node_at(plan, state, address) if plan is not None else None
    postponed = step.postponed if isinstance(step, InFlight | Retrying) else 0
    return node.retry.max_attempts + postponed if node is not None else None


def _attempt(attempt: int, most: int | None, word: str = ", attempt") -> str:
    return f"{word} {attempt} of {most}" if most is not None and most > 1 else f"{word} {attempt}"


def _limit(state: Running, now: datetime) -> str:
    due = next((timer.due for timer in state.timers.values() if timer.purpose == "execution"), None)
    return "" if due is None else f" Its own time limit ends {until(due, now)}."


def _lease(holder: str | None) -> str:
    if holder is None:
        return " No daemon has it now: the next one that has room takes it up."
    return f" Daemon {holder} works on it."
