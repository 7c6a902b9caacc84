"""YAML and JSON files as JSON values, with the place of every value.

The scalars are those of YAML 1.2 and JSON: `yes`, `no`, `on`, `off` and `2031-05-01` are texts, keys are always texts,
a key that is there twice is a mistake. Anchors, aliases and `<<` work; no tag makes anything but JSON values.

Comes from: files. Goes to: `definitions`.
"""

from __future__ import annotations

import math
import re
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import yaml
from msgspec import Struct

from daemon.core.problems import Path, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_CHARACTERS = 4 * 1024 * 1024
"""Of one file."""
MAX_VALUES = 200_000
"""Of one document, aliases followed."""
MAX_LEVELS = 100

_STR, _NULL, _BOOL, _INT, _FLOAT = (f"tag:yaml.org,2002:{name}" for name in ("str", "null", "bool", "int", "float"))
_MERGE = "tag:yaml.org,2002:merge"
_QUOTES = ("'", '"')
_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufffe\uffff]")
"""Line breaks and controls that stand in texts of JSON as they are."""


class _Loader(yaml.SafeLoader):
    """Safe, and with the scalars of YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  the library's own name


class _QuickLoader(yaml.CSafeLoader):
    """The same, by libyaml: ten times as fast, but with other messages."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


