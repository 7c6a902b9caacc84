"""What must hold of what people say: approvals, inputs of handlers that have paused, updates and queries.

Comes from: `laws`, where they stand beside the others.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import Struct

from daemon.core import events as e
from daemon.core.commands import DelegateApproval, GiveApproval, HandleUpdate
from daemon.core.errors import InvalidInput
from daemon.core.people import GROUP, Deciding, Suspended
from daemon.core.state import Finished, Running
from daemon.core.updates import answer_query
from daemon.core.values import from_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.core.histories import History, Turn


def those_who_wait_for_people_are_known(history: History) -> None:
    """Hold that the state has their questions; and that no input is kept from one that has paused for it."""
    for turn in history.turns:
        if isinstance(turn.after, Running):
            steps = turn.after.steps.items()
            asking = {address: step.question for address, step in steps if isinstance(step, Deciding | Suspended)}
            assert dict(turn.after.people) == asking
            for address, waiting in turn.after.resumes.items():
                assert waiting
                assert not isinstance(turn.after.steps.get(address), Suspended)


def those_decide_who_may(history: History) -> None:
    """Hold that a decision is of somebody with an open voice, by name or in a group; and that only others are refused.

    Nobody decides twice. What was said about an earlier question has no effect.
    """
    for turn in history.turns:
        for event in turn.events:
            if isinstance(event, e.ApprovalGiven | e.ApprovalDelegated | e.ApprovalRefused):
                may = _open_to(turn, event.address)
                if isinstance(event, e.ApprovalRefused):
                    assert not may
                else:
                    assert event.approver in may


def _open_to(turn: Turn, address: str) -> set[str]:
    """Return the voices that whoever has sent the command may use."""
    command = turn.command
    assert isinstance(command, GiveApproval | DelegateApproval)
    assert isinstance(turn.before, Running)
    step = turn.before.steps[address]
    assert isinstance(step, Deciding)
    assert (address, step.question) == (command.address, command.question)
    names = {command.actor, *(GROUP + group for group in command.groups)}
    decided = any(voice.actor == command.actor for voice in step.voices)
    return set() if decided else {voice.approver for voice in step.voices if not voice.decision} & names


def an_update_is_one_decision(history: History) -> None:
    """Hold that it sets its variables, gives its result and stands for its signal in one append, or does nothing."""
    for turn in history.turns:
        command, events = turn.command, turn.events
        if isinstance(command, HandleUpdate) and events:
            how = history.plan.updates[command.name]
            assert [one.name for one in events if isinstance(one, e.VariableSet) and not one.address] == [
                name for name, _ in how.variables
            ]
            [handled] = [one for one in events if isinstance(one, e.UpdateHandled)]
            assert (handled.update_id, handled.data) == (command.update_id, command.data)
            signals = [one.name for one in events if isinstance(one, e.SignalReceived)]
            assert signals == ([] if how.signal is None else [how.signal])


def a_query_is_answered_at_any_time(history: History) -> None:
    """Hold that there is an answer, or a reason why not, which the asker can understand; after the end too."""
    for turn in history.turns[::5]:
        if isinstance(turn.after, Running | Finished):
            for name in history.plan.queries:
                try:
                    answer_query(history.plan, turn.after, name, 1)
                except InvalidInput as error:
                    assert name in str(error)  # noqa: PT017  that it is answered is as well


class Poll(Struct):
    """One approval under way, counted anew."""

    need: int
    open: list[str]
    due: datetime | None
    on_timeout: str
    names: set[str]
    """All who have, or had, a voice."""
    actors: set[str]
    approved: int = 0
    said: int = 0
    """Decisions, those before an escalation too."""

    @property
    def verdict(self) -> str:
        """What the decisions come to; empty while they come to nothing."""
        if self.approved >= self.need:
            return "approved"
        return "rejected" if self.approved + len(self.open) < self.need else ""


def an_approval_is_decided_once(log: Sequence[e.Event]) -> None:
    """Hold that no voice is counted twice, and that it ends when the voices decide it, or as said for its time limit.

    What its step gives is what was decided, every decision once.
    """
    polls: dict[str, Poll] = {}
    for event in log:
        match event:
            case e.ApprovalRequested(address=address):
                assert address not in polls
                polls[address] = _poll(event)
                assert not polls[address].verdict
            case e.ApprovalEscalated(address=address):
                before = _undecided(polls, address)
                assert before.on_timeout == "escalate"
                assert before.due is not None
                assert before.due <= event.at
                polls[address] = _poll(event, before.said)
            case e.ApprovalGiven(address=address):
                poll = _undecided(polls, address)
                assert event.actor not in poll.actors
                assert event.approver == event.actor or event.approver.startswith(GROUP)
                poll.actors.add(event.actor)
                poll.open.remove(event.approver)
                poll.said += 1
                poll.approved += event.decision == "approved"
            case e.ApprovalDelegated(address=address):
                poll = _undecided(polls, address)
                assert event.to not in poll.names
                poll.open[poll.open.index(event.approver)] = event.to
                poll.names = {*poll.names - {event.approver}, event.to}
            case e.ApprovalRefused(address=address) | e.ApprovalReminded(address=address):
                _undecided(polls, address)
            case e.StepSucceeded(address=address) if address in polls:
                _check_end(event, polls.pop(address))
            case e.StepFailed(address=address):
                polls.pop(address, None)
            case _:
                pass


def _poll(event: e.ApprovalRequested | e.ApprovalEscalated, said: int = 0) -> Poll:
    asked = list(event.approvers)
    return Poll(event.need, asked, event.due, event.on_timeout, set(asked), set(), said=said)


def _undecided(polls: dict[str, Poll], address: str) -> Poll:
    assert not polls[address].verdict
    return polls[address]


def _check_end(event: e.StepSucceeded, poll: Poll) -> None:
    output = from_json(event.output)
    assert output["decision"] == event.port
    assert len(output["decisions"]) == poll.said
    if output["reason"] == "timeout":
        assert not poll.verdict
        assert poll.due is not None
        assert poll.due <= event.at
        assert event.port == {"approve": "approved", "reject": "rejected"}[poll.on_timeout]
    else:
        assert event.port == poll.verdict


def inputs_are_taken_in_the_order_in_which_they_came(log: Sequence[e.Event]) -> None:
    """Hold that each is taken once, by a step that has paused; and that this one does not go on without."""
    waiting: dict[str, list[str]] = {}
    seen: set[tuple[str, str]] = set()
    paused: set[str] = set()
    for event in log:
        match event:
            case e.ResumeReceived(address=address, resume_id=resume_id):
                assert (address, resume_id) not in seen
                seen.add((address, resume_id))
                waiting.setdefault(address, []).append(resume_id)
            case e.StepSuspended(address=address):
                paused.add(address)
            case e.StepResumed(address=address, resume_id=resume_id):
                paused.remove(address)
                assert waiting[address].pop(0) == resume_id
            case e.StepFailed(address=address):
                paused.discard(address)
            case e.StepStarted(address=address) | e.StepQueued(address=address) | e.SlotsAsked(address=address):
                assert address not in paused
            case _:
                pass


def what_is_sent_counts_once(log: Sequence[e.Event]) -> None:
    """Hold that no signal and no update is recorded twice."""
    ids = [event.signal_id for event in log if isinstance(event, e.SignalReceived)]
    ids += [event.update_id for event in log if isinstance(event, e.UpdateHandled)]
    assert len(ids) == len(set(ids))


def nothing_begins_while_it_is_paused(log: Sequence[e.Event]) -> None:
    """Hold that no handler does, and that nobody is reminded; with its end it is not paused any more."""
    paused = False
    for event in log:
        match event:
            case e.ExecutionPaused():
                paused = True
            case e.ExecutionResumed() | e.ExecutionCompleted():
                paused = False
            case e.StepStarted() | e.ApprovalReminded():
                assert not paused
            case _:
                pass


PEOPLE_LAWS = (
    those_who_wait_for_people_are_known,
    those_decide_who_may,
    an_update_is_one_decision,
    a_query_is_answered_at_any_time,
)
PEOPLE_LOG_LAWS = (
    an_approval_is_decided_once,
    inputs_are_taken_in_the_order_in_which_they_came,
    what_is_sent_counts_once,
    nothing_begins_while_it_is_paused,
)
