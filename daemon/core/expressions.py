"""Expressions: the one small language of conditions and of values in `{{ }}`. Its syntax is Jinja2's.

    order.total > 100 and input.tags | default([]) | map('upper') | join(', ') != ''

What can be reached is tight by construction, not by a list of forbidden things:

1. `a.b` and `a['b']` are item access (map key, list index). No Python attribute is ever read.
2. Nothing can be called. Filters and tests are two tables; there are no globals.
3. The syntax tree is checked before it is compiled; nothing is computed at compile time.
4. Arithmetic is on numbers of 64 bits. What reads or builds text and lists pays for their size out of `MAX_WORK`.
5. What is missing is an error that names the path, unless `| default(x)` or `is defined` asks for it.
6. The result is a fresh JSON value: plain lists and maps, finite numbers, bounded. Comparison is Python's: `1 == true`.
"""

from __future__ import annotations

import inspect
import math
import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
from jinja2 import TemplateSyntaxError, nodes
from jinja2.lexer import TokenStream, describe_token
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing
from jinja2.visitor import NodeTransformer

from daemon.core.evaluation import (
    MAX_DEPTH,
    MAX_MESSAGE,
    MAX_RESULT,
    AbsentError,
    EvaluationError,
    ExpressionError,
    JsonValue,
    Missing,
    Path,
    Run,
    as_text,
    in_our_words,
    item_of,
    kind_of,
    number,
    plain,
    want,
)
from daemon.core.filters import FILTERS, TESTS, Function, joined

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = [
    "FILTERS", "MAX_RESULT", "TESTS", "EvaluationError", "Expression", "ExpressionError", "JsonValue", "Path",
    "as_text", "compile_expression", "plain",
]  # fmt: skip

