"""`export`: workflows in Python as YAML."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  read by typer
from typing import Annotated

import typer

from daemon.cli.checking import compiler_of, print_problems
from daemon.cli.faults import BadUsage
from daemon.cli.options import Config, settings_of
from daemon.core.errors import Misconfigured
from daemon.runtime.documents import read_documents
from daemon.runtime.handler_registry import PYTHON, split_name
from daemon.runtime.python_files import read_python
from daemon.runtime.yaml_text import to_yaml


def export(
    source: Annotated[
        Path, typer.Argument(metavar="FILE[:NAME]", help="flow.py, or flow.py:name.", show_default=False)
    ],
    *,
    to: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this file, not to the standard output.")
    ] = None,
    config: Config = None,
) -> None:
    """Write the workflows of a Python file as YAML: the same definitions, with the same hash.

    The file's handlers stay in it: name it in [workflows] handlers. Exit code 1 when there are mistakes, which are
    printed.
    """
    file, _ = split_name(source)
    if file.suffix != PYTHON:
        raise BadUsage(f"{source} is not a Python file", hint="a definition in YAML or JSON is exported already")
    try:
        compiler_of(settings_of(config), [source]).load_files([source])
    except Misconfigured as error:
        print_problems(error.problems)
        raise typer.Exit(1) from None
    documents, _ = read_python(source)
    text = "---\n".join(to_yaml(document.value) for document in documents)
    text = f"# Made of {source} by `sagad export`; its handlers are in {file}.\n{text}"
    back, _ = read_documents(text, "<exported>")
    if [each.value for each in back] != [each.value for each in documents]:
        raise AssertionError("what was exported does not read as what it was made of")
    if to is None:
        typer.echo(text, nl=False)
    else:
        to.write_text(text, encoding="utf-8")
