"""Quotas for payloads: what is said before one is used up, and what happens beyond it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import structlog

from daemon.core.errors import StorageFull
from daemon.core.state import Running
from daemon.core.values import from_json
from daemon.runtime.metrics import Metrics
from daemon.runtime.quotas import Quotas, storage_view
from daemon.settings import Limits
from daemon.settings_retention import Quota, Storage
from daemon.testing.clock import FakeClock
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
    return Quotas(daemon.store.usage, FakeClock(), daemon.settings.storage, counted=counted)


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


async def test_none_is_started_beyond_the_quota(tmp_path: Path, store_url: str) -> None:
    """By no caller and no message, which waits at its broker; until there is room."""
    async with running(settings(tmp_path, store_url, Quota(workflow="w", bytes=3000, policy="fail"))) as daemon:
        await put(daemon, "a")
        used = Quotas(daemon.store.usage, FakeClock(), daemon.settings.storage)
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
