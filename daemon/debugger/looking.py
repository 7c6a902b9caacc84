"""What can be seen at a moment: what templates see, the step itself, and what stands around it. Pure.

Comes from: `session`, `adapter`, `prompt`. Goes to: daemon/core/scope.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from daemon.core.address import LOOKUP, NOTIFY, PAGE, UNDO, node_of, split_turn, turn_around
from daemon.core.calls import node_at
from daemon.core.evaluation import EvaluationError, ExpressionError
from daemon.core.expressions import compile_expression
from daemon.core.node import Beginning, Run
from daemon.core.scope import Scope
from daemon.core.state import Queued, Succeeded, Turn
from daemon.core.values import NULL, from_json
from daemon.runtime.views import step_view

if TYPE_CHECKING:
    from collections.abc import Callable

    from daemon.debugger.moments import Moment

MOST_SHOWN = 1_000
"""Values of one root that are shown."""


class Frame(Struct, frozen=True):
    """A place that an execution is in: a step, a turn around it, the execution, the step that has started that."""

    name: str
    node: str
    """Whose line it is; empty for none."""
    address: str
    """Of the step, or of the turn; empty for the execution itself."""


def frames(moment: Moment) -> list[Frame]:
    """Return where the execution is, innermost first."""
    found = []
    if moment.address:
        found.append(Frame(moment.address, _written(moment, moment.address), moment.address))
    turn = turn_around(moment.address)
    while turn:
        loop, index = split_turn(turn)
        found.append(Frame(f"{loop}: turn {index}", node_of(loop), turn))
        turn = turn_around(loop)
    found.append(Frame(moment.context.workflow, "", ""))
    if (parent := moment.context.parent) is not None:
        found.append(Frame(f"{parent.address} of execution {parent.execution_id}", "", ""))
    return found


def _written(moment: Moment, address: str) -> str:
    """Return the node that the step is written at: of what undoes a step the step's, of a call the function's."""
    node = node_of(address)
    for suffix in (LOOKUP, UNDO, NOTIFY, PAGE):
        node = node.removesuffix(suffix)
    return node if node in moment.plan.nodes else node_of(turn_around(address))


def context(moment: Moment, output: Callable[[str], object], turn: str | None = None) -> Mapping[str, object]:
    """Return the names that a template sees at the moment, in the step's turn unless another is named.

    `output` gives the recorded output of a step that has left the state.
    """
    released = {
        address: replace(step, output=output(address), released=False)
        for address, step in moment.context.steps.items()
        if isinstance(step, Succeeded) and step.released
    }
    state = replace(moment.context, steps=moment.context.steps.update(released))
    turn = turn_around(moment.address) if turn is None else turn
    return Scope(moment.plan, state).at(turn if isinstance(state.steps.get(turn), Turn) else "")


def evaluate(text: str, moment: Moment, output: Callable[[str], object], turn: str | None = None) -> Any:
    """Return the value of an expression, with or without `{{ }}`. Raises EvaluationError, also for no expression."""
    stripped = text.strip()
    if stripped.startswith("{{") and stripped.endswith("}}"):
        stripped = stripped[2:-2].strip()
    try:
        return compile_expression(stripped).evaluate(context(moment, output, turn))
    except EvaluationError:
        raise
    except ExpressionError as error:
        raise EvaluationError(error.message, error.source, error.offset, error.hint) from error


def seen(moment: Moment, output: Callable[[str], object], turn: str | None = None) -> dict[str, Any]:
    """Return all that a template sees, by root; of the steps only those that have settled."""
    names = context(moment, output, turn)
    return {name: _plain(names[name]) for name in names if name in _SHOWN}


_SHOWN = ("input", "vars", "steps", "loop", "parallel", "trigger", "execution", "env")


def _plain(value: object) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(value[key]) for key in list(value)[:MOST_SHOWN]}
    return value


def step_at(moment: Moment) -> dict[str, Any]:
    """Return the step of the moment: its status, attempt, input, output or error; for the execution nothing."""
    steps = moment.context.steps
    if moment.address not in steps:
        return {}
    shown: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(step_view(moment.address, steps[moment.address])))
    return {name: value for name, value in shown.items() if value is not None}


def to_be_sent(moment: Moment, output: Callable[[str], object]) -> Run | None:
    """Return what the handler is to be sent of a step that is held before it begins; None where that is not known."""
    state, step = moment.context, moment.context.steps.get(moment.address)
    if not isinstance(step, Queued) or moment.state is not state:
        return None
    node = node_at(moment.plan, state, moment.address)
    if node.type.execute is None:
        return None
    by_hand = state.breaking is not None and moment.address in state.breaking.edited
    if by_hand or step.attempt > 1 or step.input != NULL:
        return Run(from_json(step.input), step.secrets)
    try:
        asked = node.type.begin(node.config, Beginning(context(moment, output), (), moment.at))
    except EvaluationError:
        return None
    return asked if isinstance(asked, Run) else None


def said(moment: Moment) -> str:
    """Return the moment in a few words."""
    step = moment.context.steps.get(moment.address)
    attempt = getattr(step, "attempt", 1)
    which = f" (attempt {attempt})" if isinstance(attempt, int) and attempt > 1 and moment.what == "begins" else ""
    error = f": {moment.error.message} ({moment.error.code})" if moment.error is not None else ""
    return f"{moment.address or moment.context.workflow} {moment.what}{which}{error}"
