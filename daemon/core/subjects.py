"""Subjects: whose data an execution holds, as its workflow says. Without that subject's key nobody can read it.

Comes from: `decide`. Goes to: the event `ExecutionStarted`; daemon/runtime/engine, which has the values sealed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core.errors import InvalidInput, Rejected
from daemon.core.expressions import EvaluationError
from daemon.core.scope import Scope
from daemon.core.values import to_json

if TYPE_CHECKING:
    from daemon.core.plan import Plan
    from daemon.core.state import State
    from daemon.core.templates import Template

LONGEST_SUBJECT = 500
GONE = "$forgotten:"
"""How a subject reads that was forgotten, and every other text of its executions."""


class SubjectForgotten(Rejected):
    """The execution's values cannot be read any more, so nothing can go on from them."""

    def __init__(self) -> None:
        super().__init__("the subject of the execution was forgotten: nothing can go on from values that are gone")


class UnknownSubject(Rejected):
    """No execution holds data of this subject, as far as can be told."""

    def __init__(self) -> None:
        super().__init__("no execution holds data of this subject: it has no key in the store")


def subject_of(template: Template, plan: Plan, state: State) -> str:
    """Return whose data the execution holds that begins with this state, as the workflow's template says.

    Raises InvalidInput when the workflow's expression gives no subject.
    """
    try:
        value = template.render(Scope(plan, state)).value
    except EvaluationError as error:
        raise InvalidInput(f"the subject cannot be read: {error}") from error
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_SUBJECT or value.startswith(GONE):
        shown = bytes(to_json(value))[:80].decode(errors="replace")
        raise InvalidInput(
            f"the subject must be a text of 1 to {LONGEST_SUBJECT} characters, or a number, and is {shown}"
        )
    return value


def is_forgotten(state: State) -> bool:
    """Tell whether the subject of the execution was forgotten."""
    return state.subject.startswith(GONE)


def check_there(state: State) -> None:
    """Raise SubjectForgotten for an execution whose subject was."""
    if is_forgotten(state):
        raise SubjectForgotten
