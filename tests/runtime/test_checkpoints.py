"""Checkpoints and snapshots on real daemons: when they are taken, that they may fail, that they are checked."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest
from msgspec.structs import replace as changed

from daemon.core.commands import ReceiveSignal
from daemon.core.errors import InvalidInput, Rejected, UnknownName
from daemon.core.snapshot import FORMAT
from daemon.core.state import Finished, Running
from daemon.core.values import to_json
from daemon.runtime.branches import ForkWish
from daemon.runtime.checkpoints import Checkpoint
from daemon.settings import Snapshots
from daemon.testing.clock import FakeClock
from eventstore.errors import Unavailable
from tests.support import gated_handlers
from tests.support.daemons import finished, in_flight, running, settings_for, start, until

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from daemon.assembled import Daemon
    from eventstore.snapshots import Snapshots as SnapshotsPort

MARKED = """
workflow: marked
checkpoint_every: 4
nodes:
  a: {task: pass, with: {value: 1}, checkpoint: true}
  b: {task: gate, with: {name: "{{ input }}", value: "{{ a }}"}, checkpoint: true}
  c: {task: pass, with: {value: 3}}
edges: [a -> b -> c]
"""
WAITING = """
workflow: waiting
snapshot_every: %d
nodes: {ask: {signal: {name: answer}}}
edges: []
"""


async def send(daemon: Daemon, target: UUID, count: int) -> None:
    for number in range(count):
        command = ReceiveSignal(
            signal_id=f"s{number}", name="hello", data=to_json(number), actor="test", at=daemon.clock.now()
        )
        await daemon.engine.send(target, command)


async def settled_tasks() -> None:
    """Let the tasks beside the work come to their end: a store in memory makes nobody wait."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_the_definition_says_which_versions_get_a_name(tmp_path: Path) -> None:
    """Each is exactly the version at which the step succeeded, or at which so many events were there."""
    async with running(settings_for(tmp_path, MARKED)) as daemon:
        target = await start(daemon, "marked", "open-marked")
        gated_handlers.gates["open-marked"].set()
        state = await finished(daemon, target)
        await settled_tasks()
        steps = cast("Any", state.steps)
        named = await daemon.checkpoints.named(target)
        assert {each.name: each.version for each in named} == {
            "a": steps["a"].version, "b": steps["b"].version, "event 4": 4,
        } | ({"event 8": 8} if state.version >= 8 else {})  # fmt: skip
        assert all(each.stored for each in named)
        for each in named:
            assert (await daemon.checkpoints.state(target, each.version)).version == each.version
        assert all(each["outcome"] == "ok" for each in await daemon.checkpoints.validate(target))


async def test_what_goes_on_from_a_past_has_its_checkpoints(tmp_path: Path) -> None:
    """Also those that are due in the very commit by which a fork begins, or a rewind goes on."""
    text = MARKED.replace("checkpoint_every: 4", "checkpoint_every: 1")
    async with running(settings_for(tmp_path, text)) as daemon:
        source = await start(daemon, "marked", "open-past")
        gated_handlers.gates["open-past"].set()
        ended = await finished(daemon, source)
        fork, _ = await daemon.branches.fork(source, ForkWish(where="before:c", actor="test"))
        await finished(daemon, fork)
        await daemon.branches.rewind(source, "before:c", mode="none", actor="test")
        await until(daemon, source, lambda state: state.version > ended.version + 4 and isinstance(state, Finished))
        await settled_tasks()
        for each in (source, fork):
            outcomes = [found["outcome"] for found in await daemon.checkpoints.validate(each)]
            assert (set(outcomes), len(outcomes) >= 4) == ({"ok"}, True)
            assert "b" in {named.name for named in await daemon.checkpoints.named(each) if named.stored}


async def test_a_step_that_is_a_checkpoint_is_one_without_its_snapshot(tmp_path: Path) -> None:
    """What the definition marks is in the log: a crash before the snapshot, or clearing it, loses no name."""
    settings = settings_for(tmp_path, MARKED, store_url=f"sqlite:///{tmp_path}/log.db")
    async with running(settings) as lost:
        target = await start(lost, "marked", "open-lost")
        state = await until(lost, target, in_flight("b"))
    async with running(settings) as daemon:
        await daemon.checkpoints.clear(target)
        version = cast("Any", state).steps["a"].version
        assert Checkpoint("a", version, stored=False) in await daemon.checkpoints.named(target)
        assert await daemon.checkpoints.version_of(target, "a") == version
        gated_handlers.gates["open-lost"].set()
        assert (await finished(daemon, target)).status == "completed"


