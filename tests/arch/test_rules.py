"""The rules of the tree that a machine can check."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PACKAGES = ("daemon", "triggers", "eventstore")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
TOP_LEVEL = {"daemon", "triggers", "eventstore", "tests", "deploy", "pyproject.toml", "README.md", "LICENSE"}

MAY_IMPORT = {
    "daemon.core": {"daemon.core"},
    "daemon.nodes": {"daemon.core", "daemon.nodes"},
    "daemon.runtime": {
        "daemon.core",
        "daemon.nodes",
        "daemon.runtime",
        "daemon.durable",
        "daemon.handlers",
        "daemon.flow",
        "daemon.settings",
        "daemon.settings_outside",
        "daemon.settings_people",
        "daemon.settings_retention",
        "triggers",
        "eventstore",
    },
    "daemon.durable": {"daemon.core"},
    "daemon.handlers": {"daemon.core", "daemon.nodes", "daemon.runtime"},
    "daemon.flow": {
        "daemon.core",
        "daemon.nodes",
        "daemon.durable",
        "daemon.handlers",
        "daemon.runtime.signatures",
        "daemon.flow",
    },
    "daemon.debugger": {
        "daemon.core",
        "daemon.nodes",
        "daemon.runtime",
        "daemon.debugger",
        "daemon.main",
        "daemon.assembled",
        "daemon.settings",
    },
    "daemon.client": {"daemon.client"},
    "triggers": {"triggers"},
    "eventstore": {"eventstore"},
}
"""Which of our packages each may import; what is not named here (api, cli, main, testing) may import all."""

CORE_LIBRARIES = {"jinja2", "msgspec", "immutables"}
IMPURE = {
    "asyncio", "datetime.now", "io", "logging", "os", "pathlib", "random", "secrets", "socket", "subprocess", "sys",
    "tempfile", "threading", "time", "uuid.uuid1", "uuid.uuid4",
}  # fmt: skip


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(module=module, level=0) if module:
                yield from (f"{module}.{alias.name}" for alias in node.names)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_imports_follow_the_arrows(path: Path) -> None:
    """Each package imports only what the design lets it."""
    name = module_name(path)
    allowed = next((MAY_IMPORT[package] for package in MAY_IMPORT if f"{name}.".startswith(f"{package}.")), None)
    if allowed is None:
        return
    ours = {imported for imported in imports(parsed(path)) if imported.split(".")[0] in PACKAGES}
    wrong = {imported for imported in ours if not any(f"{imported}.".startswith(f"{package}.") for package in allowed)}
    assert not wrong, f"{name} may import {sorted(allowed)}"


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_nothing_that_runs_in_production_imports_what_is_for_tests(path: Path) -> None:
    """The testing kit may import all, and is imported by none; of it, only the plugin knows pytest."""
    name, imported = module_name(path), set(imports(parsed(path)))
    if not name.startswith("daemon.testing"):
        assert not {each for each in imported if f"{each}.".startswith("daemon.testing.")}
    if name != "daemon.testing.plugin":
        assert not {each for each in imported if each.partition(".")[0] in {"pytest", "pytest_asyncio"}}


@pytest.mark.parametrize("path", sorted((ROOT / "daemon/core").glob("*.py")), ids=module_name)
def test_the_core_is_pure(path: Path) -> None:
    """No I/O, no async, no clock, no randomness: not by import, and not by attribute."""
    tree = parsed(path)
    imported = set(imports(tree))
    touching = {name for name in imported if name in IMPURE or name.split(".")[0] in IMPURE}
    foreign = {name for name in imported if name.split(".")[0] not in CORE_LIBRARIES | {"daemon", *_standard()}}
    asynchronous = [node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef | ast.Await)]
    clocks = [
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today"}
    ]
    assert not touching
    assert not foreign
    assert not asynchronous
    assert not clocks


def _standard() -> frozenset[str]:
    import sys  # noqa: PLC0415  only for this list

    return frozenset(sys.stdlib_module_names)


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_files_and_functions_are_short(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    functions = (node for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    long = {
        node.name: length
        for node in functions
        if (length := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION_LINES
    }
    assert lines <= MAX_FILE_LINES
    assert not long


def test_no_drawer_for_odds_and_ends() -> None:
    """No module is named for being useful."""
    names = {path.stem for path in SOURCES}
    assert not names & {"utils", "util", "helpers", "helper", "common", "misc", "manager"}


def test_the_top_level_stays() -> None:
    """New things find a place below; dot-files are free."""
    there = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    built = {"__pycache__", "build", "dist", "sagad.db"} | {name for name in there if name.endswith(".egg-info")}
    assert there - built <= TOP_LEVEL


def test_every_source_has_a_docstring() -> None:
    assert [module_name(path) for path in SOURCES if ast.get_docstring(parsed(path)) is None] == []
