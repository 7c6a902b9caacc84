"""`join`: bring several ways together again.

Any node may have several incoming edges, and waits for them as its key `after` says; a join does nothing else, and
collects what they bring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daemon.core.node import Beginning, Done, NodeType
from daemon.core.schema_parts import choice

if TYPE_CHECKING:
    from collections.abc import Mapping


def parse(own: Mapping[str, Any]) -> str:
    """Return `all` or `any`."""
    return str(own["join"])


def begin(_config: str, beginning: Beginning) -> Done:
    """Collect the outputs of the nodes whose edges have fired, by id."""
    return Done({node_id: beginning.scope[node_id] for node_id in beginning.fired})


NODE_TYPE = NodeType(
    name="join",
    summary="Brings several ways together; its output is what they bring, by node id.",
    schema=choice(
        "`all` waits for every incoming edge that can still fire, `any` goes on with the first.", "all", "any"
    ),
    parse=parse,
    templates=lambda _config: (),
    begin=begin,
    collects=True,
    join=lambda config: config,
)
