"""Reading a file that holds an execution, line by line, each checked as it comes.

Comes from: `imports`, daemon/cli/verifying. Goes to: `archive_lines`, daemon/core/evolve.
"""

from __future__ import annotations

import gzip
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, cast

import msgspec

from daemon.core.chain import beginning, link
from daemon.core.events import ExecutionForked, ExecutionRewound
from daemon.core.evolve import evolve, fold
from daemon.core.state import INITIAL, Finished, Running, State
from daemon.runtime.archive_lines import (
    FORMAT,
    KIND,
    Counts,
    DefinitionLine,
    EventLine,
    EventText,
    Header,
    PayloadDeleted,
    PayloadLine,
    PayloadText,
    Section,
    Trailer,
    decode_line,
    encode_line,
    state_of,
    value_of,
)
from daemon.runtime.spool import Spool
from daemon.runtime.stored_events import Broken, Entry, decoded, definition_of, is_of
from daemon.runtime.verification import wrong_definition
from eventstore.codec import Stored
from eventstore.errors import Undecodable
from eventstore.payloads import references_in
from eventstore.sealing import key_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO
    from uuid import UUID

    from daemon.runtime.archive_lines import AnyEvent, AnyPayload, Line
    from eventstore.codec import Codec

_GZIP = b"\x1f\x8b"


class BadFile(Undecodable):
    """The file is damaged, cut off, no export, or of a newer program."""

    def __init__(self, path: Path | str, number: int, message: str) -> None:
        super().__init__(f"{path}:{number}: {message}")
        self.line = number
        self.message = message


@dataclass
class Told:
    """What a file holds of one execution, as far as it was read."""

    section: Section
    version: int = 0
    hash: bytes = b""
    kept: bytes = b""
    """The hash of the event that the next one was forked at."""
    state: State = INITIAL
    base: State = INITIAL
    """The state that it was forked from."""
    at_fork: State = INITIAL
    """The state that the next one was forked from."""

    @property
    def ended(self) -> bool:
        """Whether the execution has."""
        return isinstance(self.state, Finished)

    @property
    def waits_for(self) -> Iterable[UUID]:
        """The children that have not ended."""
        return self.state.children.values() if isinstance(self.state, Running) else ()


@dataclass
class Step:
    """One event of a file with what it leads from and to."""

    told: Told
    entry: Entry
    before: State
    after: State
    branched: bool
    """Whether the execution goes on from a past by it."""


