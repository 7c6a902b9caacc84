"""What expressions can see of an execution, decoded only when asked for.

Roots: `input`, `steps` and each node by its id, `vars`, `env`, `trigger`, `execution`. A step reads as its output; one
that has failed reads as `{"error": {...}}`; one that was skipped or not reached is missing. In a body there are `loop`
or `parallel` too, for the turn, which the id of the node that has the body names as well; a node's id is then its step
in the same turn, or in a turn around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from daemon.core.address import node_of, split_turn, within
from daemon.core.state import Failed, Finished, NotStarted, Running, State, Step, Succeeded
from daemon.core.values import from_json

if TYPE_CHECKING:
    from daemon.core.events import StepError
    from daemon.core.plan import Plan

ROOTS = ("input", "steps", "vars", "env", "trigger", "execution")
"""Names that no node may have."""


class Scope(Mapping[str, object]):
    """Names for the evaluations of one decision, in the outermost scope.

    `state` is replaced as the decision goes on. Values are decoded once and kept: what a settled step gave, and what
    the execution began with, does not change.
    """

    def __init__(self, plan: Plan, state: State) -> None:
        self.state = state
        self._plan = plan
        self._kept: dict[str, object] = {}

    def at(self, turn: str) -> Mapping[str, object]:
        """Return the names as they are in a turn; for an empty address, in the outermost scope."""
        return TurnScope(self, self._plan, turn) if turn else self

    def __getitem__(self, name: str) -> object:
        if name == "steps":
            return self._outputs
        if name == "vars":
            return Variables(self.started, self._plan)
        if name not in self._kept:
            self._kept[name] = self._make(name)
        return self._kept[name]

    def forget(self, name: str) -> None:
        """Forget what was kept of a root that has changed."""
        self._kept.pop(name, None)

    def output(self, address: str) -> object:
        """Return what the step at this address reads as; raise KeyError when it has nothing to read."""
        if address not in self._kept:
            self._kept[address] = output_of(self.started.steps[address])
        return self._kept[address]

    @property
    def running(self) -> Running:
        """The state, which has not ended: only then are there turns."""
        if not isinstance(self.state, Running):
            raise TypeError("there are turns in running executions only")
        return self.state

    @property
    def started(self) -> Running | Finished:
        """The state, which has begun."""
        if isinstance(self.state, NotStarted):
            raise TypeError("expressions are evaluated for executions that have begun")
        return self.state

    def _make(self, name: str) -> object:
        state = self.started
        match name:
            case "input":
                return from_json(state.input)
            case "env":
                return self._plan.env
            case "trigger":
                return from_json(state.trigger)
            case "execution":
                return {
                    "id": str(state.execution_id),
                    "workflow": state.workflow,
                    "started_at": state.started_at.isoformat(),
                }
            case _:
                return output_of(state.steps[name])

    @property
    def _outputs(self) -> Outputs:
        return Outputs(self.output, self._visible)

    def _visible(self) -> Iterator[str]:
        return (node.id for node in self._plan.nodes.values() if not node.scope and self.settled(node.id))

    def settled(self, address: str) -> bool:
        """Tell whether the step at this address has something to read, were it not released."""
        return isinstance(self.running.steps.get(address), Succeeded | Failed)

    def __iter__(self) -> Iterator[str]:
        yield from ROOTS
        yield from self._outputs

    def __len__(self) -> int:
        return len(ROOTS) + len(self._outputs)


class TurnScope(Mapping[str, object]):
    """Names in one turn: those around it, and its own."""

    def __init__(self, outer: Scope, plan: Plan, turn: str) -> None:
        self._outer = outer
        self._plan = plan
        self._turns: dict[str, str] = {}
        """Id of each node whose body this is in -> the address of the turn, outermost first."""
        begin = 0
        while begin >= 0:
            begin = turn.find(".", begin + 1)
            around = turn if begin < 0 else turn[:begin]
            self._turns[node_of(around)] = around

    def __getitem__(self, name: str) -> object:
        if name in ROOTS:
            return self._outputs if name == "steps" else self._outer[name]
        if name in ("loop", "parallel"):
            around = (turn for node_id, turn in self._innermost if self._kind(node_id) == name)
            if (innermost := next(around, None)) is None:
                raise KeyError(name)
            return self._turn_values(innermost)
        if name in self._turns:
            return self._turn_values(self._turns[name])
        return self._output(name)

    @property
    def _innermost(self) -> Iterator[tuple[str, str]]:
        return reversed(self._turns.items())

    def _kind(self, node_id: str) -> str:
        turns = self._plan.nodes[node_id].turns
        return turns.name if turns is not None else ""

    def _output(self, node_id: str) -> object:
        return self._outer.output(self._address(node_id))

    def _address(self, node_id: str) -> str:
        scope = self._plan.nodes[node_id].scope
        return within(self._turns[scope], node_id) if scope else node_id

    @property
    def _outputs(self) -> Outputs:
        return Outputs(self._output, self._visible)

    def _visible(self) -> Iterator[str]:
        here = (node.id for node in self._plan.nodes.values() if not node.scope or node.scope in self._turns)
        return (node_id for node_id in here if self._outer.settled(self._address(node_id)))

    def _turn_values(self, turn: str) -> dict[str, object]:
        address, index = split_turn(turn)
        repeating = self._outer.running.repeating(address)
        item = repeating.first + index * repeating.step
        item = from_json(repeating.items[index - repeating.offset]) if repeating.items is not None else item
        if self._kind(node_of(turn)) == "parallel":
            return {"index": index, "currentItem": item, "total": repeating.total}
        previous = from_json(repeating.last)
        return {
            "index": index,
            "iteration": index + 1,
            "item": item,
            "total": repeating.total,
            "previous": previous,
        }

    def __iter__(self) -> Iterator[str]:
        yield from ROOTS
        yield from dict.fromkeys(map(self._kind, self._turns))
        yield from self._turns
        yield from self._outputs

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Outputs(Mapping[str, object]):
    """The outputs of the settled steps that can be seen, by the ids of their nodes."""

    def __init__(self, read: Callable[[str], object], visible: Callable[[], Iterable[str]]) -> None:
        """`read` gives the output of a node's step, or raises KeyError; `visible` the ids of those that have one."""
        self._read = read
        self._visible = visible

    def __getitem__(self, node_id: str) -> object:
        return self._read(node_id)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._visible()))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Extended(Mapping[str, object]):
    """A scope with more names, or other values for some."""

    def __init__(self, scope: Mapping[str, object], more: Mapping[str, object]) -> None:
        self._scope = scope
        self._more = more

    def __getitem__(self, name: str) -> object:
        return self._more[name] if name in self._more else self._scope[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._scope, *self._more]))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Variables(Mapping[str, object]):
    """The execution's variables as they are now: what was set, else what the definition says."""

    def __init__(self, state: Running | Finished, plan: Plan) -> None:
        self._set = state.variables
        self._declared = plan.definition.variables

    def __getitem__(self, name: str) -> object:
        return from_json(self._set[name]) if name in self._set else self._declared[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._set, *self._declared}))

    def __len__(self) -> int:
        return len({*self._set, *self._declared})


def output_of(step: Step) -> object:
    """Return what expressions read of a settled step; raise KeyError for one that has nothing to read."""
    match step:
        case Succeeded(released=True):
            raise TypeError("an output that was released is read")
        case Succeeded(output=output):
            return from_json(output)
        case Failed(port="out", output=output):
            return from_json(output)
        case Failed(error=error):
            return {"error": error_value(error)}
        case _:
            raise KeyError("the step has no output")


def error_value(error: StepError) -> dict[str, Any]:
    """Return what an `error` edge hands on."""
    return {
        "message": error.message,
        "code": error.code,
        "type": error.type,
        "attempt": error.attempt,
        "details": from_json(error.details),
    }
