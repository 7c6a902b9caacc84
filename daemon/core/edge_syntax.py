"""Edges as text: `a -> b`, `a.port -> b`, and short for several `a -> b -> c`, `a -> [b, c]`, `[b, c] -> d`."""

from __future__ import annotations

import re
from itertools import pairwise

from daemon.core.address import NODE_ID
from daemon.core.definition import EdgeDefinition

DEFAULT_PORT = "out"

_ARROW = "->"
_END = re.compile(rf"\s*({NODE_ID.pattern})(?:\.([A-Za-z0-9_-]{{1,64}}))?\s*", re.ASCII)
_GROUP = re.compile(r"\s*\[([^\[\]]*)\]\s*")


class EdgeSyntaxError(ValueError):
    """The text is no edge. `offset` counts characters from its beginning."""

    def __init__(self, message: str, offset: int, hint: str = "write it like `a -> b` or `a.error -> b`") -> None:
        super().__init__(message)
        self.message, self.offset, self.hint = message, offset, hint


def parse_edge(text: str, path: tuple[str | int, ...], scope: str = "") -> tuple[EdgeDefinition, ...]:
    """Read one item of a list of edges, at this path, in the body of the node `scope`. Raises `EdgeSyntaxError`."""
    groups: list[list[tuple[str, str | None]]] = []
    offset = 0
    for part in text.split(_ARROW):
        groups.append(_ends(part, offset))
        offset += len(part) + len(_ARROW)
    if len(groups) == 1:
        raise EdgeSyntaxError(f"{text!r} has no arrow", 0)
    for target, port in groups[-1]:
        if port is not None:
            hint = f"a port is where an edge leaves; write `-> {target}`"
            raise EdgeSyntaxError(f"an edge cannot enter by the port {port!r}", text.rindex(_ARROW), hint)
    return tuple(
        EdgeDefinition(source, port or DEFAULT_PORT, target, text, path, scope)
        for sources, targets in pairwise(groups)
        for source, port in sources
        for target, _ in targets
    )


def _ends(part: str, offset: int) -> list[tuple[str, str | None]]:
    if group := _GROUP.fullmatch(part):
        inner, offset = group[1], offset + group.start(1)
        ends = []
        for each in inner.split(","):
            ends.append(_end(each, offset))
            offset += len(each) + 1
        return ends
    return [_end(part, offset)]


def _end(part: str, offset: int) -> tuple[str, str | None]:
    match = _END.fullmatch(part)
    if match is None:
        named = part.strip()
        message = f"{named!r} is not a node, or a node and its port" if named else "a node is missing"
        raise EdgeSyntaxError(message, offset + len(part) - len(part.lstrip()))
    return match[1], match[2]
