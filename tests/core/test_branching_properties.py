"""Forks and rewinds of generated executions, from the end of any of their decisions."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from daemon.core import commands as c
from daemon.core import events as e
from daemon.core.address import node_of
from daemon.core.decide import Decision, decision
from daemon.core.effects import GoBack, owed
from daemon.core.errors import Rejected
from daemon.core.evolve import fold
from daemon.core.renaming import renamed_state, renamed_struct
from daemon.core.snapshot import decode_state, encode_state
from daemon.core.state import INITIAL, Finished, Running, State
from daemon.core.state import Turn as Turned
from daemon.core.values import to_json
from tests.core.driving import drive
from tests.core.generator.dice import Dice
from tests.core.generator.executions import case
from tests.core.histories import History, Turn
from tests.core.laws import STATE_LAWS
from tests.core.spec import EXECUTION, FORK, minute

LATER = minute(9_000)
CASES = 200
IN_A_TEST = 25


def drawn(number: int) -> tuple[Dice, History, Turn] | None:
    """Return the case of this number, and a decision after which its execution was under way."""
    dice, history = Dice("branches", number), case(number).history
    turns = [turn for turn in history.turns if turn.events and isinstance(turn.after, Running)] if history else []
    return (dice, history, dice.pick(turns)) if history is not None and turns else None


def hold(history: History, before: State, command: c.Command, decided: Decision) -> None:
    """Hold the state that a decision leads to to the laws of states."""
    one = History(history.plan, (Turn(before, command, decided.events, decided.state),))
    for law in STATE_LAWS:
        law(one)
    assert decode_state(encode_state(decided.state)) == decided.state


def fork(number: int) -> bool:
    """Fork the execution; False when it cannot be forked there."""
    if (found := drawn(number)) is None:
        return False
    _, history, turn = found
    command = c.ForkExecution(
        execution_id=FORK, source=EXECUTION, at_version=turn.after.version, base=turn.after, actor="test", at=LATER
    )
    try:
        decided = decision(history.plan, INITIAL, command)
    except Rejected:
        return False
    assert fold(decided.events, turn.after) == decided.state
    hold(history, INITIAL, command, decided)
    assert isinstance(drive(history.plan, decided.state), Finished)
    return True


def edited_fork(number: int) -> bool:
    """Fork with the result of a step by hand, and decide again what was decided next; False when it is refused."""
    if (found := drawn(number)) is None:
        return False
    dice, history, turn = found
    assert isinstance(turn.after, Running)
    steps = {address: step for address, step in turn.after.steps.items() if not isinstance(step, Turned)}
    if not steps:
        return False
    address = dice.pick(sorted(steps))
    node = history.plan.nodes.get(node_of(address))
    ports = ("out",) if node is None else tuple(port for port in node.ports if port != "error")
    port = getattr(steps[address], "port", "") or dice.pick(ports)
    later = [each.command for each in history.turns if each.before == turn.after and each.events]
    command = c.ForkExecution(
        execution_id=FORK,
        source=EXECUTION,
        at_version=turn.after.version,
        base=turn.after,
        edits=e.Edits(steps={address: e.StepEdit(to_json(1), port)}),
        again=replace(later[0], at=LATER) if later else None,
        actor="test",
        at=LATER,
    )
    try:
        decided = decision(history.plan, INITIAL, command)
    except Rejected:
        return False
    assert fold(decided.events, turn.after) == decided.state
    hold(history, INITIAL, command, decided)
    return True


def rewind(number: int) -> bool:
    """Rewind the execution from its newest state; False when it cannot be."""
    if (found := drawn(number)) is None:
        return False
    dice, history, turn = found
    last = dice.pick([each for each in history.turns if each.after.version >= turn.after.version])
    log, version, state = list(history.events[: last.after.version]), turn.after.version, last.after
    mode = dice.pick(("automatic", "none", "manual", "confirm_each"))
    command = c.RewindExecution(
        to_version=version,
        base=turn.after,
        between=tuple(log[version:]),
        mode=mode,
        down_to=version,
        actor="test",
        at=LATER,
    )
    try:
        decided = decision(history.plan, state, command)
    except Rejected:
        return False
    hold(history, state, command, decided)
    log += decided.events
    state = drive(history.plan, decided.state, log=log)
    assert isinstance(state, Running)
    assert owed(state) == (GoBack(version, again=False),)
    finish = c.FinishRewind(to_version=version, base=turn.after, between=tuple(log[version:]), at=minute(15_000))
    decided = decision(history.plan, state, finish)
    hold(history, state, finish, decided)
    log += decided.events
    assert fold(log) == decided.state
    assert isinstance(drive(history.plan, decided.state, since=6_000), Finished)
    return True


def migrate(number: int) -> bool:
    """Migrate the execution to the same under another hash; False when it cannot be at this place."""
    if (found := drawn(number)) is None:
        return False
    _, history, turn = found
    other = replace(history.plan, definition=replace(history.plan.definition, hash="f" * 64))
    types = {node_id: node.type.name for node_id, node in history.plan.nodes.items()}
    command = c.MigrateExecution(types=types, actor="test", at=LATER)
    try:
        decided = decision(other, turn.after, command)
    except Rejected:
        return False
    assert decided.events == (e.ExecutionMigrated(definition=other.hash, actor="test", at=LATER),)
    hold(History(other, ()), turn.after, command, decided)
    assert isinstance(drive(other, decided.state), Finished)
    return True


def rename(number: int) -> bool:
    """Fold an execution's events with other ids for all nodes; False when there is none."""
    history = case(number).history
    if history is None or not history.events:
        return False
    names = {node_id: f"{node_id}_now" for node_id in history.plan.nodes if node_id.isidentifier()}
    events = [renamed_struct(event, names) for event in history.events]
    assert fold(events) == renamed_state(fold(history.events), names)
    return True


@pytest.mark.parametrize("first", range(0, CASES, IN_A_TEST))
def test_a_migration_to_the_same_changes_nothing_else(first: int) -> None:
    """Whatever is to follow what has settled has begun already, at the end of each decision."""
    assert sum(map(migrate, range(first, first + IN_A_TEST))) > IN_A_TEST / 4


@pytest.mark.parametrize("first", range(0, CASES, IN_A_TEST))
def test_other_names_of_nodes_are_other_names_in_the_state(first: int) -> None:
    """Of the events, and of the state that they lead to: nothing keeps the old ones."""
    assert sum(map(rename, range(first, first + IN_A_TEST))) > IN_A_TEST / 2


@pytest.mark.parametrize("first", range(0, CASES, IN_A_TEST))
def test_a_fork_goes_on_to_an_end(first: int) -> None:
    """Its fold begins with the state of its source; and its source is not asked again."""
    assert sum(map(fork, range(first, first + IN_A_TEST))) > IN_A_TEST / 3


@pytest.mark.parametrize("first", range(0, CASES, IN_A_TEST))
def test_a_fork_with_another_result_is_decided_or_refused(first: int) -> None:
    """Whatever the step is, and whatever was decided next in its source."""
    assert sum(map(edited_fork, range(first, first + IN_A_TEST))) > IN_A_TEST / 6


@pytest.mark.parametrize("first", range(0, CASES, IN_A_TEST))
def test_a_rewind_goes_on_to_an_end(first: int) -> None:
    """What was done since is undone first; and the fold of the whole log is the state at its end."""
    assert sum(map(rewind, range(first, first + IN_A_TEST))) > IN_A_TEST / 4
