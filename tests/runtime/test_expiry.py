"""Executions that were kept long enough: archived, deleted, and brought back."""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import pytest

from daemon.core.errors import ExecutionDeleted, ExecutionNotFound, Rejected
from daemon.core.state import Finished, Running
from daemon.foundations import expiry_of, restoring_of
from daemon.runtime.archive_places import Folder
from daemon.runtime.branches import ForkWish
from daemon.runtime.expiry import Expiry
from daemon.runtime.expiry_views import plan_view
from daemon.runtime.heads import Head
from daemon.runtime.verification import Verifier
from daemon.settings import Limits, Settings
from daemon.settings_retention import Retention, RetentionRule
from eventstore.errors import Unavailable
from tests.support.archives import CODEC, exported
from tests.support.daemons import finished, running, settings_for, start, until
from tests.support.stores import opened, store_url
from triggers.message import Ack, DeadLetter, Inbound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from daemon.assembled import Daemon
    from daemon.runtime.restoring import Restoring
    from triggers.message import Verdict

__all__ = ("store_url",)

TEXT = """
workflow: booking
nodes:
  reserve: {task: pass, with: {value: "{{ input.amount }}"}}
  note: {transform: "{{ input.note }}"}
edges: [reserve -> note]
---
workflow: tour
nodes:
  first: {subflow: booking, with: "{{ input }}"}
  then: {signal: {name: go}}
edges: [first -> then]
---
workflow: told
triggers:
  - {name: all, memory: {topic: t}, dedupe: "{{ message.value.id }}"}
  - name: go
    memory: {topic: g}
    dedupe: "{{ message.value.id }}"
    signal: {name: go, execution: "{{ message.value.for }}"}
nodes: {a: {signal: {name: go}}}
---
workflow: taken
start: {batch: {size: 2, within: 1h}}
triggers:
  - {name: all, memory: {topic: b}, dedupe: "{{ message.value.id }}"}
nodes: {a: {transform: 1}}
---
workflow: other
nodes: {a: {transform: 1}}
---
workflow: brief
retention: {completed: 7d, archive: false}
nodes: {a: {branch: "{{ input }}"}, b: {fail: {message: no}}}
edges: [a.false -> b]
---
workflow: safe
retention: {completed: 7d}
nodes: {a: {transform: 1}}
"""
LIMITS = Limits(grace_s=0.1, payload_threshold_bytes=300)


RULES = (
    RetentionRule(workflow="booking", status=("completed",), keep="30d"),
    RetentionRule(workflow="t*", keep="30d", archive=False),
)


def retention(folder: Path, *rules: RetentionRule) -> Retention:
    return Retention(archive=(folder / "archive").as_uri(), rules=rules, pause_s=0)


class Ahead:
    """A clock that goes before the daemon's: whoever asks it believes that time has passed."""

    def __init__(self) -> None:
        self.by = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.by

    async def sleep(self, _seconds: float) -> None:
        await asyncio.sleep(0)


def expiry(daemon: Daemon, clock: Ahead) -> Expiry:
    """Return what lets executions go by the rules."""
    ruled = replace(daemon.settings, retention=replace(daemon.settings.retention, rules=RULES))
    return expiry_of(ruled, daemon.store, clock)


def restoring(daemon: Daemon, clock: Ahead) -> Restoring:
    """Return what brings them back."""
    return restoring_of(daemon.settings, daemon.store, clock)


@pytest.fixture
def clock() -> Ahead:
    return Ahead()


@pytest.fixture
async def daemon(tmp_path: Path, store_url: str) -> AsyncIterator[Daemon]:
    """Give a daemon that has no rules, so that nothing goes by itself."""
    settings = settings_for(tmp_path, TEXT, store_url=store_url, limits=LIMITS, retention=retention(tmp_path))
    async with running(settings) as daemon:
        yield daemon


async def booked(daemon: Daemon, **given: Any) -> Finished:
    key = given.pop("key", None)
    value = {"amount": 5, "note": "long " * 100, **given}
    return await finished(daemon, await start(daemon, "booking", value, key=key))


async def later(daemon: Daemon, clock: Ahead, days: int = 31) -> None:
    """Let time pass, and something be newer than all there is."""
    clock.by += timedelta(days=days)
    await finished(daemon, await start(daemon, "other"))


