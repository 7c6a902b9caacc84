"""Workflows that are written in Python, as documents: `flow.py`, or `flow.py:name` for one of those in it.

A file is imported when it is named, and never because it lies in a folder that is. It is imported once in a process: a
daemon that is told to read its definitions again refuses a file that has changed, since its handlers cannot change.

Comes from: `definitions`. Goes to: daemon/flow, which makes the definition.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from daemon.core.errors import Misconfigured
from daemon.core.problems import Problem, did_you_mean
from daemon.runtime.documents import Document, Place
from daemon.runtime.handler_registry import import_source, place_in_code, split_name, to_import_path, workflows_of

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from daemon.flow.workflows import Workflow

_DIGEST = "__sagad_digest__"


def read_python(path: Path) -> tuple[list[Document], list[Problem]]:
    """Import a file and build its workflows; what goes wrong is told with the file's lines."""
    file, name = split_name(path)
    try:
        digest = sha256(file.read_bytes()).digest()
    except OSError as error:
        return [], [Problem(message=f"cannot be read: {error}", file=str(file))]
    to_import_path([file.resolve().parent])
    try:
        module, _ = import_source(str(file))
    except Misconfigured as error:
        return [], _in_file(error, file)
    except (Exception, SystemExit) as error:  # noqa: BLE001  an import runs the user's code, which may raise anything
        where, line = place_in_code(error, None)
        message = f"cannot be imported: {type(error).__name__}: {error}"
        return [], _named(file, [Problem(message=message, file=where or str(file), line=line)])
    if vars(module).setdefault(_DIGEST, digest) != digest:
        hint = "start the daemon anew: its handlers are those that it began with"
        return [], [Problem(message="the file has changed since it was imported", file=str(file), hint=hint)]
    return _built(file, name, module)


def _built(file: Path, name: str | None, module: ModuleType) -> tuple[list[Document], list[Problem]]:
    found = workflows_of(module)
    if not found:
        hint = "decorate a function with @workflow of daemon.flow"
        return [], [Problem(message="there is no workflow in it", file=str(file), hint=hint)]
    chosen = [each for key, each in found.items() if name in (None, key, each.name)]
    if not chosen:
        hint = did_you_mean(name or "", found)
        return [], [Problem(message=f"there is no workflow {name!r} in it", file=str(file), hint=hint)]
    documents: list[Document] = []
    problems: list[Problem] = []
    for workflow in chosen:
        try:
            documents.append(_document(file, workflow))
        except Misconfigured as error:
            problems += _in_file(error, file)
    return documents, problems


def _document(file: Path, workflow: Workflow[..., Any]) -> Document:
    built = workflow.built
    places = {path: Place(place.line, place.column, None) for path, place in built.places.items()}
    return Document(str(file), built.document, lambda: places)


def _in_file(error: Misconfigured, file: Path) -> list[Problem]:
    return _named(file, error.problems)


def _named(file: Path, problems: Any) -> list[Problem]:
    """Call the file as its user does."""
    full = str(file.resolve())
    return [replace(each, file=str(file)) if each.file == full else each for each in problems]
