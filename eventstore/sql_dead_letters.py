"""Dead letters in a table, what they hold compressed and encrypted as the codec does it.

Comes from: `store`. Goes to: `relational.Database`, with `sql/dead_letters.sql`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from eventstore.dead_letters import Content, Letter
from eventstore.queries import statements
from eventstore.rows import clean_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from eventstore.codec import Codec
    from eventstore.dead_letters import LetterFilter, Settled
    from eventstore.relational import Database

SQL = statements("dead_letters.sql")
MOST_PRUNED = 10_000
"""Of too many, in one transaction."""

MOST_CHARS = 2000
"""Of a reason."""

_CONDITIONS = {
    "trigger": "trigger_name = :trigger",
    "state": "state = :state",
    "since": "last_at >= :since",
    "reason": "(lower(reason) LIKE :reason ESCAPE '!' OR lower(code) LIKE :reason ESCAPE '!')",
    "after_time": "(last_at, id) < (:after_time, :after_id)",
    "id": "id = :id",
}


class SqlDeadLetters:
    """`dead_letters.DeadLetters` over a table."""

    def __init__(self, database: Database, codec: Codec) -> None:
        self._database = database
        self._codec = codec

    async def put(self, letter: Letter) -> None:
        """See `dead_letters.DeadLetters`."""
        params = {
            "id": letter.id,
            "trigger": letter.trigger,
            "source": clean_text(letter.source, MOST_CHARS),
            "place": letter.place,
            "code": letter.code,
            "reason": clean_text(letter.reason, MOST_CHARS),
            "times": letter.times,
            "first_at": letter.first_at,
            "last_at": letter.last_at,
            "content": self._codec.seal(msgspec.json.encode(letter.content)),
        }
        await self._database.execute((SQL["put_letter"], params))

    async def get(self, letter_id: UUID) -> Letter | None:
        """See `dead_letters.DeadLetters`."""
        return next(iter(await self._find({"id": letter_id}, limit=1)), None)

    async def find(self, which: LetterFilter) -> Sequence[Letter]:
        """See `dead_letters.DeadLetters`."""
        after_time, after_id = which.after or (None, None)
        given = {
            "trigger": which.trigger,
            "state": which.state,
            "since": which.since,
            "reason": None if which.reason is None else _containing(which.reason),
            "after_time": after_time,
        }
        return await self._find({**given, "after_id": after_id}, limit=which.limit)

    async def edit(self, letter_id: UUID, body: bytes | None) -> bool:
        """See `dead_letters.DeadLetters`."""
        sealed = None if body is None else self._codec.seal(body)
        return await self._database.execute((SQL["edit_letter"], {"id": letter_id, "edited": sealed})) > 0

    async def settle(self, letter_id: UUID, settled: Settled) -> bool:
        """See `dead_letters.DeadLetters`."""
        params = {**msgspec.structs.asdict(settled), "id": letter_id}
        return await self._database.execute((SQL["settle_letter"], params)) > 0

    async def prune(self, *, before: datetime, keep: int) -> int:
        """See `dead_letters.DeadLetters`."""
        old = await self._database.execute((SQL["prune_letters"], {"before": before}))
        params = {"keep": keep, "most": MOST_PRUNED}
        return old + await self._database.execute((SQL["prune_more_letters"], params))

    async def oldest(self) -> datetime | None:
        """See `dead_letters.DeadLetters`."""
        rows = await self._database.fetch(SQL["oldest_letter"], {})
        return None if rows[0][0] is None else self._database.time_of(rows[0][0])

    async def _find(self, given: dict[str, Any], *, limit: int) -> Sequence[Letter]:
        params = {name: value for name, value in given.items() if value is not None}
        conditions = " AND ".join(_CONDITIONS[name] for name in params if name in _CONDITIONS) or "true"
        sql = SQL["find_letters"].replace("{conditions}", conditions)
        return [self._letter(row) for row in await self._database.fetch(sql, {**params, "limit": limit})]

    def _letter(self, row: tuple[Any, ...]) -> Letter:
        letter_id, trigger, source, place, code, reason, times, first_at, last_at, state, *rest = row
        settled_at, settled_by, outcome, execution_id, content, edited = rest
        database, unseal = self._database, self._codec.unseal
        return Letter(
            id=database.id_of(letter_id),
            trigger=trigger,
            source=source,
            place=place,
            code=code,
            reason=reason,
            times=times,
            first_at=database.time_of(first_at),
            last_at=database.time_of(last_at),
            state=state,
            settled_at=None if settled_at is None else database.time_of(settled_at),
            settled_by=settled_by,
            outcome=outcome,
            execution_id=None if execution_id is None else database.id_of(execution_id),
            content=msgspec.json.decode(unseal(bytes(content)), type=Content),
            edited=None if edited is None else unseal(bytes(edited)),
        )


def _containing(text: str) -> str:
    """Return the pattern of what contains this text."""
    escaped = "".join(f"!{letter}" if letter in "!%_" else letter for letter in text.lower())
    return f"%{escaped}%"
