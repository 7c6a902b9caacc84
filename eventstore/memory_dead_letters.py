"""Dead letters in memory: for tests and trials.

Comes from: `store`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import asdict, replace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from eventstore.dead_letters import Letter, LetterFilter, Settled


class MemoryDeadLetters:
    """`dead_letters.DeadLetters` in a dict."""

    def __init__(self) -> None:
        self._letters: dict[UUID, Letter] = {}

    async def put(self, letter: Letter) -> None:
        """See `dead_letters.DeadLetters`."""
        there = self._letters.get(letter.id)
        if there is not None:
            letter = replace(
                there,
                code=letter.code,
                reason=letter.reason,
                last_at=letter.last_at,
                times=there.times + 1,
                state="waiting",
            )
        self._letters[letter.id] = letter

    async def get(self, letter_id: UUID) -> Letter | None:
        """See `dead_letters.DeadLetters`."""
        return self._letters.get(letter_id)

    async def find(self, which: LetterFilter) -> Sequence[Letter]:
        """See `dead_letters.DeadLetters`."""
        found = [letter for letter in self._letters.values() if _matches(letter, which)]
        return sorted(found, key=_newest, reverse=True)[: which.limit]

    async def edit(self, letter_id: UUID, body: bytes | None) -> bool:
        """See `dead_letters.DeadLetters`."""
        letter = self._waiting(letter_id)
        if letter is not None:
            self._letters[letter_id] = replace(letter, edited=body)
        return letter is not None

    async def settle(self, letter_id: UUID, settled: Settled) -> bool:
        """See `dead_letters.DeadLetters`."""
        letter = self._waiting(letter_id)
        if letter is not None:
            changes = asdict(settled)
            at, by = changes.pop("at"), changes.pop("by")
            self._letters[letter_id] = replace(letter, **changes, settled_at=at, settled_by=by)
        return letter is not None

    async def prune(self, *, before: datetime, keep: int) -> int:
        """See `dead_letters.DeadLetters`."""
        newest = sorted(self._letters.values(), key=_newest, reverse=True)
        over = [letter.id for number, letter in enumerate(newest) if number >= keep or letter.last_at < before]
        for letter_id in over:
            del self._letters[letter_id]
        return len(over)

    async def oldest(self) -> datetime | None:
        """See `dead_letters.DeadLetters`."""
        return min((letter.last_at for letter in self._letters.values()), default=None)

    def _waiting(self, letter_id: UUID) -> Letter | None:
        letter = self._letters.get(letter_id)
        return letter if letter is not None and letter.state == "waiting" else None


def _newest(letter: Letter) -> tuple[datetime, UUID]:
    return letter.last_at, letter.id


def _matches(letter: Letter, which: LetterFilter) -> bool:
    words = (which.reason or "").lower()
    return (
        which.trigger in (None, letter.trigger)
        and which.state in (None, letter.state)
        and (which.since is None or letter.last_at >= which.since)
        and (words in letter.reason.lower() or words in letter.code.lower())
        and (which.after is None or _newest(letter) < which.after)
    )
