"""What people decide about approvals and give to paused handlers: checked against what was asked, then on its way.

A decision of somebody who may not decide is recorded, and refused. Who somebody is, the caller says: whoever may call
the API is believed. Links are signed for one approver, and are worth nothing when what they are about is decided.

Comes from: daemon/api. Goes to: `engine`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from daemon.core.approving import standing
from daemon.core.commands import DelegateApproval, GiveApproval, ResumeStep
from daemon.core.errors import ExecutionFinished, NotAllowed, Rejected
from daemon.core.events import ApprovalRefused
from daemon.core.people import GROUP, Deciding, Suspended
from daemon.core.state import Finished, Running
from daemon.core.values import NULL, bounded_json, from_json
from daemon.runtime.json_schema import InputSchema

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from daemon.core.state import State
    from daemon.core.values import Json
    from daemon.runtime.clock import Clock
    from daemon.runtime.engine import Engine
    from daemon.runtime.history import History
    from daemon.runtime.mailbox import Handled

    Asked = TypeVar("Asked", Deciding, Suspended)


class People:
    """Takes decisions and inputs. Its methods raise Rejected and its kinds, and what `Engine.send` raises."""

    def __init__(
        self, engine: Engine, history: History, clock: Clock, groups: Mapping[str, frozenset[str]] | None = None
    ) -> None:
        """Take the members of each group in `groups`."""
        self._engine = engine
        self._history = history
        self._clock = clock
        self._groups = groups or {}

    def groups_of(self, actor: str) -> tuple[str, ...]:
        """Return the groups that somebody is in."""
        return tuple(name for name, members in self._groups.items() if actor in members)

    def names_of(self, actor: str) -> tuple[str, ...]:
        """Return what somebody is called among approvers: by name, and by each group."""
        return (actor, *(f"{GROUP}{name}" for name in self.groups_of(actor)))

    async def decide(
        self,
        execution_id: UUID,
        address: str,
        decision: str,
        *,
        actor: str,
        comment: str = "",
        data: object = None,
        question: int | None = None,
    ) -> Handled:
        """Approve or reject. Raises InvalidInput for data that does not match the form, NotAllowed for who may not."""
        step = _asked(await self._history.existing(execution_id), address, Deciding, "decision")
        question = step.question if question is None else question
        if data is None and decision == "approved" and step.form != NULL:
            data = {}  # nothing filled in
        given = bounded_json(data)
        if step.form != NULL and question == step.question and given != NULL:
            InputSchema(from_json(step.form)).check(data)
        command = GiveApproval(
            address=address,
            question=question,
            decision=decision,
            actor=actor,
            groups=self.groups_of(actor),
            comment=comment,
            data=given,
            at=self._clock.now(),
        )
        handled = await self._engine.send(execution_id, command)
        self._must_have_voice(handled, address, question, actor, decision)
        return handled

    async def delegate(
        self, execution_id: UUID, address: str, to: str, *, actor: str, comment: str = "", question: int | None = None
    ) -> Handled:
        """Let another decide instead. Raises NotAllowed for who may not."""
        step = _asked(await self._history.existing(execution_id), address, Deciding, "decision")
        question = step.question if question is None else question
        command = DelegateApproval(
            address=address,
            question=question,
            to=to,
            actor=actor,
            groups=self.groups_of(actor),
            comment=comment,
            at=self._clock.now(),
        )
        handled = await self._engine.send(execution_id, command)
        self._must_have_voice(handled, address, question, actor, to)
        return handled

    async def resume_step(
        self, execution_id: UUID, address: str, given: object, *, resume_id: str, actor: str
    ) -> Handled:
        """Give a step input. Raises InvalidInput when the step waits for it and it is not as expected.

        Input for a step that has not paused yet is kept, and checked when the step takes it.
        """
        state = await self._history.existing(execution_id)
        step = state.steps.get(address) if isinstance(state, Running) else None
        if isinstance(step, Suspended) and step.expects != NULL:
            InputSchema(from_json(step.expects)).check(given)
        value: Json = bounded_json(given)
        command = ResumeStep(address=address, resume_id=resume_id, input=value, actor=actor, at=self._clock.now())
        return await self._engine.send(execution_id, command)

    def _must_have_voice(self, handled: Handled, address: str, question: int, actor: str, wanted: str) -> None:
        """Raise NotAllowed for what was refused, now or when it was tried before, and Rejected for what is too late."""
        for event in handled.events:
            if isinstance(event, ApprovalRefused):
                raise NotAllowed(event.reason)
        if handled.events:
            return
        step = handled.state.steps.get(address) if isinstance(handled.state, Running) else None
        if not isinstance(step, Deciding) or step.question != question:
            raise Rejected(f"what {address} asked is decided, or asked of others now")
        if any(
            wanted in {voice.decision, voice.approver} for voice in step.voices if actor in {voice.actor, voice.via}
        ):
            return
        voice = standing(step, actor, self.groups_of(actor))
        if isinstance(voice, str):
            raise NotAllowed(voice)


def _asked(state: State, address: str, kind: type[Asked], what: str) -> Asked:
    """Return the step that waits for people. Raises Rejected when it does not."""
    if isinstance(state, Finished):
        raise ExecutionFinished(f"the execution has {state.status}; it waits for no {what}")
    steps = state.steps if isinstance(state, Running) else {}
    step = steps.get(address)
    if isinstance(step, kind):
        return step
    waiting = ", ".join(sorted(one for one, found in steps.items() if isinstance(found, kind))) or "none"
    raise Rejected(f"step {address} waits for no {what}; those that do: {waiting}")
