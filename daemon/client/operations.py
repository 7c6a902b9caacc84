"""What operators do to a daemon and its store.

Comes from: `client`. Goes to: `link`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from daemon.client.link import given

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from daemon.client.link import Answer, Link


class Operations:
    """Archives, retention, subjects, dead letters, caches, limits, daemons."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def daemons(self) -> Answer:
        """Return who works on the store."""
        return await self._link.ask("GET", "/daemons")

    async def health(self, *, ready: bool = False) -> Answer:
        """Return whether the daemon lives, or is ready. Raises NoAnswer when it is not."""
        return await self._link.ask("GET", "/readyz" if ready else "/healthz")

    async def limits(self, name: str | None = None) -> Answer:
        """Return limits that executions share; of one, who holds it and who waits."""
        return await self._link.ask("GET", "/limits" if name is None else f"/limits/{quote(name)}")

    async def storage(self) -> Answer:
        """Return how much payloads take, by workflow, and their quotas."""
        return await self._link.ask("GET", "/storage")

    async def import_file(
        self,
        file: bytes | AsyncIterator[bytes],
        *,
        on_conflict: Literal["refuse", "skip", "as-new"] = "refuse",
        go_on: bool = False,
    ) -> Answer:
        """Bring the executions of a file, as `Execution.export` gives it, into the store: all of them, or nothing."""
        query: dict[str, Any] = {"on_conflict": on_conflict, "go_on": go_on}
        return await self._link.ask("POST", "/executions/import", content=file, **query)

    async def retention(self, *, limit: int | None = None) -> Answer:
        """Return what the rules would let go now, and what stays and why."""
        return await self._link.ask("GET", "/retention", limit=limit)

    async def run_retention(self, *, limit: int | None = None) -> Answer:
        """Let go what the rules let go."""
        return await self._link.ask("POST", "/retention/run", limit=limit)

    async def deleted(self) -> AsyncIterator[Answer]:
        """Give what retention has deleted, and where it is."""
        async for page in self._link.pages("GET", "/archive"):
            for row in page["executions"]:
                yield row

    async def restore_deleted(self, execution_id: UUID | str) -> Answer:
        """Bring a deleted execution back from the archive."""
        return await self._link.ask("POST", f"/archive/{execution_id}/restore")

    async def subjects(self) -> AsyncIterator[Answer]:
        """Give the keys of subjects, those that were destroyed too."""
        after = ""
        while True:
            page = await self._link.ask("GET", "/subjects", after=after)
            for row in page["subjects"]:
                yield row
            if page["next"] is None:
                return
            after = page["next"]

    async def subject(self, subject: str) -> Answer:
        """Return what the store holds of a subject."""
        return await self._link.ask("POST", "/subjects/look", body={"subject": subject})

    async def forget(self, subject: str, *, reason: str = "", cancel: bool = False) -> Answer:
        """Make all values of a subject unreadable, for ever. Raises Refused (409) while an execution is open.

        With `cancel` those are cancelled: ask again when they have ended.
        """
        body = {"subject": subject, "reason": reason, "cancel": cancel}
        return await self._link.ask("POST", "/subjects/forget", body=body)

    async def rewrap_subjects(self) -> Answer:
        """Have the first of the daemon's keys wrap the keys of all subjects."""
        return await self._link.ask("POST", "/subjects/rewrap")

    async def dead_letters(self, **which: Any) -> AsyncIterator[Answer]:
        """Give messages that could not be processed, the last first; by `trigger`, `state`, `since`, `reason`."""
        async for page in self._link.pages("GET", "/dead-letters", **which):
            for row in page["letters"]:
                yield row

    async def dead_letter(self, letter_id: UUID | str) -> Answer:
        """Return one of them."""
        return await self._link.ask("GET", f"/dead-letters/{letter_id}")

    async def redrive(self, *ids: UUID | str, **more: Any) -> Answer:
        """Give messages in again: these, or those that match `where`; `patch` or `body` edits, `dry_run` only tells."""
        body = given(more) | ({"ids": [str(each) for each in ids]} if ids else {})
        return await self._link.ask("POST", "/dead-letters/redrive", body=body)

    async def discard(self, letter_id: UUID | str) -> Answer:
        """Give a message up."""
        return await self._link.ask("POST", f"/dead-letters/{letter_id}/discard")

    async def cached(self, name: str | None = None, *, workflow: str | None = None) -> AsyncIterator[Answer]:
        """Give the results that are kept for other steps."""
        async for page in self._link.pages("GET", "/cache", name=name, workflow=workflow):
            for row in page["results"]:
                yield row

    async def clear_cache(self, **which: Any) -> Answer:
        """Clear kept results, by `name`, `workflow`, `key` or `hash`."""
        return await self._link.ask("POST", "/cache/clear", body=given(which))
