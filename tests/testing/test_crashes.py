"""Crash-point enumeration for users: what is safe passes with every point counted, what is not is shown."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from daemon.handlers import Context  # noqa: TC001  read at run time, by who binds handlers
from daemon.testing import CrashReport, Stuck, crash_everywhere

if TYPE_CHECKING:
    from daemon.testing import Execution, Flow, Sagad

PAY = """
workflow: pay
nodes:
  reserve: {task: shop.reserve, retry: {max_attempts: 3, initial: 1m}}
  nap: {wait: 1h}
  charge: {task: shop.charge, with: {amount: "{{ input }}", reservation: "{{ reserve }}"}}
  review: {signal: {name: reviewed, timeout: 1d}}
edges: [reserve -> nap, nap -> charge, charge -> review]
output: {paid: "{{ charge }}", review: "{{ review }}"}
"""
SIDE_BY_SIDE = """
workflow: fan
nodes:
  each: {parallel: [1, 2, 3], do: {nodes: {work: {task: shop.work, with: {n: "{{ parallel.currentItem }}"}}}}}
"""

RETRY = "retry: {max_attempts: 2, initial: 30s}"
WORKFLOWS = [
    f"""
workflow: turns
vars: {{sum: 0}}
nodes:
  rounds:
    forEach: [1, 2]
    do:
      nodes:
        work: {{task: shop.work, {RETRY}}}
        nap: {{wait: 5m}}
        add: {{set: {{sum: "{{{{ vars.sum + work * loop.item }}}}"}}}}
      edges: [work -> nap, nap -> add]
  end: {{transform: "{{{{ vars.sum }}}}"}}
edges: [rounds -> end]
output: "{{{{ end }}}}"
""",
    f"""
workflow: errors
timeout: 10h
nodes:
  slow: {{task: shop.work, timeout: 10s, on_error: continue, default: late}}
  asked: {{signal: {{name: never, timeout: 1h}}}}
  sorry: {{task: shop.work, with: {{code: "{{{{ asked.error.code }}}}"}}, {RETRY}}}
  nap: {{wait: 30d}}
edges: [slow -> asked, asked.error -> sorry, sorry -> nap]
""",
    f"""
workflow: side-by-side
concurrency: 2
nodes:
  a: {{task: shop.work, {RETRY}}}
  b: {{task: shop.work, {RETRY}}}
  c: {{task: shop.work, {RETRY}}}
  nap: {{wait: 3m}}
  first: {{join: any}}
  all: {{join: all}}
  stop: {{fail: {{message: enough, code: over}}}}
edges: [a -> all, b -> all, c -> all, all -> first, nap -> first, first -> stop]
""",
    f"""
workflow: saga
undo: automatic
nodes:
  flight: {{task: shop.work, {RETRY}, compensate: {{task: shop.work, {RETRY}}}}}
  hotel: {{task: shop.work, {RETRY}, compensate: {{task: shop.work, {RETRY}}}}}
  stop: {{fail: {{message: enough, code: over}}}}
edges: [flight -> hotel -> stop]
""",
]


LIMITED = f"""
workflow: limits
start: {{delay: 1m, singleton: {{}}}}
throttle: {{concurrency: 1}}
nodes:
  each:
    parallel: 3
    do:
      nodes:
        work: {{task: shop.work, {RETRY}, throttle: [{{concurrency: 1}}, {{rate: {{limit: 1, per: 10s}}}}]}}
