"""Which executions were in a certain state at a time, and with which values.

The index says which executions there were; each one's state is folded as it was then. One that had ended by then is
only folded where more is asked than its row tells.

Comes from: daemon/api, daemon/cli. Goes to: eventstore/index, `history`, `plans`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from daemon.core.address import node_of
from daemon.core.calls import node_at
from daemon.core.errors import ExecutionNotFound, InvalidInput
from daemon.core.expressions import EvaluationError, ExpressionError, compile_expression
from daemon.core.problems import did_you_mean
from daemon.core.scope import Variables
from daemon.core.state import NotStarted, Repeating, Running, Settled, Turn, cause
from daemon.core.values import from_json
from daemon.runtime.plans import MissingDefinition
from daemon.runtime.projection import status_of
from daemon.runtime.views import plain, state_view, step_view
from eventstore.errors import Undecodable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daemon.core.expressions import Expression
    from daemon.core.plan import Plan
    from daemon.core.state import State, Step
    from daemon.runtime.history import History
    from daemon.runtime.ports import Pinned
    from daemon.runtime.views import View
    from eventstore.index import ExecutionFilter, ExecutionRow, Index

AT_ONCE = 50
"""So many executions are read side by side."""
_OF_ROW = ("id", "workflow", "status", "cause", "trigger", "key", "definition", "started_at", "finished_at", "waiting")
_OF_STATE = ("version", "input", "vars", "steps", "output", "error", "failed_step")
NAMES = (*_OF_ROW, *_OF_STATE)
"""What `where` and `show` may read."""
_LAST = datetime(9999, 12, 31, tzinfo=UTC)
_NOT_OPEN = (*Settled, Repeating, Turn)


class Question(NamedTuple):
    """What is asked about a time: `where` must give true or false; what `show` gives is handed back, by its text."""

    at: datetime
    status: str | None = None
    where: Expression | None = None
    show: tuple[Expression, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """What has to be known to tell whether an execution matches."""
        return frozenset() if self.where is None else self.where.names


class Page(NamedTuple):
    """Part of the answer. `unclear` counts those for which `where` gave no answer; `why_unclear` says why, of one."""

    found: Sequence[View]
    looked_at: int
    unclear: int
    why_unclear: str | None
    last: ExecutionRow | None
    """The last one that was looked at, when there may be more."""


def question(at: datetime, status: str | None, where: str | None, show: Sequence[str] = ()) -> Question:
    """Read a question. Raises InvalidInput for an expression that cannot be."""
    return Question(
        at, status, None if where is None else _read(where, "where"), tuple(_read(text, "show") for text in show)
    )


def _read(text: str, name: str) -> Expression:
    try:
        expression = compile_expression(text)
    except ExpressionError as error:
        raise InvalidInput(f"{name}: {error}") from None
    for unknown in sorted(expression.names - set(NAMES)):
        raise InvalidInput(f"{name}: there is no {unknown!r}; {did_you_mean(unknown, NAMES)}")
    return expression


class AsOf:
    """Answers such questions."""

    def __init__(self, index: Index, history: History, plans: Pinned) -> None:
        self._index = index
        self._history = history
        self._plans = plans

    async def page(self, asked: Question, which: ExecutionFilter) -> Page:
        """Look at as many executions as the filter's limit says, newest first; its `until` and `status` do not count.

        Raises Unavailable. An execution that cannot be read is one of the unclear.
        """
        later = asked.at + timedelta(microseconds=1) if asked.at < _LAST else asked.at
        until = later if which.until is None else min(later, which.until)
        rows = await self._index.executions(replace(which, status=None, until=until, limit=which.limit + 1))
        last = rows[which.limit - 1] if len(rows) > which.limit else None
        rows, found, problems = rows[: which.limit], [], []
        for start in range(0, len(rows), AT_ONCE):
            for answer in await asyncio.gather(*(self._look(asked, row) for row in rows[start : start + AT_ONCE])):
                if isinstance(answer, str):
                    problems.append(answer)
                elif answer is not None:
                    found.append(answer)
        return Page(found, len(rows), len(problems), next(iter(problems), None), last)

    async def _look(self, asked: Question, row: ExecutionRow) -> View | str | None:
        """Return how the execution was, None when it does not match, or why that is not clear."""
        try:
            if _ended(row, asked.at):
                if asked.status not in {None, row.status}:
                    return None
                if asked.names.issubset(_OF_ROW) and not _holds(asked, RowScope(row)):
                    return None
            try:
                state = await self._history.state_at(row.execution_id, at=asked.at)
            except ExecutionNotFound:
                return None  # it had been signalled by then, no more
            scope = PastScope(row, state, await self._plan(state))
            if asked.status not in {None, status_of(state)} or not _holds(asked, scope):
                return None
            return _view(row, state, scope, asked)
        except (EvaluationError, Undecodable) as error:
            return f"{row.execution_id}: {error}"

    async def _plan(self, state: State) -> Plan | None:
        if isinstance(state, NotStarted):
            return None
        try:
            return await self._plans.pinned(state.definition)
        except MissingDefinition:
            return None


def _ended(row: ExecutionRow, at: datetime) -> bool:
    return row.finished_at is not None and row.finished_at <= at


def _holds(asked: Question, scope: Mapping[str, object]) -> bool:
    if asked.where is None:
        return True
    answer = asked.where.evaluate(scope)
    if not isinstance(answer, bool):
        raise EvaluationError(f"where gave {plain(answer)!r}, and not true or false")
    return answer


def _view(row: ExecutionRow, state: State, scope: PastScope, asked: Question) -> View:
    shown: dict[str, Any] = {}
    for expression in asked.show:
        try:
            shown[expression.source] = expression.evaluate(scope)
        except EvaluationError:
            shown[expression.source] = None
    view = state_view(row.execution_id, state)
    for name in ("steps", "timers", "signals"):
        view.pop(name, None)
    return {**view, "variables": dict(scope.variables()), "waiting": scope.open_steps(), "shown": shown}


class RowScope(Mapping[str, object]):
    """What can be read of an execution that has ended, without its state."""

    def __init__(self, row: ExecutionRow) -> None:
        self._row = row

    def __getitem__(self, name: str) -> object:
        row = self._row
        match name:
            case "id":
                return str(row.execution_id)
            case "key":
                return row.dedupe_key
            case "cause":
                return row.cause or None
            case "started_at":
                return row.started_at.isoformat()
            case "finished_at":
                return None if row.finished_at is None else row.finished_at.isoformat()
            case "waiting":
                return _waiting(())
            case "workflow" | "status" | "trigger" | "definition":
                found: object = getattr(row, name)
                return found
            case _:
                raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_OF_ROW)

    def __len__(self) -> int:
        return len(_OF_ROW)


class PastScope(Mapping[str, object]):
    """What can be read of an execution as it was. Each value is made when it is asked for."""

    def __init__(self, row: ExecutionRow, state: State, plan: Plan | None) -> None:
        self._row = RowScope(row)
        self._state = state
        self._plan = plan
        self._whole: dict[str, Any] | None = None

    def __getitem__(self, name: str) -> object:
        match name:
            case "id" | "workflow" | "trigger" | "key" | "started_at":
                return self._row[name]
            case "status":
                return status_of(self._state)
            case "cause":
                return cause(self._state) or None
            case "version":
                return self._state.version
            case "vars":
                return self.variables()
            case "waiting":
                return _waiting(self.open_steps())
            case _ if name in NAMES:
                if self._whole is None:
                    self._whole = plain(state_view(self._state_id(), self._state))
                return self._whole.get(name)
            case _:
                raise KeyError(name)

    def variables(self) -> Mapping[str, object]:
        """Return the variables, those too that were not set by then, where the definition is there."""
        if isinstance(self._state, NotStarted):
            return {}
        if self._plan is not None:
            return Variables(self._state, self._plan)
        return {name: from_json(value) for name, value in self._state.variables.items()}

    def open_steps(self) -> Sequence[View]:
        """Return the steps that had begun and not ended, each with its node and the type of that."""
        if not isinstance(self._state, Running):
            return ()
        steps = sorted(self._state.steps.items())
        return [self._open(address, step) for address, step in steps if not isinstance(step, _NOT_OPEN)]

    def _open(self, address: str, step: Step) -> View:
        view: View = plain(step_view(address, step))
        return {"node": node_of(address), "type": self._type(address), **view}

    def _type(self, address: str) -> str | None:
        if self._plan is None or not isinstance(self._state, Running):
            return None
        try:
            return node_at(self._plan, self._state, address).type.name
        except KeyError:
            return None

    def _state_id(self) -> Any:
        return self._row["id"]

    def __iter__(self) -> Iterator[str]:
        return iter(NAMES)

    def __len__(self) -> int:
        return len(NAMES)


def _waiting(steps: Sequence[View]) -> Mapping[str, list[Any]]:
    """Return what the open steps are, each as a list: `'approval' in waiting.types`."""
    return {
        "steps": [step["address"] for step in steps],
        "nodes": list(dict.fromkeys(step["node"] for step in steps)),
        "types": list(dict.fromkeys(step["type"] for step in steps if step["type"] is not None)),
        "statuses": list(dict.fromkeys(step["status"] for step in steps)),
        "signals": list(dict.fromkeys(step["signal"] for step in steps if "signal" in step)),
    }
