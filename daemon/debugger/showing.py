"""What an editor is shown of an execution that has stopped: frames, scopes and values, each by a number.

The numbers hold until the execution goes on.

Comes from: `adapter`. Goes to: `looking`, `lines`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemon.core.evaluation import kind_of
from daemon.debugger.lines import Lines, lines_of, recorded_lines
from daemon.debugger.looking import Frame, evaluate, frames, seen, step_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.core.node import NodeType
    from daemon.debugger.moments import Moment
    from daemon.debugger.session import Session

RECORDED = 1
"""Number of the source that is the recorded definition."""
LONGEST = 200
"""Characters of a value in one line."""


class Showing:
    """Shows where a session stands."""

    def __init__(self, session: Session, program: str | None, node_types: Mapping[str, NodeType]) -> None:
        """`program` is the file of the workflow; without it, or where it has another, the recorded definition is."""
        self._session = session
        self._node_types = node_types
        self._path: Path | None = Path(program).resolve() if program else None
        self._recorded: dict[str, Lines] = {}
        self._written = self._read()
        self._frames: list[Frame] = []
        self._values: list[Any] = []

    @property
    def name(self) -> str:
        """The execution, in a few words."""
        state = self._session.here.context
        return f"{state.workflow} {state.execution_id}"

    def stop(self) -> Moment:
        """Forget all numbers; return where the session stands."""
        self._frames = frames(self._session.here)
        self._values = []
        return self._session.here

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
            found["step"] = step_at(moment)
        found |= seen(moment, self._session.outputs(), turn)
        return {
            "scopes": [
                {"name": name, "variablesReference": self._reference(value), "expensive": False}
                for name, value in found.items()
                if value and isinstance(value, dict | list)
            ]
        }

    def variables(self, reference: int) -> dict[str, Any]:
        """Return what is in a value."""
        value = self._values[reference - 1] if 0 < reference <= len(self._values) else {}
        inside = value.items() if isinstance(value, dict) else enumerate(value)
        return {"variables": [{"name": str(name), **self._variable(each)} for name, each in inside]}

    def evaluated(self, expression: str, frame: int | None) -> dict[str, Any]:
        """Return the value of an expression in a frame. Raises EvaluationError."""
        value = evaluate(expression, self._session.here, self._session.outputs(), self._turn(frame or 1))
        shown = self._variable(value)
        return {"result": shown.pop("value"), **shown}

    def error(self) -> dict[str, Any]:
        """Return what has failed here."""
        error = self._session.here.error
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

    def _variable(self, value: Any) -> dict[str, Any]:
        text = json.dumps(value, ensure_ascii=False)
        text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
        container = isinstance(value, dict | list) and value
        return {"value": text, "type": kind_of(value), "variablesReference": self._reference(value) if container else 0}

    def _reference(self, value: Any) -> int:
        self._values.append(value)
        return len(self._values)

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
