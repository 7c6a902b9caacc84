"""Node types: one file each, with a `NODE_TYPE` at its end. Adding one touches no other file.

A module here that has no `NODE_TYPE` is a tool of those that have: `context` (what `execute` gets), `answers` (what it
may answer beside a plain value), `reading` (how keys are read), `repeating` (what the loops share), `outbound` (what
may be called). Other packages offer types by the entry point group `sagad.nodes`; each gives a `NodeType`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from daemon.core.node import NodeType

if TYPE_CHECKING:
    from collections.abc import Mapping

ENTRY_POINTS = "sagad.nodes"


def builtin_node_types() -> Mapping[str, NodeType]:
    """Return the types of this package by name."""
    modules = (import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__))
    types = (module.NODE_TYPE for module in modules if hasattr(module, "NODE_TYPE"))
    return {node_type.name: node_type for node_type in types}


def all_node_types() -> Mapping[str, NodeType]:
    """Return the built-in types and those that other packages offer.

    Raises `TypeError` for an entry point that gives something else, `ValueError` for a name that is taken.
    """
    types = dict(builtin_node_types())
    for entry in entry_points(group=ENTRY_POINTS):
        offered = entry.load()
        if not isinstance(offered, NodeType):
            raise TypeError(f"the entry point {entry.name} = {entry.value} in {ENTRY_POINTS} is not a NodeType")
        if offered.name in types:
            raise ValueError(f"{entry.value} offers the node type {offered.name!r}, which there is already")
        types[offered.name] = offered
    return types
