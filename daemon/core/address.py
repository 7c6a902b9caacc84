"""Step addresses: where in the graph, and in which turn of which loop, a step stands.

An address is the path of node ids from the outermost scope, each loop or fan-out turn in brackets: `charge`,
`each[3].charge`, `fanout[2].fetch[0].get`. Node ids match `NODE_ID`, so the text form needs no escaping.
"""

from __future__ import annotations

import re

NODE_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")

_TURN = re.compile(r"\[\d+\]")


def node_of(address: str) -> str:
    """Return the id of the node that a step executes: the last part of its address, without its turn."""
    if "[" not in address and "." not in address:
        return address
    return _TURN.sub("", address.rpartition(".")[2])