MAX_SOURCE = 4_096  # characters of one expression
MAX_BRACKETS = 32  # levels of brackets
_LEVELS = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}
MAX_EXPONENT = 64


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression; two of the same source are equal."""

    source: str
    names: frozenset[str] = field(compare=False)
    """The roots it reads: `input`, `steps`, ..."""
    paths: frozenset[Path] = field(compare=False)
    """What it reads of them, as far as that is constant: `("steps", "charge", "items", "0")`."""
    _root: Callable[[Any], Iterator[object]] = field(compare=False, repr=False)
    _straight: Path | None = field(compare=False, repr=False)
    """All that the expression is, if it only follows names: such a path is walked without the compiled code."""

    def evaluate(self, scope: Mapping[str, object], room: list[int] | None = None) -> JsonValue:
        """Give the value for this scope, or raise `EvaluationError`.

        Only `names` are looked up in `scope`, once each, so it may compute its values. A KeyError means that the name
        is missing; other errors of the lookup pass through. Values are JSON; tuples and other mappings read the same.
        `room[0]` is what is left of `MAX_RESULT` for results that are put together, and is counted down.
        """
        roots: dict[str, object] = {}
        for name in self.names:
            try:
                roots[name] = scope[name]
            except KeyError:
                roots[name] = missing
        hint: str | None = None
        try:
            found = missing if self._straight is None else _follow(self._straight, roots)
            if found is missing:
                run = Run(roots)
                next(self._root(run), None)  # compiled code is a generator that yields nothing
                found = run.vars["result"]
            return plain(found, room or [MAX_RESULT])
        except AbsentError as error:
            message, hint = error.value.explain(self.paths, roots, scope)
        except EvaluationError as error:
            message, hint = error.message, error.hint
        except _FAULTS as error:
            message = in_our_words(error)
        raise EvaluationError(message[:MAX_MESSAGE], self.source, hint=hint)


def _follow(path: Path, roots: Mapping[str, object]) -> object:
    """Give what is at the end of a path through maps; `missing` for any other, which the compiled code explains."""
    found = roots[path[0]]
    for key in path[1:]:
        if type(found) is not dict or key not in found:
            return missing
        found = found[key]
    return found


_FAULTS = (ArithmeticError, LookupError, MemoryError, RecursionError, TypeError, ValueError, msgspec.MsgspecError)


_PLAIN_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_WORDS = frozenset({
    "and", "or", "not", "in", "is", "if", "else", "elif", "none", "None", "true", "True", "false", "False", "null",
    "self", "undefined", "secret",
})  # fmt: skip


@lru_cache(maxsize=4_096)
def compile_expression(source: str) -> Expression:
    """Compile a condition, or what stands in `{{ }}`; raise `ExpressionError`. Results are kept and shared."""
    if len(source) > MAX_SOURCE:
        raise ExpressionError(f"the expression is longer than {MAX_SOURCE} characters", source)
    keys = tuple(source.split(".")) if _PLAIN_PATH.fullmatch(source) else ()
    if 0 < len(keys) <= MAX_DEPTH and not _WORDS.intersection(keys):
        return Expression(source, frozenset(keys[:1]), frozenset((keys,)), _Code(source), keys)
    try:
        tree = _parse(source)
        names, paths = _check(tree)
    except TemplateSyntaxError as error:
        message = re.sub(r" at \d+$", "", str(error.message).replace("end of template", "end of the expression"))
        raise ExpressionError(message, source, min(error.lineno, len(source)), _hint(source)) from None
    except ExpressionError as error:
        raise ExpressionError(error.message, source, error.offset, error.hint) from None
    except (MemoryError, RecursionError, SyntaxError, ValueError) as error:
        raise ExpressionError(f"the expression cannot be read: {error}", source) from error
    return Expression(source, names, paths, _Code(source), _names_alone(tree))


def _parse(source: str) -> nodes.Expr:
    parser = Parser(_ENVIRONMENT, source, state="variable")
    tree = parser.parse_expression()
    if not parser.stream.eos:
        parser.fail(f"unexpected {describe_token(parser.stream.current)!r}", parser.stream.current.lineno)
    return tree


class _Code:
    """What runs an expression that was checked, generated when it is first run: most of a large definition never is."""

    __slots__ = ("_function", "_source")

    def __init__(self, source: str) -> None:
        self._source = source
        self._function: Callable[[Any], Iterator[object]] | None = None

    def __call__(self, run: Any) -> Iterator[object]:
        if self._function is None:
            body = nodes.Assign(nodes.Name("result", "store"), _Rewriter().visit(_parse(self._source)), lineno=1)
            try:
                self._function = _ENVIRONMENT.from_string(nodes.Template([body], lineno=1)).root_render_func
            except (MemoryError, RecursionError, SyntaxError, ValueError) as error:
                raise EvaluationError(f"the expression cannot be run: {error}", self._source) from error
        return self._function(run)


def _names_alone(tree: nodes.Node) -> Path | None:
    """Return `("a", "b", "c")` for `a.b.c`, None for anything else."""
    keys: list[str] = []
    while isinstance(tree, nodes.Getattr):
        keys.append(tree.attr)
        tree = tree.node
    return (tree.name, *reversed(keys)) if isinstance(tree, nodes.Name) else None


# The check of the tree. The `lineno` of its nodes is an offset in the source: see `_Environment._tokenize`.

_ALLOWED = re.compile(
    "Add|And|Compare|Concat|CondExpr|Const|Dict|Div|Filter|FloorDiv|Getattr|Getitem|Keyword|List|Mod|Mul|Name|Neg|Not|"
    "Operand|Or|Pair|Pos|Pow|Slice|Sub|Test|Tuple"
)
_PLAIN_NODES = frozenset((nodes.Name, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.List))
"""Those that have nothing in them to be looked at, save a name; for the others see `_check_node`."""
_NOT_NAMES = {
    "null": "write `none`",
    "secret": "it is filled in when the step is called: write {{ secret.NAME }} alone in its braces",
    "self": "name the root: `input`, `steps`, ...",
    "undefined": "write `x is undefined`",
}
_HINTS = {
    r"&&": "write `and`",
    r"\|\|": "write `or`",
    r"[!=]==": "write `==` or `!=`",
    r"\?\?|\?\.": "write `a.b | default(c)`",
    r"\?": "write `a if test else b`",
    r"!(?!=)": "write `not x`",
    r"\{%": "there are no statements; write `a if test else b`",
    r"\{#": "there are no comments",
    r"\{\{|\$\{": "write the expression without the braces",
    r"(?<![=!<>])=(?!=)": "write `==` to compare",
}
_QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\"""", re.DOTALL)


