"""Random executions: a random graph, driven by random answers, timers, signals and repeats, until it ends."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st
from msgspec import Struct

from daemon.core import commands as c
from daemon.core.address import PAGE, split_turn, turn_around
from daemon.core.break_events import Breakpoint
from daemon.core.calls import node_at
from daemon.core.debugging import HOWS
from daemon.core.decide import decide
from daemon.core.effects import Advance, ArmTimer, CancelChild, RunStep, owed
from daemon.core.errors import Rejected
from daemon.core.events import Event, InputEdit, Origin, StepError
from daemon.core.evolve import fold
from daemon.core.function_events import Call, CallUndo, Drawn
from daemon.core.leaving import child_id_of
from daemon.core.plan import Plan
from daemon.core.retry import RetryPolicy
from daemon.core.saga import CHOICES
from daemon.core.state import INITIAL, Finished, InFlight, Running, State
from daemon.core.values import to_json
from tests.core.spec import EXECUTION, NOON
from tests.support.workflows import plan_of

KINDS = (
    "{task: t.x}",
    "{task: t.x, retry: {max_attempts: 3, initial: 1m, jitter: 0.5}}",
    "{task: t.x, on_error: continue, default: 7}",
    "{task: t.x, on_error: continue}",
    '{task: t.x, with: "{{ input.missing }}"}',
    '{branch: "{{ input.flag }}"}',
    "{wait: 5m}",
    "{signal: go}",
    "{signal: {name: go, timeout: 3m}}",
    "{transform: [1, 2]}",
    "{join: all}",
    "{join: any}",
    "{fail: {message: no, code: refused}}",
    "{task: t.x, compensate: {task: t.undo, with: '{{ step.output }}'}}",
    "{task: t.x, timeout: 1m, compensate: {task: t.undo, kind: idempotent, retry: {max_attempts: 2, initial: 1m}}}",
    "{task: t.x, compensate: {task: t.undo, with: '{{ step.output }}', lookup: {task: t.look}}}",
    "{task: t.x, retry: {max_attempts: 2, initial: 1m}, compensate: {irreversible: {reason: gone}}}",
    '{set: {count: "{{ vars.count + 1 }}"}}',
    "{task: t.x, ports: [other]}",
    "{task: t.x, throttle: {concurrency: 1, key: '{{ input.flag }}'}}",
    "{task: t.x, retry: {max_attempts: 2, initial: 1m}, throttle: [{concurrency: 2}, {rate: {limit: 1, per: 1m}}]}",
    "{task: t.x, retry: {max_attempts: 2, initial: 1m}, throttle: {concurrency: 1}, compensate: {task: t.undo}}",
    "{subflow: s}",
    "{subflow: s, timeout: 5m, on_error: continue}",
    "{subflow: s, retry: {max_attempts: 2, initial: 1m}, result: '{{ child.output }}', on_close: terminate}",
    "{subflow: s, timeout: 5m, on_close: abandon}",
    "{task: t.x, cache: {key: '{{ input.flag }}', ttl: 1h}, retry: {max_attempts: 2, initial: 1m}}",
    "{approval: {prompt: ok?, approvers: [ann, bob], rule: all, notify: [{handler: t.tell}]}}",
    (
        "{approval: {prompt: ok?, approvers: [ann, group:g], timeout: 3m, on_timeout: approve, reminder: 1m,"
        " notify: [{handler: t.tell}, {webhook: '{{ input.missing }}'}]}}"
    ),
    (
        "{approval: {prompt: ok?, approvers: [ann, bob], timeout: 3m, on_timeout: {escalate: {to: cid, timeout: 2m,"
        " then: reject}}, notify: [{handler: t.tell}]}}"
    ),
    "{function: t.f}",
)
AROUND_FUNCTIONS = (
    "{f: {function: t.f}}",
    "{f: {function: t.f}, x: {task: t.x}}",
    "{g: {saga: automatic, on_error: continue, do: {nodes: {f: {function: t.f}, x: {task: t.x}}}}}",
    "{each: {parallel: 3, concurrency: 2, on_failure: collect, do: {nodes: {f: {function: t.f}}}}, x: {function: t.f}}",
    "{each: {parallel: 2, enough: 1, do: {nodes: {f: {function: t.f}}}}}",
)
REPEATS = (
    "saga: automatic",
    "saga: automatic, on_error: continue",
    "saga: confirm_each, on_error: continue, default: 0",
    "for: 2",
    "for: 0",
    "for: 3, collect: false, on_error: continue",
    "forEach: [a, b, c], break: \"{{ loop.item == 'b' }}\"",
    "forEach: {pages: {task: t.list, with: ['{{ page.cursor }}'], retry: {max_attempts: 2, initial: 1m}}}, limit: 4",
    'forEach: {pages: {task: t.list}}, collect: false, on_error: continue, break: "{{ loop.index == 2 }}"',
    'forEach: [a, b, c], continue: "{{ loop.index == 1 }}"',
    'while: "{{ vars.count < 3 }}", limit: 4',
    'doWhile: "{{ loop.index < 1 }}"',
    "parallel: 3",
    "parallel: 3, concurrency: 2",
    "parallel: [a, b], on_failure: collect",
    "parallel: 3, enough: 1",
    "parallel: 3, enough: 2, on_failure: collect, on_error: continue, default: 0",
)


ELSEWHERE = Origin(execution_id=EXECUTION, address="elsewhere", stored_at=NOON)
"""Whose result is found in a cache."""
STARTS: tuple[tuple[str, ...], ...] = (
    (),
    (),
    ("throttle: {concurrency: 2, key: '{{ input.flag }}'}", "priority: 3"),
    ("start: {delay: 5m, singleton: {}}",),
    ("start: {singleton: {policy: skip}}",),
    ("start: {batch: {size: 2, within: 5m}}",),
    ("start: {debounce: {after: 5m, at_most: 6m}, singleton: {policy: skip}}",),
)
"""How executions begin."""


class Turn(Struct, frozen=True):
    """One command and what it caused, from one state to the next."""

    before: State
    command: c.Command
    events: tuple[Event, ...]
    after: State


class History(Struct, frozen=True):
    """One execution from its first event to its last."""

    plan: Plan
    turns: tuple[Turn, ...]

    @property
    def events(self) -> tuple[Event, ...]:
        """All its events."""
        return tuple(event for turn in self.turns for event in turn.events)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Draw a workflow without cycles, with bodies in bodies."""
    nodes, edges = draw(graphs("n", 2, 8) if draw(st.integers(0, 3)) else st.sampled_from(AROUND_FUNCTIONS).map(_alone))
    lines = [
        "workflow: random",
        "vars: {count: 0}",
        f"concurrency: {draw(st.sampled_from([1, 2, 64]))}",
        f"undo: {draw(st.sampled_from(['automatic', 'automatic', 'manual', 'confirm_each', 'none']))}",
        f"on_error: {draw(st.sampled_from(['stop', 'continue']))}",
        *(["timeout: 60m"] if draw(st.booleans()) else []),
        *draw(st.sampled_from(STARTS)),
        f"nodes: {nodes}",
        f"edges: {edges}",
    ]
    return plan_of("\n".join(lines))


