"""The canonical form of a definition, whose hash is its identity: what says the same is written the same.

Keys are sorted, as `to_json` has them. Edges are one for each connection, sorted: `a -> [b, c]` is short for two, and
in which order they stand makes no difference. An edge that cannot be read stays as it is, and is reported elsewhere.

Comes from: `parsing`. Goes to: `definition`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daemon.core.edge_syntax import DEFAULT_PORT, EdgeSyntaxError, parse_edge
from daemon.core.schema import BODY_KEY
from daemon.core.values import Json, from_json, to_json

if TYPE_CHECKING:
    from daemon.core.definition import EdgeDefinition


def canonical(document: Json) -> bytes:
    """Return the canonical JSON text of a mapping."""
    return bytes(to_json(_graph(from_json(document))))


def edge_text(edge: EdgeDefinition) -> str:
    """Return the edge by itself, as a text; by these edges are sorted."""
    port = "" if edge.port == DEFAULT_PORT else f".{edge.port}"
    return f"{edge.source}{port} -> {edge.target}"


def _graph(graph: dict[str, Any]) -> dict[str, Any]:
    if isinstance(edges := graph.get("edges"), list):
        graph["edges"] = _edges(edges)
    if isinstance(nodes := graph.get("nodes"), dict):
        for node in nodes.values():
            if isinstance(node, dict) and isinstance(body := node.get(BODY_KEY), dict):
                _graph(body)
    return graph


def _edges(texts: list[Any]) -> list[Any]:
    found: list[EdgeDefinition] = []
    unread: list[Any] = []
    for text in texts:
        try:
            found += parse_edge(text, ()) if isinstance(text, str) else []
            unread += [] if isinstance(text, str) else [text]
        except EdgeSyntaxError:
            unread.append(text)
    return sorted(map(edge_text, found)) + unread
