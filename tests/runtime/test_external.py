"""Payloads that a quota has moved out of the database: read as before, lost by no failure, removed with their row."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from daemon.core.values import from_json
from daemon.foundations import expiry_of, restoring_of
from daemon.runtime.branches import ForkWish
from daemon.runtime.codec import codec_of
from daemon.runtime.forgetting import Forgetting
from daemon.runtime.quotas import Quotas
from daemon.runtime.room import Room
from daemon.runtime.verification import Verifier
from daemon.settings import Limits
from daemon.settings_encryption import Encryption
from daemon.settings_retention import Quota, Retention, RetentionRule, Storage
from daemon.testing.clock import FakeClock
from eventstore.errors import Unavailable
from eventstore.store import open_store
from tests.api.conftest import client_of
from tests.runtime.test_archive_s3 import REGION, client_at, endpoint
from tests.runtime.test_expiry import Ahead
from tests.runtime.test_quotas import input_of
from tests.support.archives import exported
from tests.support.daemons import finished, running, settings_for, start
from tests.support.stores import Shelf, store_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from uuid import UUID

    from daemon.assembled import Daemon
    from daemon.settings import Settings

__all__ = ("endpoint", "store_url")

TEXT = """
workflow: w
nodes:
  a: {transform: "{{ input }}"}
output: "{{ a }}"
---
workflow: deep
nodes:
  a: {task: pass, with: {value: "{{ input }}"}}
  b: {transform: "{{ a }}"}
