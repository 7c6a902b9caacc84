"""`validate`, `schema`: definitions without running them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec.structs import replace
from rich.text import Text

from daemon.cli import output
from daemon.cli.options import Config, Json, settings_of
from daemon.core.errors import Misconfigured
from daemon.core.schema import definition_schema
from daemon.nodes import all_node_types
from daemon.runtime.definitions import Compiler, Loaded
from daemon.runtime.handler_registry import load_handlers, python_files
from daemon.runtime.shared_limits import shared_limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from daemon.core.problems import Problem
    from daemon.settings import Settings


def validate(
    files: Annotated[list[Path], typer.Argument(help="Definitions, or folders of them.", show_default=False)],
    *,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Check definitions; print every problem with its place and a hint. Exit code 1 when there is one.

    Handlers are checked where the settings name some.
    """
    settings = settings_of(config)
    problems: Sequence[Problem] = ()
    loaded = Loaded((), ())
    try:
        loaded = compiler_of(settings, files).load_files(files)
    except Misconfigured as error:
        problems = error.problems
    found = [*problems, *loaded.warnings]
    if as_json:
        names = sorted(plan.definition.workflow for plan in loaded.plans)
        output.print_json({"valid": not problems, "workflows": names, "problems": found})
    else:
        print_problems(found)
        for plan in loaded.plans:
            definition = plan.definition
            counts = (
                f"{len(definition.nodes)} nodes, {len(definition.edges)} edges, {len(definition.triggers)} triggers"
            )
            output.console().print(Text.assemble(output.status("ok"), f" {definition.workflow}: {counts}"))
    if problems:
        raise typer.Exit(1)


def schema() -> None:
    """Print the JSON Schema of definitions, for editors."""
    output.print_json(definition_schema(all_node_types()))


def compiler_of(settings: Settings, files: Iterable[Path] = ()) -> Compiler:
    """Return the compiler of the settings, with the handlers of these files too.

    Raises Misconfigured for handlers that cannot be loaded.
    """
    plain = plain_compiler_of(settings)
    workflows = settings.workflows
    if not workflows.handlers and not python_files(workflows.paths):
        return plain
    flows = python_files([*workflows.paths, *files])
    search = [settings.file.parent if settings.file is not None else Path(), *(file.parent for file in flows)]
    handlers = load_handlers([*workflows.handlers, *map(str, flows)], search=search)
    return replace(plain, handlers=frozenset(handlers), functions=frozenset(handlers.functions))


def plain_compiler_of(settings: Settings) -> Compiler:
    """Return a compiler that does not ask which handlers there are."""
    env = {name: os.environ[name] for name in settings.workflows.env if name in os.environ}
    connections = frozenset(settings.connections) if settings.file is not None else None
    shared = shared_limits(settings)
    return Compiler(node_types=all_node_types(), handlers=None, env=env, shared=shared, connections=connections)


def print_problems(problems: Iterable[Problem]) -> None:
    """Print each with its line and a caret below the place."""
    console = output.console()
    lines: dict[str, list[str]] = {}
    for problem in problems:
        mark = output.status(problem.severity)
        place = ":".join(str(part) for part in (problem.file, problem.line, problem.column) if part is not None)
        console.print(Text.assemble(f"{place}: " if place else "", mark, f": {problem.message}"), soft_wrap=True)
        if problem.file is not None and problem.line is not None:
            if problem.file not in lines:
                lines[problem.file] = _read(problem.file)
            _print_line(lines[problem.file], problem.line, problem.column)
        if problem.hint:
            console.print(Text(f"  hint: {problem.hint}"), soft_wrap=True)


def _print_line(lines: Sequence[str], number: int, column: int | None) -> None:
    if not 0 < number <= len(lines):
        return
    line = lines[number - 1].expandtabs(1)
    margin = f"{number:>5} | "
    console = output.console()
    console.print(Text(f"{margin}{line}", style="dim"), soft_wrap=True)
    if column is not None:
        console.print(Text(f"{' ' * (len(margin) + column - 1)}^", style="bold red"), soft_wrap=True)


def _read(file: str) -> list[str]:
    try:
        return Path(file).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        return []
