"""`saga`: a group of nodes that is undone by itself when it fails, before its error goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daemon.core.node import Beginning, NodeType, Repeat, Turns
from daemon.core.schema_parts import choice

if TYPE_CHECKING:
    from collections.abc import Mapping


def parse(own: Mapping[str, Any]) -> Turns:
    """Return how the group is undone; its body has one turn."""
    return Turns(name="saga", collect=False, limit=1, undo=own["saga"])


def begin(_config: Turns, _beginning: Beginning) -> Repeat:
    """Ask for the one turn."""
    return Repeat(total=1)


NODE_TYPE = NodeType(
    name="saga",
    summary="A group that is undone by itself when it fails, before an `error` edge or the policy takes its error; its"
    " output is what its body gives.",
    schema=choice(
        "How what the group has done is undone: `automatic`, `manual` when a person lets it run, or `confirm_each`.",
        "automatic",
        "manual",
        "confirm_each",
    ),
    parse=parse,
    templates=lambda _config: (),
    begin=begin,
    turns=lambda config: config,
)
