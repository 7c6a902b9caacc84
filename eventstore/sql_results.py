"""Results in the tables of the store, values compressed and encrypted as the codec does it.

A row is a result, or the claim of whoever makes one; the claim's row becomes the result's.

Comes from: `store`. Goes to: `relational.Database`, with `sql/results.sql`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict

from eventstore.queries import statements
from eventstore.results import NOTHING, Found, Kept, Result

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from eventstore.codec import Codec
    from eventstore.relational import Database
    from eventstore.results import Claim, Which

SQL = statements("results.sql")
PRUNE_ROWS = 1000
"""In one transaction, so that nobody waits long for it."""

_CONDITIONS = {"cache": "cache = :cache", "key": "key = :key", "workflow": "workflow = :workflow"}


class SqlResults:
    """`results.Results` over a table."""

    def __init__(self, database: Database, codec: Codec) -> None:
        self._database = database
        self._codec = codec

    async def find(self, cache: str, key: str, *, now: datetime) -> Found:
        """See `results.Results`. Raises Undecodable when the value cannot be decrypted."""
        rows = await self._database.fetch(SQL["find_result"], {"cache": cache, "key": key, "now": now})
        for workflow, claimed_by, value, execution_id, address, stored_at, expires_at in rows:
            if claimed_by is not None:
                return Found(None, self._database.id_of(claimed_by))
            result = Result(
                cache=cache,
                key=key,
                value=self._codec.unseal(bytes(value)),
                workflow=workflow,
                execution_id=self._database.id_of(execution_id),
                address=address,
                stored_at=self._database.time_of(stored_at),
                expires_at=self._database.time_of(expires_at),
            )
            return Found(result, None)
        return NOTHING

    async def claim(self, claim: Claim, *, now: datetime) -> bool:
        """See `results.Results`."""
        params = {"cache": claim.cache, "key": claim.key, "workflow": claim.workflow, "by": claim.by}
        params |= {"until": claim.expires_at, "now": now}
        return await self._database.execute((SQL["claim_result"], params)) > 0

    async def extend(self, claim: Claim) -> bool:
        """See `results.Results`."""
        params = {"cache": claim.cache, "key": claim.key, "by": claim.by, "until": claim.expires_at}
        return await self._database.execute((SQL["extend_claim"], params)) > 0

    async def release(self, cache: str, key: str, *, by: UUID) -> None:
        """See `results.Results`."""
        await self._database.execute((SQL["release_claim"], {"cache": cache, "key": key, "by": by}))

    async def put(self, result: Result, *, by: UUID) -> bool:
        """See `results.Results`."""
        params = {**asdict(result), "value": self._codec.seal(result.value), "by": by}
        return await self._database.execute((SQL["put_result"], params)) > 0

    async def kept(self, which: Which, *, now: datetime, limit: int, after: tuple[str, str] | None) -> Sequence[Kept]:
        """See `results.Results`."""
        conditions, params = _restricted(which)
        if after is not None:
            conditions += " AND (cache, key) > (:after_cache, :after_key)"
            params |= {"after_cache": after[0], "after_key": after[1]}
        sql = SQL["kept_results"].replace("{conditions}", conditions)
        rows = await self._database.fetch(sql, {**params, "now": now, "limit": limit})
        return [
            Kept(
                cache=cache,
                key=key,
                bytes=size,
                workflow=workflow,
                execution_id=self._database.id_of(execution_id),
                address=address,
                stored_at=self._database.time_of(stored_at),
                expires_at=self._database.time_of(expires_at),
            )
            for cache, key, size, workflow, execution_id, address, stored_at, expires_at in rows
        ]

    async def clear(self, which: Which) -> int:
        """See `results.Results`."""
        conditions, params = _restricted(which)
        names = ("clear_claims", "clear_results")
        return await self._database.execute(
            *((SQL[name].replace("{conditions}", conditions), params) for name in names)
        )

    async def prune(self, *, now: datetime) -> int:
        """See `results.Results`."""
        total = 0
        while dropped := await self._database.execute((SQL["prune_results"], {"now": now, "limit": PRUNE_ROWS})):
            total += dropped
        return total

    async def close(self) -> None:
        """Nothing to do: the store closes the database."""


def _restricted(which: Which) -> tuple[str, dict[str, Any]]:
    given: Mapping[str, Any] = {name: value for name, value in asdict(which).items() if value is not None}
    return " AND ".join(_CONDITIONS[name] for name in given) or "true", dict(given)
