"""What is proved in the end, from the log itself and from what the handlers wrote down.

Comes from: `story`. Goes to: `screen`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from msgspec import Struct

from daemon.core import events as e
from deploy.demonstration.orders import Order
from deploy.demonstration.watching import ENDS, read_journal
from eventstore.log import Recorded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from eventstore.store import Store

ENDING_EVENTS = tuple(ENDS)


class Check(Struct, frozen=True):
    """One claim, and whether it holds."""

    claim: str
    holds: bool
    detail: str = ""


class Run(Struct, frozen=True):
    """One run of a handler, as its journal has it."""

    key: str
    """`execution/step`: the idempotency key."""
    attempt: int
    began: float


class Evidence(Struct, frozen=True, kw_only=True):
    """All that there is to judge by."""

    orders: Sequence[Order]
    accepted: Collection[str]
    histories: dict[UUID, list[Recorded]]
    """This run's executions, each with its events in order."""
    runs: Sequence[Run]
    working: int
    """Handlers at work when the daemon was killed."""
    owed: frozenset[str]
    """Steps, by idempotency key, that had begun then and had no result in the log."""
    without_cause: Collection[UUID]
    exit_code: int
    """Of the daemon that was told to stop."""


async def gather(
    store: Store,
    *,
    after_position: int,
    orders: Sequence[Order],
    accepted: Collection[str],
    journal: Path,
    working: int,
    owed: Iterable[str],
    exit_code: int,
) -> Evidence:
    """Read the log again from the beginning, and the journal."""
    ids, histories, position = {order.order_id for order in orders}, defaultdict(list), after_position
    while page := await store.log.read_all(after_position=position):
        position = page[-1].position
        for recorded in page:
            histories[recorded.execution_id].append(recorded)
    return Evidence(
        orders=orders,
        accepted=accepted,
        histories={key: found for key, found in histories.items() if _started(found).dedupe_key in ids},
        runs=[
            Run(line["key"], line["attempt"], line["at"]) for line in read_journal(journal) if line["what"] == "began"
        ],
        working=working,
        owed=frozenset(owed),
        without_cause=await store.index.without_cause(),
        exit_code=exit_code,
    )


def examine(evidence: Evidence) -> Iterator[Check]:
    """Yield every claim."""
    histories, orders = evidence.histories, evidence.orders
    yield Check(f"the daemon was killed while {number(evidence.working, 'handler')} worked", evidence.working > 0)
    started = Counter(_started(history).dedupe_key for history in histories.values())
    exactly_once = sum(started[order] == 1 for order in evidence.accepted)
    yield Check(
        f"each accepted order has exactly one execution: {exactly_once} of {len(orders)}",
        exactly_once == len(orders) == len(histories),
    )
    ended = sum(_ended_once(history) for history in histories.values())
    yield Check(f"each execution has ended, once: {ended} of {len(histories)}", ended == len(histories))
    wrong = [order.order_id for order in orders if not _as_expected(order, histories.values())]
    yield Check("each took the way that its order asks for", not wrong, ", ".join(wrong[:5]))
    gaps = [str(key) for key, history in histories.items() if [r.version for r in history] != _versions(history)]
    yield Check("no execution's history has a gap", not gaps, ", ".join(gaps[:5]))
    yield from _steps(evidence)
    waiting = len(evidence.without_cause)
    yield Check("nothing waits without a recorded cause", not waiting, f"{waiting} do" if waiting else "")
    stopped = f"it ended with {evidence.exit_code}" if evidence.exit_code else ""
    yield Check("told to stop, the daemon stopped in order", evidence.exit_code == 0, stopped)


def repeated(evidence: Evidence) -> Counter[tuple[str, int]]:
    """Return the attempts that ran more than once, and how often."""
    runs = Counter((run.key, run.attempt) for run in evidence.runs)
    return Counter({run: count for run, count in runs.items() if count > 1})


def recorded_at(evidence: Evidence) -> dict[str, float]:
    """Return when each step succeeded, by idempotency key, in seconds since 1970."""
    return {
        f"{key}/{recorded.event.address}": recorded.event.at.timestamp()
        for key, history in evidence.histories.items()
        for recorded in history
        if isinstance(recorded.event, e.StepSucceeded)
    }


def _steps(evidence: Evidence) -> Iterator[Check]:
    succeeded = recorded_at(evidence)
    keys = {run.key for run in evidence.runs}
    of_handlers = sum(key in keys for key in succeeded)
    late = [run.key for run in evidence.runs if run.began > succeeded.get(run.key, run.began)]
    yield Check(
        f"no recorded step ran again: 0 of {of_handlers}" if not late else f"{len(late)} recorded steps ran again",
        not late,
        ", ".join(late[:5]),
    )
    again = repeated(evidence)
    others = {key for key, _ in again} - evidence.owed
    yield Check(
        f"{number(len(evidence.runs), 'run')} of handlers; {len(again)} ran again, all of them in flight at the kill"
        if not others
        else f"{number(len(others), 'step')} ran again that had not been in flight at the kill",
        not others and set(again.values()) <= {2},
        ", ".join(others),
    )


def _started(history: Sequence[Recorded]) -> Any:
    return next((r.event for r in history if isinstance(r.event, e.ExecutionStarted)), _NOBODY)


class _Nobody:
    dedupe_key = None


_NOBODY = _Nobody()


def _ended_once(history: Sequence[Recorded]) -> bool:
    ends = [recorded.version for recorded in history if isinstance(recorded.event, ENDING_EVENTS)]
    return ends == [history[-1].version]


def _versions(history: Sequence[Recorded]) -> list[int]:
    return list(range(1, len(history) + 1))


def _as_expected(order: Order, histories: Iterable[Sequence[Recorded]]) -> bool:
    history = next((found for found in histories if _started(found).dedupe_key == order.order_id), ())
    events = [recorded.event for recorded in history]
    succeeded = {event.address for event in events if isinstance(event, e.StepSucceeded)}
    skipped = {event.address for event in events if isinstance(event, e.StepSkipped)}
    return (
        order.ending in succeeded
        and ({"notify", "sorry"} - {order.ending}) <= skipped
        and ("review" in succeeded) == order.reviewed
        and any(isinstance(event, e.ExecutionCompleted) for event in events)
    )


def number(count: int, word: str) -> str:
    """Return both, the word in its plural where that is right."""
    plural = f"{word.removesuffix('y')}ies" if word.endswith("y") else f"{word}s"
    return f"{count} {word if count == 1 else plural}"
