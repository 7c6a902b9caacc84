"""Step addresses: where in the graph, and in which turn of which loop, a step stands.

An address is the path of node ids from the outermost scope, each loop or fan-out turn in brackets: `charge`,
`each[3].charge`, `fanout[2].fetch[0].get`. A turn has an address too: `each[3]`. Node ids match `NODE_ID`, so the text
form needs no escaping. A call of a durable function stands in the function's journal, which is a turn: `flow[0].2:pay`
(see `function_events`); its last part begins with a digit, as no node id does.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

NODE_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")

UNDO = "~undo"
"""What the address of a compensation adds to that of its step: `each[3].charge~undo`."""

NOTIFY = "~notify"
"""What the address of a notice adds to that of its approval and its number: `each[3].approve[0]~notify`."""

PAGE = "~page"
"""What the address of the step that fetches a page adds to that of its loop and the page's number: `each[0]~page`."""

LOOKUP = "~lookup~undo"
"""What the address of the step that finds out whether another took effect adds to that of it."""

_TURN = re.compile(r"\[\d+\]")
_ID_IN_ADDRESS = re.compile(r"(?:^|(?<=\.))[A-Za-z_][A-Za-z0-9_]*")


def node_of(address: str) -> str:
    """Return the id of the node that a step executes: the last part of its address, without its turn."""
    if "[" not in address and "." not in address:
        return address
    return _TURN.sub("", address.rpartition(".")[2])


def turn_around(address: str) -> str:
    """Return the address of the turn that a step stands in; empty for the outermost scope, and for compensations."""
    return address.rpartition(".")[0] if "." in address and not address.endswith(UNDO) else ""


def renamed(address: str, names: Mapping[str, str]) -> str:
    """Return the address with other ids for the nodes that it leads through; `names` has the old ones and the new."""
    return _ID_IN_ADDRESS.sub(lambda found: names.get(found[0], found[0]), address)


def is_call(address: str) -> bool:
    """Tell whether a step is a call of a durable function, or undoes one."""
    return "." in address and address[address.rfind(".") + 1].isdigit()


def within(turn: str, node_id: str) -> str:
    """Return the address of a node's step in a turn, or in the outermost scope for an empty one."""
    return f"{turn}.{node_id}" if turn else node_id


def stands_in(address: str, turn: str) -> bool:
    """Tell whether a step or a turn stands in the turn, at any depth, or is it; all do in the outermost scope."""
    return not turn or address == turn or address.startswith(f"{turn}.")


def turn_of(address: str, index: int) -> str:
    """Return the address of one turn of a loop or fan-out."""
    return f"{address}[{index}]"


def split_turn(turn: str) -> tuple[str, int]:
    """Return the address of the loop or fan-out, and which of its turns it is, from 0."""
    address, _, index = turn.rpartition("[")
    return address, int(index[:-1])
