"""What is wrong with an approval is told with its place, before anything runs."""

from __future__ import annotations

import pytest

from tests.support.definitions import problems_of, with_node
from tests.support.nodes import ports_of


def approval(keys: str) -> str:
    return with_node(f"{{approval: {{prompt: x, {keys}}}}}")


@pytest.mark.parametrize(
    ("keys", "messages"),
    [
        ("approvers: []", None),
        ("approvers: ''", ["an approver is a name, or group:name, and not ''"]),
        ("approvers: ['group:']", ["an approver is a name, or group:name, and not 'group:'"]),
        ("approvers: [ann], rule: {quorum: 2}", ["a quorum of 2 can never be reached: 1 approvers are asked"]),
        ("approvers: [ann, ann], rule: {quorum: 2}", ["a quorum of 2 can never be reached: 1 approvers are asked"]),
        ("approvers: ann, on_timeout: approve", ["`on_timeout` is never used: there is no `timeout`"]),
        (
            "approvers: ann, timeout: 1d, on_timeout: {escalate: {to: cfo, then: reject}}",
            ["`then` is never used: there is no `timeout`"],
        ),
        ("approvers: ann, timeout: soon", None),
        ("approvers: ann, form: {type: nonsense}", None),
        ("approvers: ann, notify: [{handler: no.such}]", None),
        ("approvers: ann, notify: [{smtp: {to: '{{ approver }}'}}]", None),
        ("approvers: ann, notify: [{pigeon: {}}]", None),
        ("approvers: ann, rul: all", None),
    ],
)
def test_what_is_wrong_is_told_with_its_place(keys: str, messages: list[str] | None) -> None:
    problems = problems_of(approval(keys))
    assert problems
    assert all(problem.line == 4 and problem.column for problem in problems)
    assert messages is None or [problem.message for problem in problems] == messages


def test_an_edge_says_by_which_way_it_leaves() -> None:
    text = with_node("{approval: {prompt: x, approvers: ann}}").replace("[a -> b]", "[b -> a]")
    [problem] = problems_of(text)
    assert problem.hint == "write one of: b.approved, b.rejected, b.error"
    assert ports_of("approval: {prompt: x, approvers: ann}") == ("approved", "rejected")
