r"""Templates: JSON values whose texts may hold `{{ expression }}`.

    {"text": "Order {{ input.id }}", "total": "{{ input.total * 1.2 }}", "token": "Bearer {{ secret.MAIL }}"}

A text that is one `{{ }}` and nothing else gives the expression's value with its type; other text takes the value in as
text (`expressions.as_text`: JSON, but null is an error). `\{{` is the text `{{`, as is `{{ '{{' }}`; so are `\{%` and
`\{#`. Keys of maps are never templates.

Secrets do not pass through here. `{{ secret.NAME }}` renders as `***`, and a `SecretSlot` beside the value tells where
the secret belongs; `fill` puts it there when the step is called. Slots come from the template alone, so no data can ask
for a secret, whatever it looks like.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct

from daemon.core.expressions import MAX_RESULT, EvaluationError, ExpressionError, as_text, compile_expression, plain

if TYPE_CHECKING:
    from daemon.core.expressions import Expression, JsonValue, Path

MAX_LEVELS = 64  # of lists and maps in each other
MAX_VALUES = 100_000  # in one template; aliases in YAML can make a small file huge
MASK = "***"
Pointer: TypeAlias = tuple[str | int, ...]


class SecretName(Struct, frozen=True, gc=False):
    """The place of one secret in a text."""

    secret: str


class SecretSlot(Struct, frozen=True, gc=False):
    """A text of a rendered value that holds secrets: where it is, and its parts in order."""

    pointer: Pointer
    parts: tuple[str | SecretName, ...]


class Rendered(Struct, frozen=True, gc=False):
    """A rendered value, secrets masked. Its lists and maps may be shared with the template: do not change them."""

    value: Any
    secrets: tuple[SecretSlot, ...] = ()


class TemplateProblem(Struct, frozen=True, kw_only=True):
    """One mistake. `offset` counts characters of `source`, the whole text at `pointer`, from 0."""

    pointer: Pointer
    message: str
    hint: str | None = None
    source: str | None = None
    offset: int | None = None

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{'.'.join(map(str, self.pointer))}: {self.message}{hint}".removeprefix(": ")


class TemplateError(ExpressionError):
    """A template cannot be compiled. Carries every problem found, not just the first."""

    def __init__(self, problems: Iterable[TemplateProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class RenderError(TemplateError, EvaluationError):
    """A template has no value for this data. Carries every problem found, not just the first."""


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template; a constant one reads nothing and holds no secret. The sets are over all its expressions."""

    constant: bool
    names: frozenset[str]
    paths: frozenset[Path]
    secrets: frozenset[str]
    _root: _Node = field(repr=False)

    def render(self, scope: Mapping[str, object]) -> Rendered:
        """Give the value for this scope, secrets masked, or raise `RenderError`. Each expression looks up its roots."""
        if isinstance(self._root, _Constant):
            return Rendered(self._root.value)
        rendering = _Rendering(scope)
        value = rendering.value(self._root)
        if rendering.problems:
            raise RenderError(rendering.problems)
        return Rendered(value, tuple(rendering.slots))


def compile_template(value: object, *, allow_secrets: bool = False) -> Template:
    """Compile a value as it comes from YAML or JSON; raise `TemplateError`."""
    reader = _Reader(allow_secrets=allow_secrets)
    root = reader.read(value, ())
    if reader.problems:
        raise TemplateError(reader.problems)
    names = frozenset(name for each in reader.expressions for name in each.names)
    paths = frozenset(path for each in reader.expressions for path in each.paths)
    return Template(isinstance(root, _Constant), names, paths, frozenset(reader.secrets), root)


def fill(value: Any, secrets: Sequence[SecretSlot], resolve: Callable[[str], str]) -> Any:
    """Give a copy of a rendered value with its secrets in place: what is sent, and never recorded.

    Raises ValueError if a slot's text is not as it was rendered, so an edited value pulls no secret in.
    """
    for slot in secrets:
        value = _filled(value, slot, 0, resolve)
    return value


def _filled(value: Any, slot: SecretSlot, level: int, resolve: Callable[[str], str]) -> Any:
    if level == len(slot.pointer):
        if value != _masked(slot.parts):
            raise ValueError(f"the text at {list(slot.pointer)} is not what its secrets were recorded for")
        return "".join(part if isinstance(part, str) else resolve(part.secret) for part in slot.parts)
    key: Any = slot.pointer[level]
    if key not in (value if isinstance(value, dict) else range(len(value) if isinstance(value, list) else 0)):
        raise ValueError(f"there is no {list(slot.pointer)} to put a secret in")
    copy: Any = value.copy()
    copy[key] = _filled(value[key], slot, level + 1, resolve)
    return copy


def _masked(parts: Iterable[str | SecretName]) -> str:
    return "".join(part if isinstance(part, str) else MASK for part in parts)


class _Constant(Struct, frozen=True):
    value: Any


@dataclass(frozen=True, slots=True)
class _Value:
    expression: Expression
    pointer: Pointer
    source: str  # the whole text
    offset: int  # of the expression in it


class _Text(Struct, frozen=True):
    pointer: Pointer
    parts: tuple[str | SecretName | _Value, ...]


class _Branch(Struct, frozen=True):
    keys: tuple[str, ...] | None  # of a map; None is a list
    items: tuple[_Node, ...]

    def join(self, values: list[JsonValue]) -> JsonValue:
        return values if self.keys is None else dict(zip(self.keys, values, strict=True))


_Node: TypeAlias = _Constant | _Value | _Text | _Branch


