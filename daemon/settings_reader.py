"""Reads values for dataclasses from a TOML document and environment variables, by the types of their fields. Pure.

Comes from: `settings`. Goes to: `settings`.
"""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    Protocol,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)
from urllib.parse import quote, urlsplit

from daemon.core.durations import DurationError, parse_duration
from daemon.core.problems import Problem, did_you_mean
from daemon.core.templates import TemplateError, compile_template

PREFIX = "SAGAD_"
OTHERS = ("SAGAD_SECRET_", "SAGAD_TEST_")
"""Beginnings of variables that are no settings: secrets for workflows, and where the services for tests are."""

_TRUTHS = {"true": True, "yes": True, "1": True, "on": True, "false": False, "no": False, "0": False, "off": False}
LARGEST_RATE = 1_000_000
_UNSET = object()
_HOST = re.compile(r"[A-Za-z0-9.*:_-]+", re.ASCII)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*", re.ASCII)

P = TypeVar("P")


class Rule(Protocol):
    """What an `Annotated` field asks beyond its type."""

    def apply(self, value: Any, base: Path) -> Any:
        """Return the value to use; raise ValueError with what is expected. Relative paths are relative to `base`."""


@dataclass(frozen=True)
class Between:
    """A number not outside these."""

    least: float
    most: float

    def apply(self, value: Any, _base: Path) -> Any:
        """Check it."""
        if not self.least <= value <= self.most:
            raise ValueError(f"a number from {self.least} to {self.most}")
        return value


class Url:
    """A URL of one of these schemes. SQLite's path is made relative to the base."""

    def __init__(self, *schemes: str) -> None:
        self.schemes = schemes

    def apply(self, value: str, base: Path) -> str:
        """Check it. The message leaves the value out: it may hold a password."""
        parts = urlsplit(value)
        if parts.scheme not in self.schemes or "://" not in value:
            raise ValueError("a URL that begins with " + " or ".join(f"{scheme}://" for scheme in self.schemes))
        if parts.scheme == "sqlite" and value.startswith("sqlite:///") and not parts.path.startswith("//"):
            folder = quote(str(base)) if base.parts else ""
            return f"sqlite:///{folder}{'/' if folder else ''}{value.removeprefix('sqlite:///')}"
        if (
            parts.scheme not in ("sqlite", "memory")
            and not parts.hostname
            and not parts.query
            and parts.path in ("", "/")
        ):
            raise ValueError(f"a URL with a host: {parts.scheme}://localhost")
        return value


class Duration:
    """A length of time."""

    def apply(self, value: str, _base: Path) -> str:
        """Check it."""
        try:
            parse_duration(value)
        except DurationError as error:
            raise ValueError(f"a length of time such as 10s ({error.message})") from error
        return value


class ConnectionUrl:
    """The URL of a database; secrets may be in it, or be all of it: `{{ secret.NAME }}`."""

    def apply(self, value: str, base: Path) -> str:
        """Check it, without showing it: it may hold a password."""
        try:
            template = compile_template(value, allow_secrets=True)
        except TemplateError as error:
            raise ValueError(f"a URL: {error.problems[0].message}") from None
        if template.names:
            raise ValueError("a URL in which nothing but {{ secret.NAME }} stands in braces")
        if template.secrets and re.fullmatch(r"\s*\{\{[^}]*\}\}\s*", value):
            return value
        return Url("postgresql", "postgres", "sqlite").apply(value, base)


class Name:
    """A part of the names of queues and topics."""

    def apply(self, value: str, _base: Path) -> str:
        """Check it."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", value):
            raise ValueError("letters, digits, `.`, `_` and `-`, at most 100")
        return value


class HandlerQueue:
    """A handler's name and the queue of the workers that run it."""

    def apply(self, value: str, base: Path) -> str:
        """Check it."""
        handler, _, queue = (part.strip() for part in value.partition("="))
        if not all(part.isidentifier() for part in handler.split(".")) or not queue:
            raise ValueError("a handler and its queue: `media.transcode=video`")
        return f"{handler}={Name().apply(queue, base)}"


class Rate:
    """How many calls may begin in a second, a minute or an hour: `50/s`."""

    def apply(self, value: str, _base: Path) -> str:
        """Check it."""
        parse_rate(value)
        return value