SCALARS = (
    (_NULL, re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    (_BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    (_INT, re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"), list("-+0123456789")),
    (_FLOAT, re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"), list("-+.0123456789")),
    (_MERGE, re.compile(r"^<<$"), ["<"]),
)
"""Tag, pattern and first characters of what is no text when it is not quoted."""
for _tag, _pattern, _first in SCALARS:
    _Loader.add_implicit_resolver(_tag, _pattern, _first)


class Place(Struct, frozen=True):
    """Where a value stands; counted from 1."""

    line: int
    column: int
    """Of the key, for a value in a mapping."""
    text: tuple[int, int] | None
    """Line and column of a text's first character, where each of its characters stands as it is."""


class Document:
    """One document of a file."""

    def __init__(self, file: str, value: Any, places: Callable[[], dict[Path, Place]]) -> None:
        """`places` is called when a place is asked for, once: a document without mistakes needs none of its own."""
        self.file = file
        self.value = value
        self._places = places

    @cached_property
    def places(self) -> dict[Path, Place]:
        """The place of each value."""
        return self._places()

    def locate(self, path: Path, offset: int | None = None) -> tuple[int, int] | None:
        """Return line and column of the value, or of what is nearest around it; see `daemon.core.problems.Locate`."""
        for length in range(len(path), -1, -1):
            place = self.places.get(path[:length])
            if place is not None:
                if offset is not None and place.text is not None and length == len(path):
                    return place.text[0], place.text[1] + offset
                return place.line, place.column
        return None


def read_documents(text: str, file: str) -> tuple[list[Document], list[Problem]]:
    """Read all documents of a file; one that cannot be read is a problem, and so is what follows it."""
    if len(text) > MAX_CHARACTERS:
        return [], [Problem(message=f"the file is larger than {MAX_CHARACTERS} characters", file=file)]
    documents: list[Document] = []
    problems: list[Problem] = []
    try:
        for root in _compose(_as_yaml(text, file)):
            if isinstance(root, yaml.ScalarNode) and not root.value and not root.style:
                continue
            reading = _Reading(file)
            value = reading.document(root)
            problems += reading.problems
            if not reading.problems:
                documents.append(Document(file, value, partial(places_of, root)))
    except yaml.MarkedYAMLError as error:
        problems.append(_syntax(error, file))
    except yaml.YAMLError as error:
        problems.append(Problem(message=f"not YAML: {str(error).splitlines()[0]}", file=file))
    except RecursionError:
        problems.append(Problem(message="not read: it is nested too deeply", file=file))
    return documents, problems


def places_of(root: yaml.Node) -> dict[Path, Place]:
    """Read a document once more, for the places of its values."""
    places: dict[Path, Place] = {}
    _Reading("", places).document(root)
    return places


def _compose(text: str) -> list[yaml.Node]:
    """Return the roots of all documents. The quick parser reads them; what it refuses, the other one explains."""
    try:
        return list(yaml.compose_all(text, Loader=_QuickLoader))
    except yaml.YAMLError:
        return list(yaml.compose_all(text, Loader=_Loader))


def _as_yaml(text: str, file: str) -> str:
    """Make JSON the YAML that it nearly is: without tabs, and with what YAML cannot hold as it is escaped."""
    text = text.removeprefix("\ufeff")
    if not file.endswith(".json"):
        return text
    return _NOT_IN_YAML.sub(lambda match: f"\\u{ord(match[0]):04x}", text.replace("\t", " "))


def _syntax(error: yaml.MarkedYAMLError, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    words = [word for word in (error.problem, error.context) if word]
    hint = None
    if "'\\t'" in words[0]:
        hint = "YAML is indented with spaces"
    elif "mapping values are not allowed" in words[0]:
        hint = "quote the text if it holds `: `, or mend the indentation"
    elif "could not find expected ':'" in words[0] or "expected ',' or" in words[0]:
        hint = 'quote a text that holds `{`, `[`, `,` or `: `: "{{ input.total }}"'
    line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
    return Problem(message=f"not YAML: {' '.join(words)}", file=file, line=line, column=column, hint=hint)


class _Reading:
    """One document on its way from nodes to values."""

    def __init__(self, file: str, places: dict[Path, Place] | None = None) -> None:
        """Note the places of values in `places`, if there are any to be noted."""
        self.problems: list[Problem] = []
        self._places = places
        self._file = file
        self._around: list[yaml.Node] = []
        self._count = 0

    def document(self, root: yaml.Node) -> Any:
        """Give the value of a whole document."""
        return self._value(root, (), root)

    def _value(self, node: yaml.Node, path: Path, start: yaml.Node) -> Any:
        """Give the node's value; `start` is its key, or the node itself: where it begins."""
        self._count += 1
        if self._places is not None:
            mark = start.start_mark
            self._places[path] = Place(mark.line + 1, mark.column + 1, _text_place(node))
        if len(path) > MAX_LEVELS or node in self._around:
            return self._refuse(node, path, "the value holds itself, or is nested too deeply")
        if self._count > MAX_VALUES:
            if self._count == MAX_VALUES + 1:
                self._refuse(node, path, f"the document has more than {MAX_VALUES} values", "use fewer aliases")
            return None
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        self._around.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            return [self._value(item, (*path, index), item) for index, item in enumerate(node.value)]
        finally:
            self._around.pop()

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        if node.tag != "tag:yaml.org,2002:map":
            self._refuse(node, path, f"the tag {node.tag} is not understood")
        values: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                for source in reversed(value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]):
                    merged |= self._merged(source, path, key_node)
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(key_node, path, "a key must be a text", 'quote it: "{{ input.total }}"')
                continue
            key = self._well_formed(key_node, path)
            if key in values:
                self._refuse(key_node, (*path, key), f"the key `{key}` is there twice", "take one of them out")
            values[key] = self._value(value_node, (*path, key), key_node)
        if not merged:
            return values
        return {**{key: each for key, each in merged.items() if key not in values}, **values}

    def _merged(self, source: yaml.Node, path: Path, start: yaml.Node) -> dict[str, Any]:
        own = dict(self._places or {})
        value = self._value(source, path, start)
        if self._places is not None:
            self._places |= own
        if isinstance(value, dict):
            return value
        self._refuse(source, path, "`<<` takes a mapping, or a list of them")
        return {}

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        text = node.value
        match node.tag:
            case tag if tag == _STR:
                return self._well_formed(node, path)
            case tag if tag == _NULL:
                return None
            case tag if tag == _BOOL:
                return text.lower() == "true"
            case tag if tag in (_INT, _FLOAT):
                number = _number(text)
                return (
                    number if number is not None else self._refuse(node, path, f"the number {text[:40]} cannot be kept")
                )
            case tag:
                return self._refuse(node, path, f"the tag {tag} is not understood", "take it out")

    def _well_formed(self, node: yaml.ScalarNode, path: Path) -> str:
        """Join the two halves that JSON escapes a character outside the basic plane as."""
        text: str = node.value
        if text.isascii():
            return text
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self._refuse(node, path, "the text has half of a surrogate pair in it")
            return ""

    def _refuse(self, node: yaml.Node, path: Path, message: str, hint: str | None = None) -> None:
        mark = node.start_mark
        problem = Problem(
            message=message, file=self._file, line=mark.line + 1, column=mark.column + 1, path=path, hint=hint
        )
        self.problems.append(problem)


def _number(text: str) -> int | float | None:
    """Return the number, or None for one that no JSON reader takes."""
    try:
        if text.startswith(("0o", "0x")):
            number: int | float = int(text, 0)
        elif text.lstrip("+-").isdecimal():
            number = int(text)
        else:
            number = float(text)
    except ValueError:
        return None
    return number if not isinstance(number, float) or math.isfinite(number) else None


def _text_place(node: yaml.Node) -> tuple[int, int] | None:
    if not isinstance(node, yaml.ScalarNode) or node.start_mark.line != node.end_mark.line:
        return None
    quotes = 1 if node.style in _QUOTES else 0
    if node.end_mark.column - node.start_mark.column != len(node.value) + 2 * quotes:
        return None
    return node.start_mark.line + 1, node.start_mark.column + 1 + quotes