def _hint(source: str) -> str | None:
    code = _QUOTED.sub("''", source)
    return next((hint for pattern, hint in _HINTS.items() if re.search(pattern, code)), None)


def _check(tree: nodes.Expr) -> tuple[frozenset[str], frozenset[Path]]:
    """Refuse what is not allowed; give the roots and the paths read. A loop, so that no tree is too deep for it."""
    paths: set[Path] = set()
    todo: list[tuple[nodes.Node, int]] = [(tree, 1)]
    while todo:
        node, depth = todo.pop()
        keys: list[str] = []
        while isinstance(node, nodes.Getattr | nodes.Getitem):
            depth += 1
            key = node.attr if isinstance(node, nodes.Getattr) else getattr(node.arg, "value", None)
            keys = [str(key), *keys] if isinstance(key, str | int) else []
            if isinstance(node, nodes.Getitem):
                todo.append((node.arg, depth))
            node = node.node
        if depth > MAX_DEPTH:
            raise ExpressionError("the expression is nested too deeply", offset=node.lineno)
        if isinstance(node, nodes.Name):
            paths.add((node.name, *keys))
        _check_node(node)
        todo += [(child, depth + 1) for child in node.iter_child_nodes()]
    return frozenset(path[0] for path in paths), frozenset(paths)


def _check_node(node: nodes.Node) -> None:
    if type(node) in _PLAIN_NODES and getattr(node, "name", None) not in _NOT_NAMES:
        return
    refuse = partial(ExpressionError, offset=node.lineno)
    match node:
        case nodes.Call():
            name = getattr(node.node, "attr", getattr(node.node, "name", None))
            raise refuse("nothing can be called", hint=f"write `x | {name if name in FILTERS else 'filter'}`")
        case nodes.Name() if node.name in _NOT_NAMES:
            raise refuse(f"{node.name!r} cannot be read", hint=_NOT_NAMES[node.name])
        case nodes.CondExpr(expr2=None):
            raise refuse("an `if` without `else` may have no value", hint="add `else none`")
        case nodes.Const(value=float()) if not math.isfinite(node.value):
            raise refuse("the number is too large")
        case nodes.Filter():
            _check_use("filter", node, FILTERS)
        case nodes.Test():
            _check_use("test", node, TESTS)
        case _ if not _ALLOWED.fullmatch(type(node).__name__):  # what a later Jinja2 may add
            raise refuse(f"{type(node).__name__} is not allowed")


def _check_use(word: str, node: nodes.Filter | nodes.Test, table: Mapping[str, Function]) -> None:
    refuse = partial(ExpressionError, offset=node.lineno)
    if node.name not in table:
        close = get_close_matches(node.name, table, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(sorted(table))}"
        raise refuse(f"there is no {word} {node.name!r}", hint=hint)
    named = [str(option.key) for option in node.kwargs]
    if len(set(named)) < len(named):
        raise refuse(f"{word} {node.name!r} is given an argument twice")
    if node.dyn_args or node.dyn_kwargs:
        raise refuse(f"{word} {node.name!r} takes no `*` arguments")
    if mistake := _misuse(table[node.name], len(node.args), tuple(named)):
        raise refuse(f"{word} {node.name!r}: {mistake}")


