"""Quotas for payloads: what is said before one is used up, and what happens beyond it."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import structlog

from daemon.core.errors import StorageFull
from daemon.core.state import Running
from daemon.core.values import from_json
from daemon.runtime.codec import codec_of
from daemon.runtime.metrics import Metrics
from daemon.runtime.quotas import Quotas, note_reads, storage_view
from daemon.runtime.verification import Verifier
from daemon.settings import Limits
from daemon.settings_encryption import Encryption
from daemon.settings_retention import Quota, Storage
from daemon.testing.clock import FakeClock
from eventstore.errors import Unavailable
from eventstore.pins import Pin
from tests.support.archives import exported
from tests.support.daemons import finished, running, settings_for, start, until
from tests.support.stores import store_url
from triggers.message import Ack, Inbound, Retry

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from daemon.assembled import Daemon
    from daemon.settings import Settings
    from triggers.message import Verdict

__all__ = ("store_url",)

TEXT = """
workflow: w
triggers:
  - {name: all, memory: {topic: t}, dedupe: "{{ message.value.id }}"}
nodes: {a: {transform: 1}}
---
workflow: held
nodes: {a: {signal: {name: go}}}
"""


def settings(folder: Path, url: str, *quotas: Quota) -> Settings:
    """Return settings by which the daemon itself counts at its start, and then not for a day."""
    limits, storage = Limits(grace_s=0.1, payload_threshold_bytes=1024), Storage(quotas=quotas, interval_s=86_400)
    return settings_for(folder, TEXT, store_url=url, limits=limits, storage=storage)


def quotas_of(daemon: Daemon, metrics: Metrics | None = None) -> Quotas:
    counted = (metrics or Metrics()).payloads
    return Quotas(daemon.store, codec_of(daemon.settings), FakeClock(), daemon.settings.storage, counted=counted)


async def put(daemon: Daemon, letter: str) -> UUID:
    """Have an execution that has ended, with an input of 2,002 bytes in JSON."""
    return (await finished(daemon, await start(daemon, "w", letter * 2000))).execution_id


async def input_of(daemon: Daemon, execution_id: UUID) -> Any:
    [first, *_] = await daemon.history.events(execution_id)
    return from_json(first.event.input)


async def test_what_was_oldest_is_dropped_beyond_the_quota(tmp_path: Path, store_url: str) -> None:
    """It leaves a tombstone, and the execution can still be looked at; what is open stays whole."""
    quota = Quota(workflow="*", bytes=4100, policy="evict_oldest")
    async with running(settings(tmp_path, store_url, quota)) as daemon:
        ids = [await put(daemon, letter) for letter in "abc"]
        held = await start(daemon, "held", "h" * 9000)
        await until(daemon, held, lambda state: isinstance(state, Running) and "a" in state.awaiting)
        await quotas_of(daemon).look()
        view = await storage_view(daemon.store.usage, daemon.settings.storage)
        assert [(row["workflow"], row["bytes"]) for row in view["workflows"]] == [("held", 9002), ("w", 4004)]
        first = await input_of(daemon, ids[0])
        assert (first["bytes"], first["preview"][:3]) == (2002, '"aa')
        assert [await input_of(daemon, key) for key in ids[1:]] == ["b" * 2000, "c" * 2000]
        assert (await daemon.history.existing(ids[0])).version


async def test_what_was_oldest_is_compressed_beyond_the_quota(tmp_path: Path, store_url: str) -> None:
    """Only as many as it takes; all read, verify and export as before, and what is pinned or open is left alone."""
    quota = Quota(workflow="w", bytes=5000, policy="compress")
    async with running(settings(tmp_path, store_url, quota)) as daemon:
        ids = [await put(daemon, letter) for letter in "pabc"]
        await daemon.store.pins.put(Pin(execution_id=ids[0], at=daemon.clock.now(), by="ana"))
        before = [await exported(daemon.store, key, tmp_path / "out") for key in ids]
        with structlog.testing.capture_logs() as logs:
            await quotas_of(daemon).look()
        [said] = [each for each in logs if each["event"] == "payloads_made_room"]
        assert (said["payloads"], said["policy"], said["bytes_over"]) == (2, "compress", 0)
        view = await storage_view(daemon.store.usage, daemon.settings.storage)
        assert 4004 < view["workflows"][0]["bytes"] < 5000
        assert await input_of(daemon, ids[1]) == "a" * 2000
        verified = [await Verifier(daemon.store, codec_of(daemon.settings)).verify(key) for key in ids]
        assert [each.findings for each in verified] == [()] * 4
        assert [await exported(daemon.store, key, tmp_path / "out") for key in ids] == before


async def test_what_is_encrypted_at_rest_is_compressed_before(tmp_path: Path) -> None:
    """And is encrypted as all the rest is."""
    at_rest = Encryption(at_rest_keys=(b64encode(b"k" * 32).decode(),))
    quota = Quota(workflow="w", bytes=1, policy="compress")
    async with running(replace(settings(tmp_path, "memory://", quota), encryption=at_rest)) as daemon:
        execution_id = await put(daemon, "a")
        await quotas_of(daemon).look()
        [(key, size)] = await daemon.store.usage.oldest("w", limit=9)
        stored = (await daemon.store.archive.payloads([key]))[key]
        assert (size < 200, b"sagad-z" in (stored or b"")) == (True, False)
        assert await input_of(daemon, execution_id) == "a" * 2000


async def test_what_would_not_be_smaller_stays_as_it_is(tmp_path: Path) -> None:
    """As in a store that compresses all; it is not looked at again."""
    given = settings(tmp_path, "memory://", Quota(workflow="w", bytes=1, policy="compress"))
    async with running(replace(given, store=replace(given.store, compressor_topic="zlib"))) as daemon:
        execution_id = await put(daemon, "a")
        before = await daemon.store.usage.oldest("w", limit=9)
        await quotas_of(daemon).look()
        assert await daemon.store.usage.oldest("w", limit=9) == before
        assert await daemon.store.usage.oldest("w", limit=9, unpacked=True) == []
        assert await input_of(daemon, execution_id) == "a" * 2000


async def test_what_was_not_read_for_longest_is_dropped(tmp_path: Path, store_url: str) -> None:
    """An execution that somebody has looked at since is kept before one that has ended later."""
    quota = Quota(workflow="w", bytes=4100, policy="evict_lru")
    async with running(settings(tmp_path, store_url, quota)) as daemon:
        ids = [await put(daemon, letter) for letter in "abc"]
        clock = FakeClock(daemon.clock.now() + timedelta(days=1))
        quotas = Quotas(daemon.store, codec_of(daemon.settings), clock, daemon.settings.storage)
        daemon.store.reads.take()  # what the test itself has read while it waited
        assert await input_of(daemon, ids[0]) == "a" * 2000
        await quotas.look()
        assert [isinstance(await input_of(daemon, key), str) for key in ids] == [True, False, True]


async def test_notes_of_reads_outlast_a_store_that_is_away(tmp_path: Path) -> None:
    async with running(settings(tmp_path, "memory://", Quota(bytes=9999, policy="evict_lru"))) as daemon:
        key, store = await put(daemon, "a"), daemon.store
        await input_of(daemon, key)
        noted = store.reads.take()
        assert noted
        store.reads.note(noted)
        with pytest.raises(Unavailable):
            await note_reads(Away(), store.reads, at=daemon.clock.now())  # type: ignore[arg-type]  # no more is asked of it
        assert store.reads.take() == noted


class Away:
    """A store that does not answer."""

    async def note_reads(self, hashes: list[str], *, at: datetime) -> None:
        raise Unavailable(f"{hashes} at {at}")


async def test_only_one_daemon_makes_room(tmp_path: Path) -> None:
    """All count, and refuse to start."""
    quotas = (Quota(workflow="w", bytes=1, policy="evict_oldest"), Quota(workflow="held", bytes=1, policy="fail"))
    async with running(settings(tmp_path, "memory://", *quotas)) as daemon:
        kept = await put(daemon, "a")
        await start(daemon, "held", "h" * 2000)
        codec = codec_of(daemon.settings)
        other = Quotas(daemon.store, codec, FakeClock(), daemon.settings.storage, leads=lambda: False)
        await other.look()
        assert await input_of(daemon, kept) == "a" * 2000
        with pytest.raises(StorageFull):
            other.check("held")


async def test_none_is_started_beyond_the_quota(tmp_path: Path, store_url: str) -> None:
    """By no caller and no message, which waits at its broker; until there is room."""
    async with running(settings(tmp_path, store_url, Quota(workflow="w", bytes=3000, policy="fail"))) as daemon:
        await put(daemon, "a")
        used = quotas_of(daemon)
        daemon.intake._admit = used.check
        await used.look()
        last = await put(daemon, "b")
        await used.look()
        with pytest.raises(StorageFull, match="no execution of w is started: its payloads take 4004 bytes, its quota"):
            await start(daemon, "w", 1)
        assert isinstance(await message(daemon), Retry)
        [(key, _), *_] = await daemon.store.usage.oldest("w", limit=9)
        assert await daemon.store.usage.evict("w", key)
        await used.look()
        assert isinstance(await message(daemon), Ack)
        assert await input_of(daemon, last)


async def message(daemon: Daemon) -> Verdict:
    """Take one message; return the verdict."""
    body, at = msgspec.json.encode({"id": "1"}), daemon.clock.now()
    [verdict] = await daemon.intake([Inbound(trigger="w/all", source="t", identity=None, body=body, received_at=at)])
    return verdict


async def test_it_is_said_once_before_a_quota_is_used_up(tmp_path: Path) -> None:
    """In the log, and by a metric; for each workflow by itself."""
    metrics = Metrics()
    async with running(settings(tmp_path, "memory://", Quota(bytes=4900))) as daemon:
        quotas = quotas_of(daemon, metrics)
        with structlog.testing.capture_logs() as logs:
            for letter in "abc":
                await put(daemon, letter)
                await quotas.look()
        said = [each for each in logs if each["event"] == "payload_quota_nearly_used"]
        assert [(each["workflow"], each["bytes"], each["policy"]) for each in said] == [("w", 4004, "warn")]
        assert metrics.registry.get_sample_value("sagad_payload_bytes", {"workflow": "w"}) == 6006
