"""The hash chain of an execution."""

from __future__ import annotations

from hashlib import sha256
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from daemon.core.chain import beginning, link

ONE, TWO = UUID(int=1), UUID(int=2)
EVENTS = st.lists(st.tuples(st.text(max_size=4), st.binary(max_size=4)), min_size=1, max_size=5)


def head_of(execution_id: UUID, events: list[tuple[str, bytes]], past: bytes = b"") -> bytes:
    head = beginning(execution_id, past)
    for version, (topic, state) in enumerate(events, start=1):
        head = link(head, version, topic, state)
    return head


def test_it_is_what_was_kept_elsewhere() -> None:
    """Heads outlive the program: how they are made does not change."""
    begun = sha256(b"sagad chain 1\0" + ONE.bytes + b"past").digest()
    assert beginning(ONE, b"past") == begun
    text = begun + bytes(7) + b"\x01" + b"\x00\x00\x00\x03" + b"A/1" + b"{}"
    assert link(begun, 1, "A/1", b"{}") == sha256(text).digest()


@given(EVENTS, EVENTS)
def test_other_events_have_another_head(one: list[tuple[str, bytes]], two: list[tuple[str, bytes]]) -> None:
    """Fewer, more, others, in another order, or cut at another place between topic and state."""
    assert (head_of(ONE, one) == head_of(ONE, two)) == (one == two)


@given(EVENTS)
def test_the_same_events_of_others_have_another_head(events: list[tuple[str, bytes]]) -> None:
    """Of another execution, or of one that was forked from another past."""
    heads = {head_of(ONE, events), head_of(TWO, events), head_of(ONE, events, b"a"), head_of(ONE, events, b"b")}
    assert len(heads) == 4