edges: [a -> b]
output: "{{ b }}"
---
workflow: personal
subject: "{{ input.who }}"
nodes: {a: {transform: "{{ input.text }}"}}
---
workflow: other
nodes: {a: {transform: 1}}
"""
QUOTAS = (Quota(workflow="w", bytes=3000, policy="external"), Quota(bytes=1, policy="external"))
KEY = b64encode(b"k" * 32).decode()


def settings(folder: Path, url: str = "memory://", **parts: Any) -> Settings:
    """Return settings by which the daemon counts at its start, and then not for a day."""
    storage = Storage(quotas=QUOTAS, interval_s=86_400, external=(folder / "payloads").as_uri())
    given = {"storage": storage, "encryption": Encryption(keys=(KEY,)), **parts}
    limits = Limits(grace_s=0.1, payload_threshold_bytes=1024)
    return settings_for(folder, TEXT, store_url=url, limits=limits, **given)


@pytest.fixture
async def daemon(tmp_path: Path, store_url: str) -> AsyncIterator[Daemon]:
    async with running(settings(tmp_path, store_url)) as daemon:
        yield daemon


async def look(daemon: Daemon) -> None:
    await Quotas(daemon.store, codec_of(daemon.settings), FakeClock(), daemon.settings.storage).look()


async def put(daemon: Daemon, letter: str) -> UUID:
    """Have an execution that has ended, whose one payload is of 2,002 bytes in JSON."""
    return (await finished(daemon, await start(daemon, "w", letter * 2000))).execution_id


async def used(daemon: Daemon, workflow: str = "w") -> tuple[int, int]:
    """Return how many payloads are in the database, and how many outside."""
    [found] = [each for each in await daemon.store.usage.used() if each.workflow == workflow]
    return found.payloads, found.outside


def files(folder: Path) -> list[Path]:
    return [path for path in sorted((folder / "payloads").rglob("*")) if path.is_file()]


async def test_what_was_moved_out_is_read_as_before(daemon: Daemon, tmp_path: Path) -> None:
    """Shown, verified, exported and forked; its file is in a folder of the first letters of its hash."""
    ids = [await put(daemon, letter) for letter in "abc"]
    before = [await exported(daemon.store, key, tmp_path / "out") for key in ids]
    await look(daemon)
    assert await used(daemon) == (1, 2)
    assert [path.name.partition(".")[0][:2] for path in files(tmp_path)] == [
        path.parent.name for path in files(tmp_path)
    ]
    assert (await input_of(daemon, ids[0])) == "a" * 2000
    assert [await exported(daemon.store, key, tmp_path / "out") for key in ids] == before
    verified = [await Verifier(daemon.store, codec_of(daemon.settings)).verify(key) for key in ids]
    assert [each.findings for each in verified] == [()] * 3


async def test_a_place_that_is_away_is_said(daemon: Daemon, tmp_path: Path) -> None:
    """503 for what is there; what is not outside is read all the same, and nothing more is moved."""
    first, second = await put(daemon, "a"), await put(daemon, "b")
    await look(daemon)
    (tmp_path / "payloads").rename(tmp_path / "elsewhere")
    (tmp_path / "payloads").write_text("no folder")
    async with client_of(daemon) as client:
        away = await client.get(f"/executions/{first}/events")
        assert away.status_code == 503
        assert f"the payloads at file://{tmp_path}/payloads: " in away.json()["detail"]
        assert (await client.get(f"/executions/{second}/events")).status_code == 200
        await put(daemon, "c")
        with structlog.testing.capture_logs() as logs:
            await look(daemon)
        assert [each["policy"] for each in logs if each["event"] == "no_room_made"] == ["external"]
        assert await used(daemon) == (2, 1)
        (tmp_path / "payloads").unlink()
        (tmp_path / "elsewhere").rename(tmp_path / "payloads")
        assert (await client.get(f"/executions/{first}/events")).status_code == 200


async def test_what_was_changed_or_is_gone_is_found(daemon: Daemon, tmp_path: Path) -> None:
    """As damage, with its place, and not as a value."""
    first, _ = await put(daemon, "a"), await put(daemon, "b")
    await look(daemon)
    [file] = files(tmp_path)
    verifier = Verifier(daemon.store, codec_of(daemon.settings))
    file.write_bytes(b'"x"')
    [finding] = (await verifier.verify(first)).findings
    assert "was changed where it was moved out of the database" in str(finding)
    file.unlink()
    [finding] = (await verifier.verify(first)).findings
    assert "is gone: there is no " in str(finding)


async def test_retention_archives_and_removes_what_is_outside(daemon: Daemon, tmp_path: Path) -> None:
    """The file in the archive is whole; the object goes after its row, and the execution comes back with its value."""
    retention = Retention(archive=(tmp_path / "archive").as_uri(), rules=(RetentionRule(workflow="w", keep="30d"),))
    ruled, clock = replace(daemon.settings, retention=retention), Ahead()
    old, _ = await put(daemon, "a"), await put(daemon, "b")
    await look(daemon)
    await finished(daemon, await start(daemon, "other"))
    clock.by += RetentionRule(keep="31d").age
    assert (await expiry_of(ruled, daemon.store, clock).run()).deleted == 2
    assert len(files(tmp_path)) == 1
    await look(daemon)
    assert files(tmp_path) == []
    await restoring_of(ruled, daemon.store, clock).restore(old)
    assert (await input_of(daemon, old)) == "a" * 2000


async def test_what_was_forgotten_is_unreadable_outside_too(daemon: Daemon, tmp_path: Path) -> None:
    """The object is sealed with the subject's key, as the rest."""
    person = {"who": "ana", "text": "t" * 2000}
    old = (await finished(daemon, await start(daemon, "personal", person))).execution_id
    await look(daemon)
    assert await used(daemon, "personal") == (0, 3)
    assert all(b"t" * 20 not in file.read_bytes() for file in files(tmp_path))
    assert (await input_of(daemon, old)) == person
    await Forgetting(daemon.store, daemon.engine, daemon.clock).forget("ana", by="test")
    assert "$forgotten" in (await input_of(daemon, old))
    assert (await Verifier(daemon.store, codec_of(daemon.settings)).verify(old)).findings == ()


async def test_what_a_subject_has_may_be_compressed(tmp_path: Path) -> None:
    """It reads as before while the key is there, and is forgotten with it."""
    storage = Storage(quotas=(Quota(workflow="personal", bytes=1, policy="compress"),), interval_s=86_400)
    async with running(settings(tmp_path, storage=storage)) as daemon:
        person = {"who": "ana", "text": "t" * 2000}
        old = (await finished(daemon, await start(daemon, "personal", person))).execution_id
        before = await daemon.store.usage.oldest("personal", limit=9)
        await look(daemon)
        after = dict(await daemon.store.usage.oldest("personal", limit=9))
        assert all(after[key] < size for key, size in before)
        assert await input_of(daemon, old) == person
        await Forgetting(daemon.store, daemon.engine, daemon.clock).forget("ana", by="test")
        assert "$forgotten" in await input_of(daemon, old)
        assert (await Verifier(daemon.store, codec_of(daemon.settings)).verify(old)).findings == ()