@lru_cache(maxsize=1_024)
def _misuse(function: Function, count: int, named: tuple[str, ...]) -> str | None:
    """Tell what is wrong with so many arguments, and these named ones; None when nothing is."""
    try:
        signature = inspect.signature(getattr(function, "__wrapped__", partial(function, None)))
        signature.bind(None, *[None] * count, **dict.fromkeys(named))
    except TypeError as error:
        return str(error)
    return None


class _Rewriter(NodeTransformer):
    """`a ~ b` and `a[b:c]` become filters: Jinja2 compiles them to Python that nothing bounds."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - Jinja2 names it
        self.generic_visit(node)
        return nodes.Filter(nodes.List(node.nodes), "join", [], [], None, None)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802 - Jinja2 names it
        self.generic_visit(node)
        if not isinstance(node.arg, nodes.Slice):
            return node
        bounds = [bound or nodes.Const(None) for bound in (node.arg.start, node.arg.stop, node.arg.step)]
        return nodes.Filter(node.node, "slice", bounds, [], None, None)


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja2 reduced to item access, checked arithmetic and our tables."""

    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "%", "**"))
    intercepted_unops = frozenset(("+", "-"))

    def getitem(self, obj: object, argument: object) -> object:
        """Give the item, or what stands for a missing one."""
        return item_of(obj, argument)

    def getattr(self, obj: object, attribute: str) -> object:
        """Give `obj[attribute]`: there are no attributes."""
        if type(obj) is dict and attribute in obj:
            return obj[attribute]
        return item_of(obj, attribute)

    def call(self, *_: object, **__: object) -> NoReturn:
        """Refuse: a second wall behind the check of the tree."""
        raise EvaluationError("nothing can be called")

    def call_binop(self, context: Any, operator: str, left: object, right: object) -> object:
        """Compute `left operator right` on numbers; `+` also joins two texts or two lists."""
        context.spend(left, right)
        kinds = {kind_of(left), kind_of(right)}
        if kinds == {"a number"}:
            if operator == "**" and isinstance(right, int) and abs(right) > MAX_EXPONENT:
                raise EvaluationError(f"the exponent {right} is too large; at most {MAX_EXPONENT}")
            return number(self.binop_table[operator](left, right))
        if operator == "+" and kinds == {"text"}:
            return joined((left, right))
        if operator == "+" and kinds == {"a list"}:
            return want(left, list) + want(right, list)
        hint = "`~` joins texts" if operator == "+" else None
        raise EvaluationError(f"`{operator}` takes numbers, got {kind_of(left)} and {kind_of(right)}", hint=hint)

    def call_unop(self, context: Any, operator: str, arg: object) -> object:
        """Compute `-arg` or `+arg`, on numbers."""
        return self.call_binop(context, operator, 0, want(arg, float))

    def _tokenize(
        self, source: str, name: str | None, filename: str | None = None, state: str | None = None
    ) -> TokenStream:
        """Give tokens whose `lineno` is their offset in the source, so that every node and error knows its place."""

        def tokens() -> Iterator[tuple[int, str, str]]:
            offset = level = 0
            try:
                for _, kind, text in self.lexer.tokeniter(source, name, filename, state):
                    if text in _LEVELS:
                        level += _LEVELS[text]
                        if level > MAX_BRACKETS:
                            raise TemplateSyntaxError(f"more than {MAX_BRACKETS} brackets in each other", 1)  # noqa: TRY301
                    yield offset, kind, text
                    offset += len(text)
            except TemplateSyntaxError as error:
                error.lineno = offset
                raise

        return TokenStream(self.lexer.wrap(tokens(), name, filename), name, filename)


_ENVIRONMENT = _Environment(undefined=Missing, optimized=False, cache_size=0)
_ENVIRONMENT.filters = dict(FILTERS)
_ENVIRONMENT.tests = dict(TESTS)
_ENVIRONMENT.globals = {}
