"""The log of a stage: it fails as the test says, ends a life where it is told to, and tells the tape what it has taken.

Comes from: `lives`. Goes to: eventstore/log, `tape`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

from daemon.testing.errors import Misused
from daemon.testing.ports import Gate, Mortal
from eventstore.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daemon.testing.tape import Tape
    from eventstore.log import Append


class Appending(Gate, Protocol):
    """What the log tells of one life."""

    def append_begins(self) -> None:
        """Pass the point before an append. Raises Crash for who is dead, or dies there."""

    def append_ends(self) -> None:
        """Pass the point after an append. Raises Crash for who dies there."""

    def repeats(self) -> None:
        """Note that the daemon will append again, after a pause of real time."""


class StoreFaults:
    """How the store fails, for all workflows of a test: `sagad.store`."""

    def __init__(self) -> None:
        self._good = 0
        self._bad = 0
        self._answer_lost = False
        self.failed = 0
        """How many appends have failed so far."""

    def fails(self, *, after: int = 0, times: int = 1, answer_lost: bool = False) -> None:
        """Let so many appends from now on succeed, then this many fail: the store is away, and then back.

        With `answer_lost` they are written all the same, and only the answer does not come.
        """
        if after < 0 or times < 1:
            raise Misused(f"fails(after={after}, times={times}): after counts from 0, times from 1")
        self._good, self._bad, self._answer_lost = after, times, answer_lost

    def strike(self) -> Literal["no", "refused", "lost"]:
        """Return what becomes of the next append."""
        if not self._bad:
            return "no"
        if self._good:
            self._good -= 1
            return "no"
        self._bad -= 1
        self.failed += 1
        return "lost" if self._answer_lost else "refused"


class StagedLog(Mortal):
    """See the module."""

    def __init__(self, inner: Any, life: Appending, faults: StoreFaults, tape: Tape) -> None:
        super().__init__(inner, life)
        self._insert = inner.insert
        self._life = life
        self._faults = faults
        self._tape = tape

    async def insert(self, batch: Sequence[Append]) -> None:
        """See `eventstore.log.EventLog`."""
        self._life.append_begins()
        strike = self._faults.strike()
        if strike == "refused":
            self._life.repeats()
            raise Unavailable("the test has the store fail")
        await self._call(self._insert, (batch,), {})
        self._tape.record(batch)
        self._life.append_ends()
        if strike == "lost":
            self._life.repeats()
            raise Unavailable("the test has the store's answer lost")
