r"""Expressions as marked text: where they read a node or a turn, a mark stands, which becomes a name at the end.

What a node's output or a loop's turn is called depends on where it is read, and reading it makes an edge: so both stay
marks until the node that reads is known. An expression inside a text (an f-string) is wrapped, with how tightly it
binds. All marks are of characters for private use, which no sane text holds.

Comes from: `reference`. Goes to: `values`, `wiring`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NODE = re.compile("\ue000([^\ue001]*)\ue001([^\ue002]*)\ue002")
_TURN = re.compile("\ue003([^\ue002]*)\ue002")
_WRAPPED = re.compile("[\ue004\ue005]([0-9]+):([^\ue006]*)\ue006")
_WHOLE = "\ue004"


class Source(Struct, frozen=True):
    """A node, and the port by which what reads it goes on from it."""

    node: str
    port: str


def node_mark(source: Source) -> str:
    """Stand for the output of a node."""
    return f"\ue000{source.node}\ue001{source.port}\ue002"


def turn_mark(node: str) -> str:
    """Stand for the turn of the loop or fan-out that has the body."""
    return f"\ue003{node}\ue002"


def sources_in(text: str) -> Iterator[Source]:
    """Return what an expression, or a text with expressions, reads."""
    return (Source(match[1], match[2]) for match in _NODE.finditer(text))


def turns_in(text: str) -> Iterator[str]:
    """Return the nodes whose turn it reads."""
    return (match[1] for match in _TURN.finditer(text))


def named(text: str, turn_name: Callable[[str], str]) -> str:
    """Put names in place of the marks; `turn_name` gives what a node's turn is called here."""
    return _TURN.sub(lambda match: turn_name(match[1]), _NODE.sub(lambda match: match[1], text))


def wrapped(text: str, binds: int, *, whole: bool = False) -> str:
    """Wrap an expression, so that it can stand in a text; `whole` for a value of its own, which keeps its type."""
    return f"{_WHOLE if whole else chr(0xE005)}{binds}:{text}\ue006"


def is_whole(text: str) -> bool:
    """Tell whether the text is one expression that keeps its type."""
    return text.startswith(_WHOLE)


def unwrapped(text: str, put: Callable[[str, int], str], keep: Callable[[str], str] = str) -> str:
    """Put what `put` makes of each wrapped expression, and of how tightly it binds, in its place.

    `keep` is applied to the text between them.
    """
    done, at = [], 0
    for match in _WRAPPED.finditer(text):
        done += [keep(text[at : match.start()]), put(match[2], int(match[1]))]
        at = match.end()
    return "".join([*done, keep(text[at:])])


def holds_expression(text: str) -> bool:
    """Tell whether an expression is wrapped in the text."""
    return _WRAPPED.search(text) is not None