def _alone(nodes: str) -> tuple[str, str]:
    return nodes, "[]"


@st.composite
def graphs(draw: st.DrawFn, prefix: str, levels: int, most: int) -> tuple[str, str]:
    """Draw nodes and edges; of bodies in each other there are `levels` at most."""
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=most))
    edges = []
    for target in range(1, len(kinds)):
        for source in draw(st.sets(st.integers(0, target - 1), max_size=3)):
            ports = ["true", "false", "error"] if "branch" in kinds[source] else ["out", "out", "error"]
            ports = ["out", "other"] if "ports" in kinds[source] else ports
            ports = ["approved", "rejected", "error"] if "approval" in kinds[source] else ports
            edges.append(f"{prefix}{source}.{draw(st.sampled_from(ports))} -> {prefix}{target}")
        if edges and edges[-1].endswith(f"-> {prefix}{target}") and "with" not in kinds[target] and draw(st.booleans()):
            source_id = edges[-1].partition(".")[0]
            kinds[target] = kinds[target].replace(
                "{task: t.x", f'{{task: t.x, with: "{{{{ {source_id} | default(0) }}}}"'
            )
            kinds[target] = kinds[target].replace("[1, 2]", f'"{{{{ {source_id} | default(0) }}}}"')
    joins = {target: kind for target, kind in enumerate(kinds) if "join" in kind}
    targets = {int(edge.rpartition(prefix)[2]) for edge in edges}
    kinds = ["{task: t.x}" if index in joins and index not in targets else kind for index, kind in enumerate(kinds)]
    for index, kind in enumerate(kinds):
        if levels and "task" in kind and "ports" not in kind and draw(st.integers(0, 2)) == 0:
            body_nodes, body_edges = draw(graphs(f"{prefix}{index}_", levels - 1, 3))
            body = f"do: {{nodes: {body_nodes}, edges: {body_edges}}}"
            kinds[index] = f"{{{draw(st.sampled_from(REPEATS))}, {body}}}"
    nodes = ", ".join(f"{prefix}{index}: {kind}" for index, kind in enumerate(kinds))
    return f"{{{nodes}}}", f"[{', '.join(sorted(set(edges)))}]"


