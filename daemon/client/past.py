"""The time machine of one execution. What looks changes nothing.

Comes from: `execution`. Goes to: `link`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from daemon.client.link import given

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from datetime import datetime

    from daemon.client.link import Answer, Link

UNSET: Any = object()
"""Stands for what is not given where None is a value."""
Severity = Literal["none", "minor", "major", "critical"]


class Handle:
    """An execution of a daemon."""

    def __init__(self, link: Link, execution_id: UUID | str) -> None:
        """Raise ValueError for what is no id."""
        self.id = execution_id if isinstance(execution_id, UUID) else UUID(execution_id)
        self._link = link
        self._path = f"/executions/{self.id}"


class Past(Handle):
    """Where a place is asked for it is a version, a time, `before:STEP`, `after:STEP` or `checkpoint:NAME`."""

    async def state(self, *, version: int | None = None, at: datetime | None = None) -> Answer:
        """Return what the fold of the events knew after a version or at a time; else what it knows now."""
        return await self._link.ask("GET", f"{self._path}/state", version=version, at=at)

    async def diff(
        self,
        *,
        version: int | None = None,
        at: datetime | None = None,
        checkpoint: str | None = None,
        other: UUID | str | None = None,
        to_version: int | None = None,
        to_at: datetime | None = None,
        to_checkpoint: str | None = None,
    ) -> Answer:
        """Return what differs between two moments of it, or between one of it and one of another."""
        to: dict[str, Any] = {"to_version": to_version, "to_at": to_at, "to_checkpoint": to_checkpoint, "other": other}
        return await self._link.ask("GET", f"{self._path}/diff", version=version, at=at, checkpoint=checkpoint, **to)

    async def patch(self, **moments: Any) -> Sequence[Answer]:
        """Return what `diff` does as a JSON Patch (RFC 6902) from one state to the other; takes what that takes."""
        found: Any = await self._link.ask("GET", f"{self._path}/diff", patch=True, **moments)
        operations: Sequence[Answer] = found
        return operations

    async def past(self, at: str) -> Answer:
        """Return what a fork at this place would go on from, and what a rewind to it would undo."""
        return await self._link.ask("GET", f"{self._path}/past", at=at)

    async def lineage(self) -> Answer:
        """Return what it was forked from, and its forks."""
        return await self._link.ask("GET", f"{self._path}/lineage")

    async def fork(
        self,
        at: str,
        *,
        input: Any = UNSET,  # noqa: A002  the word of the API
        variables: Mapping[str, Any] | None = None,
        steps: Mapping[str, Any] | None = None,
        version: str | None = None,
        accept_undone: bool = False,
        key: str | None = None,
        dry_run: bool = False,
        reason: str = "",
    ) -> Answer:
        """Begin an execution that goes on from this place; `steps` has outputs by address. Returns the fork.

        The same `key` gives the same fork. `version` is the hash of another definition, or how that begins. With
        `dry_run` only what it would go on from is returned.
        """
        body = {
            "at": at,
            "variables": variables or {},
            "steps": {address: {"output": output} for address, output in (steps or {}).items()},
            "accept_undone": accept_undone,
            "dry_run": dry_run,
            "reason": reason,
            **given({"version": version, "key": key}),
        }
        if input is not UNSET:
            body["input"] = input
        return await self._link.ask("POST", f"{self._path}/fork", body=body)

    async def rewind(
        self,
        to: str,
        *,
        undo: Literal["automatic", "manual", "confirm_each", "none"] = "automatic",
        keep_signals: bool = True,
        key: str | None = None,
        dry_run: bool = False,
        reason: str = "",
    ) -> Answer:
        """Let it go on from a place in its own past, when what it has done since is undone; a `key` counts once.

        With `dry_run` only what would be undone is returned.
        """
        body = {"to": to, "undo": undo, "keep_signals": keep_signals, "dry_run": dry_run, "reason": reason}
        return await self._link.ask("POST", f"{self._path}/rewind", body=body, key=key)

    async def restore(self, checkpoint: str, *, key: str | None = None) -> Answer:
        """Rewind it to a checkpoint."""
        return await self._link.ask("POST", f"{self._path}/restore", checkpoint=checkpoint, key=key)

    async def checkpoints(self) -> Answer:
        """Return its versions that have names."""
        return await self._link.ask("GET", f"{self._path}/checkpoints")

    async def mark(self, name: str, *, version: int | None = None, at: datetime | None = None) -> Answer:
        """Give its newest version, or this one, a name."""
        return await self._link.ask("POST", f"{self._path}/checkpoints", body={"name": name}, version=version, at=at)

    async def snapshots(self) -> Answer:
        """Return what is stored of its states, with sizes."""
        return await self._link.ask("GET", f"{self._path}/snapshots")

    async def validate_snapshots(self) -> Answer:
        """Check that each snapshot is what the events say."""
        return await self._link.ask("GET", f"{self._path}/snapshots/validation")

    async def snapshot(self, version: int | None = None) -> Answer:
        """Return a stored state as a document: of this version, or the newest."""
        return await self._link.ask("GET", f"{self._path}/snapshots/document", version=version)

    async def put_snapshot(self, document: Mapping[str, Any]) -> Answer:
        """Store the state of a document, if it is what the events say."""
        return await self._link.ask("POST", f"{self._path}/snapshots", body=document)

    async def clear_snapshots(self, version: int | None = None) -> Answer:
        """Delete its stored states, or that of one version; nothing is lost but time, and names."""
        return await self._link.ask("DELETE", f"{self._path}/snapshots", version=version)

    async def what_if(self, definition: str) -> Answer:
        """Decide it again under another definition, YAML; return where the two part, and how badly."""
        return await self._link.ask("POST", f"{self._path}/what-if", body={"definition": definition})

    async def migrate(
        self,
        version: str = "current",
        *,
        names: Mapping[str, str] | None = None,
        accept: Severity = "minor",
        dry_run: bool = False,
        reason: str = "",
    ) -> Answer:
        """Let it go on under another definition; `names` has old and new ids of nodes."""
        body = {"version": version, "names": names or {}, "accept": accept, "dry_run": dry_run, "reason": reason}
        return await self._link.ask("POST", f"{self._path}/migrate", body=body)

    def replay(self, *, speed: float | None = None, longest_pause: float | None = None) -> AsyncIterator[Answer]:
        """Give its events as they went, so many times as fast; as fast as can be without `speed`. Pauses in seconds."""
        return self._link.told(f"{self._path}/replay", speed=speed, longest_pause=longest_pause)

    async def verify(self, expect: str | None = None) -> Answer:
        """Say whether it is what was once written; with a head that was kept, whether it is what it was then."""
        return await self._link.ask("GET", f"{self._path}/verify", expect=expect)

    def export(self, *, with_children: bool = False) -> AsyncIterator[bytes]:
        """Give it as one file, part by part. The last line is a trailer: a file without it is not whole."""
        return self._link.load(f"{self._path}/export", with_children=with_children)
