"""The pytest plugin `sagad`: the fixture of that name, and the option `--sagad-store`.

It is loaded in every run of pytest beside an installed sagad, so it imports nothing of the daemon before it is used.

Comes from: pytest, by the entry point. Goes to: `flow`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

try:
    from pytest_asyncio import fixture
except ImportError:  # pytest itself tells whoever uses the fixture what is missing
    from pytest import fixture  # type: ignore[no-redef]  # noqa: PT013  the same in both libraries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from daemon.testing.flow import Sagad


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add where the stores of tests are."""
    parser.getgroup("sagad").addoption(
        "--sagad-store",
        default="memory",
        metavar="STORE",
        help="where workflows run under test: memory (the default), sqlite, or postgresql://user:password@host/database,"
        " where each test makes a database of its own and drops it",
    )


@fixture
async def sagad(request: pytest.FixtureRequest) -> AsyncIterator[Sagad]:
    """Give the testing kit of sagad: workflows with fakes, on virtual time. See `daemon.testing`."""
    from daemon.testing.flow import Sagad  # noqa: PLC0415  see above

    kit = Sagad(request.path.parent, request.config.getoption("--sagad-store"))
    yield kit
    await kit.close()
