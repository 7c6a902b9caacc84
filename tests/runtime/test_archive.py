"""Executions in files: out of one store, into another, and out again."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from daemon.cli.upkeep import changes
from daemon.core.errors import ExecutionNotFound, Rejected
from daemon.core.events import EVENT_TYPES, UPCASTERS
from daemon.core.state import Finished, Running
from daemon.runtime.archive_file import BadFile
from daemon.runtime.branches import ForkWish
from daemon.runtime.clock import SystemClock
from daemon.runtime.exports import Export
from daemon.runtime.history import History
from daemon.runtime.imports import Import, Wish
from daemon.runtime.verification import Verifier
from daemon.settings import Limits
from eventstore.codec import Codec
from eventstore.index import ExecutionFilter
from eventstore.memory import MemoryLog
from tests.core.spec import EXECUTION
from tests.support.archives import CODEC, exported, imported, read
from tests.support.daemons import finished, running, settings_for, start, until
from tests.support.stores import opened, store_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from uuid import UUID

    from daemon.assembled import Daemon
    from eventstore.store import Store

__all__ = ("store_url",)

TEXT = """
workflow: booking
nodes:
  reserve:
    task: reserve
    with: {world: "{{ input.world }}", amount: "{{ input.amount }}"}
    compensate: {task: undo, with: {of: "{{ step.output }}"}}
  charge:
    task: charge
    with: {world: "{{ input.world }}", amount: "{{ reserve.amount }}"}
    compensate: {task: undo, with: {of: "{{ step.output }}"}}
  ship: {task: ship, with: {world: "{{ input.world }}", order: "{{ charge }}", fail: "{{ input.fail }}"}}
edges: [reserve -> charge -> ship]
output: {ship: "{{ ship }}", note: "{{ input.note }}"}
---
workflow: tour
nodes:
  first: {subflow: booking, with: "{{ input }}", result: "{{ child.output }}"}
