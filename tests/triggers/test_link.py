"""Reconnecting: pauses grow until a session has lasted."""

from __future__ import annotations

from triggers.link import Link, Reconnect


async def test_sessions_that_break_at_once_are_tried_less_and_less_often() -> None:
    """Connecting is no success when the first thing read breaks the connection again."""
    link = Link("orders", Reconnect(initial_s=0.0001, max_s=60))
    failures: list[int] = []

    async def session() -> None:
        link.up()
        failures.append(link._failures)
        if len(failures) == 4:
            link.stopping.set()
        raise OSError("broken by what it read")

    await link.run(session, (OSError,))
    assert failures == [0, 1, 2, 3]


async def test_after_a_session_that_lasted_pauses_begin_anew() -> None:
    link = Link("orders", Reconnect(initial_s=0.0001, max_s=-1))
    failures: list[int] = []

    async def session() -> None:
        failures.append(link._failures)
        if len(failures) == 3:
            link.stopping.set()
        raise OSError("broken after a long time")

    await link.run(session, (OSError,))
    assert failures == [0, 1, 1]