"""


class Bank:
    """Charges once for each idempotency key, as it ought to."""

    def __init__(self) -> None:
        self.charged: dict[str, float] = {}

    async def charge(self, amount: float, reservation: str, *, context: Context) -> str:
        self.charged[context.idempotency_key] = amount
        return f"{reservation}: {amount:g}"


def pay(sagad: Sagad, charge: Any, store: str | None = None) -> Flow:
    flow = sagad.workflow(PAY, store=store)
    flow.fake("shop.reserve", fails="busy", times=1, returns="r1")
    flow.fake("shop.charge", calls=charge)
    return flow


async def reviewed(execution: Execution) -> None:
    await execution.until(lambda execution: execution.step("review").status == "awaiting")
    await execution.signal("reviewed", "fine")


@pytest.mark.parametrize("store", ["memory", "sqlite"])
async def test_a_safe_workflow_passes_at_every_point(sagad: Sagad, store: str) -> None:
    bank = Bank()
    report = await crash_everywhere(
        pay(sagad, bank.charge, store),
        20,
        then=reviewed,
        reset=bank.charged.clear,
        outside=lambda: sorted(bank.charged.values()),
    )
    assert report == CrashReport(points=2 * report.appends, appends=report.appends, missed=0, repeated=report.repeated)
    assert report.appends == 7  # start, two attempts, retry's timer, wait's timer, charge, signal
    assert report.repeated > 0


async def test_a_result_that_counts_calls_is_shown(sagad: Sagad) -> None:
    number = count(1)

    async def charge(amount: float, reservation: str) -> str:
        return f"charge number {next(number)}"

    def reset() -> None:
        nonlocal number
        number = count(1)

    with pytest.raises(AssertionError) as error:
        await crash_everywhere(pay(sagad, charge), 20, then=reviewed, reset=reset)
    told = str(error.value)
    assert told.startswith("killed before append")
    assert "StepSucceeded charge" in told.splitlines()[0]
    assert "execution > output > paid:" in told
    assert "undisturbed:    'charge number 1'" in told
    assert "with the crash: 'charge number 2'" in told


async def test_an_effect_that_is_made_twice_is_shown(sagad: Sagad) -> None:
    charged: list[float] = []

    async def charge(amount: float, reservation: str) -> str:
        charged.append(amount)
        return reservation

    with pytest.raises(AssertionError, match=r"(?s)killed before append.*outside.*\[20.0\].*\[20.0, 20.0\]"):
        await crash_everywhere(
            pay(sagad, charge), 20, then=reviewed, reset=charged.clear, outside=lambda: list(charged)
        )


async def test_a_failure_is_an_end_like_another(sagad: Sagad) -> None:
    flow = sagad.workflow("workflow: w\nnodes: {work: {task: shop.work}}")
    flow.fake("shop.work", fails="never", retryable=False)
    assert (await crash_everywhere(flow)).points == 4


async def test_what_runs_side_by_side_may_be_recorded_in_any_order(sagad: Sagad) -> None:
    flow = sagad.workflow(SIDE_BY_SIDE)
    flow.fake("shop.work", calls=lambda n: n * n)
    report = await crash_everywhere(flow)
    assert report.points >= 4


async def test_one_that_never_ends_is_stuck_before_any_crash(sagad: Sagad) -> None:
    flow = sagad.workflow("workflow: w\nnodes: {go: {signal: go}}")
    with pytest.raises(Stuck, match="signal"):
        await crash_everywhere(flow)


async def test_a_service_that_refuses_repeats_is_shown(sagad: Sagad) -> None:
    """One that knows the key, but answers a repeat otherwise than the first time."""
    seen: set[str] = set()

    async def charge(amount: float, reservation: str, *, context: Context) -> str:
        first = context.idempotency_key not in seen
        seen.add(context.idempotency_key)
        return "charged" if first else "refused: seen before"

    with pytest.raises(AssertionError, match="refused: seen before"):
        await crash_everywhere(pay(sagad, charge), 20, then=reviewed, reset=seen.clear)


async def test_a_daemon_that_does_not_take_up_its_work_is_shown(sagad: Sagad, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tool sees faults of sagad too: here what is owed after a crash is forgotten."""
    monkeypatch.setattr("daemon.runtime.engine.owed", lambda _state: ())
    with pytest.raises(AssertionError, match=r"^killed (before|after) append \d.*does not come to its end"):
        await crash_everywhere(pay(sagad, Bank().charge), 20, then=reviewed)


@pytest.mark.parametrize("number", range(len(WORKFLOWS)))
async def test_every_kind_of_node_is_lived_through(sagad: Sagad, number: int) -> None:
    flow = sagad.workflow(WORKFLOWS[number])
    flow.fake("shop.work", fails="busy", times=1, returns=3, takes="20s")
    report = await crash_everywhere(flow, {"n": 2})
    assert (report.missed, report.points) == (0, 2 * report.appends)


async def test_limits_are_lived_through(sagad: Sagad) -> None:
    """A slot that is held by a step of a dead daemon, or was just given back, is lost nowhere."""
    flow = sagad.workflow(LIMITED)
    flow.fake("shop.work", fails="busy", times=1, returns=3, takes="20s")
    report = await crash_everywhere(flow, {"n": 2})
    assert report.points == 2 * report.appends
    assert report.missed < report.points  # who grants a slot, and in which append, differs from run to run


async def test_the_flow_itself_stays_as_it_was(sagad: Sagad) -> None:
    bank = Bank()
    flow = pay(sagad, bank.charge)
    execution = await flow.start(5)
    await crash_everywhere(flow, 20, then=reviewed)
    await reviewed(execution)
    assert (await execution.result())["paid"] == "r1: 5"
    assert len(flow.calls("shop.charge")) == 1
