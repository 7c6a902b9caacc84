"""Options that several commands have, and the settings they lead to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.settings import load_settings

if TYPE_CHECKING:
    from daemon.settings import Settings

DEFAULT_FILE = "sagad.toml"

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Settings file. [default: $SAGAD_CONFIG, else sagad.toml if there is one]",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Url = Annotated[
    str | None,
    typer.Option("--url", help="The daemon's address. [default: the one in the settings]", show_default=False),
]
ExecutionIdArgument = Annotated[
    str, typer.Argument(metavar="ID", help="The execution's id, or the beginning of a recent one.", show_default=False)
]


def settings_of(config: Path | None) -> Settings:
    """Return the settings of the named file, of `$SAGAD_CONFIG`, or of `sagad.toml` here if there is one.

    Raises Misconfigured.
    """
    named = config or os.environ.get("SAGAD_CONFIG")
    if named:
        return load_settings(Path(named), os.environ)
    default = Path(DEFAULT_FILE)
    return load_settings(default if default.exists() else None, os.environ)
