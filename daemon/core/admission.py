"""Admission: what shares a limit begins when it has a slot of each, and how an execution itself comes to begin.

A step that is ready renders its keys and takes its slots at once, in the append by which it starts, unless it is known
that others wait. The store refuses that append when one of the slots is not free; then the same is decided again with
`crowded` None, which asks for the slots instead. What has asked waits for `GrantSlots`.

Comes from: `decide`, `walk`. Goes to: `draft`.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from daemon.core import events as e
from daemon.core import saga
from daemon.core.address import turn_around
from daemon.core.draft import timer_id_of
from daemon.core.errors import Rejected
from daemon.core.expressions import EvaluationError
from daemon.core.state_limits import COLLECTING
from daemon.core.values import from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from daemon.core.commands import CollectMessage
    from daemon.core.draft import Draft
    from daemon.core.plan import PlannedNode
    from daemon.core.templates import Template
    from daemon.core.throttle import PlannedLimit

LONGEST_KEY = 200
MOST_PRIORITY = 1000
START = timer_id_of("", "start")


class NoSlot(Rejected):
    """What was to be taken at once is not free any more. Nothing has changed."""


class NotCollecting(Rejected):
    """The execution has begun: it takes no more messages."""


def admitted(draft: Draft, address: str, node: PlannedNode, *, granted: bool = False) -> bool:
    """Take the node's slots for the step, or ask for them; False when it has to wait. Raises EvaluationError."""
    if not node.limits:
        return True
    scope = draft.scope.at(turn_around(address))
    return _admit(draft, address, node.limits, node.priority, scope, granted=granted)


def enter(draft: Draft, *, granted: bool = False) -> None:
    """Let the execution begin: its first steps, when it has a slot of each of the workflow's limits."""
    plan = draft.plan
    try:
        may = _admit(draft, "", plan.start.limits, plan.priority, draft.scope, granted=granted)
    except EvaluationError as error:
        failed = e.StepError(str(error), "expression")
        saga.end(draft, e.UndoPlanned(status="failed", mode="", error=failed, at=draft.at))
    else:
        if may:
            draft.ready.extend(plan.body.starts)


def _admit(
    draft: Draft,
    address: str,
    limits: tuple[PlannedLimit, ...],
    priority: Template | None,
    scope: Mapping[str, object],
    *,
    granted: bool,
) -> bool:
    if not limits:
        return True
    slots, rank = tuple(_slot(limit, scope) for limit in limits), _rank(priority, scope)
    skips = any(limit.skips for limit in limits)
    if granted or (draft.crowded is not None and (skips or not _crowded(draft.crowded, slots))):
        draft.emit(e.SlotsTaken(address=address, slots=slots, priority=rank, waited=granted, at=draft.at))
        return True
    if skips:
        _skip(draft, limits, slots)
        return False
    draft.emit(e.SlotsAsked(address=address, slots=slots, priority=rank, at=draft.at))
    return False


def _crowded(crowded: Container[tuple[str, str]], slots: Iterable[e.Slot]) -> bool:
    return any((slot.limit, slot.key) in crowded for slot in slots)


def _skip(draft: Draft, limits: tuple[PlannedLimit, ...], slots: tuple[e.Slot, ...]) -> None:
    """Refuse the start of a singleton that is there already; cancel what has collected for it."""
    key = next(slot.key for limit, slot in zip(limits, slots, strict=True) if limit.skips)
    which = f" for {key!r}" if key else ""
    message = f"skipped: another execution of {draft.plan.definition.workflow} is at work{which}"
    if len(draft.events) == draft.running.version:  # nothing of it is in the log yet
        raise NoSlot(message)
    saga.end(draft, e.UndoPlanned(status="cancelled", mode="", reason=message, at=draft.at))


def _slot(limit: PlannedLimit, scope: Mapping[str, object]) -> e.Slot:
    return e.Slot(
        limit=limit.name,
        key=rendered(limit.key, scope),
        most=limit.most,
        interval_us=limit.interval_us,
        burst=limit.burst,
        fair=rendered(limit.fair, scope),
    )


def rendered(template: Template | None, scope: Mapping[str, object]) -> str:
    """Return the text that a key gives: text as it is, other values as JSON, what is long as its SHA-256."""
    if template is None:
        return ""
    value = template.render(scope).value
    return _key(value if isinstance(value, str) else bytes(to_json(value)).decode())


def _key(text: str) -> str:
    if len(text) <= LONGEST_KEY and text.isprintable():
        return text
    return sha256(text.encode(errors="surrogatepass")).hexdigest()


def _rank(priority: Template | None, scope: Mapping[str, object]) -> int:
    value = 0 if priority is None else priority.render(scope).value
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MOST_PRIORITY:
        shown = bytes(to_json(value))[:80].decode(errors="replace")
        raise EvaluationError(
            f"priority must give a whole number from -{MOST_PRIORITY} to {MOST_PRIORITY}, and gave {shown}"
        )
    return value


def begin_later(draft: Draft) -> bool:
    """Set the timer of an execution that does not begin at once; False for one that does."""
    start = draft.plan.start.definition
    if start.delay is None:
        return False
    due = draft.at + start.delay
    draft.emit(e.TimerSet(timer_id=START, address="", purpose="start", due=due, at=draft.at))
    return True


def open_collection(draft: Draft, key: str) -> None:
    """Let the execution that has just started collect messages of this key: no other does at the same time."""
    if draft.crowded is None:
        raise NoSlot("another execution collects these messages")
    slot = e.Slot(limit=collecting_name(draft.plan.definition.workflow), key=key, most=1)
    draft.emit(e.SlotsTaken(address=COLLECTING, slots=(slot,), at=draft.at))


def collect(draft: Draft, command: CollectMessage) -> None:
    """Take one more message, and begin when that was the last; a message that it has decides nothing."""
    if command.message in draft.running.messages:
        return
    if COLLECTING not in draft.running.holding:
        raise NotCollecting("the execution has begun")
    if draft.crowded is None:
        raise NoSlot("an execution has this message")
    draft.emit(e.MessageCollected(message=command.message, scope=command.scope, input=command.input, at=draft.at))
    start, running = draft.plan.start.definition, draft.running
    due = running.timers[START].due if START in running.timers else draft.at + start.within
    if start.collect == "debounce":
        due = draft.at + start.within
        if start.at_most is not None:
            due = min(due, running.started_at + start.at_most)
    if due <= draft.at or (start.collect == "batch" and len(running.collected) >= start.size):
        end_collection(draft)
        return
    if START not in running.timers or due != running.timers[START].due:
        draft.emit(e.TimerSet(timer_id=START, address="", purpose="start", due=due, at=draft.at))


def end_collection(draft: Draft) -> None:
    """Begin with what was collected: the last message's input, or a batch's list of them."""
    if START in draft.running.timers:
        draft.emit(e.TimerCancelled(timer_id=START, at=draft.at))
    items = [value for _, value in sorted(draft.running.collected.items())]
    batch = draft.plan.start.definition.collect == "batch"
    value = to_json({"messages": [from_json(item) for item in items]}) if batch else items[-1]
    draft.emit(e.ExecutionBegan(input=value, at=draft.at))
    draft.scope.forget("input")
    enter(draft)


def collecting_name(workflow: str) -> str:
    """Return the limit that lets one execution at a time collect messages of a key."""
    return f"{workflow}#collecting"


def message_slot(scope: str, message: str) -> e.Slot:
    """Return the slot by which a message is part of one execution only, for ever."""
    return e.Slot(limit=f"{scope}#message", key=_key(message), most=1)