async def test_time_makes_a_snapshot_due_where_the_workflow_says_so(tmp_path: Path) -> None:
    clock = FakeClock()
    text = (WAITING % 0).replace("snapshot_every: 0", "snapshot_every: 0\nsnapshot_interval: 30s\nsnapshot_keep: 2")
    async with running(settings_for(tmp_path, text), clock=clock) as daemon:
        target = await start(daemon, "waiting")
        for number in range(4):
            await daemon.engine.send(target, _signal(f"early{number}", daemon))
            await clock.advance(31)
            await daemon.engine.send(target, _signal(f"late{number}", daemon))
        await settled_tasks()
        stored = await daemon.store.snapshots.stored(target)
        assert len(stored) == 2  # of four, the last two
        assert all(each.label is None for each in stored)


def _signal(name: str, daemon: Daemon) -> ReceiveSignal:
    return ReceiveSignal(signal_id=name, name="hello", data=to_json(1), actor="test", at=daemon.clock.now())


async def test_the_settings_say_it_for_workflows_that_do_not(tmp_path: Path) -> None:
    text = (WAITING % 0).replace("snapshot_every: 0\n", "")
    async with running(settings_for(tmp_path, text, snapshots=Snapshots(every=5, keep=1))) as daemon:
        target = await start(daemon, "waiting")
        await send(daemon, target, 20)
        await settled_tasks()
        assert [each.version for each in await daemon.store.snapshots.stored(target)] == [20]


class BrokenSnapshots:
    """Snapshots whose store fails in turn in every way there is."""

    def __init__(self, inner: SnapshotsPort) -> None:
        self._inner = inner
        self.failed = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def save(self, *_: Any, **__: Any) -> None:
        self.failed += 1
        raise Unavailable("no") if self.failed % 2 else OSError("no space left on device")


async def test_a_snapshot_that_fails_fails_no_execution(tmp_path: Path) -> None:
    """Whatever its store raises: the execution goes on and ends, and so does the daemon's work."""
    text = MARKED.replace("checkpoint_every: 4", "checkpoint_every: 1\nsnapshot_every: 1")
    async with running(settings_for(tmp_path, text)) as first:
        store = replace(first.store, snapshots=cast("SnapshotsPort", BrokenSnapshots(first.store.snapshots)))
    async with running(first.settings, store=store) as daemon:
        target = await start(daemon, "marked", "open-broken")
        gated_handlers.gates["open-broken"].set()
        assert (await finished(daemon, target)).status == "completed"
        await settled_tasks()
        broken = cast("BrokenSnapshots", store.snapshots)
        assert broken.failed > 5
        assert await daemon.store.snapshots.stored(target) == []
        again = await start(daemon, "marked", "open-broken")
        assert (await finished(daemon, again)).status == "completed"


async def test_a_name_stands_for_one_version(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, WAITING % 0)) as daemon:
        target = await start(daemon, "waiting")
        await send(daemon, target, 5)
        checkpoints = daemon.checkpoints
        assert await checkpoints.take(target, label="first", version=3) == Checkpoint("first", 3, stored=True)
        assert (await checkpoints.take(target, label="first", version=3)).version == 3
        with pytest.raises(Rejected, match="is version 3"):
            await checkpoints.take(target, label="first")
        with pytest.raises(Rejected, match="is the checkpoint 'first' already"):
            await checkpoints.take(target, label="second", version=3)
        with pytest.raises(UnknownName, match="no version 99"):
            await checkpoints.take(target, label="later", version=99)
        with pytest.raises(InvalidInput, match="1 to 255 printable characters"):
            await checkpoints.take(target, label=" ")
        with pytest.raises(UnknownName, match="it has: first"):
            await checkpoints.version_of(target, "second")


async def test_validation_finds_what_the_events_do_not_say(tmp_path: Path) -> None:
    """A state that was changed is told from one that cannot be read, and from one of another program."""
    async with running(settings_for(tmp_path, WAITING % 0)) as daemon:
        target = await start(daemon, "waiting")
        await send(daemon, target, 6)
        for version in (3, 4, 5, 6):
            await daemon.checkpoints.take(target, label=f"v{version}", version=version)
        snapshots = daemon.store.snapshots
        kept = {each.version: each for each in await snapshots.all_of(target)}
        forged = kept[3].state.replace(b'"data":0', b'"data":7')
        assert forged != kept[3].state
        await snapshots.save(changed(kept[3], state=forged), keep_last=9)
        await snapshots.save(changed(kept[4], state=b"{"), keep_last=9)
        await snapshots.save(changed(kept[5], format="state/0"), keep_last=9)
        found = {each["version"]: each for each in await daemon.checkpoints.validate(target)}
        assert {version: each["outcome"] for version, each in found.items()} == {
            3: "differs", 4: "unreadable", 5: "ignored", 6: "ok",
        }  # fmt: skip
        assert found[3]["differences"] == ["signals.s0.data"]
        assert "state/0" in str(found[5]["problem"])


