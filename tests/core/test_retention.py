"""How long executions stay, as their definition says it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from daemon.core.retention import RetentionDefinition, retention_in
from tests.core.test_parsing import definition, parsed

NODES = {"a": {"transform": 1}}


def test_what_is_said_is_read() -> None:
    """In the definition, and in its stored document alike."""
    made = definition(retention={"completed": "7d", "failed": "90d", "archive": False})
    keep = {"completed": timedelta(days=7), "failed": timedelta(days=90)}
    assert made.retention == RetentionDefinition(keep=keep, archive=False)
    assert retention_in(made.document) == made.retention


def test_nothing_is_said_by_itself() -> None:
    """And what is not said is archived."""
    assert definition().retention is None
    assert retention_in(definition().document) is None
    made = definition(retention={"cancelled": "1h30m"})
    assert made.retention == RetentionDefinition(keep={"cancelled": timedelta(minutes=90)}, archive=True)
    assert retention_in(made.document) == made.retention


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "retention lets nothing go"),
        ({"archive": True}, "retention lets nothing go"),
        ({"completed": "1w"}, "is not a duration"),
        ({"completed": "9999999d"}, "the duration 9999999d is too long"),
        ({"running": "1d"}, "running"),
        ({"completed": "1d", "archive": "yes"}, "expected true or false"),
        ("7d", "expected a mapping"),
    ],
)
def test_what_makes_no_sense_is_told(given: object, said: str) -> None:
    problems = [str(problem) for problem in parsed({"workflow": "w", "nodes": NODES, "retention": given}).problems]
    assert len(problems) == 1
    assert said in problems[0]


@pytest.mark.parametrize(
    "document", [b"{", b"[]", b'{"retention": 1}', b'{"retention": {"failed": "x"}}', b'{"retention": {"failed": 1}}']
)
def test_a_document_that_is_damaged_says_nothing(document: bytes) -> None:
    """So nothing is deleted for it."""
    assert retention_in(document) is None
