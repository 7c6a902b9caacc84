"""A daemon that has nothing to do leaves its store alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from daemon.core.events import EVENT_TYPES, UPCASTERS
from daemon.testing.clock import FakeClock
from eventstore.codec import Codec
from eventstore.store import Store, open_store
from tests.support import gated_handlers
from tests.support.daemons import finished, in_flight, running, settings_for, start, until

if TYPE_CHECKING:
    from pathlib import Path

WORKFLOWS = """
workflow: sleeper
nodes: {nap: {wait: 10h}}
---
workflow: gated
nodes: {a: {task: gate, with: {name: "{{ input }}"}}}
"""
MINUTES = 30
PORTS = ("log", "index", "leases", "definitions", "cursors", "snapshots")


class Counted:
    """A port of a store; each call is one statement to a database, or more."""

    def __init__(self, inner: Any, asked: Counter[str]) -> None:
        self._inner = inner
        self._asked = asked

    def __getattr__(self, name: str) -> Any:
        if name != "news":
            self._asked[name] += 1
        return getattr(self._inner, name)


async def counted(clock: FakeClock, asked: Counter[str]) -> Store:
    store = await open_store("memory://", Codec(EVENT_TYPES, UPCASTERS), memory_now=clock.now)
    return replace(store, **{port: cast("Any", Counted(getattr(store, port), asked)) for port in PORTS})


async def test_an_idle_daemon_asks_its_store_less_than_once_a_second(tmp_path: Path) -> None:
    """With a sleeper and a handler at work, too."""
    clock, asked = FakeClock(), Counter[str]()
    async with running(settings_for(tmp_path, WORKFLOWS), clock=clock, store=await counted(clock, asked)) as daemon:
        await start(daemon, "sleeper")
        at_work = await start(daemon, "gated", "idle")
        await until(daemon, at_work, in_flight("a"))
        asked.clear()
        await clock.advance(MINUTES * 60)
        assert asked.total() / (MINUTES * 60) < 1, asked
        gated_handlers.gates["idle"].set()
        await finished(daemon, at_work)


async def test_two_idle_daemons_ask_less_than_twice_a_second_each(tmp_path: Path) -> None:
    clock, asked = FakeClock(), Counter[str]()
    store = await counted(clock, asked)
    settings = settings_for(tmp_path, WORKFLOWS)
    async with running(settings, clock=clock, store=store), running(settings, clock=clock, store=store):
        await clock.advance(10)
        asked.clear()
        await clock.advance(MINUTES * 60)
        assert asked.total() / 2 / (MINUTES * 60) < 2, asked