async def documents(daemon: Daemon) -> tuple[UUID, dict[str, Any]]:
    """Return an execution, and the document of a snapshot of it."""
    target = await start(daemon, "marked", "open-document")
    await until(daemon, target, in_flight("b"))
    await daemon.checkpoints.take(target, label="here")
    return target, msgspec.json.decode(msgspec.json.encode(await daemon.checkpoints.export(target)))


async def test_a_document_is_taken_in_again(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, MARKED)) as daemon:
        target, document = await documents(daemon)
        before = await daemon.checkpoints.state(target, document["version"])
        await daemon.checkpoints.clear(target)
        with pytest.raises(UnknownName, match="no snapshot"):
            await daemon.checkpoints.export(target)
        taken = await daemon.checkpoints.take_in(msgspec.json.encode(document), target)
        assert taken == Checkpoint("here", before.version, stored=True)
        assert await daemon.checkpoints.state(target, before.version) == before
        assert isinstance(before, Running)
        gated_handlers.gates["open-document"].set()
        await finished(daemon, target)


def _set(document: dict[str, Any], *place: str, value: Any) -> dict[str, Any]:
    at = document
    for part in place[:-1]:
        at = at[part]
    at[place[-1]] = value
    return document


WRONG: list[tuple[tuple[str, ...], Any, str]] = [
    (("format",), "sagad-snapshot/9", "$.format: 'sagad-snapshot/9' cannot be read"),
    (("state_format",), "state/0", f"$.state_format: 'state/0' cannot be read; this program knows '{FORMAT}'"),
    (("execution_id",), "7", "$.execution_id"),
    (("version",), 0, "`$.version`"),
    (("version",), 2, "$.state.version: it is"),
    (("more",), 1, "unknown field `more`"),
    (("workflow",), "other", "$.state.workflow: it is 'marked', and $.workflow is 'other'"),
    (("definition",), "0" * 64, "$.state.definition"),
    (("taken_at",), "2031-01-01T00:00:00", "$.taken_at: the time names no zone"),
    (("state", "steps", "b", "attempt"), "1", '$.state.steps["b"].attempt: Expected `int`, got `str`'),
    (("state", "steps", "a", "type"), "Gone", '$.state.steps["a"]'),
    (("state", "in_flight", "b"), None, '$.state.in_flight["b"]: Expected `int`, got `null`'),
    (("state", "started_at"), 5, "$.state.started_at"),
    (("state", "steps", "a", "output"), 2, "$.state: it is not what the events say: steps.a.output"),
    (("state", "trigger_name"), "x", "$.state: it is not what the events say: trigger_name"),
]


@pytest.mark.parametrize(("place", "value", "said"), WRONG, ids=lambda each: str(each)[:40])
async def test_a_document_that_was_changed_is_refused(
    tmp_path: Path, place: tuple[str, ...], value: Any, said: str
) -> None:
    """With the exact place of the mistake."""
    async with running(settings_for(tmp_path, MARKED)) as daemon:
        target, document = await documents(daemon)
        with pytest.raises(InvalidInput) as refused:
            await daemon.checkpoints.take_in(msgspec.json.encode(_set(document, *place, value=value)), target)
        assert said in str(refused.value)


async def test_a_document_of_another_execution_is_refused(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, MARKED)) as daemon:
        target, document = await documents(daemon)
        other = await start(daemon, "marked", "open-other")
        await until(daemon, other, in_flight("b"))
        text = msgspec.json.encode(document)
        with pytest.raises(InvalidInput, match="is of execution"):
            await daemon.checkpoints.take_in(text, other)
        forged = text.replace(str(target).encode(), str(other).encode())
        with pytest.raises(InvalidInput, match="not what the events say"):
            await daemon.checkpoints.take_in(forged, other)
        with pytest.raises(InvalidInput, match="not a snapshot"):
            await daemon.checkpoints.take_in(b"\xff{", other)
