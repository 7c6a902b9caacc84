"""What people were asked in one execution, and what they have said: told once more, from the events alone.

Comes from: `histories`. Goes to: `violations`.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from daemon.core import events as e
from daemon.core.values import from_json

if TYPE_CHECKING:
    from collections.abc import Iterator


class Question:
    """One approval that is open."""

    __slots__ = ("actors", "escalated", "need", "voices")

    def __init__(self, approvers: tuple[str, ...], need: int, *, escalated: bool = False) -> None:
        self.voices: dict[str, str] = dict.fromkeys(approvers, "")
        """Approver -> what was decided; empty while it is open."""
        self.actors: set[str] = set()
        self.need = need
        self.escalated = escalated

    def verdict(self) -> str:
        """Return what the voices say together; empty while they may say either."""
        said = list(self.voices.values())
        if said.count("approved") >= self.need:
            return "approved"
        return "rejected" if len(said) - said.count("rejected") < self.need else ""


class Asking:
    """The approvals of one execution, and the inputs for its handlers that have paused."""

    __slots__ = ("_inputs", "_known", "_questions")

    def __init__(self) -> None:
        self._questions: dict[str, Question] = {}
        self._inputs: defaultdict[str, list[str]] = defaultdict(list)
        """Address -> ids of the inputs that no attempt has taken."""
        self._known: set[tuple[str, str]] = set()

    def take(self, event: e.Event) -> Iterator[tuple[str, str]]:
        """Check one event."""
        match event:
            case e.ApprovalRequested():
                if event.address in self._questions:
                    yield "approvals", f"{event.address} is asked already"
                self._questions[event.address] = Question(event.approvers, event.need)
            case (
                e.ApprovalGiven()
                | e.ApprovalDelegated()
                | e.ApprovalRefused()
                | e.ApprovalReminded()
                | e.ApprovalEscalated()
            ):
                question = self._questions.get(event.address)
                if question is None:
                    yield "approvals", f"{event.NAME} of {event.address}, which nobody is asked"
                else:
                    yield from self._about(question, event)
            case e.StepSucceeded() if (question := self._questions.pop(event.address, None)) is not None:
                said = from_json(event.output)
                if said["reason"] == "decided" and question.verdict() != event.port:
                    yield "approvals", f"{event.address} is {event.port}, and its voices do not say so"
            case e.StepFailed():
                self._questions.pop(event.address, None)
            case e.ResumeReceived():
                if (event.address, event.resume_id) in self._known:
                    yield "inputs", f"input {event.resume_id} for {event.address} a second time"
                self._known.add((event.address, event.resume_id))
                self._inputs[event.address].append(event.resume_id)
            case e.StepResumed():
                waiting = self._inputs[event.address]
                if event.resume_id not in waiting:
                    yield "inputs", f"{event.address} takes input {event.resume_id}, which is not there"
                    return
                if waiting[0] != event.resume_id:
                    yield "inputs", f"{event.address} takes input {event.resume_id}; {waiting[0]} came before it"
                waiting.remove(event.resume_id)
            case _:
                pass

    def _about(self, question: Question, event: e.Event) -> Iterator[tuple[str, str]]:
        if question.verdict():
            yield "approvals", f"{event.NAME} after it was decided"
        match event:
            case e.ApprovalGiven():
                if question.voices.get(event.approver) != "" or event.actor in question.actors:
                    yield "approvals", f"{event.actor} decides for {event.approver}, who has no open voice"
                question.voices[event.approver] = event.decision
                question.actors.add(event.actor)
            case e.ApprovalDelegated():
                if question.voices.pop(event.approver, None) != "" or event.to in question.voices:
                    yield "approvals", f"{event.approver} hands a voice on to {event.to} that is not open"
                question.voices[event.to] = ""
            case e.ApprovalEscalated():
                if question.escalated:
                    yield "approvals", f"{event.address} is escalated a second time"
                self._questions[event.address] = Question(event.approvers, event.need, escalated=True)
            case _:
                pass