@st.composite
def histories(draw: st.DrawFn, *, max_turns: int = 40) -> History:
    """Draw an execution that is driven until it ends, or for `max_turns` commands."""
    plan, state, at = draw(plans()), INITIAL, NOON
    turns: list[Turn] = []
    commands: list[c.Command] = []
    while len(turns) < max_turns and not (isinstance(state, Finished) and not _undone(draw, state)):
        repeat = commands and draw(st.integers(0, 9)) == 0
        command = draw(st.sampled_from(commands)) if repeat else draw(_next_command(plan, state, at))
        at = max(at, command.at) + timedelta(seconds=1)
        try:
            events = decide(plan, state, command, draw(st.sampled_from([(), (), None])))
        except Rejected:
            continue
        after = fold(events, state)
        turns.append(Turn(state, command, events, after))
        commands.append(command)
        state = after
    return History(plan, tuple(turns))


def _undone(draw: st.DrawFn, state: Finished) -> bool:
    """Tell whether the execution is to be undone although it has completed."""
    return state.status == "completed" and bool(state.newest_owed) and draw(st.booleans())


def _next_command(plan: Plan, state: State, at: datetime) -> st.SearchStrategy[c.Command]:
    if isinstance(state, Finished):
        return st.just(c.UndoExecution(reason="mistaken", actor="test", at=at))
    collects = plan.start.definition.collect is not None
    start = st.builds(
        c.StartExecution,
        execution_id=st.just(EXECUTION),
        input=st.booleans().map(lambda flag: to_json({"flag": flag})),
        collect=_message(at) if collects else st.none(),
        actor=st.just("test"),
        at=st.just(at),
    )
    choices: list[st.SearchStrategy[Any]] = [_signal(at)]
    if not isinstance(state, Running):
        return st.one_of(start, start, *choices)
    for effect in owed(state):
        match effect:
            case RunStep(address=address, attempt=attempt) if starts_child(plan, state, address):
                choices += [_await(address, attempt, at), _await(address, attempt, at)]
                choices += [_finish(address, attempt, at), _fail(address, attempt, at)]
            case RunStep(address=address, attempt=attempt):
                choices += [
                    _complete(plan, state, address, attempt, at),
                    _complete(plan, state, address, attempt, at),
                    _postpone(address, attempt, at),
                    _suspend(address, attempt, at),
                    _fail(address, attempt, at),
                ]
            case ArmTimer(timer_id=timer_id, due=due):
                choices.append(st.just(c.FireTimer(timer_id=timer_id, at=max(at, due))))
            case CancelChild(address=address, attempt=attempt):
                choices.append(_finish(address, attempt, at))
            case Advance(address=address, number=number):
                choices += [_advance(state, address, at)] * 6
                stop = c.StopFunction(address=address, number=number, version=1, recorded="this", found="that", at=at)
                choices.append(st.just(stop))
    for address in state.children:
        step = state.steps[address]
        assert isinstance(step, InFlight)
        choices += [_finish(address, step.attempt, at), _finish(address, step.attempt, at)]
    choices += [st.just(c.GrantSlots(address=address, at=at)) for address in sorted(state.limited)]
    if collects:
        choices.append(_message(at))
    for address, ask in state.asking.items():
        answer = st.builds(
            c.AnswerUndo,
            address=st.just(address),
            question=st.just(ask.version),
            choice=st.sampled_from(CHOICES[ask.kind]),
            actor=st.just("test"),
            at=st.just(at),
        )
        choices += [answer, answer]
    for address, question in state.people.items():
        choices += [_decision(address, question, at), _decision(address, question, at)]
        choices.append(_delegation(address, question, at))
    choices += [_input(address, at) for address in sorted({*state.in_flight, *state.people})[:2]]
    pausing: type[c.PauseExecution | c.ResumeExecution] = (
        c.PauseExecution if state.paused is None else c.ResumeExecution
    )
    choices.append(st.just(pausing(actor="test", at=at)))
    choices.append(_breakpoints(sorted(plan.nodes), at))
    if state.stop is not None:
        choices += [_leave(state.stop.version, at)] * 6
    cancel = st.just(c.CancelExecution(reason="enough", actor="test", at=at))
    return st.one_of(*choices, *choices, *choices, cancel)


