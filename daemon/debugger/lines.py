"""Where the nodes of a workflow stand in its file, so that a line is a breakpoint and a step has a line.

Comes from: `adapter`. Goes to: daemon/runtime/documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from daemon.core.parsing import parse
from daemon.runtime.documents import read_documents
from daemon.runtime.handler_registry import PYTHON
from daemon.runtime.json_schema import check
from daemon.runtime.python_files import read_python
from daemon.runtime.yaml_text import to_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from daemon.core.node import NodeType
    from daemon.core.plan import Plan
    from daemon.runtime.documents import Document


class Span(Struct, frozen=True):
    """Lines from the first to the last, counted from 1."""

    first: int
    last: int


class Lines(Struct, frozen=True):
    """The text of one workflow's definition, and the lines of its nodes, those in bodies too."""

    text: str
    workflow: int
    """The line that names it."""
    nodes: Mapping[str, Span]

    def node_at(self, line: int) -> str | None:
        """Return the innermost node that a line belongs to; None for a line that is no node's."""
        around = [
            (span.last - span.first, name) for name, span in self.nodes.items() if span.first <= line <= span.last
        ]
        return min(around)[1] if around else None

    def line_of(self, node: str) -> int:
        """Return a node's first line; the workflow's for what is not in the text."""
        return self.nodes[node].first if node in self.nodes else self.workflow


def lines_of(path: Path, workflow: str, node_types: Mapping[str, NodeType]) -> Lines | None:
    """Return the lines of a workflow in a file; None when it is not there, or has mistakes. OSError as `open`."""
    if path.suffix == PYTHON:
        documents, _ = read_python(path)
        return _found("", documents, workflow, node_types)
    text = path.read_text(encoding="utf-8")
    return _found(text, read_documents(text, str(path))[0], workflow, node_types)


def recorded_lines(plan: Plan, node_types: Mapping[str, NodeType]) -> Lines:
    """Return the lines of the definition that an execution is pinned to, as YAML."""
    text = to_yaml(msgspec.json.decode(plan.definition.document))
    documents, _ = read_documents(text, "recorded.yaml")
    return _found(text, documents, plan.definition.workflow, node_types) or Lines(text, 1, {})


def _found(text: str, documents: Iterable[Document], workflow: str, node_types: Mapping[str, NodeType]) -> Lines | None:
    for document in documents:
        definition = parse(document.value, node_types, check=check, locate=document.locate).definition
        if definition is None or definition.workflow != workflow:
            continue
        spans = {}
        for node in definition.nodes.values():
            size = len(node.path)
            lines = [place.line for path, place in document.places.items() if path[:size] == node.path]
            spans[node.id] = Span(min(lines), max(lines))
        return Lines(text, (document.locate(("workflow",)) or (1, 1))[0], spans)
    return None
