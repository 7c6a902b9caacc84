"""Payloads outside of the database: where they are, and how they come back while somebody reads.

A payload that was moved out leaves its row, with the name of its object in the place of its bytes. A name is given once
and never again, so whatever is removed under it is wanted by nobody. Objects that no payload has (yet, or any more) are
noted: moving one out is a note, then the object, then one transaction that takes the bytes out and the note away. So a
crash loses nothing, and what it leaves is found by its note.

Comes from: daemon/runtime/room. Goes to: `sql_outside`, `memory_outside`; the logs and archives read through `Reach`.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

from eventstore.errors import Unavailable, Undecodable
from eventstore.packing import unpacked

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from eventstore.codec import Codec


class Outside(Protocol):
    """A place for objects, each whole. Raises Unavailable when it does not do what it is asked."""

    async def put(self, name: str, data: bytes) -> None:
        """Keep the bytes, in place of what has this name; return when they are there to stay."""

    async def get(self, name: str) -> bytes | None:
        """Return the bytes; None when there are none."""

    async def remove(self, name: str) -> None:
        """Forget them; harmless when there are none."""


class Objects(Protocol):
    """What the database knows of objects."""

    async def note(self, payload_hash: str, name: str, *, at: datetime) -> str:
        """Note that the payload is about to be written outside; return under which name.

        One that was noted for it before, or that it has, is taken in place of the given one.
        """

    async def move(self, workflow: str, payload_hash: str, name: str) -> bool:
        """Take the payload's bytes out of the database: they are outside, under the name that was noted.

        False, with nothing done, when the note is not there any more, or somebody needs the payload now; see
        `usage.Usage.oldest`.
        """

    async def unwanted(self, *, noted_before: datetime, limit: int) -> Sequence[str]:
        """Return names that no payload has any more; also of notes older than that, which nobody will come back to."""

    async def removed(self, name: str) -> None:
        """Forget the name: there is no such object any more."""


class Reach:
    """Brings back what is outside, and checks that it is what it was."""

    def __init__(self, codec: Codec, outside: Outside | None) -> None:
        self._codec = codec
        self._outside = outside

    async def fill(self, rows: Iterable[tuple[str, bytes | None, str | None]]) -> dict[str, bytes | None]:
        """Return the stored bytes of payloads by hash, of rows of hash, bytes and name; None for one that was deleted.

        Raises Unavailable when the place does not answer, or there is none; Undecodable for an object that is gone, or
        is another.
        """
        return {
            key: await self._brought(key, name) if data is None and name is not None else data
            for key, data, name in rows
        }

    async def _brought(self, key: str, name: str) -> bytes:
        if self._outside is None:
            raise Unavailable(
                f"payload {key} is outside of the database, as {name}, and the settings name no such place"
            )
        data = await self._outside.get(name)
        if data is None:
            raise Undecodable(f"payload {key} is gone: there is no {name} where it was moved out of the database")
        if sha256(unpacked(self._codec.unseal(data))).hexdigest() != key:
            raise Undecodable(f"payload {key} was changed where it was moved out of the database, as {name}")
        return data
