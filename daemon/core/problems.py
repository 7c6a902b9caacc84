"""What is wrong with a definition or a setting, said so that its author can mend it."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Protocol, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from daemon.core.templates import TemplateError

Path: TypeAlias = tuple[str | int, ...]
"""Keys and indexes from the top of a document to a value: `("nodes", "charge", "retry")`."""


_MOST_WORDS = 15


class Problem(Struct, frozen=True, kw_only=True):
    """One mistake and where it stands. Lines and columns count from 1."""

    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    path: tuple[str | int, ...] = ()
    """From the top of the document to the value."""
    offset: int | None = None
    """Characters from the beginning of the text at `path` to the mistake, in an expression or an edge."""
    node: str | None = None
    hint: str | None = None
    severity: str = "error"
    """`error` refuses the definition; `warning` does not."""

    def __str__(self) -> str:
        """Render as `file:line:column: message (node charge; hint)`, the form that editors and terminals link."""
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        where = place or ".".join(str(part) for part in self.path)
        notes = "; ".join(note for note in (self.node and f"node {self.node}", self.hint) if note)
        return f"{where + ': ' if where else ''}{self.message}{f' ({notes})' if notes else ''}"


class Locate(Protocol):
    """Finds a value in the text of its document."""

    def __call__(self, path: Path, offset: int | None = None) -> tuple[int, int] | None:
        """Return line and column of the value's key, or of the character `offset` of a text; None when not known."""


def nowhere(path: Path, offset: int | None = None) -> None:
    """Locate nothing: for documents that have no text."""


class Findings:
    """Gathers problems while a definition is looked at, so that all are reported at once."""

    def __init__(self, locate: Locate = nowhere, found: Iterable[Problem] = ()) -> None:
        self._locate = locate
        self._found = list(found)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All, in the order of the text."""
        return in_order(self._found)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """Those that refuse the definition, in the order of the text."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """Those that do not, in the order of the text."""
        return tuple(problem for problem in self.problems if problem.severity != "error")

    def error(
        self, message: str, path: Path, *, node: str | None = None, hint: str | None = None, offset: int | None = None
    ) -> None:
        """Add a mistake."""
        self.adopt(Problem(message=message, path=path, node=node, hint=hint, offset=offset))

    def warn(self, message: str, path: Path, *, node: str | None = None, hint: str | None = None) -> None:
        """Add a doubt."""
        self.adopt(Problem(message=message, path=path, node=node, hint=hint, severity="warning"))

    def template(self, error: TemplateError, within: Path, *, node: str | None = None) -> None:
        """Add the mistakes of the template that stands at `within`."""
        for each in error.problems:
            place = (*within, *each.pointer)
            self.error(each.message, place, node=node, hint=each.hint, offset=each.offset)

    def adopt(self, problem: Problem, within: Path = (), *, node: str | None = None) -> None:
        """Add a problem whose path is relative to `within`, and locate it."""
        path = (*within, *problem.path)
        line, column = self._locate(path, problem.offset) or (None, None)
        self._found.append(replace(problem, path=path, line=line, column=column, node=node or problem.node))


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Sort by place; those without one come first."""
    return tuple(sorted(problems, key=lambda problem: (problem.file or "", problem.line or 0, problem.column or 0)))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the hint for an unknown word: the nearest known one, else all of them, or the first of many."""
    words = sorted(known)
    if close := get_close_matches(word, words, 1):
        return f"did you mean {close[0]!r}?"
    shown = ", ".join(words[:_MOST_WORDS]) + (", …" if len(words) > _MOST_WORDS else "")
    return f"there are: {shown}" if words else "there are none"
