"""How a node type reads its keys: templates are compiled, and every mistake is gathered before the first is raised."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from daemon.core.durations import DurationError, parse_duration
from daemon.core.node import ConfigError
from daemon.core.problems import Problem
from daemon.core.templates import Template, TemplateError, compile_template

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

T = TypeVar("T")

PORT_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BROKEN = compile_template(None)
"""Stands for a template with a mistake until `finish` raises."""


class Reader:
    """Compiles the parts of one node; call `finish` with the config that is made of them."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []

    def template(self, value: object, *path: str | int, allow_secrets: bool = False) -> Template:
        """Compile the value that stands at `path` in the node."""
        try:
            return compile_template(value, allow_secrets=allow_secrets)
        except TemplateError as error:
            for problem in error.problems:
                place = (*path, *problem.pointer)
                self._problems.append(
                    Problem(message=problem.message, hint=problem.hint, path=place, offset=problem.offset)
                )
            return _BROKEN

    def expression(self, value: object, *path: str | int) -> Template:
        """Compile a text that only makes sense with an expression in it, such as a condition."""
        template = self.template(value, *path)
        if is_fixed(template):
            self.refuse("there is no expression in the text", path, f'write "{{{{ {value} }}}}"')
        return template

    def duration(self, value: object, *path: str | int) -> Template:
        """Compile a duration, or a template that gives one; a fixed one is checked now."""
        template = self.template(value, *path)
        if is_fixed(template):
            try:
                parse_duration(value)
            except DurationError as error:
                self.refuse(error.message, path, error.hint)
        return template

    def port_name(
        self,
        port: str,
        path: Iterable[str | int],
        *,
        type_name: str,
        taken: Collection[str],
        hint: str = "use letters, digits, _ and -",
    ) -> None:
        """Check the name that a definition gives a port; `taken` are those that every node of the type has."""
        if not PORT_NAME.fullmatch(port):
            self.refuse(f"{port!r} cannot be the name of a port", path, hint)
        elif port in taken:
            self.refuse(f"every {type_name} has a port {port!r} already", path, "choose another name")

    def refuse(self, message: str, path: Iterable[str | int], hint: str | None = None) -> None:
        """Note a mistake."""
        self._problems.append(Problem(message=message, path=tuple(path), hint=hint))

    def adopt(self, problems: Iterable[Problem], within: tuple[str | int, ...]) -> None:
        """Note mistakes whose paths are relative to `within`."""
        self._problems += (replace(problem, path=(*within, *problem.path)) for problem in problems)

    def finish(self, config: T) -> T:
        """Return the config. Raises `ConfigError` with all mistakes, if there are any."""
        if self._problems:
            raise ConfigError(tuple(self._problems))
        return config


def is_fixed(template: Template) -> bool:
    """Tell whether the value is known already, and nothing is wrong with it."""
    return template.constant and template is not _BROKEN
