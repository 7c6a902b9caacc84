"""The log with the values of each subject sealed by the subject's key: what is written is sealed before it is written.

1. Which key seals each append: that of its execution, or, at the start, that of its subject, made if there is none.
2. Its events become their stored form, values sealed. 3. The log writes them if the key is still there; if not, the
append conflicts, and whoever decided it reads that the subject was forgotten. Appends of nobody in particular pass as
they are. Reading is the log's own: its codec opens what is sealed.

Comes from: `store`. Goes to: `codec`, `subjects`, the log of the database.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

from msgspec.structs import replace

from eventstore.errors import Conflict, Undecodable, Unusable
from eventstore.keyring import DataKey
from eventstore.log import KeyUsed
from eventstore.sealing import is_sealed, key_of, opened, sealed
from eventstore.subjects import SubjectKey

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from eventstore.codec import Codec
    from eventstore.keyring import Keyring
    from eventstore.log import Append, EventLog, Sealing
    from eventstore.subjects import Subjects

_KNOWN = 10_000
"""Executions whose keys are kept in memory; all are dropped then."""


class SealedLog:
    """`log.EventLog` over another."""

    def __init__(self, log: EventLog, codec: Codec, vault: Vault) -> None:
        self._log = log
        self._codec = codec
        self._vault = vault
        self.read = log.read
        self.read_many = log.read_many
        self.read_all = log.read_all
        self.head = log.head

    async def insert(self, batch: Sequence[Append]) -> None:
        """See `log.EventLog`. Raises Conflict too for events of a subject that was forgotten."""
        if any(append.sealing is not None for append in batch):
            batch = await self._sealed(batch)
        try:
            await self._log.insert(batch)
        except Conflict:
            for append in batch:
                self._vault.let_go(append.execution_id)
            raise

    async def _sealed(self, batch: Sequence[Append]) -> Sequence[Append]:
        gone: list[Append] = []
        ready: list[Append] = []
        for append in batch:
            key = None
            if append.sealing is not None and (append.sealing.subject or self._codec.keyring is not None):
                key = await self._vault.key_for(append.execution_id, append.sealing)
                if key is None:
                    gone.append(append)
                    continue
            ready.append(append if key is None else self._with(append, key))
        if gone:
            first = gone[0]
            losers = [append.execution_id for append in gone]
            raise Conflict(first.execution_id, first.after_version, losers=losers)
        return ready

    def _with(self, append: Append, key: DataKey) -> Append:
        events = tuple(self._codec.encode_sealed(event, key) for event in append.events)
        return replace(append, events=events, key=KeyUsed(key.id))


class Vault:
    """The keys of a store, ready to be used: finds, makes and unwraps them."""

    def __init__(self, subjects: Subjects, keyring: Keyring | None) -> None:
        """Without a keyring nothing can be sealed, nor opened."""
        self._subjects = subjects
        self._keyring = keyring
        self._of_execution: dict[UUID, DataKey] = {}

    @property
    def keyring(self) -> Keyring:
        """The keyring. Raises Unusable when there is none."""
        if self._keyring is None:
            raise Unusable("values of a subject cannot be sealed: there are no `keys` in [encryption]")
        return self._keyring

    async def key_for(self, execution_id: UUID, sealing: Sealing) -> DataKey | None:
        """Return the key that an append is sealed with; None for one that was destroyed."""
        key = self._of_execution.get(sealing.key_of) if sealing.key_of is not None else None
        if key is not None:
            self._know(execution_id, key)
            return key
        if sealing.key_of is not None:
            stored = await self._subjects.of_execution(sealing.key_of)
        else:
            stored = await self._current(sealing.subject)
        if stored is None or stored.wrapped is None:
            return None
        key = self.keyring.unwrap(stored.key_id, stored.wrapped)
        self._know(execution_id, key)
        return key

    async def seal_for(self, execution_id: UUID, data: bytes) -> bytes:
        """Return what is kept beside the log of an execution: sealed, if the execution is a subject's.

        Raises Undecodable when its key was destroyed.
        """
        if self._keyring is None:
            return data
        stored = await self._subjects.of_execution(execution_id)
        if stored is None:
            return data
        if stored.wrapped is None:
            raise Undecodable(f"the subject of execution {execution_id} was forgotten")
        return sealed(data, self._keyring.unwrap(stored.key_id, stored.wrapped))

    async def open(self, data: bytes) -> bytes | None:
        """Undo `seal_for`; None when the key was destroyed, or is not here. Raises Undecodable."""
        key_id = key_of(data) if is_sealed(data) else None
        if key_id is None:
            return data
        wrapped = (await self._subjects.wrapped([key_id])).get(key_id)
        return None if wrapped is None else opened(data, self.keyring.unwrap(key_id, wrapped))

    def let_go(self, execution_id: UUID) -> None:
        """Look for the execution's key in the store the next time."""
        self._of_execution.pop(execution_id, None)

    def _know(self, execution_id: UUID, key: DataKey) -> None:
        if len(self._of_execution) >= _KNOWN:
            self._of_execution.clear()
        self._of_execution[execution_id] = key

    async def _current(self, subject: str) -> SubjectKey | None:
        """Return the subject's key, made if there is none. Of two who make one at once, both get the one that stays."""
        if not subject:
            return await self._new("")
        hashes = self.keyring.hashes(subject)
        for _ in range(2):
            if found := await self._subjects.in_use(hashes):
                return found[0]
            await self._new(subject)
        return None

    async def _new(self, subject: str) -> SubjectKey:
        key = DataKey.new(uuid4().hex)
        text = subject.encode(errors="surrogatepass")
        stored = SubjectKey(
            key_id=key.id,
            hash=self.keyring.hashes(subject)[0] if subject else None,
            wrapped=self.keyring.wrap(key),
            name=key.seal(text) if subject else None,
            created_at=datetime.now(UTC),
        )
        await self._subjects.add(stored)
        return stored