def files(folder: Path) -> list[Path]:
    return [path for path in sorted((folder / "archive").rglob("*")) if path.is_file()]


async def test_what_was_kept_long_enough_is_archived_and_deleted(daemon: Daemon, clock: Ahead, tmp_path: Path) -> None:
    """The first rule that fits counts; who asks for it is told where it is; others stay."""
    old = (await booked(daemon)).execution_id
    whole = await exported(daemon.store, old, tmp_path / "old.jsonl")
    await later(daemon, clock)
    other = await start(daemon, "other")
    done = await expiry(daemon, clock).run()
    assert (done.deleted, done.archived, dict(done.kept)) == (1, 1, {})
    [file] = files(tmp_path)
    assert gzip.decompress(file.read_bytes()) == whole
    with pytest.raises(ExecutionDeleted, match=rf"deleted at 2026-.* archived as file://.*{old}\.jsonl\.gz"):
        await daemon.history.existing(old)
    await daemon.history.existing(other)
    assert (await expiry(daemon, clock).run()).deleted == 0


async def test_it_comes_back_as_it_was(daemon: Daemon, clock: Ahead, tmp_path: Path) -> None:
    """Byte by byte, sound, and for as long again as the rule says."""
    old = await booked(daemon)
    whole = await exported(daemon.store, old.execution_id, tmp_path / "old.jsonl")
    await later(daemon, clock)
    await expiry(daemon, clock).run()
    done = await restoring(daemon, clock).restore(old.execution_id)
    assert (done.imported, done.left) == ((old.execution_id,), ())
    assert await exported(daemon.store, old.execution_id, tmp_path / "back.jsonl") == whole
    assert await daemon.history.existing(old.execution_id) == old
    assert (await Verifier(daemon.store, CODEC).verify(old.execution_id)).findings == ()
    assert await daemon.store.index.busy(after=None, limit=9) == []
    await later(daemon, clock, days=29)
    assert (await expiry(daemon, clock).run()).deleted == 0
    await later(daemon, clock, days=2)
    assert (await expiry(daemon, clock).run()).deleted == 1
    with pytest.raises(ExecutionNotFound):
        await restoring(daemon, clock).restore(UUID(int=7))


async def test_a_key_outlives_its_execution(daemon: Daemon, clock: Ahead) -> None:
    """The same key starts nothing anew, and no signal brings the execution back."""
    old = (await booked(daemon, key="k1")).execution_id
    await later(daemon, clock)
    await expiry(daemon, clock).run()
    with pytest.raises(ExecutionDeleted):
        await start(daemon, "booking", {"amount": 5, "note": "x"}, key="k1")
    with pytest.raises(ExecutionDeleted):
        await daemon.intake.signal(old, "go", None, actor="test")
    assert await daemon.store.log.read(old) == []
    assert daemon.engine.parked == {}


async def message(daemon: Daemon, trigger: str, **value: Any) -> Verdict:
    """Take one message; return the verdict."""
    body, at = msgspec.json.encode(value), daemon.clock.now()
    [verdict] = await daemon.intake([Inbound(trigger=trigger, source="t", identity=None, body=body, received_at=at)])
    return verdict


async def test_a_message_that_is_repeated_starts_nothing_anew(daemon: Daemon, clock: Ahead) -> None:
    """It is acknowledged as the repeat that it is; a signal that comes too late is a dead letter, as before."""
    started = await message(daemon, "told/all", id="m1")
    assert isinstance(started, Ack)
    assert started.execution_id is not None
    go = {"id": "s1", "for": str(started.execution_id)}
    assert isinstance(await message(daemon, "told/go", **go), Ack)
    await finished(daemon, started.execution_id)
    for key in "ab":
        assert isinstance(await message(daemon, "taken/all", id=key), Ack)
    await later(daemon, clock)
    assert (await expiry(daemon, clock).run()).deleted == 2
    assert await message(daemon, "told/all", id="m1") == Ack("duplicate", started.execution_id)
    late = await message(daemon, "told/go", **go)
    assert isinstance(late, DeadLetter)
    assert "was deleted at" in late.reason
    assert await message(daemon, "taken/all", id="a") == Ack("duplicate")
    assert (await daemon.store.index.counts()).keys() == {("other", "completed")}


