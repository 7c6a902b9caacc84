"""Workflows of a few lines, built in a test: their definitions, their edges, and what is wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from daemon.core.errors import Misconfigured
from daemon.flow import step, workflow

if TYPE_CHECKING:
    from collections.abc import Callable

    from daemon.core.problems import Problem


@step("look")
async def look(what: Any = None) -> Any:
    return what


def document(function: Callable[..., Any], **options: Any) -> dict[str, Any]:
    """Return the definition that the function makes, without its name and input."""
    made = workflow("w", input=None, **options)(function).document
    return {key: value for key, value in made.items() if key != "workflow"}


def nodes(function: Callable[..., Any]) -> dict[str, Any]:
    """Return its nodes."""
    made: dict[str, Any] = document(function)["nodes"]
    return made


def edges(function: Callable[..., Any]) -> list[str]:
    """Return its edges."""
    made: list[str] = document(function).get("edges", [])
    return made


def value(function: Callable[..., Any]) -> Any:
    """Return what its output is in the definition."""
    return document(function)["output"]


def mistake(function: Callable[..., Any]) -> Problem:
    """Return the one thing that is wrong with it."""
    with pytest.raises(Misconfigured) as caught:
        document(function)
    [problem] = caught.value.problems
    return problem
