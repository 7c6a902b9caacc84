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
    from eventstore.log import Append, EventLog
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
            if append.sealing is None or not (append.sealing.subject or self._codec.keyring is not None):
                ready.append(append)
            elif (keys := await self._vault.keys_for(append)) is None:
                gone.append(append)
            else:
                ready.append(self._with(append, keys))
        if gone:
            first = gone[0]
            losers = [append.execution_id for append in gone]
            raise Conflict(first.execution_id, first.after_version, losers=losers)
        return ready

    def _with(self, append: Append, keys: Sequence[DataKey]) -> Append:
        events = tuple(self._codec.encode_sealed(event, keys[0]) for event in append.events)
        return replace(append, events=events, key=KeyUsed(tuple(key.id for key in keys)))


class Vault:
    """The keys of a store, ready to be used: finds, makes and unwraps them."""

    def __init__(self, subjects: Subjects, keyring: Keyring | None) -> None:
        """Without a keyring nothing can be sealed, nor opened."""
        self._subjects = subjects
        self._keyring = keyring
        self._of_execution: dict[UUID, Sequence[DataKey]] = {}

    @property
    def keyring(self) -> Keyring:
        """The keyring. Raises Unusable when there is none."""
        if self._keyring is None:
            raise Unusable("values of a subject cannot be sealed: there are no `keys` in [encryption]")
        return self._keyring

    async def keys_for(self, append: Append) -> Sequence[DataKey] | None:
        """Return the keys of the append's execution, of which the first seals; None when one of them was destroyed.

        An execution goes on with the keys that it has, and with its subject's once that is known.
        """
        sealing = append.sealing
        if sealing is None:
            raise TypeError("an append of nobody in particular has no keys")
        goes_on = sealing.key_of or (append.execution_id if append.after_version else None)
        keys = self._of_execution.get(sealing.key_of) if sealing.key_of is not None else None
        if keys is None:
            stored = list(await self._subjects.of_execution(goes_on)) if goes_on is not None else []
            if sealing.key_of is None:
                stored.append(await self._current(sealing.subject))
            keys = [self._unwrapped(key) for key in stored if key.wrapped is not None]
            if not keys or len(keys) < len(stored):
                return None
        if len(self._of_execution) >= _KNOWN:
            self._of_execution.clear()
        self._of_execution[append.execution_id] = keys
        return keys

    async def seal_for(self, execution_id: UUID, data: bytes) -> bytes:
        """Return what is kept beside the log of an execution: sealed, if the execution is a subject's.

        Raises Undecodable when its key was destroyed.
        """
        if self._keyring is None:
            return data
        stored = await self._subjects.of_execution(execution_id)
        if not stored:
            return data
        if stored[0].wrapped is None:
            raise Undecodable(f"the subject of execution {execution_id} was forgotten")
        return sealed(data, self._unwrapped(stored[0]))

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

    def _unwrapped(self, key: SubjectKey) -> DataKey:
        if key.wrapped is None:
            raise Undecodable(f"the key {key.key_id} was destroyed")
        return self.keyring.unwrap(key.key_id, key.wrapped)

    async def _current(self, subject: str) -> SubjectKey:
        """Return the subject's key, made if there is none. Of two who make one at once, both get the one that stays."""
        if not subject:
            return await self._new("")
        hashes = self.keyring.hashes(subject)
        while not (found := await self._subjects.in_use(hashes)):
            await self._new(subject)
        return found[0]

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
