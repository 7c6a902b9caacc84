"""Forgetting a subject: its keys are destroyed, and with them every value that they had sealed.

What happened stays: which steps there were, how they ended, when. It folds, replays, verifies and exports as before.
Executions that have not ended are in the way: they would go on without their values.

Comes from: daemon/api/subjects. Goes to: eventstore/subjects.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from daemon.core.commands import CancelExecution
from daemon.core.errors import Rejected
from daemon.core.subjects import UnknownSubject
from eventstore.errors import Unusable
from eventstore.subjects import Sealed

if TYPE_CHECKING:
    from daemon.runtime.clock import Clock
    from daemon.runtime.engine import Engine
    from eventstore.keyring import Keyring
    from eventstore.store import Store
    from eventstore.subjects import SubjectKey

PAGE = 100


class NoKeys(Rejected):
    """The daemon has no keys by which subjects could be told from each other."""

    def __init__(self) -> None:
        super().__init__("there are no `keys` in [encryption]: no execution holds data of a subject")


class StillOpen(Rejected):
    """Executions of the subject have not ended."""

    def __init__(self, executions: Sequence[UUID]) -> None:
        self.executions = executions
        named = ", ".join(map(str, executions[:3])) + (", …" if len(executions) > 3 else "")  # noqa: PLR2004  a few
        super().__init__(f"executions of the subject have not ended: {named}; cancel them, or wait")


class Held(Struct, frozen=True, kw_only=True):
    """What the store holds of a subject."""

    keys: Sequence[str]
    """Ids of the keys that seal its values; empty when they were destroyed."""
    sealed: Sealed
    open: Sequence[UUID]
    """Executions that have not ended; not all, when there are many."""
    forgotten_at: datetime | None = None
    """When it was forgotten last."""
    forgotten_by: str | None = None


class Known(Struct, frozen=True, kw_only=True):
    """A key of a subject."""

    key: str
    subject: str | None
    """None when it was forgotten."""
    executions: int
    open: int
    created_at: datetime
    forgotten_at: datetime | None
    forgotten_by: str | None
    reason: str | None


class Forgetting:
    """The subjects of one store."""

    def __init__(self, store: Store, engine: Engine, clock: Clock) -> None:
        self._subjects = store.subjects
        self._vault = store.vault
        self._engine = engine
        self._clock = clock

    async def look(self, subject: str) -> Held:
        """Return what the store holds of the subject. Raises UnknownSubject and NoKeys."""
        known = await self._subjects.known(self._keyring().hashes(subject))
        if not known:
            raise UnknownSubject
        keys = [key.key_id for key in known if key.forgotten_at is None]
        ended = max((key for key in known if key.forgotten_at is not None), key=_forgotten_at, default=None)
        return Held(
            keys=keys,
            sealed=await self._subjects.sealed(keys),
            open=await self._subjects.open_executions(keys, limit=PAGE),
            forgotten_at=None if ended is None else ended.forgotten_at,
            forgotten_by=None if ended is None else ended.forgotten_by,
        )

    async def forget(self, subject: str, *, reason: str = "", by: str) -> Held:
        """Destroy the keys of the subject; return what was held. One that was forgotten before stays as it is.

        Raises UnknownSubject, and StillOpen: nothing was done then. An execution that starts later has a new key.
        """
        held = await self.look(subject)
        if held.keys and not await self._subjects.destroy(held.keys, by=by, reason=reason, at=self._clock.now()):
            raise StillOpen(await self._subjects.open_executions(held.keys, limit=PAGE))
        return held

    async def cancel_open(self, subject: str, *, actor: str) -> Sequence[UUID]:
        """Ask those to end that have not ended; return which. What they have done is undone first."""
        held = await self.look(subject)
        for execution_id in held.open:
            command = CancelExecution(reason="its subject is to be forgotten", actor=actor, at=self._clock.now())
            await self._engine.send(execution_id, command)
        return held.open

    async def listed(self, *, after: str = "", limit: int = PAGE) -> Sequence[Known]:
        """Return keys of subjects, in the order of their ids."""
        return [
            Known(
                key=use.key.key_id,
                subject=await self._name_of(use.key),
                executions=use.executions,
                open=use.open,
                created_at=use.key.created_at,
                forgotten_at=use.key.forgotten_at,
                forgotten_by=use.key.forgotten_by,
                reason=use.key.reason,
            )
            for use in await self._subjects.uses(after=after, limit=limit)
        ]

    async def rewrap(self) -> int:
        """Have the first key of the keyring wrap all keys, so that others can be taken out of it; return how many."""
        keyring, after, changed = self._keyring(), "", 0
        while page := await self._subjects.uses(after=after, limit=PAGE):
            for use in page:
                key, name = use.key, await self._name_of(use.key)
                if key.wrapped is not None and name is not None and not keyring.is_current(key.wrapped):
                    wrapped = keyring.wrap(keyring.unwrap(key.key_id, key.wrapped))
                    await self._subjects.rewrap(replace(key, wrapped=wrapped, hash=keyring.hashes(name)[0]))
                    changed += 1
            after = page[-1].key.key_id
        return changed

    def _keyring(self) -> Keyring:
        try:
            return self._vault.keyring
        except Unusable as error:
            raise NoKeys from error

    async def _name_of(self, key: SubjectKey) -> str | None:
        if key.wrapped is None or key.name is None:
            return None
        return self._keyring().unwrap(key.key_id, key.wrapped).open(key.name).decode(errors="surrogatepass")


def _forgotten_at(key: SubjectKey) -> datetime:
    return key.forgotten_at or key.created_at
