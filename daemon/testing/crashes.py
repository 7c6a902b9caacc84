"""Crash-point enumeration: a workflow lived again for each place where its daemon may die, and compared.

It is run once undisturbed. Then, for each append of that run, twice more: killed before the append, and after it. The
daemon is gone, a new one opens the same store. However it went, three things must be the same: how the execution ended,
what the fold of its stored events says, and what the outside was asked for, by idempotency key, each key counted once.

Comes from: the test. Goes to: `stage`, `differences`.
"""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from daemon.core.evolve import fold
from daemon.core.state import Finished
from daemon.testing.differences import differences, plain_state
from daemon.testing.errors import Stuck
from daemon.testing.flow import start_on
from daemon.testing.lives import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from daemon.testing.execution import Execution
    from daemon.testing.flow import Flow
    from daemon.testing.stage import Stage
    from eventstore.log import Append


@dataclass(frozen=True, kw_only=True)
class CrashReport:
    """What was tried, when nothing was found."""

    points: int
    """How many times the workflow was run with a crash."""
    appends: int
    """Of the undisturbed run."""
    missed: int
    """Runs that ended before their point: what runs in threads is not appended alike each time."""
    repeated: int
    """Calls of handlers and nodes that were made again after a crash: at least once is what is promised."""


@dataclass
class _Outcome:
    """What is compared."""

    state: object
    """The end of the execution, its steps and variables."""
    inputs: dict[str, Any]
    results: dict[str, Any]
    outside: object
    calls: Counter[str] = field(default_factory=Counter)
    """Step and attempt -> how often it was asked for."""
    appends: Sequence[Append] = ()
    lives: int = 1


async def crash_everywhere(
    workflow: Flow,
    input_value: object = None,
    *,
    then: Callable[[Execution], Awaitable[object]] | None = None,
    reset: Callable[[], object] | None = None,
    outside: Callable[[], object] | None = None,
) -> CrashReport:
    """Run the workflow undisturbed, then with a crash before and after each append; every run on an empty store.

    `then` is done after each start: it sends signals, and may be done to a daemon that is killed meanwhile. `outside`
    returns what the test's own world looks like at the end of a run, to be compared too; `reset` makes that world anew
    before each run. Raises AssertionError with the first point that makes a difference, both sides shown.
    """
    act = _Act(workflow, input_value, then, reset, outside)
    expected = await act.run(None)
    missed = repeated = 0
    points = [Fault(number, where) for number in range(1, len(expected.appends) + 1) for where in ("before", "after")]
    for fault in points:
        name = f"killed {fault.where} append {fault.append} ({_told(expected.appends[fault.append - 1])})"
        try:
            got = await act.run(fault)
        except Stuck as stuck:
            raise AssertionError(f"{name}, it does not come to its end: {stuck}") from stuck
        if wrong := differences(_compared(expected), _compared(got)) or _asked_too_often(expected, got):
            raise AssertionError("\n".join([f"{name}, it ends otherwise than undisturbed:", *wrong]))
        missed += got.lives == 1
        repeated += (got.calls - expected.calls).total()
    return CrashReport(points=len(points), appends=len(expected.appends), missed=missed, repeated=repeated)


@dataclass(frozen=True)
class _Act:
    """One run, to be repeated."""

    flow: Flow
    input_value: object
    then: Callable[[Execution], Awaitable[object]] | None
    reset: Callable[[], object] | None
    outside: Callable[[], object] | None

    async def run(self, fault: Fault | None) -> _Outcome:
        if self.reset is not None:
            self.reset()
        async with _staged(self.flow, fault) as stage:
            execution = await start_on(stage, self.flow.name, self.input_value, "crash-everywhere")
            if self.then is not None:
                await self.then(execution)
            await stage.until(lambda: execution.finished, lambda: f"it does not end. {execution.waits_for}")
            await stage.rest()  # who is killed after the end is followed too, by one that has nothing left to do
            store = await stage.stored()
            state = fold(each.event for each in await store.log.read(execution.id))
            if not isinstance(state, Finished):
                raise Stuck(f"the store does not have its end. {execution.waits_for}")
            calls = Counter(f"{each.address}, attempt {each.attempt}" for each in stage.record.calls)
            return _Outcome(
                state=plain_state(state),
                inputs=stage.record.inputs,
                results=stage.record.results,
                outside=None if self.outside is None else self.outside(),
                calls=calls,
                appends=stage.tape.appends,
                lives=stage.lives,
            )


@asynccontextmanager
async def _staged(flow: Flow, fault: Fault | None) -> AsyncIterator[Stage]:
    stage = flow.new_stage(fault)
    try:
        yield stage
    finally:
        await stage.close()


def _compared(outcome: _Outcome) -> dict[str, object]:
    return {
        "execution": outcome.state,
        "inputs by idempotency key": outcome.inputs,
        "results by idempotency key": outcome.results,
        "outside": outcome.outside,
    }


def _asked_too_often(expected: _Outcome, got: _Outcome) -> list[str]:
    """Return what one crash cannot account for."""
    return [
        f"  calls of {what}: undisturbed {expected.calls[what]}, with the crash {got.calls[what]}"
        for what in sorted(expected.calls.keys() | got.calls.keys())
        if not expected.calls[what] <= got.calls[what] <= expected.calls[what] + 1
    ]


def _told(append: Append) -> str:
    return ", ".join(f"{event.NAME} {getattr(event, 'address', '')}".rstrip() for event in append.events)
