"""Whether what the expressions of a definition read is there, and can have a value by then.

Comes from: `compilation`, `parsing_triggers`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct

from daemon.core.problems import did_you_mean

if TYPE_CHECKING:
    from daemon.core.problems import Findings, Path
    from daemon.core.templates import Template

ROOTS = ("input", "steps", "vars", "env", "secret", "trigger", "execution")
"""What every expression of a workflow may read, beside the nodes."""

SCOPED = {
    "loop": "`loop` is known inside a loop only",
    "parallel": "`parallel` is known inside a fan-out only",
    "child": "`child` is known to the `result` of a subflow only",
    "update": "`update` is known to the keys of an update only",
    "query": "`query` is known to the `result` of a query only",
    "message": "`message` is known to the `filter`, `dedupe`, `input` and `signal` of a trigger only",
}
"""Names that have a meaning elsewhere."""

_WORDS = "and or not in is if else none None true True false False null self undefined error"

RESERVED = frozenset((*ROOTS, *SCOPED, *_WORDS.split()))
"""Names that no node may have: expressions read them as something else."""


_EXPRESSION = re.compile(r"\{\{.*?\}\}", re.DOTALL)


class Visible(Struct, frozen=True, kw_only=True):
    """What can be read at one place."""

    roots: tuple[str, ...] = ROOTS
    nodes: frozenset[str] = frozenset()
    """All nodes of the workflow."""
    settled: Callable[[str], bool] = lambda _node_id: True
    """Tells whether a node may have settled when this is evaluated."""
    hidden: Callable[[str], str | None] = lambda _node_id: None
    """Gives the node in whose body a node stands that cannot be seen from here."""
    reader: str | None = None
    """The node that reads."""
    moment: str = ""
    """When it reads, for messages: "`charge` begins"."""
    variables: frozenset[str] = frozenset()
    """Names that `vars` may have."""


def check_references(
    templates: Iterable[Template], written: object, path: Path, visible: Visible, findings: Findings
) -> None:
    """Report every name that cannot be read. `written` is the value at `path` that holds the templates' texts."""
    templates = tuple(templates)
    report = partial(_report, written, path, findings, reader=visible.reader)
    for name in sorted({name for template in templates for name in template.names}.difference(visible.roots)):
        if problem := _problem_of_name(name, visible):
            report(*problem, pattern=rf"{name}\b")
    if "steps" in visible.roots:
        for key in _keys_of("steps", templates):
            if problem := _problem_of_step(key, visible):
                report(*problem, pattern=rf"steps\W+{re.escape(key)}\b")
    if "vars" in visible.roots:
        for key in _keys_of("vars", templates):
            if key not in visible.variables:
                hint = f"declare it under `vars`; {did_you_mean(key, visible.variables)}"
                report(f"there is no variable `{key}`", hint, pattern=rf"vars\W+{re.escape(key)}\b")


def check_environment(
    templates: Iterable[Template],
    written: object,
    path: Path,
    env: Collection[str],
    findings: Findings,
    *,
    reader: str | None = None,
) -> None:
    """Report every environment variable that is not among those that may be read."""
    for key in _keys_of("env", templates):
        if key not in env:
            hint = f"allow it in the daemon's settings; {did_you_mean(key, env)}"
            message = f"the environment variable {key} is not one that workflows may read"
            _report(written, path, findings, message, hint, reader=reader, pattern=rf"env\W+{re.escape(key)}\b")


def _keys_of(root: str, templates: Iterable[Template]) -> list[str]:
    return sorted({path[1] for each in templates for path in each.paths if path[0] == root and len(path) > 1})


def _report(
    written: object, path: Path, findings: Findings, message: str, hint: str | None, *, reader: str | None, pattern: str
) -> None:
    for place, offset in _places(written, path, rf"(?<![\w.'\"]){pattern}"):
        findings.error(message, place, node=reader, hint=hint, offset=offset)


def _problem_of_name(name: str, visible: Visible) -> tuple[str, str | None] | None:
    if name in visible.nodes:
        return _problem_of_time(name, visible)
    if name in SCOPED:
        return SCOPED[name], None
    return f"there is nothing called `{name}`", did_you_mean(name, {*visible.roots, *_readable(visible)})


def _problem_of_step(node_id: str, visible: Visible) -> tuple[str, str | None] | None:
    if node_id in visible.nodes:
        return _problem_of_time(node_id, visible)
    return f"there is no node `{node_id}`", did_you_mean(node_id, _readable(visible))


def _problem_of_time(node_id: str, visible: Visible) -> tuple[str, str | None] | None:
    if (body := visible.hidden(node_id)) is not None:
        message = f"`{node_id}` is in the body of `{body}`, and cannot be seen from outside of it"
        return message, f"read `{body}`: its output is what the turns gave"
    if visible.settled(node_id):
        return None
    if node_id == visible.reader:
        return "a node cannot read its own output", "here it is `step.output`" if "step" in visible.roots else None
    message = f"`{node_id}` can never have settled when {visible.moment}"
    return message, f"add edges that lead from {node_id} to {visible.reader}, or read another node"


def _readable(visible: Visible) -> Iterable[str]:
    return (node_id for node_id in visible.nodes if visible.hidden(node_id) is None and visible.settled(node_id))


def _places(written: object, path: Path, pattern: str) -> list[tuple[Path, int | None]]:
    """Return path and offset of each place where an expression holds the pattern; `path` when none is found."""
    places: list[tuple[Path, int | None]] = []
    todo: list[tuple[Path, object]] = [(path, written)]
    while todo:
        place, value = todo.pop()
        if isinstance(value, str):
            for expression in _EXPRESSION.finditer(value):
                found = re.compile(pattern).finditer(value, expression.start(), expression.end())
                places += [(place, match.start()) for match in found]
        elif isinstance(value, Mapping):
            todo += [((*place, key), each) for key, each in value.items()]
        elif isinstance(value, list):
            todo += [((*place, index), each) for index, each in enumerate(value)]
    return places or [(path, None)]