async def test_what_goes_on_from_the_past_reads_what_is_outside(daemon: Daemon) -> None:
    """A fork's templates see the values of its source."""
    old = (await finished(daemon, await start(daemon, "deep", "a" * 2000))).execution_id
    await look(daemon)
    assert await used(daemon, "deep") == (0, 2)
    fork, _ = await daemon.branches.fork(old, ForkWish(where="before:b", actor="ann"))
    assert from_json((await finished(daemon, fork)).output) == "a" * 2000


class Failing(Shelf):
    """A place that fails at its call of this number, before it or after it was carried out."""

    def __init__(self, at: int, *, after: bool) -> None:
        super().__init__()
        self._left = at
        self._after = after

    async def put(self, name: str, data: bytes) -> None:
        await self._fail(super().put(name, data))

    async def get(self, name: str) -> bytes | None:
        found: bytes | None = await self._fail(super().get(name))
        return found

    async def remove(self, name: str) -> None:
        await self._fail(super().remove(name))

    async def _fail(self, call: Any) -> Any:
        done = None
        self._left -= 1
        if self._left or self._after:
            done = await call
        else:
            call.close()
        if not self._left:
            raise Unavailable("the place has failed")
        return done


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
async def test_no_failure_loses_a_payload(tmp_path: Path, at: int, *, after: bool) -> None:
    """Wherever it comes: the value is read, the next look takes up what was left, and no file is forgotten."""
    given, shelf = settings(tmp_path), Failing(at, after=after)
    store = await open_store("memory://", codec_of(given), outside=shelf)
    async with running(given, store=store) as daemon:
        ids = [await put(daemon, letter) for letter in "abc"]
        room = Room(store, codec_of(given), daemon.clock)
        try:
            await room.move_out("w", 4000)
        except Unavailable:
            assert [(await input_of(daemon, key))[0] for key in ids] == ["a", "b", "c"]
            await room.move_out("w", 4000 - 2002 * (await used(daemon))[1])
        assert await used(daemon) == (1, 2)
        assert len(shelf.there) == 2
        assert await store.objects.unwanted(noted_before=FakeClock().now(), limit=9) == []
    await store.close()


async def test_a_place_that_gives_back_another_thing_gets_nothing(tmp_path: Path) -> None:
    """The bytes stay in the database."""
    given, shelf = settings(tmp_path), Shelf()
    store = await open_store("memory://", codec_of(given), outside=shelf)

    async def put_other(name: str, data: bytes) -> None:
        shelf.there[name] = data[:-1] + b"x"

    shelf.put = put_other  # type: ignore[method-assign]  # a place that is broken
    async with running(given, store=store) as daemon:
        await put(daemon, "a")
        with pytest.raises(Unavailable, match="does not give back what it was given"):
            await Room(store, codec_of(given), daemon.clock).move_out("w", 1)
        assert await used(daemon) == (1, 0)
    await store.close()


async def test_payloads_may_be_in_a_bucket(tmp_path: Path, endpoint: str) -> None:
    storage = Storage(
        quotas=QUOTAS, interval_s=86_400, external="s3://kept/out", s3_endpoint=endpoint, s3_region=REGION
    )
    async with running(settings(tmp_path, storage=storage)) as daemon:
        first, _ = await put(daemon, "a"), await put(daemon, "b")
        await look(daemon)
        assert await used(daemon) == (1, 1)
        [found] = client_at(endpoint).list_objects_v2(Bucket="kept")["Contents"]
        assert found["Key"].startswith("out/")
        assert (await input_of(daemon, first)) == "a" * 2000
        client_at(endpoint).delete_object(Bucket="kept", Key=found["Key"])
        findings = (await Verifier(daemon.store, codec_of(daemon.settings)).verify(first)).findings
        assert "is gone: there is no " in str(findings)