async def test_what_others_need_stays_and_it_is_said_why(daemon: Daemon, clock: Ahead) -> None:
    """A source stays with its forks, a child while its parent goes on; what goes on is not looked at."""
    source = (await booked(daemon)).execution_id
    fork, _ = await daemon.branches.fork(source, ForkWish(where="before:note", actor="ann"))
    await finished(daemon, fork)
    tour = await start(daemon, "tour", {"amount": 1, "note": "n"})
    state = await until(daemon, tour, lambda state: isinstance(state, Running) and "then" in state.awaiting)
    assert isinstance(state, Running)
    await later(daemon, clock)
    view = await plan_view(expiry(daemon, clock), daemon.store.index, replace(daemon.settings.retention, rules=RULES))
    assert (view["going"], view["open"], view["ended"]) == (1, 1, 4)
    reasons = {"another execution goes on from its past": 1, "its parent has not ended": 1}
    assert {each["why"]: each["executions"] for each in view["kept"]} == reasons
    done = await expiry(daemon, clock).run()
    assert (done.deleted, dict(done.kept)) == (1, reasons)
    await daemon.intake.signal(tour, "go", None, actor="test")
    await finished(daemon, tour)
    await later(daemon, clock)
    assert (await expiry(daemon, clock).run()).deleted == 3


async def test_a_fork_comes_back_with_what_it_goes_on_from(daemon: Daemon, clock: Ahead, tmp_path: Path) -> None:
    source = (await booked(daemon)).execution_id
    fork, _ = await daemon.branches.fork(source, ForkWish(where="before:note", actor="ann"))
    await finished(daemon, fork)
    whole = await exported(daemon.store, fork, tmp_path / "fork.jsonl")
    await later(daemon, clock)
    assert [(await expiry(daemon, clock).run()).deleted for _ in range(2)] == [1, 1]
    with pytest.raises(ExecutionDeleted):
        await daemon.branches.fork(source, ForkWish(where="before:note", actor="ann"))
    await restoring(daemon, clock).restore(fork)
    assert await exported(daemon.store, fork, tmp_path / "back.jsonl") == whole
    await daemon.history.existing(source)


async def test_a_head_that_was_kept_fits_what_was_deleted(daemon: Daemon, clock: Ahead) -> None:
    """That an execution is gone is no sign of tampering, when its last hash is the one of then."""
    old = (await booked(daemon)).execution_id
    verifier = Verifier(daemon.store, CODEC)
    head = (await verifier.verify(old)).head
    assert head is not None
    await later(daemon, clock)
    await expiry(daemon, clock).run()
    assert (await verifier.verify(old, head)).findings == ()
    assert (await verifier.verify(old, Head(old, head.version - 1, b"x"))).findings == ()
    for other in (Head(old, head.version, b"x"), Head(old, head.version + 1, head.hash)):
        assert (await verifier.verify(old, other)).findings
    with pytest.raises(ExecutionDeleted):
        await verifier.verify(old)


async def test_without_an_archive_it_goes_for_good(daemon: Daemon, clock: Ahead, tmp_path: Path) -> None:
    """If the rule says so."""
    tour = await start(daemon, "tour", {"amount": 1, "note": "n"})
    await daemon.intake.signal(tour, "go", None, actor="test")
    await finished(daemon, tour)
    await later(daemon, clock)
    done = await expiry(daemon, clock).run()
    assert (done.deleted, done.archived, len(files(tmp_path))) == (2, 1, 1)
    with pytest.raises(ExecutionDeleted, match="not archived"):
        await daemon.history.existing(tour)
    with pytest.raises(Rejected, match="without being archived"):
        await restoring(daemon, clock).restore(tour)


class Breaking(Folder):
    """A folder that fails at a call, before or after it is carried out, or gives back something else."""

    def __init__(self, url: str, fails: str) -> None:
        super().__init__(url)
        self.fails = fails

    async def put(self, name: str, file: Path) -> None:
        if self.fails == "before":
            raise Unavailable("full")
        await super().put(name, file)
        if self.fails == "after":
            raise Unavailable("away")

    async def fetch(self, name: str, to: Path) -> None:
        await super().fetch(name, to)
        if self.fails == "cut":
            to.write_bytes(to.read_bytes()[:-20])  # noqa: ASYNC240  a few bytes


