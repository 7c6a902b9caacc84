"""`sagad stream`: chunks as they come."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import HANDLERS, Running, Sagad, halt, launch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STREAMING = """
from collections.abc import AsyncIterator


@handler("write", collect="text")
async def write(words: list[str]) -> AsyncIterator[str]:
    for word in words:
        yield word + " "


@handler("rows")
async def rows(fails: bool) -> AsyncIterator[dict[str, int]]:
    yield {"n": 1}
    if fails:
        raise ValueError("no more")
"""
FLOW = """
workflow: text
nodes:
  write: {task: write, with: {words: "{{ input.words }}"}}
  rows: {task: rows, with: {fails: "{{ input.words | length == 0 }}"}}
"""


@pytest.fixture
def streaming(folder: Path) -> Iterator[Running]:
    (folder / "handlers.py").write_text(HANDLERS + STREAMING)
    (folder / "flows" / "text.yaml").write_text(FLOW)
    daemon = launch(folder)
    yield daemon
    halt(daemon)


def test_a_stream_is_printed(sagad: Sagad, streaming: Running) -> None:
    """Text as it is, anything else a line each; the exit code tells whether the step has succeeded."""
    good = sagad("start", "text", "-i", '{"words": ["to", "be"]}', "--wait", "--json").json["execution_id"]
    assert sagad("stream", good, "write").out == "to be \n"
    assert sagad("stream", good[:8], "rows").out == '{"n": 1}\n\n'
    lines = sagad("stream", good, "write", "--after", "1", "--json").out.splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["1-2", "1-end"]

    bad = sagad("start", "text", "-i", '{"words": []}', "--wait", "--json").json["execution_id"]
    failed = sagad("stream", bad, "rows")
    assert (failed.code, failed.out, "the step is failed" in failed.err) == (1, '{"n": 1}\n\n', True)
    assert sagad("stream", good, "nobody").code == 3
