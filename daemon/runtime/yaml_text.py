"""Definitions as YAML for people: keys in their order, what is short on one line, quotes only where they are needed.

Comes from: daemon/cli/exporting. Goes to: a file, which `documents` reads back as the same value.
"""

from __future__ import annotations

from io import StringIO
from typing import Any

import yaml

from daemon.runtime.documents import SCALARS

WIDTH = 120
_OWN_LINES = frozenset({"nodes", "triggers"})
"""Keys whose values have lines of their own, however short."""
_QUOTES = '""'
_TEXT = "tag:yaml.org,2002:str"
_OWN_PARAGRAPH = frozenset({"input", "triggers", "vars", "nodes", "edges", "output"})


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.1 or 1.2 would read as no text; indents lists; repeats what is there twice."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002  the base's
        """Indent lists too."""
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  as above
        """Use no anchors."""
        return True


def _represent_text(dumper: Any, text: str) -> yaml.ScalarNode:
    """Prefer double quotes to single ones."""
    is_text = dumper.resolve(yaml.ScalarNode, text, (True, False)) == _TEXT
    plain = is_text and dumper.analyze_scalar(text).allow_flow_plain
    node: yaml.ScalarNode = dumper.represent_scalar(_TEXT, text, style=None if plain else '"')
    return node


for _tag, _pattern, _first in SCALARS:
    _Dumper.add_implicit_resolver(_tag, _pattern, _first)
_Dumper.add_representer(str, _represent_text)


def to_yaml(document: dict[str, Any]) -> str:
    """Return the text of a definition."""
    text = ""
    for key, value in document.items():
        part = _part(key, value)
        text += f"\n{part}" if text and key in _OWN_PARAGRAPH else part
    return text


def _part(key: str, value: Any) -> str:
    root: Any = _Dumper(StringIO(), sort_keys=False).represent_data({key: value})
    root.flow_style = False
    for _, node in root.value:
        _lay_out(node, 2 + len(key), own_lines=key in _OWN_LINES)
    text: str = yaml.serialize(root, Dumper=_Dumper, width=10**6, allow_unicode=True)
    return text


def _lay_out(node: yaml.Node, column: int, *, own_lines: bool = False, level: int = 1) -> None:
    """Put what begins at this column on one line if it fits there, else each of its parts on one of its own."""
    if not isinstance(node, yaml.CollectionNode):
        return
    node.flow_style = not node.value or (not own_lines and column + _length(node) <= WIDTH)
    if node.flow_style:
        for inner in _inner(node):
            _lay_out(inner, 0, level=level)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _lay_out(item, 2 * level + 2, level=level + 1)
    else:
        for key, value in node.value:
            _lay_out(
                value, 2 * level + len(key.value) + 2, own_lines=key.value in _OWN_LINES and level > 1, level=level + 1
            )


def _inner(node: yaml.Node) -> list[yaml.Node]:
    return [value for _, value in node.value] if isinstance(node, yaml.MappingNode) else list(node.value)


def _length(node: yaml.Node) -> int:
    """Return how long it is on one line."""
    match node:
        case yaml.MappingNode():
            return sum(len(key.value) + 4 + _length(value) for key, value in node.value) or 2
        case yaml.SequenceNode():
            return sum(_length(item) + 2 for item in node.value) or 2
        case _:
            return len(node.value) + len(_QUOTES)