@pytest.mark.parametrize(("fails", "left"), [("before", 0), ("after", 1), ("cut", 0)])
async def test_nothing_is_deleted_that_is_not_in_the_archive(
    daemon: Daemon, clock: Ahead, tmp_path: Path, fails: str, left: int
) -> None:
    """Whatever the archive does; the next time it is as if nothing had happened."""
    old = (await booked(daemon)).execution_id
    await later(daemon, clock)
    place = Breaking((tmp_path / "archive").as_uri(), fails)
    with pytest.raises(Unavailable):
        await Expiry(daemon.store, CODEC, clock, retention(tmp_path, *RULES), place).run()
    await daemon.history.existing(old)
    assert len(files(tmp_path)) == left
    assert (await expiry(daemon, clock).run()).deleted == 1
    assert len(files(tmp_path)) == 1


async def test_an_archive_that_cannot_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    """No part of a file remains, and the one that was there before does."""
    (tmp_path / "file").write_text("new")
    place = Folder((tmp_path / "archive").as_uri())
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "taken").mkdir()
    with pytest.raises(Unavailable, match="archive"):
        await place.put("taken", tmp_path / "file")
    with pytest.raises(Unavailable):
        await place.put("name", tmp_path / "missing")
    assert files(tmp_path) == []
    with pytest.raises(Rejected):
        await place.fetch("name", tmp_path / "back")


async def test_a_crash_between_archive_and_deletion_does_no_harm(daemon: Daemon, clock: Ahead, tmp_path: Path) -> None:
    """What was archived twice is one file, the same byte by byte."""
    old = (await booked(daemon)).execution_id
    await later(daemon, clock)
    reached = asyncio.Event()

    class Stuck(Folder):
        async def fetch(self, name: str, to: Path) -> None:
            await super().fetch(name, to)
            reached.set()
            await asyncio.Event().wait()

    place = Stuck((tmp_path / "archive").as_uri())
    work = asyncio.ensure_future(Expiry(daemon.store, CODEC, clock, retention(tmp_path, *RULES), place).run())
    await reached.wait()
    work.cancel()
    await asyncio.wait({work})
    [file] = files(tmp_path)
    before = file.read_bytes()
    await daemon.history.existing(old)
    assert (await expiry(daemon, clock).run()).deleted == 1
    assert (files(tmp_path), file.read_bytes()) == ([file], before)


async def test_two_that_do_it_at_once_do_it_once(daemon: Daemon, clock: Ahead, tmp_path: Path, store_url: str) -> None:
    """Each execution is counted by one of them, and is in the archive once."""
    for number in range(6):
        await booked(daemon, note=f"n{number}")
    await later(daemon, clock)
    async with opened(store_url, CODEC) as own:
        other = daemon.store if store_url == "memory://" else own
        place = Folder((tmp_path / "archive").as_uri())
        another = Expiry(other, CODEC, clock, retention(tmp_path, *RULES), place)
        done = await asyncio.gather(expiry(daemon, clock).run(), another.run())
    assert sum(each.deleted for each in done) == 6
    assert len(files(tmp_path)) == 6
    assert len(await daemon.store.deletions.all_deleted()) == 6