def _breakpoints(nodes: list[str], at: datetime) -> st.SearchStrategy[c.Command]:
    points = st.builds(
        Breakpoint,
        node=st.sampled_from(nodes),
        condition=st.sampled_from(["", "", "vars.count > 0", "input.missing"]),
        errors=st.booleans(),
    )
    return st.builds(
        c.SetBreakpoints,
        breakpoints=st.lists(points, max_size=2).map(tuple),
        next=st.booleans(),
        actor=st.just("test"),
        at=st.just(at),
    )


def _leave(stop: int, at: datetime) -> st.SearchStrategy[c.Command]:
    left = st.builds(
        c.LeaveBreakpoint,
        stop=st.just(stop),
        how=st.sampled_from(HOWS),
        output=st.integers(0, 3).map(to_json),
        actor=st.just("test"),
        at=st.just(at),
    )
    edited = st.builds(
        c.EditAtBreakpoint,
        stop=st.just(stop),
        variables=st.just({"count": to_json(1)}),
        input=st.sampled_from([None, InputEdit(to_json(9))]),
        actor=st.just("test"),
        at=st.just(at),
    )
    return st.one_of(left, left, left, edited)


def _message(at: datetime) -> st.SearchStrategy[c.Command]:
    return st.builds(
        c.CollectMessage,
        message=st.sampled_from(["m1", "m2", "m3"]),
        scope=st.just("random"),
        input=st.just(to_json({"flag": True})),
        at=st.just(at),
    )


def _signal(at: datetime) -> st.SearchStrategy[c.Command]:
    return st.builds(
        c.ReceiveSignal,
        signal_id=st.sampled_from(["s1", "s2", "s3"]),
        name=st.sampled_from(["go", "stay"]),
        data=st.integers(0, 3).map(to_json),
        actor=st.just("test"),
        at=st.just(at),
    )


def _complete(plan: Plan, state: Running, address: str, attempt: int, at: datetime) -> st.SearchStrategy[c.Command]:
    """Leave by a port, by none, to some of what follows; now and then to what the node does not have."""
    targets = [edge.target for edge in node_at(plan, state, address).outgoing if edge.port == "out"]
    chosen = st.lists(st.sampled_from([*targets, "nowhere"]), max_size=2, unique=True).map(tuple)
    leave = st.one_of(st.just(("out", None)), st.tuples(st.sampled_from(["out", "other", ""]), st.none() | chosen))
    output = st.sampled_from([0, 1, 7, "x" * 1100, *[page_answer(address)] * 12]).map(to_json)
    cached = node_at(plan, state, address).cache is not None
    origin = st.sampled_from([None, ELSEWHERE] if cached else [None])
    return st.builds(
        lambda output, leave, origin: c.CompleteStep(
            address=address, attempt=attempt, output=output, port=leave[0], to=leave[1], origin=origin, at=at
        ),
        output,
        leave,
        origin,
    )


def page_answer(address: str) -> Any:
    """Return what a handler gives that is asked for this page of three; nothing for a step that fetches none."""
    if not address.endswith(PAGE):
        return None
    number = split_turn(address.removesuffix(PAGE))[1]
    pages: list[list[Any]] = [["a", {"n": 3}], [], ["x" * 1100]]
    items = pages[min(number, 2)]
    return {"items": items, "next": number + 1} if number < 2 else {"items": items}


def starts_child(plan: Plan, state: Running, address: str) -> bool:
    """Tell whether the step starts an execution, or has one undone."""
    return node_at(plan, state, address).type.subflow is not None


def _await(address: str, attempt: int, at: datetime) -> st.SearchStrategy[c.Command]:
    child = child_id_of(EXECUTION, address, attempt)
    return st.just(c.AwaitChild(address=address, attempt=attempt, child=child, workflow="s", definition="d", at=at))


def _finish(address: str, attempt: int, at: datetime) -> st.SearchStrategy[c.Command]:
    return st.builds(
        c.FinishChild,
        address=st.just(address),
        attempt=st.just(attempt),
        child=st.just(child_id_of(EXECUTION, address, attempt)),
        workflow=st.just("s"),
        definition=st.sampled_from(["d", ""]),
        status=st.sampled_from(["completed", "completed", "failed", "cancelled"]),
        output=st.integers(0, 3).map(to_json),
        owes=st.booleans(),
        at=st.just(at),
    )


