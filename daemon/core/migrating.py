"""Migration: an execution that is under way goes on under another definition of its workflow.

What was done stays done, under the ids that its nodes have now. What is open stays what it is: its node must be there
under its own id, and of its type. What the other definition has more begins as if it had always been there: a node that
comes after steps that have settled begins now, or is skipped.

Comes from: `decide`. Goes to: `walk`, `draft`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core import events as e
from daemon.core.address import NOTIFY, PAGE, UNDO, is_call, node_of, renamed, turn_around, within
from daemon.core.calls import node_at
from daemon.core.draft import EXECUTION_TIMER
from daemon.core.errors import Rejected
from daemon.core.problems import did_you_mean
from daemon.core.state import Settled, Succeeded, Turn
from daemon.core.state_limits import COLLECTING
from daemon.core.walk import begin, reach

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.core.commands import MigrateExecution
    from daemon.core.draft import Draft
    from daemon.core.plan import Plan, PlannedNode
    from daemon.core.state import Running

_MADE = (UNDO, NOTIFY, PAGE)
"""What the addresses of steps end with that are no nodes of their own."""


def migrate(draft: Draft, command: MigrateExecution) -> None:
    """Go on under the plan. Raises `Rejected`, naming the step, when what is there does not fit it."""
    running, plan = draft.running, draft.plan
    if running.definition == plan.hash:
        return
    _check_time(running)
    _check_names(running, plan, command)
    for address in sorted(running.steps):
        if isinstance(running.steps[address], Turn) or is_call(address) or address.endswith(_MADE):
            continue
        _check_step(running, plan, address, command)
    _check_undo(running, plan, command.names)
    draft.emit(
        e.ExecutionMigrated(
            definition=plan.hash,
            names=command.names,
            reason=command.reason,
            actor=command.actor,
            at=draft.at,
        )
    )
    _set_limit(draft)
    catch_up(draft)


def catch_up(draft: Draft) -> None:
    """Begin or skip what the plan has after steps that have settled, and that their walk has not come to."""
    turns = sorted(address for address, step in draft.running.steps.items() if isinstance(step, Turn))
    for turn in ("", *turns):
        scope = node_of(turn)
        for node in [node for node in draft.plan.nodes.values() if node.scope == scope and not node.id.endswith(_MADE)]:
            if not draft.over(turn):
                _catch_up_with(draft, turn, node)


def _catch_up_with(draft: Draft, turn: str, node: PlannedNode) -> None:
    if not node.incoming and within(turn, node.id) not in draft.running.steps:
        begin(draft, within(turn, node.id))
    for edge in node.incoming:
        reach(draft, turn, edge)


def _check_time(running: Running) -> None:
    if running.rewinding is not None:
        raise Rejected("the execution is being rewound: migrate it when it goes on")
    if running.undoing is not None or running.groups or running.asking:
        raise Rejected("the execution is being undone: it ends under the definition that it has")
    later = any(timer.purpose == "start" for timer in running.timers.values())
    if later or COLLECTING in running.holding or "" in running.limited:
        raise Rejected("the execution has not begun: migrate it when it has")


def _check_names(running: Running, plan: Plan, command: MigrateExecution) -> None:
    for old, new in sorted(command.names.items()):
        if new not in plan.nodes:
            raise Rejected(f"the definition has no node {new!r}; {did_you_mean(new, plan.nodes)}")
        if command.types and old not in command.types:
            raise Rejected(f"the execution's definition has no node {old!r}; {did_you_mean(old, command.types)}")
    if len(set(command.names.values())) < len(command.names):
        raise Rejected("two nodes are given the same new id")
    clash = {renamed(address, command.names) for address in running.steps}
    if len(clash) < len(running.steps):
        raise Rejected("a node is given the id of another that has begun")


def _check_step(running: Running, plan: Plan, address: str, command: MigrateExecution) -> None:
    old, step = node_of(address), running.steps[address]
    now = renamed(address, command.names)
    node = plan.nodes.get(node_of(now))
    if node is None:
        hint = f"say what it is called now: {old}=NEW"
        raise Rejected(f"the definition has no node {old!r}, which has begun (step {address}); {hint}")
    if node.scope != (node_of(turn_around(now)) if turn_around(now) else ""):
        raise Rejected(f"node {node.id!r} stands in another body than step {address} did")
    if isinstance(step, Settled):
        if isinstance(step, Succeeded) and step.released and not _is_read_no_more(running, plan, now, command.names):
            raise Rejected(f"the definition reads the output of step {address}, which was let go of since it was large")
        return
    if now != address:
        raise Rejected(f"step {address} is open: it keeps its id until it has ended")
    was = command.types.get(old)
    if was is not None and was != node.type.name:
        raise Rejected(f"step {address} is open, and a `{was}`: it cannot become a `{node.type.name}`")


def _is_read_no_more(running: Running, plan: Plan, address: str, names: Mapping[str, str]) -> bool:
    """Tell whether all that reads the output has settled."""
    readers = plan.nodes[node_of(address)].readers
    if readers is None:
        return False
    settled = {renamed(each, names) for each, step in running.steps.items() if isinstance(step, Settled)}
    return all(within(turn_around(address), reader) in settled for reader in readers)


def _check_undo(running: Running, plan: Plan, names: Mapping[str, str]) -> None:
    for owed in running.owed.values():
        now = renamed(owed.address, names)
        if owed.unknown and now != owed.address:
            raise Rejected(f"it is not known whether step {owed.address} took effect: it keeps its id until it is")
        if owed.child is None and not is_call(now) and node_at(plan, running, now).compensation is None:
            raise Rejected(f"step {owed.address} is to be undone if the execution fails: node {node_of(now)!r} has no"
                           " `compensate` for that")  # fmt: skip


def _set_limit(draft: Draft) -> None:
    """Have the time limit that the definition gives, from the start on; that of one that was rewound stays."""
    limit, timer = draft.plan.definition.timeout, draft.running.timers.get(EXECUTION_TIMER)
    due = None if limit is None else draft.running.started_at + limit
    if due is not None and timer is not None and draft.running.rewinds:
        return
    if timer is not None and due != timer.due:
        draft.emit(e.TimerCancelled(timer_id=EXECUTION_TIMER, at=draft.at))
    if due is not None and (timer is None or timer.due != due):
        draft.emit(e.TimerSet(timer_id=EXECUTION_TIMER, address="", purpose="execution", due=due, at=draft.at))