@dataclass(slots=True)
class _Rendering:
    """One rendering: renders on after a problem, to find them all."""

    scope: Mapping[str, object]
    room: list[int] = field(default_factory=lambda: [MAX_RESULT])
    problems: list[TemplateProblem] = field(default_factory=list)
    slots: list[SecretSlot] = field(default_factory=list)

    def value(self, node: _Node) -> Any:
        if isinstance(node, _Value):
            return self.evaluated(node)
        if isinstance(node, _Branch):
            return node.join([self.value(item) for item in node.items])
        return node.value if isinstance(node, _Constant) else self.text(node)

    def evaluated(self, node: _Value, convert: Callable[[JsonValue], JsonValue] | None = None) -> JsonValue:
        try:
            value = node.expression.evaluate(self.scope, self.room)
            return convert(value) if convert else value
        except ExpressionError as error:
            self.problems.append(_problem(node.pointer, error, node.source, node.offset))
            return ""

    def text(self, node: _Text) -> str:
        parts: list[Any] = [self.evaluated(p, as_text) if isinstance(p, _Value) else p for p in node.parts]
        if any(isinstance(part, SecretName) for part in parts):
            self.slots.append(SecretSlot(node.pointer, tuple(parts)))
        return _masked(parts)


_MARK = re.compile(r"(?P<escape>\\)?\{[{%#]")
_QUOTE_OR_BRACE = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[{}]""", re.DOTALL)
_SECRET = re.compile(r"secret\.([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(slots=True)
class _Reader:
    """Reads a template's source; reads on after a problem, to find them all."""

    allow_secrets: bool
    problems: list[TemplateProblem] = field(default_factory=list)
    expressions: list[Expression] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)
    values: int = 0

    def read(self, value: object, pointer: Pointer) -> _Node:
        self.values += 1
        if len(pointer) > MAX_LEVELS or self.values > MAX_VALUES:
            error = ExpressionError(f"the template has more than {MAX_LEVELS} levels or {MAX_VALUES} values")
            raise TemplateError([*self.problems, _problem(pointer, error)])
        if isinstance(value, Mapping):
            for key in value:
                if not isinstance(key, str) or "{{" in key:
                    error = ExpressionError(f"the key {key!r} is not plain text", hint="quote it; keys hold no `{{`")
                    self.problems.append(_problem(pointer, error))
            return self.read_branch(tuple(map(str, value)), value.values(), pointer)
        if isinstance(value, list | tuple):
            return self.read_branch(None, value, pointer)
        try:
            constant = plain(value, [MAX_RESULT])
            return self.read_text(constant, pointer) if isinstance(constant, str) else _Constant(constant)
        except ExpressionError as error:
            self.problems.append(_problem(pointer, error, value if isinstance(value, str) else None))
            return _Constant(None)

    def read_branch(self, keys: tuple[str, ...] | None, values: Iterable[object], pointer: Pointer) -> _Node:
        items = tuple(self.read(value, (*pointer, keys[at] if keys else at)) for at, value in enumerate(values))
        branch = _Branch(keys, items)
        constants = [item.value for item in items if isinstance(item, _Constant)]
        return _Constant(branch.join(constants)) if len(constants) == len(items) else branch

    def read_text(self, text: str, pointer: Pointer) -> _Node:
        parts = [part if isinstance(part, str) else self.read_part(*part, text, pointer) for part in _split(text)]
        whole = [part for part in parts if not isinstance(part, str) or part.strip()]
        if len(whole) == 1 and not isinstance(whole[0], str):
            return whole[0] if isinstance(whole[0], _Value) else _Text(pointer, (whole[0],))
        literals = [part for part in parts if isinstance(part, str)]
        return _Constant("".join(literals)) if len(literals) == len(parts) else _Text(pointer, tuple(parts))

    def read_part(self, offset: int, source: str, text: str, pointer: Pointer) -> str | SecretName | _Value:
        """Read what is between `{{` and `}}`; `offset` is where that starts in the text."""
        try:
            if secret := _SECRET.fullmatch(source):
                if not self.allow_secrets:
                    raise ExpressionError("a secret cannot be used here")  # noqa: TRY301
                self.secrets.add(secret[1])
                return SecretName(secret[1])
            self.expressions.append(compile_expression(source))
            return _Value(self.expressions[-1], pointer, text, offset)
        except ExpressionError as error:
            self.problems.append(_problem(pointer, error, text, offset))
            return ""


def _problem(pointer: Pointer, error: ExpressionError, source: str | None = None, start: int = 0) -> TemplateProblem:
    offset = None if source is None else start + (error.offset or 0)
    return TemplateProblem(pointer=pointer, message=error.message, hint=error.hint, source=source, offset=offset)


def _split(text: str) -> list[str | tuple[int, str]]:
    """Give the parts of a text: literal text, and the offset and source of each expression."""
    parts: list[str | tuple[int, str]] = []
    literal, start = "", 0
    while mark := _MARK.search(text, start):
        literal += text[start : mark.start()]
        start = mark.end()
        if mark["escape"]:
            literal += mark[0][1:]
        elif mark[0] == "{{":
            end = _end(text, start)
            source = text[start:end]
            parts += [literal, (end - len(source.lstrip()), source.strip())]
            literal, start = "", end + 2
        else:
            raise ExpressionError("there are no statements or comments", "", start - 2, f"for text write \\{mark[0]}")
    return [part for part in (*parts, literal + text[start:]) if part]


def _end(text: str, start: int) -> int:
    """Find the `}}` that ends the expression; braces in quotes and of maps are not it."""
    level = 0
    for match in _QUOTE_OR_BRACE.finditer(text, start):
        if match[0] == "{":
            level += 1
        elif match[0] == "}" and level:
            level -= 1
        elif text.startswith("}}", match.start()):
            return match.start()
    raise ExpressionError("`{{` has no `}}`", "", start - 2, "for text write \\{{")
