"""What a step costs in an execution of very many steps, beside one of few: decided, projected and encoded, not stored.

Processor time of what the daemon does for each step itself; what stores cost by the length of an execution is in
`growth`. Definitions have a limit that is below 100,000 nodes, so long executions are loops and fan-outs, and chains as
long as a definition may be. The figures to look at are the ratios.
"""

from __future__ import annotations

import gc
import time
from collections import deque
from typing import TYPE_CHECKING
from uuid import UUID

from daemon.core.commands import Command, CompleteStep, FireTimer, StartExecution
from daemon.core.decide import decision
from daemon.core.effects import ArmTimer, RunStep, effects
from daemon.core.state import INITIAL, Finished
from daemon.core.values import to_json
from daemon.runtime.clock import SystemClock
from daemon.runtime.codec import codec_of
from daemon.runtime.collection import calm_garbage_collector
from daemon.runtime.projection import project
from daemon.settings import Settings
from tests.bench.figures import Bench, Benchmark, Figure, WrongOutcomeError
from tests.bench.workflows import NAME, chain
from tests.support.workflows import plan_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daemon.core.plan import Plan
    from daemon.core.state import State

EXECUTION = UUID(int=1)
LINKS = 100
"""Steps of the chain that a loop repeats."""
LONGEST_CHAIN = 10_000
MOST_REPEATS = 20
"""Of the short execution."""
_TASK = "{task: bench.add, with: {n: 1}}"


def _loop(kind: str) -> Callable[[int], str]:
    return lambda steps: f"workflow: {NAME}\nnodes:\n  all: {{{kind % steps}, do: {{nodes: {{one: {_TASK}}}}}}}\n"


def _chains(steps: int) -> str:
    nodes = ", ".join(f"s{number}: {_TASK}" for number in range(LINKS))
    edges = " -> ".join(f"s{number}" for number in range(LINKS))
    turns = max(steps // LINKS, 1)
    return f"workflow: {NAME}\nnodes:\n  all: {{for: {turns}, do: {{nodes: {{{nodes}}}, edges: [{edges}]}}}}\n"


SHAPES: dict[str, Callable[[int], str]] = {
    "in turns of a loop": _loop("for: %d"),
    "in turns of a loop that keeps nothing": _loop("for: %d, collect: false"),
    f"in chains of {LINKS}, in turns of a loop": _chains,
    "in turns of a fan-out, 64 at once": _loop("parallel: %d"),
    "in a chain": lambda steps: chain(min(steps, LONGEST_CHAIN)),
}


async def run(bench: Bench) -> Sequence[Figure]:
    """Measure each shape with few steps, then with many."""
    figures: list[Figure] = []
    few, many = bench.sizes.steps_decided
    calm_garbage_collector()
    for name, text in SHAPES.items():
        short, long = plan_of(text(few)), plan_of(text(many))
        _cost(short)
        gc.collect()
        repeats = max(1, min(many // few, MOST_REPEATS) // 2)
        spent = {few: [_cost(short) for _ in range(repeats)], many: [_cost(long)]}
        spent[few] += [_cost(short) for _ in range(repeats)]  # what disturbs the machine meanwhile hits both
        costs = []
        for each in spent.values():
            costs.append(sum(cost for cost, _ in each) / sum(count for _, count in each))
            figures.append(Figure(f"a step {name}, of {each[0][1]:,}", costs[-1] * 1e6, "µs"))
        figures.append(Figure(f"  {name}: the last by the first", costs[1] / costs[0], "times"))
    return figures


def _cost(plan: Plan) -> tuple[float, int]:
    """Run an execution to its end; return seconds of processor time, and how many steps it had."""
    codec, at = codec_of(Settings()), SystemClock().now()
    result = to_json(1)
    state: State = INITIAL
    waiting: deque[Command] = deque([StartExecution(execution_id=EXECUTION, input=to_json({"n": 1}), actor="b", at=at)])
    steps, begun = 0, time.process_time()
    while waiting:
        command = waiting.popleft()
        decided = decision(plan, state, command)
        project(EXECUTION, state, decided.events, decided.state)
        for event in decided.events:
            codec.encode(event, {})
        state = decided.state
        for effect in effects(state, decided.events):
            if isinstance(effect, RunStep):
                waiting.append(CompleteStep(address=effect.address, attempt=effect.attempt, output=result, at=at))
                steps += 1
            elif isinstance(effect, ArmTimer):
                waiting.append(FireTimer(timer_id=effect.timer_id, at=effect.due))
    spent = time.process_time() - begun
    if not isinstance(state, Finished) or state.status != "completed":
        raise WrongOutcomeError(f"an execution of {steps} steps has not completed")
    return spent, steps


BENCHMARK = Benchmark(
    "long", "Length: cost of a step by steps in the execution, not stored", run, stores=("sqlite",), named_only=True
)