def parse_rate(text: str) -> tuple[float, float]:
    """Return the number, and the seconds in which so many may begin. Raises ValueError with what is expected."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*/\s*([smh])\s*", text)
    if found is None or not 1 <= float(found[1]) <= LARGEST_RATE:
        raise ValueError(f"a rate such as 50/s, 600/m or 1000/h, from 1 to {LARGEST_RATE}")
    return float(found[1]), {"s": 1.0, "m": 60.0, "h": 3600.0}[found[2]]


class ModuleOrFile:
    """The name of a Python module, or a `.py` file."""

    def apply(self, value: str, base: Path) -> str:
        """Check it."""
        if value.endswith(".py"):
            return str(base / value)
        if not all(part.isidentifier() for part in value.split(".")):
            raise ValueError("Python modules (`shop.handlers`) or files (`handlers.py`)")
        return value


class Reader:
    """Reads parts one by one and collects every problem."""

    def __init__(self, document: Mapping[str, Any], environ: Mapping[str, str], *, file: Path | None) -> None:
        self.problems: list[Problem] = []
        self._document = document
        self._environ = environ
        self._file = file
        self._base = file.parent if file is not None else Path()

    def report(self, part: str, key: str | None, message: str, hint: str | None = None) -> None:
        """Note a problem of a key in the file, of a whole part, or, by the source of the value, of a variable."""
        variable = _variable(part, key) if key is not None else None
        if variable is not None and self._environ.get(variable):
            self.problems.append(Problem(message=f"{variable}: {message}", path=(part, key or ""), hint=hint))
            return
        path = (part,) if key is None else (part, key)
        name = f"[{part}] {key or ''}".strip()
        file = str(self._file) if self._file is not None else None
        self.problems.append(Problem(message=f"{name}: {message}", file=file, path=path, hint=hint))

    def named(self, name: str, cls: type[P]) -> Mapping[str, P]:
        """Return the tables below `[name]`, `[name.orders]` say, by their names; those that could be read."""
        return self._tables(name, cls, self._document.get(name, {}), _NAME, "letters, digits, _ and -")

    def _tables(self, name: str, cls: type[P], tables: Any, pattern: re.Pattern[str], expected: str) -> Mapping[str, P]:
        if not isinstance(tables, dict):
            self.report(name, None, "must be tables", f"write [{name}.NAME] and its keys below")
            return {}
        read: dict[str, P] = {}
        for each, table in tables.items():
            known = len(self.problems)
            found = self._table(f"{name}.{each}", cls, table) if pattern.fullmatch(each) else None
            if found is None:
                if len(self.problems) == known:
                    self.report(f"{name}.{each}", None, f"the name must be of {expected}")
            else:
                read[each] = found
        return read

    def _rows(self, name: str, cls: type[P], tables: Any) -> tuple[P, ...]:
        """Return the tables of `[[name]]` that could be read, in their order; they are counted from 1 in problems."""
        if not isinstance(tables, list):
            self.report(name, None, "must be tables", f"write [[{name}]] and its keys below, for each")
            return ()
        read = [self._table(f"{name}.{number}", cls, table) for number, table in enumerate(tables, start=1)]
        return tuple(row for row in read if row is not None)

    def part(self, name: str, cls: type[P]) -> P:
        """Return the part with what could be read; the rest is at its default and among the problems."""
        return self._table(name, cls, self._document.get(name, {})) or cls()

    def _table(self, name: str, cls: type[P], table: Any) -> P | None:
        """Return what the table says; None when a key is missing or wrong that has no default."""
        if not isinstance(table, dict):
            self.report(name, None, "must be a table", f"write [{name}] and its keys below")
            table = {}
        keys = fields(cls)  # type: ignore[arg-type]  # every part is a dataclass
        hints = get_type_hints(cls, include_extras=True)
        for unknown in table.keys() - {key.name for key in keys}:
            self.report(name, unknown, "there is no such key", did_you_mean(unknown, [key.name for key in keys]))
        read = {key.name: self._value(name, key, hints[key.name], table) for key in keys}
        known = {key: value for key, value in read.items() if value is not _UNSET}
        needed = [key.name for key in keys if key.default is key.default_factory is MISSING and key.name not in known]
        for key_name in needed:
            if key_name not in table:
                self.report(name, key_name, "is missing")
        return None if needed else cls(**known)

    def unknown(self, parts: Mapping[str, type], named: Mapping[str, type]) -> None:
        """Report parts and variables that nothing reads; `named` are parts that have tables with names."""
        parts = {**parts, **self._in_tables(named)}
        for name in self._document.keys() - parts.keys() - named.keys():
            message = "there is no such part"
            if not isinstance(self._document[name], dict):
                message = f"{name!r} stands outside a part"
            self.report(name, None, message, did_you_mean(name, {*parts, *named}))
        known = {
            _variable(part, key.name)
            for part, cls in parts.items()
            for key in fields(cls)  # every part is a dataclass
            if key.default_factory is MISSING
        }
        prefixes = tuple(f"{PREFIX}{part.upper()}_" for part in {*parts, *named})
        for variable in sorted(set(self._environ) - known):
            if variable.startswith(OTHERS):
                continue
            close = get_close_matches(variable, known, n=1, cutoff=0.85)
            if variable.startswith(prefixes) or (variable.startswith(PREFIX) and close):
                hint = did_you_mean(variable, known)
                self.problems.append(Problem(message=f"{variable}: nothing reads this variable", hint=hint))

    def _in_tables(self, named: Mapping[str, type]) -> Mapping[str, type]:
        tables = ((name, self._document.get(name)) for name in named)
        return {f"{name}.{each}": named[name] for name, table in tables if isinstance(table, dict) for each in table}

    def _value(self, part: str, key: Field[Any], kind: Any, table: Mapping[str, Any]) -> Any:
        if get_origin(kind) is Mapping:
            return self._tables(
                f"{part}.{key.name}", get_args(kind)[1], table.get(key.name, {}), _HOST, "a host's name, perhaps with *"
            )
        if get_origin(kind) is tuple and is_dataclass(row := get_args(kind)[0]):
            return self._rows(f"{part}.{key.name}", cast("type[Any]", row), table.get(key.name, []))
        text = self._environ.get(_variable(part, key.name), "")
        if text:
            given, base = _from_text(text, kind), Path()
        elif key.name in table:
            given, base = table[key.name], self._base
        elif self._file is not None and key.default is not MISSING:
            given, base = key.default, self._base
        else:
            return _UNSET
        try:
            return _convert(given, kind, base)
        except ValueError as error:
            self.report(part, key.name, f"must be {error}{_shown(key, given)}")
            return _UNSET


def _variable(part: str, key: str) -> str:
    return re.sub(r"\W", "_", f"{PREFIX}{part}_{key}".upper())


def _shown(key: Field[Any], given: Any) -> str:
    return f", not {given!r}" if key.repr else ""


def _from_text(text: str, kind: Any) -> Any:
    """Return what the file would have for this text; text that does not fit stays text, and fails later."""
    plain = _plain(kind)
    try:
        if plain is bool:
            return _TRUTHS.get(text.strip().lower(), text)
        if plain in (int, float):
            return plain(text)
    except ValueError:
        return text
    return text


def _plain(kind: Any) -> Any:
    """Return the type without `Annotated` and without `None`."""
    while get_origin(kind) in (Annotated, Union, types.UnionType):
        kind = get_args(kind)[0]
    return kind


def _convert(value: Any, kind: Any, base: Path) -> Any:
    """Return the value in its field's type. Raises ValueError with what is expected."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if value is None else _convert(value, arguments[0], base)
    if origin is Annotated:
        value = _convert(value, arguments[0], base)
        for rule in arguments[1:]:
            value = rule.apply(value, base)
        return value
    if origin is tuple:
        items = [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value
        if not isinstance(items, list | tuple):
            raise ValueError("a list of text")
        return tuple(_convert(item, arguments[0], base) for item in items)
    if origin is Literal:
        if value not in arguments:
            raise ValueError("one of " + ", ".join(map(str, arguments)))
        return value
    return _simple(value, kind, base)


def _simple(value: Any, kind: Any, base: Path) -> Any:
    if kind is bool and isinstance(value, bool):
        return value
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind is str and isinstance(value, str):
        return value
    if kind is Path and isinstance(value, str | Path) and str(value):
        return base / Path(value).expanduser()
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
    raise ValueError(names[kind])