async def test_a_damaged_execution_is_kept(daemon: Daemon, clock: Ahead, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is evidence; the others go."""
    old, damaged = [(await booked(daemon, note=note)).execution_id for note in ("a", "b")]
    await later(daemon, clock)
    archive = daemon.store.archive
    rows = archive.rows

    async def turned(execution_id: UUID, **which: int) -> Any:
        found = await rows(execution_id, **which)
        if execution_id == damaged:
            return [row._replace(state=bytes(row.state).replace(b'"b"', b'"c" ')) for row in found[:-1]]
        return found

    monkeypatch.setattr(archive, "rows", turned)  # stands for bytes that have rotted
    done = await expiry(daemon, clock).run()
    assert (done.deleted, dict(done.kept)) == (1, {"its events are not sound": 1})
    with pytest.raises(ExecutionDeleted):
        await daemon.history.existing(old)


async def test_a_file_that_was_changed_in_the_archive_is_refused(daemon: Daemon, clock: Ahead, tmp_path: Path) -> None:
    """Even for another that is sound: the last hash is kept in the store."""
    one, two = [(await booked(daemon, note=note)).execution_id for note in ("a", "b")]
    await later(daemon, clock)
    await expiry(daemon, clock).run()
    first, second = (next(path for path in files(tmp_path) if str(key) in path.name) for key in (one, two))
    first.write_bytes(second.read_bytes())
    with pytest.raises(Rejected, match="does not hold"):
        await restoring(daemon, clock).restore(one)
    elsewhere = Settings(retention=Retention(archive="file:///nowhere"))
    with pytest.raises(Rejected, match="not in the archive of these settings"):
        await restoring_of(elsewhere, daemon.store, clock).restore(two)


async def test_a_daemon_does_it_by_itself(tmp_path: Path, store_url: str) -> None:
    """Now and then; an archive that is away is tried again."""
    rules = replace(retention(tmp_path, RetentionRule(workflow="booking", keep="0s")), interval_s=1)
    settings = settings_for(tmp_path, TEXT, store_url=store_url, limits=LIMITS, retention=rules)
    (tmp_path / "archive").write_text("in the way")
    async with running(settings) as daemon:
        old = await booked(daemon)
        await finished(daemon, await start(daemon, "other"))
        with pytest.raises(Unavailable):
            await daemon.expiry.run()
        (tmp_path / "archive").unlink()
        async with asyncio.timeout(20):
            while await daemon.store.deletions.deleted(old.execution_id) is None:  # noqa: ASYNC110  the store has no event
                await asyncio.sleep(0.02)
        assert len(files(tmp_path)) == 1


def ruled(daemon: Daemon, clock: Ahead, *rules: RetentionRule, place: bool = True) -> Expiry:
    kept = replace(daemon.settings.retention, rules=rules)
    settings = replace(daemon.settings, retention=kept if place else replace(kept, archive=None))
    return expiry_of(settings, daemon.store, clock)


async def test_a_definition_says_how_long_its_executions_stay(daemon: Daemon, clock: Ahead) -> None:
    """By status, also without any rule in the settings; what it does not name stays."""
    done = (await finished(daemon, await start(daemon, "brief", value=True))).execution_id
    failed = (await finished(daemon, await start(daemon, "brief", value=False))).execution_id
    safe = (await finished(daemon, await start(daemon, "safe"))).execution_id
    await later(daemon, clock, days=6)
    assert await ruled(daemon, clock).any_rules()
    assert (await ruled(daemon, clock).run()).seen == 0
    await later(daemon, clock, days=2)
    gone = await ruled(daemon, clock, place=False).run()
    reason = "it is to be archived, and the settings name no archive"
    assert (gone.deleted, gone.archived, dict(gone.kept)) == (1, 0, {reason: 1})
    gone = await ruled(daemon, clock).run()
    assert (gone.deleted, gone.archived) == (1, 1)
    with pytest.raises(ExecutionDeleted):
        await daemon.history.existing(done)
    with pytest.raises(ExecutionDeleted):
        await daemon.history.existing(safe)
    await daemon.history.existing(failed)


async def test_the_settings_and_the_definition_count_in_an_order(daemon: Daemon, clock: Ahead) -> None:
    """A rule that names the workflow counts before the definition, one for all workflows after it."""
    await finished(daemon, await start(daemon, "brief", value=True))
    await finished(daemon, await start(daemon, "brief", value=False))
    await later(daemon, clock, days=10)
    every = RetentionRule(keep="1d", archive=False)
    named = RetentionRule(workflow="bri*", status=("completed",), keep="30d", archive=False)
    view = await plan_view(ruled(daemon, clock, named), daemon.store.index, replace(daemon.settings.retention))
    assert (view["going"], view["rules"]) == (0, [])
    retention = replace(daemon.settings.retention, rules=(every,))
    view = await plan_view(ruled(daemon, clock, every), daemon.store.index, retention)
    assert [(each["said_by"], each["workflow"], each["status"], each["keep"]) for each in view["rules"]] == [
        ("settings", "*", ["cancelled", "completed", "failed"], "1d"),
        ("definition", "brief", ("completed",), "7d"),
    ]
    assert [each["going"] for each in view["rules"]] == [2, 1]  # by the first: the one that failed, and `other`