"""
LIMITS = Limits(grace_s=0.1, payload_threshold_bytes=300)


@pytest.fixture
async def daemon(tmp_path: Path, store_url: str) -> AsyncIterator[Daemon]:
    handlers = "tests.support.booking_handlers"
    settings = settings_for(tmp_path, TEXT, handlers=handlers, store_url=store_url, limits=LIMITS)
    async with running(settings) as daemon:
        yield daemon


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(f"sqlite:///{tmp_path}/other.db", CODEC) as store:
        yield store


async def booked(daemon: Daemon, workflow: str = "booking", **given: Any) -> Finished:
    given = {"world": "archive", "amount": 5, "fail": False, "note": "long " * 100, **given}
    return await finished(daemon, await start(daemon, workflow, given))


async def forked_and_rewound(daemon: Daemon) -> UUID:
    """Return a fork of an execution, that has gone back since."""
    source = await booked(daemon)
    fork, _ = await daemon.branches.fork(source.execution_id, ForkWish(where="before:charge", actor="ann"))
    await finished(daemon, fork)
    await daemon.branches.rewind(fork, "before:ship", actor="ann")
    await until(daemon, fork, lambda state: isinstance(state, Running))
    await finished(daemon, fork)
    return fork


async def test_what_is_imported_is_exported_as_it_was(daemon: Daemon, other: Store, tmp_path: Path) -> None:
    """Byte by byte, with what it was forked from, from each kind of store; and it is what it was."""
    fork = await forked_and_rewound(daemon)
    whole = await exported(daemon.store, fork, tmp_path / "fork.jsonl.gz")
    done = await imported(other, tmp_path / "fork.jsonl.gz")
    assert (done.execution_id, len(done.imported), done.left) == (fork, 2, ())
    assert await exported(other, fork, tmp_path / "again.jsonl") == whole
    there = History(other.log, other.snapshots)
    for key in done.imported:
        assert await there.load(key) == await daemon.history.load(key)
        assert await other.index.execution(key) == await daemon.store.index.execution(key)
        assert (await Verifier(other, CODEC).verify(key)).findings == ()
    assert await other.index.fork(fork) == await daemon.store.index.fork(fork)


async def test_it_comes_back_into_each_kind_of_store(daemon: Daemon, other: Store, tmp_path: Path) -> None:
    """The rows are those that a rebuild makes; no daemon has anything to do."""
    fork = await forked_and_rewound(daemon)
    whole = await exported(daemon.store, fork, tmp_path / "fork.jsonl")
    await imported(other, tmp_path / "fork.jsonl")
    done = await imported(daemon.store, tmp_path / "fork.jsonl", conflicts="as-new")
    store = daemon.store
    assert fork not in done.imported
    assert len(await exported(store, done.execution_id, tmp_path / "new.jsonl")) == len(whole)
    before = await store.index.executions(ExecutionFilter())
    assert len(before) == 4
    assert await store.index.busy(after=None, limit=10) == []
    await store.index.rebuild(changes(store.log, lambda *_: None, {"events": 0, "executions": 0}))
    assert await store.index.executions(ExecutionFilter()) == before
    proof = await Verifier(store, CODEC).verify(done.execution_id)
    assert (proof.findings, proof.head is not None) == ((), True)


async def test_a_head_is_the_same_in_a_store_that_packs_what_it_holds(daemon: Daemon, tmp_path: Path) -> None:
    """So is the file; and bytes that were turned there are found as well."""
    execution_id = (await booked(daemon)).execution_id
    whole = await exported(daemon.store, execution_id, tmp_path / "plain.jsonl")
    sealed = Codec(EVENT_TYPES, UPCASTERS, payload_threshold_bytes=300, compressor=zlib)
    async with opened("memory://", sealed) as other:
        await Import(other, sealed, SystemClock(), tmp_path / "plain.jsonl", Wish()).run()
        lines = [line async for line in Export(other, sealed, execution_id).lines()]
        assert b"".join(lines) == whole
        proof = await Verifier(other, sealed).verify(execution_id)
        assert proof == await Verifier(daemon.store, CODEC).verify(execution_id)
        log = other.payloads
        assert isinstance(log, MemoryLog)
        row = log.streams[execution_id][2]
        log.streams[execution_id][2] = row._replace(state=row.state[:-1] + bytes([row.state[-1] ^ 1]))
        [finding] = (await Verifier(other, sealed).verify(execution_id)).findings
        assert finding.version == 3


async def test_children_come_along_when_asked_for(daemon: Daemon, other: Store, tmp_path: Path) -> None:
    tour = await booked(daemon, "tour")
    await exported(daemon.store, tour.execution_id, tmp_path / "alone.jsonl")
    await exported(daemon.store, tour.execution_id, tmp_path / "all.jsonl", with_children=True)
    assert (len(read(tmp_path / "alone.jsonl").told), len(read(tmp_path / "all.jsonl").told)) == (1, 2)
    done = await imported(other, tmp_path / "all.jsonl")
    assert len(done.imported) == 2
    rows = await other.index.executions(ExecutionFilter())
    assert {row.workflow for row in rows} == {"tour", "booking"}


async def test_what_is_there_already_is_refused_or_left(daemon: Daemon, other: Store, tmp_path: Path) -> None:
    """What a fork goes on from may be there, if it is the same."""
    fork = await forked_and_rewound(daemon)
    await exported(daemon.store, fork, tmp_path / "fork.jsonl")
    [source, _] = read(tmp_path / "fork.jsonl").told
    await exported(daemon.store, source, tmp_path / "source.jsonl")
    await imported(other, tmp_path / "source.jsonl")
    done = await imported(other, tmp_path / "fork.jsonl")
    assert (done.imported, done.left) == ((fork,), (source,))
    with pytest.raises(Rejected, match="is here already"):
        await imported(other, tmp_path / "fork.jsonl")
    head = await other.log.head()
    assert (await imported(other, tmp_path / "fork.jsonl", conflicts="skip")).imported == ()
    assert await other.log.head() == head


async def test_one_that_has_not_ended_goes_on_only_where_that_is_said(tmp_path: Path, store_url: str) -> None:
    """Then a daemon takes it up, and it ends there."""
    text = "workflow: w\nnodes: {a: {signal: go}, b: {transform: 1}}\nedges: [a -> b]"
    async with running(settings_for(tmp_path, text, limits=LIMITS)) as daemon:
        execution_id = await start(daemon, "w")
        await until(daemon, execution_id, lambda state: isinstance(state, Running) and bool(state.awaiting))
        await exported(daemon.store, execution_id, tmp_path / "open.jsonl")
    async with running(settings_for(tmp_path, text, store_url=store_url, limits=LIMITS)) as daemon:
        with pytest.raises(Rejected, match="has not ended, and would go on here"):
            await imported(daemon.store, tmp_path / "open.jsonl")
        with pytest.raises(Rejected, match="as a new one"):
            await imported(daemon.store, tmp_path / "open.jsonl", conflicts="as-new", go_on=True)
        await imported(daemon.store, tmp_path / "open.jsonl", go_on=True)
        await daemon.intake.signal(execution_id, "go", None, actor="ann")
        assert (await finished(daemon, execution_id)).status == "completed"


async def test_a_payload_that_was_deleted_stays_deleted(daemon: Daemon, other: Store, tmp_path: Path) -> None:
    execution_id = (await booked(daemon)).execution_id
    whole = await exported(daemon.store, execution_id, tmp_path / "whole.jsonl")
    hashes = [line.split(b'"')[7].decode() for line in whole.splitlines() if line.startswith(b'{"line":"payload"')]
    assert hashes
    for payload_hash in hashes:
        assert await daemon.store.payloads.delete(payload_hash)
    left = await exported(daemon.store, execution_id, tmp_path / "left.jsonl")
    await imported(other, tmp_path / "left.jsonl")
    assert await exported(other, execution_id, tmp_path / "again.jsonl") == left
    proof = await Verifier(other, CODEC).verify(execution_id)
    assert proof.findings == ()
    assert proof.deleted
    assert proof.head == (await Verifier(daemon.store, CODEC).verify(execution_id)).head


async def test_a_file_that_is_not_whole_changes_nothing(daemon: Daemon, other: Store, tmp_path: Path) -> None:
    """The error names the line."""
    execution_id = (await booked(daemon)).execution_id
    whole = await exported(daemon.store, execution_id, tmp_path / "whole.jsonl")
    lines = whole.splitlines(keepends=True)
    events = [number for number, line in enumerate(lines) if line.startswith(b'{"line":"event"')]
    third, fourth = events[2:4]
    swapped = [*lines]
    swapped[third], swapped[fourth] = swapped[fourth], swapped[third]
    bad = {
        b"": "1: the file is cut off",
        b"PK\3\4": "1: the file is cut off",
        b'{"a":1}\n': "1: this is no export of an execution",
        whole.replace(b'"format":1', b'"format":2'): "1: it is of format 2, this program reads format 1",
        b"".join(lines[:-1]): f"{len(lines)}: the file is cut off: it does not end with a trailer",
        whole[:-9]: f"{len(lines)}: the file is cut off",
        whole + b"\n": f"{len(lines) + 1}: there is something after the end",
        whole.replace(b"archive", b"arkhive", 1): "was changed: its hash is another",
        b"".join([*lines[:third], *lines[third + 1 :]]): f"{third + 1}: event 4 of execution {execution_id} follows 2",
        b"".join(swapped): f"{third + 1}: event 4 of execution {execution_id} follows 2",
        gzip.compress(whole)[:-20]: "the file is cut off",
    }
    for number, (data, message) in enumerate(bad.items()):
        path = tmp_path / f"bad{number}"
        path.write_bytes(data)
        with pytest.raises(BadFile, match=message):
            await imported(other, path)
    assert await other.log.head() == 0
    assert await other.index.executions(ExecutionFilter()) == []


async def test_an_import_that_fails_on_its_way_leaves_nothing(
    daemon: Daemon, other: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The crash comes after some of it was written."""
    fork = await forked_and_rewound(daemon)
    await exported(daemon.store, fork, tmp_path / "fork.jsonl")
    monkeypatch.setattr("daemon.runtime.imports.MOST_EVENTS", 2)
    adopt = other.archive.adopt

    async def broken(appends: AsyncIterator[Any], **more: Any) -> None:
        async def some() -> AsyncIterator[Any]:
            for _ in range(4):
                yield await anext(appends)
            raise RuntimeError("power cut")

        await adopt(some(), **more)

    monkeypatch.setattr(other.archive, "adopt", broken)
    with pytest.raises(RuntimeError, match="power cut"):
        await imported(other, tmp_path / "fork.jsonl")
    assert await other.log.head() == 0
    monkeypatch.setattr(other.archive, "adopt", adopt)
    assert len((await imported(other, tmp_path / "fork.jsonl")).imported) == 2


async def test_there_must_be_such_an_execution(daemon: Daemon, tmp_path: Path) -> None:
    with pytest.raises(ExecutionNotFound):
        await exported(daemon.store, EXECUTION, tmp_path / "none.jsonl")
