"""Which steps call the witness: by the definition that an execution is pinned to, and by what its functions call.

Comes from: `reading`. Goes to: `notebook`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from daemon.core import events as e
from daemon.core.address import UNDO, is_call, node_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

WITNESSED = "witness."
"""Tasks whose name begins so, and `http` nodes that have the header `x-witness`, call the witness."""


class Known:
    """What is known of a definition."""

    def __init__(self, document: bytes) -> None:
        definition: dict[str, Any] = msgspec.json.decode(document)
        self.nodes = frozenset(_witnessed(definition["nodes"]))
        """Ids of the nodes whose steps call the witness; with `~undo` of those whose compensations do."""
        self.keeps = definition.get("undo") == "none"
        """Whether what its executions have done is never undone."""


class Callers:
    """The steps of one execution that call the witness."""

    def __init__(self, definition: Known | None) -> None:
        self._looks = definition is not None
        self._nodes = definition.nodes if definition is not None else frozenset[str]()
        self._calls: set[str] = set()

    def take(self, event: e.Event) -> None:
        """Learn what a durable function calls."""
        if self._looks and isinstance(event, e.FunctionAdvanced):
            for call in event.calls:
                address = f"{event.address}.{call.id}"
                if call.kind == "step" and call.name.startswith(WITNESSED):
                    self._calls.add(address)
                if call.undo is not None and call.undo.handler.startswith(WITNESSED):
                    self._calls.add(address + UNDO)

    def have(self, address: str) -> bool:
        """Tell whether the step at this address calls the witness."""
        return address in self._calls if is_call(address) else node_of(address) in self._nodes


def _witnessed(nodes: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    for name, node in nodes.items():
        if _calls(node):
            yield name
        if _calls(node.get("compensate", {})):
            yield name + UNDO
        yield from _witnessed(node.get("do", {}).get("nodes", {}))


def _calls(node: Mapping[str, Any]) -> bool:
    return str(node.get("task", "")).startswith(WITNESSED) or "x-witness" in node.get("http", {}).get("headers", {})
