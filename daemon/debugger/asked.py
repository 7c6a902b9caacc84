"""Breakpoints as an editor asks for them, and what it is told of each: that it holds, or why it does not. Pure.

Comes from: `adapter`. Goes to: `breakpoints`, `lines`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from daemon.debugger.breakpoints import Breakpoint, mistake

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.debugger.lines import Lines

FILTERS = {"failed": "Steps that fail for good", "attempt": "Every attempt that fails"}
NO_NODE = "no node of this workflow stands here"
NO_COUNT = "an execution that goes on counts no hits: write a condition"
NO_ATTEMPTS = "an execution that goes on stops where a step has failed for good"


class Asked(NamedTuple):
    """What holds, and an answer for each that was asked for."""

    holding: list[Breakpoint]
    answers: list[dict[str, Any]]


def in_lines(arguments: Mapping[str, Any], lines: Lines | None, *, live: bool) -> Asked:
    """Read breakpoints in the lines of a source; `lines` is None for one in which the workflow does not stand."""
    asked = Asked([], [])
    for wanted in arguments.get("breakpoints", ()):
        line = wanted.get("line", 0)
        node = None if lines is None else lines.node_at(line)
        _add(asked, _read(wanted, node or ""), live=live, problem="" if node else NO_NODE)
        asked.answers[-1]["line"] = line if lines is None or node is None else lines.line_of(node)
    return asked


def by_name(arguments: Mapping[str, Any], *, live: bool) -> Asked:
    """Read breakpoints on nodes, or on steps by their addresses."""
    asked = Asked([], [])
    for wanted in arguments.get("breakpoints", ()):
        _add(asked, _read(wanted, str(wanted.get("name", ""))), live=live)
    return asked


def at_errors(arguments: Mapping[str, Any], *, live: bool) -> Asked:
    """Read breakpoints at failures, with conditions or without."""
    asked = Asked([], [])
    options = ((each.get("filterId", ""), each.get("condition")) for each in arguments.get("filterOptions", ()))
    for name, condition in (*((each, None) for each in arguments.get("filters", ())), *options):
        problem = "" if name in FILTERS else f"there is no filter {name!r}; there are: {', '.join(FILTERS)}"
        problem = problem or (NO_ATTEMPTS if live and name == "attempt" else "")
        _add(asked, Breakpoint(errors=str(name), condition=condition or ""), live=live, problem=problem)
    return asked


def _read(wanted: Mapping[str, Any], node: str) -> Breakpoint:
    return Breakpoint(
        node=node,
        condition=wanted.get("condition") or "",
        hits=wanted.get("hitCondition") or "",
        log=wanted.get("logMessage") or "",
    )


def _add(asked: Asked, found: Breakpoint, *, live: bool, problem: str = "") -> None:
    problem = problem or mistake(found) or (NO_COUNT if live and found.hits and not found.log else "")
    asked.answers.append({"verified": False, "message": problem} if problem else {"verified": True})
    if not problem:
        asked.holding.append(found)
