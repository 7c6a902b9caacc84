"""What an editor is shown of an execution that has stopped: frames, scopes and values, each by a number.

The numbers hold until the execution goes on.

Comes from: `adapter`. Goes to: `looking`, `lines`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemon.core.address import node_of
from daemon.core.errors import Rejected
from daemon.core.evaluation import kind_of
from daemon.debugger.lines import Lines, lines_of, recorded_lines
from daemon.debugger.looking import Frame, evaluate, frames, said, seen
from daemon.debugger.values import STEP, expression_of, place_in, replaced

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.core.node import NodeType
    from daemon.debugger.debuggee import Debuggee
    from daemon.debugger.moments import Moment
    from daemon.debugger.session import Session
    from daemon.debugger.values import Place

RECORDED = 1
"""Number of the source that is the recorded definition."""
LONGEST = 200
"""Characters of a value in one line."""
MOST_PLACES = 50
"""Moments of one line that an editor is offered to go to."""


class Showing:
    """Shows where a session stands."""

    def __init__(self, debuggee: Debuggee, program: str | None, node_types: Mapping[str, NodeType]) -> None:
        """`program` is the file of the workflow; without it, or where it has another, the recorded definition is."""
        self._debuggee = debuggee
        self._session = debuggee.session
        self._node_types = node_types
        self._path: Path | None = Path(program).resolve() if program else None
        self._recorded: dict[str, Lines] = {}
        self._written = self._read()
        self._frames: list[Frame] = []
        self._values: list[tuple[Any, Place | None]] = []
        """Each with the place that it was taken from, where an expression names that."""

    @property
    def name(self) -> str:
        """The execution, in a few words."""
        state = self._session.here.context
        return f"{state.workflow} {state.execution_id}"

    @property
    def session(self) -> Session:
        """What is shown."""
        return self._session

    def stop(self) -> Moment:
        """Forget all numbers; return where the session stands."""
        self._frames = frames(self._session.here)
        self._values = []
        return self._session.here

    def follow(self) -> None:
        """Show the frames of where the session stands now; the numbers hold."""
        self._frames = frames(self._session.here)

    def lines_in(self, source: Mapping[str, Any]) -> Lines | None:
        """Return the lines of a source that an editor names; None when the workflow does not stand in it."""
        if source.get("sourceReference") == RECORDED:
            return self._lines()
        path = source.get("path")
        return self._written if path and Path(path).resolve() == self._path else None

    def text(self) -> str:
        """Return the recorded definition."""
        return self._of_record().text

    def stack(self) -> dict[str, Any]:
        """Return the frames, innermost first."""
        if not self._frames:
            self.stop()
        lines = self._lines()
        shown = [self._frame(number, frame, lines) for number, frame in enumerate(self._frames, 1)]
        return {"stackFrames": shown, "totalFrames": len(shown)}

    def scopes(self, frame: int) -> dict[str, Any]:
        """Return the roots that a frame sees, and of the innermost one the step."""
        moment, turn = self._session.here, self._turn(frame)
        found: dict[str, Any] = {}
        if frame == 1 and moment.address:
            found["step"] = self._debuggee.step()
        found |= seen(moment, self._session.outputs(), turn)
        return {
            "scopes": [
                {"name": name, "variablesReference": self._reference(value, (name,)), "expensive": False}
                for name, value in found.items()
                if value and isinstance(value, dict | list)
            ]
        }

    def variables(self, reference: int) -> dict[str, Any]:
        """Return what is in a value."""
        value, place = self._container(reference)
        inside = value.items() if isinstance(value, dict) else enumerate(value)
        return {"variables": [self._named(name, each, place) for name, each in inside]}

    def place_of(self, reference: int, name: str) -> Place:
        """Return the place of what is called so in a value. Raises Rejected for what has none that is known."""
        value, place = self._container(reference)
        key = int(name) if isinstance(value, list) and name.isdecimal() else name
        if place is None or (key not in value if isinstance(value, dict) else not isinstance(key, int)):
            raise Rejected(f"{name} was computed here: it cannot be set")
        return (*place, key)

    def put(self, reference: int, name: str, value: Any) -> dict[str, Any]:
        """Show what was set in place of what there was; return that as it is shown."""
        held, place = self._container(reference)
        path = self.place_of(reference, name)
        self._values[reference - 1] = (replaced(held, path[-1:], value), place)
        self.follow()
        return self.assigned(value, path)

    def assigned(self, value: Any, place: Place) -> dict[str, Any]:
        """Return what was set as it is shown."""
        shown = self._variable(value, place)
        shown.pop("presentationHint", None)
        return shown

    def evaluated(self, expression: str, frame: int | None) -> dict[str, Any]:
        """Return the value of an expression in a frame. Raises EvaluationError."""
        value = evaluate(expression, self._session.here, self._session.outputs(), self._turn(frame or 1))
        shown = self._variable(value, place_in(expression))
        return {"result": shown.pop("value"), **shown}

    def value_of(self, text: str, frame: int | None = None) -> Any:
        """Return what was typed as a value: JSON, or an expression. Raises EvaluationError."""
        try:
            return json.loads(text)
        except ValueError:
            return evaluate(text, self._session.here, self._session.outputs(), self._turn(frame or 1))

    def places_at(self, node: str) -> list[dict[str, Any]]:
        """Return the moments at which the steps of a node begin or fail, those nearest to here first."""
        session = self._session
        fitting = [
            number
            for number, moment in enumerate(session.moments)
            if moment.address and node in (moment.address, node_of(moment.address))
        ]
        fitting = sorted(fitting, key=lambda number: (abs(number - session.position), number))[:MOST_PLACES]
        line = self._lines().line_of(node)
        return [
            {"id": number, "label": f"{number + 1}: {said(session.moments[number])}", "line": line}
            for number in fitting
        ]

    def error(self) -> dict[str, Any]:
        """Return what has failed here."""
        error = self._debuggee.failure()
        if error is None:
            return {"exceptionId": "none", "breakMode": "never"}
        return {
            "exceptionId": error.code,
            "description": error.message,
            "breakMode": "always",
            "details": {"message": error.message, "typeName": error.type or error.code},
        }

    def _frame(self, number: int, frame: Frame, lines: Lines) -> dict[str, Any]:
        state = self._session.here.context
        line = lines.line_of(frame.node) if frame.node or frame.name == state.workflow else 0
        shown = {"id": number, "name": frame.name, "line": line, "column": 1 if line else 0}
        if line:
            shown["source"] = self._source()
        else:
            shown["presentationHint"] = "subtle"
        return shown

    def _source(self) -> dict[str, Any]:
        if self._written is not None and self._path is not None:
            return {"name": self._path.name, "path": str(self._path)}
        workflow = self._session.here.plan.definition.workflow
        return {"name": f"{workflow}.yaml", "sourceReference": RECORDED, "origin": "the recorded definition"}

    def _turn(self, frame: int) -> str | None:
        """Return the turn that a frame sees from; None for the step's own."""
        if not 0 < frame <= len(self._frames):
            return None
        found = self._frames[frame - 1]
        return None if found.address and not found.address.endswith("]") else found.address

    def _named(self, name: Any, value: Any, around: Place | None) -> dict[str, Any]:
        place = None if around is None else (*around, name)
        shown = {"name": str(name), **self._variable(value, place)}
        if place is not None and place[0] != STEP:
            shown["evaluateName"] = expression_of(place)
        return shown

    def _variable(self, value: Any, place: Place | None = None) -> dict[str, Any]:
        text = json.dumps(value, ensure_ascii=False, default=str)
        text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
        container = isinstance(value, dict | list) and value
        reference = self._reference(value, place) if container else 0
        shown = {"value": text, "type": kind_of(value), "variablesReference": reference}
        if place is None or not self._debuggee.settable(place):
            shown["presentationHint"] = {"attributes": ["readOnly"]}
        return shown

    def _reference(self, value: Any, place: Place | None) -> int:
        self._values.append((value, place))
        return len(self._values)

    def _container(self, reference: int) -> tuple[Any, Place | None]:
        return self._values[reference - 1] if 0 < reference <= len(self._values) else ({}, None)

    def _read(self) -> Lines | None:
        if self._path is None:
            return None
        try:
            return lines_of(self._path, self._session.here.plan.definition.workflow, self._node_types)
        except (OSError, UnicodeDecodeError):
            return None

    def _lines(self) -> Lines:
        return self._written if self._written is not None else self._of_record()

    def _of_record(self) -> Lines:
        plan = self._session.here.plan
        if plan.hash not in self._recorded:
            self._recorded[plan.hash] = recorded_lines(plan, self._node_types)
        return self._recorded[plan.hash]