@dataclass
class ArchiveFile:
    """One pass over a file, in memory that does not grow with it. Each object serves one `read`."""

    path: Path
    codec: Codec
    names: Mapping[bytes, bytes] = field(default_factory=dict)
    """The ids, as text, that executions get in place of those in the file."""
    keys: Mapping[str, bytes | None] | None = None
    """Wrapped keys of subjects, by id; without them what they have sealed reads as forgotten."""
    marks: Mapping[UUID, int] = field(default_factory=dict)
    """Versions of which the hash is wanted."""
    told: dict[UUID, Told] = field(default_factory=dict)
    """By the ids in the file, in its order."""
    marked: dict[UUID, bytes] = field(default_factory=dict)
    definitions: dict[str, DefinitionLine] = field(default_factory=dict)
    sealed: dict[UUID, set[str]] = field(default_factory=dict)
    """The ids of the keys that have sealed events, by execution."""
    deleted: list[str] = field(default_factory=list)
    """Payloads that retention has deleted."""
    header: Header | None = None
    counts: Counts = field(default_factory=Counts)
    _number: int = 0

    def read(self) -> Iterator[Step]:
        """Give the events. Raises BadFile at the first line that is not sound; nothing of the file counts then."""
        spool = Spool()
        try:
            for line in self._checked():
                match line:
                    case Header():
                        self.header = line
                    case Section():
                        self._begin(line)
                    case EventLine() | EventText():
                        yield self._event(line, spool)
                    case PayloadLine() | PayloadText() | PayloadDeleted():
                        self._payload(line, spool)
                    case DefinitionLine():
                        self._definition(line)
                    case Trailer():
                        pass
            if self.header is None or self.header.execution not in self.told:
                raise self._bad("the execution that it is to hold is not there")
        finally:
            spool.close()

    def read_all(self) -> None:
        """Read it to its end. Raises BadFile."""
        for _ in self.read():
            pass

    def _checked(self) -> Iterator[Line]:
        """Give the lines, of which the first and the last are what they should be."""
        digest, line = sha256(), None
        for text in self._texts():
            if isinstance(line, Trailer):
                raise self._bad("there is something after the end")
            line = self._decoded(text)
            if isinstance(line, Header) != (self._number == 1):
                raise self._bad("a header stands where none should")
            if isinstance(line, Trailer):
                due = self.counts.trailer(digest.hexdigest())
                if line != due or encode_line(line) != text:
                    raise self._bad("the counts or the digest of the file are not those of its lines")
            digest.update(text)
            self.counts.count(line)
            yield line
        if not isinstance(line, Trailer):
            raise self._bad("the file is cut off: it does not end with a trailer")

    def _texts(self) -> Iterator[bytes]:
        self._number = 0
        with _opened(self.path) as file:
            while True:
                self._number += 1
                try:
                    text = file.readline()
                except EOFError:
                    raise self._bad("the file is cut off") from None
                except (gzip.BadGzipFile, zlib.error) as error:
                    raise self._bad(f"the file is damaged: {error}") from error
                if not text:
                    return
                if not text.endswith(b"\n"):
                    raise self._bad("the file is cut off")
                yield text

    def _decoded(self, text: bytes) -> Line:
        try:
            if self._number == 1:
                self._check_header(text)
            line: Line = decode_line(text)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._bad(f"cannot be read: {error}") from error
        return line

    def _check_header(self, text: bytes) -> None:
        try:
            found = msgspec.json.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            found = None
        if not isinstance(found, dict) or found.get("kind") != KIND:
            raise self._bad("this is no export of an execution")
        if found.get("format") != FORMAT:
            raise self._bad(
                f"it is of format {found.get('format')}, this program reads format {FORMAT}: take a newer one"
            )

    def _begin(self, section: Section) -> None:
        if section.id in self.told:
            raise self._bad(f"execution {section.id} is there twice")
        self.told[section.id] = Told(section)

    def _event(self, line: AnyEvent, spool: Spool) -> Step:
        told = self._latest()
        state = state_of(line)
        if line.version != told.version + 1:
            raise self._bad(f"event {line.version} of execution {told.section.id} follows {told.version}")
        payloads = spool.get(references_in(state))
        row = Stored(told.section.id, line.version, 0, line.topic, state)
        try:
            original = decoded(self.codec, row, payloads, self.keys)
            if line.version == 1:
                told.hash = beginning(told.section.id, self._past(told, original))
            told.hash = link(told.hash, line.version, line.topic, state)
            if told.hash.hex() != line.hash:
                raise self._bad(f"event {line.version} of execution {told.section.id} was changed: its hash is another")
            row = self._renamed(row)
            event = decoded(self.codec, row, payloads, self.keys) if self.names else original
            before, told.state = told.state, self._after(told, row, event)
        except (Broken, TypeError, KeyError) as error:
            raise self._bad(f"event {line.version} of execution {told.section.id}: {error}") from error
        told.version = line.version
        if (key_id := key_of(state)) is not None:
            self.sealed.setdefault(told.section.id, set()).add(key_id)
        if told.version == told.section.forked_at:
            told.kept, told.at_fork = told.hash, told.state
        if told.version == self.marks.get(told.section.id):
            self.marked[told.section.id] = told.hash
        if (pinned := definition_of(event)) is not None and pinned not in self.definitions:
            raise self._bad(f"definition {pinned} of execution {told.section.id} is missing before its event")
        entry = Entry(row=row, event=event, payloads=payloads, hash=told.hash)
        return Step(told, entry, before, told.state, isinstance(event, ExecutionForked | ExecutionRewound))

    def _past(self, told: Told, event: Any) -> bytes:
        """Return the hash that the chain begins from, and take the state that a fork goes on from."""
        if not isinstance(event, ExecutionForked):
            return b""
        source = self.told.get(event.source)
        if source is None or source.section.forked_at != event.at_version or not source.kept:
            raise self._bad(
                f"event {event.at_version} of execution {event.source}, which it was forked from, is missing"
            )
        told.base = source.at_fork
        return source.kept

    def _after(self, told: Told, row: Stored, event: Any) -> State:
        if isinstance(event, ExecutionForked):
            return fold([event], told.base)
        if isinstance(event, ExecutionRewound):
            return fold([*self._earlier(told.section.id, row.version), event], told.base)
        return evolve(told.state, event)

    def _earlier(self, section_id: UUID, before: int) -> Iterator[Any]:
        """Read the events before this version once more: an execution that goes back needs them."""
        again = ArchiveFile(self.path, self.codec, self.names, self.keys)
        for step in again.read():
            if step.told.section.id == section_id:
                yield step.entry.event
                if step.entry.row.version == before - 1:
                    return

    def _renamed(self, row: Stored) -> Stored:
        if not self.names:
            return row
        state = row.state
        for old, new in self.names.items():
            state = state.replace(old, new)
        key = str(row.execution_id).encode()
        return row._replace(state=state, execution_id=type(row.execution_id)(self.names.get(key, key).decode()))

    def _payload(self, line: AnyPayload, spool: Spool) -> None:
        data = value_of(line)
        if not is_of(line.hash, data):
            raise self._bad(f"payload {line.hash} was changed: its hash is another")
        if data is None:
            self.deleted.append(line.hash)
        spool.put(line.hash, data)

    def _definition(self, line: DefinitionLine) -> None:
        if wrong := wrong_definition(line.hash, line.workflow, bytes(line.document)):
            raise self._bad(wrong)
        self.definitions[line.hash] = line

    def _latest(self) -> Told:
        if not self.told:
            raise self._bad("an event stands before any execution")
        return next(reversed(self.told.values()))

    def _bad(self, message: str) -> BadFile:
        return BadFile(self.path, self._number, message)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP
        file.seek(0)
        if not packed:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield cast("BinaryIO", unpacked)