def _advance(state: Running, address: str, at: datetime) -> st.SearchStrategy[c.Command]:
    """Let a function see some of its results, call something, give something up, or end."""
    journal = state.functions[address]
    undo = CallUndo(handler="t.undo", input=to_json("{{ step.output }}"), kind="idempotent")
    policy = {"retry": RetryPolicy(max_attempts=2, initial=timedelta(minutes=1)), "undo": undo}
    kinds: list[dict[str, Any]] = [
        {"kind": "step", "name": "t.x"},
        {"kind": "step", "name": "t.x", **policy},
        {"kind": "sleep", "due": at + timedelta(minutes=2)},
        {"kind": "sleep", "due": at},
        {"kind": "signal", "name": "go"},
        {"kind": "signal", "name": "go", "timeout": timedelta(minutes=2)},
        {"kind": "child", "name": "s", "timeout": timedelta(minutes=2)},
        {"kind": "child", "name": "s", "on_close": "abandon"},
    ]
    open_calls = [one for one in state.calls if turn_around(one) == address]
    most = 3 if journal.number < 5 else 0
    calls = st.lists(st.sampled_from(kinds), max_size=most).map(
        lambda drawn: tuple(Call(id=f"{journal.number + 1}@{index}:x", **one) for index, one in enumerate(drawn))
    )
    error = StepError("broken", "broken")
    return st.builds(
        c.AdvanceFunction,
        address=st.just(address),
        number=st.just(journal.number),
        seen=st.integers(journal.seen + min(1, len(journal.done)), journal.seen + len(journal.done)),
        calls=calls,
        cancelled=st.lists(st.sampled_from(open_calls), unique=True).map(tuple) if open_calls else st.just(()),
        drawn=st.just((Drawn("random", to_json(0.5)),)),
        outcome=st.sampled_from([None, None, None, to_json("x" * 1100), error]),
        at=st.just(at),
    )


def _postpone(address: str, attempt: int, at: datetime) -> st.SearchStrategy[c.Command]:
    return st.builds(
        c.PostponeStep,
        address=st.just(address),
        attempt=st.just(attempt),
        after=st.integers(1, 3600).map(lambda seconds: timedelta(seconds=seconds)),
        state=st.sampled_from([None, {"page": 2}]).map(to_json),
        at=st.just(at),
    )


def _suspend(address: str, attempt: int, at: datetime) -> st.SearchStrategy[c.Command]:
    return st.builds(
        c.SuspendStep,
        address=st.just(address),
        attempt=st.just(attempt),
        reason=st.just("look"),
        state=st.sampled_from([None, {"page": 2}, "x" * 1100]).map(to_json),
        until=st.sampled_from([None, at + timedelta(minutes=2)]),
        at=st.just(at),
    )


def _input(address: str, at: datetime) -> st.SearchStrategy[c.Command]:
    return st.builds(
        c.ResumeStep,
        address=st.just(address),
        resume_id=st.sampled_from(["r1", "r2"]),
        input=st.integers(0, 3).map(to_json),
        actor=st.just("test"),
        at=st.just(at),
    )


def _decision(address: str, question: int, at: datetime) -> st.SearchStrategy[c.Command]:
    return st.builds(
        c.GiveApproval,
        address=st.just(address),
        question=st.sampled_from([question, question, question, 1]),
        decision=st.sampled_from(["approved", "approved", "rejected"]),
        actor=st.sampled_from(["ann", "bob", "cid", "eve"]),
        groups=st.sampled_from([(), ("g",)]),
        data=st.integers(0, 3).map(to_json),
        at=st.just(at),
    )


def _delegation(address: str, question: int, at: datetime) -> st.SearchStrategy[c.Command]:
    return st.builds(
        c.DelegateApproval,
        address=st.just(address),
        question=st.just(question),
        to=st.sampled_from(["bob", "cid", "eve"]),
        actor=st.sampled_from(["ann", "bob", "cid", "eve"]),
        groups=st.sampled_from([(), ("g",)]),
        at=st.just(at),
    )


def _fail(address: str, attempt: int, at: datetime) -> st.SearchStrategy[c.Command]:
    return st.builds(
        c.FailStep,
        address=st.just(address),
        attempt=st.just(attempt),
        error=st.builds(StepError, st.just("broken"), st.sampled_from(["error", "timeout"]), attempt=st.just(attempt)),
        retryable=st.booleans(),
        jitter=st.floats(0, 1, exclude_max=True),
        at=st.just(at),
    )
