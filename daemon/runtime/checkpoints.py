"""The snapshots of an execution, and the versions of it that have a name: looked at, taken, checked, moved.

A checkpoint is a version with a name: a snapshot with a label, or the success of a step whose node says `checkpoint:
true`. The latter is read from the state, so that it is known even where its snapshot could not be stored.

Comes from: daemon/api, daemon/cli. Goes to: `history`, `snapshot_taking`, `snapshot_files`, eventstore/snapshots.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from daemon.core.address import node_of
from daemon.core.differences import differences, dotted
from daemon.core.errors import ExecutionNotFound, InvalidInput, Rejected, UnknownName
from daemon.core.snapshot import FORMAT, encode_state
from daemon.core.state import NotStarted, Succeeded
from daemon.runtime.history import History
from daemon.runtime.plans import MissingDefinition
from daemon.runtime.snapshot_files import document_of, read_document, read_state
from daemon.runtime.snapshot_times import marked
from eventstore.errors import Undecodable
from eventstore.snapshots import NoSnapshots, Snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from daemon.core.state import State
    from daemon.runtime.ports import Pinned
    from daemon.runtime.snapshot_files import SnapshotDocument
    from daemon.runtime.snapshot_taking import SnapshotTaker
    from daemon.runtime.views import View
    from eventstore.log import EventLog
    from eventstore.snapshots import Snapshots

MOST_SHOWN = 20
"""Places that are named where a snapshot is not the fold."""
CHECKPOINT_NAME = r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$"
"""Printable, and not blank."""
MAX_NAME_CHARS = 255


class Checkpoint(NamedTuple):
    """A version with a name. `stored` tells whether there is a snapshot of it."""

    name: str
    version: int
    stored: bool


class Checkpoints:
    """What can be done with snapshots and names; `history` reads with the snapshots."""

    def __init__(
        self, log: EventLog, snapshots: Snapshots, history: History, plans: Pinned, taker: SnapshotTaker
    ) -> None:
        self._snapshots = snapshots
        self._history = history
        self._events_only = History(log, NoSnapshots())
        self._plans = plans
        self._taker = taker

    async def named(self, execution_id: UUID) -> Sequence[Checkpoint]:
        """Return the execution's checkpoints, oldest first. Raises ExecutionNotFound."""
        state = await self._history.existing(execution_id)
        stored = await self._snapshots.stored(execution_id)
        found = {Checkpoint(each.label, each.version, stored=True) for each in stored if each.label is not None}
        there = {each.version for each in stored}
        found |= {Checkpoint(name, version, stored=version in there) for name, version in await self._marked(state)}
        return sorted(found, key=lambda each: (each.version, each.name))

    async def version_of(self, execution_id: UUID, name: str) -> int:
        """Return the newest version of this name. Raises ExecutionNotFound, UnknownName."""
        checkpoints = await self.named(execution_id)
        versions = [each.version for each in checkpoints if each.name == name]
        if not versions:
            known = ", ".join(dict.fromkeys(each.name for each in checkpoints)) or "none"
            raise UnknownName(f"execution {execution_id} has no checkpoint {name!r}; it has: {known}")
        return max(versions)

    async def stored(self, execution_id: UUID) -> View:
        """Return what is stored of an execution, oldest first, with sizes."""
        rows = await self._snapshots.stored(execution_id)
        if not rows:
            await self._history.existing(execution_id)
        shown = [msgspec.structs.asdict(row) for row in rows]
        return {"execution_id": execution_id, "snapshots": shown, "bytes": sum(row.stored_bytes for row in rows)}

    async def take(
        self, execution_id: UUID, *, label: str, version: int | None = None, at: datetime | None = None
    ) -> Checkpoint:
        """Give a version a name, and store its snapshot. Repeating it changes nothing.

        Raises ExecutionNotFound; Rejected when the name is of another version, or the version has one; StoreError.
        """
        if len(label) > MAX_NAME_CHARS or not re.search(CHECKPOINT_NAME, label):
            raise InvalidInput(f"the name of a checkpoint has 1 to {MAX_NAME_CHARS} printable characters")
        state = await self._history.state_at(execution_id, version=version, at=at)
        if version is not None and state.version < version:
            raise UnknownName(f"execution {execution_id} has {state.version} events, and no version {version}")
        taken = {each.version for each in await self.named(execution_id) if each.name == label}
        if taken - {state.version}:
            raise Rejected(f"the checkpoint {label!r} is version {max(taken)}: choose another name, or clear it first")
        if (before := await self._given_name(execution_id, state)) not in {None, label}:
            raise Rejected(f"version {state.version} is the checkpoint {before!r} already: clear it first")
        await self._taker.take(execution_id, state, label=label)
        return Checkpoint(label, state.version, stored=True)

    async def clear(self, execution_id: UUID, *, version: int | None = None) -> int:
        """Delete the snapshots of an execution, or that of a version; return how many. Raises ExecutionNotFound."""
        if cleared := await self._snapshots.clear(execution_id, version=version):
            return cleared
        await self._history.existing(execution_id)
        return 0

    async def state(self, execution_id: UUID, version: int) -> State:
        """Return what the snapshot of a version holds. Raises UnknownName for none, InvalidInput, Undecodable."""
        snapshot = await self._get(execution_id, version)
        return read_state(snapshot.format, snapshot.state)

    async def validate(self, execution_id: UUID) -> Sequence[View]:
        """Check each snapshot of an execution: it is the fold of the events, or is not used. Reads all events."""
        found = []
        stored = await self._snapshots.stored(execution_id)
        if not stored:
            await self._history.existing(execution_id)
        for each in stored:
            outcome, problem, places = await self._outcome(execution_id, each.version, each.format)
            row = {"version": each.version, "label": each.label, "outcome": outcome, "problem": problem}
            found.append({**row, "differences": places})
        return found

    async def export(self, execution_id: UUID, version: int | None = None) -> SnapshotDocument:
        """Return the snapshot of a version, or the newest, as a document. Raises UnknownName, InvalidInput."""
        if version is None:
            snapshot = await self._snapshots.latest(execution_id)
            if snapshot is None:
                await self._history.existing(execution_id)
                raise UnknownName(f"execution {execution_id} has no snapshot")
        else:
            snapshot = await self._get(execution_id, version)
        return document_of(snapshot)

    async def take_in(self, text: bytes, execution_id: UUID | None = None) -> Checkpoint:
        """Store the snapshot of a document, of this execution when given.

        It is taken in only if it is what the events say: raises InvalidInput for a document that is not one, is of
        another execution, workflow or version, or was changed; ExecutionNotFound.
        """
        document, state = read_document(text)
        if execution_id is not None and document.execution_id != execution_id:
            raise InvalidInput(f"$.execution_id: it is of execution {document.execution_id}, not of {execution_id}")
        current = await self._history.existing(document.execution_id)
        known = None if isinstance(current, NotStarted) else current.workflow
        if document.workflow is not None and document.workflow != known:
            raise InvalidInput(f"$.workflow: it is {document.workflow!r}, and the execution's is {known!r}")
        if current.version < document.version:
            raise InvalidInput(f"$.version: the execution has {current.version} events, and none {document.version}")
        if places := await self._unlike_the_fold(document.execution_id, state):
            raise InvalidInput(f"$.state: it is not what the events say: {'; '.join(places)}")
        await self._taker.take(document.execution_id, state, label=document.label)
        return Checkpoint(document.label or "", document.version, stored=True)

    async def _given_name(self, execution_id: UUID, state: State) -> str | None:
        """Return the name of the version that would be lost if it got another; those of steps are not lost."""
        stored = await self._snapshots.stored(execution_id)
        label = next((each.label for each in stored if each.version == state.version), None)
        return None if label in {name for name, _ in await self._marked(state)} else label

    async def _get(self, execution_id: UUID, version: int) -> Snapshot:
        snapshot = await self._snapshots.get(execution_id, version)
        if snapshot is None:
            await self._history.existing(execution_id)
            raise UnknownName(f"execution {execution_id} has no snapshot of version {version}")
        return snapshot

    async def _marked(self, state: State) -> Sequence[tuple[str, int]]:
        """Return the steps that succeeded and whose nodes say `checkpoint: true`."""
        if isinstance(state, NotStarted):
            return ()
        try:
            plan = await self._plans.pinned(state.definition)
        except MissingDefinition:
            return ()
        nodes = marked(plan)
        if not nodes:
            return ()
        steps = state.steps.items()
        return [(at, step.version) for at, step in steps if isinstance(step, Succeeded) and node_of(at) in nodes]

    async def _outcome(self, execution_id: UUID, version: int, form: str) -> tuple[str, str | None, Sequence[str]]:
        if form != FORMAT:
            return "ignored", f"its format is {form}; this program reads {FORMAT}, and folds the events instead", ()
        try:
            state = await self.state(execution_id, version)
        except (Undecodable, InvalidInput, UnknownName) as error:
            return "unreadable", str(error), ()
        places = await self._unlike_the_fold(execution_id, state)
        return ("differs", "it is not what the events say", places) if places else ("ok", None, ())

    async def _unlike_the_fold(self, execution_id: UUID, state: State) -> Sequence[str]:
        """Return where the state is not the fold of the events up to its version."""
        folded = await self._events_only.load(execution_id, up_to_version=state.version)
        if folded == state:
            return ()
        if not folded.version:
            raise ExecutionNotFound(execution_id)
        texts = (msgspec.json.decode(encode_state(each)) for each in (folded, state))
        return [dotted(each.place) for each in differences(*texts)][:MOST_SHOWN] or ["its order"]
