"""What can be made of the settings before anything is connected: the first half of the composition root.

Comes from: daemon/main. Goes to: daemon/main, which connects it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from daemon.core.errors import Misconfigured
from daemon.core.problems import Problem
from daemon.runtime.approval_links import ApprovalLinks
from daemon.runtime.archive_places import place_of
from daemon.runtime.brokers import Brokers
from daemon.runtime.codec import codec_of
from daemon.runtime.definitions import Compiler
from daemon.runtime.expiry import Expiry
from daemon.runtime.metrics import Metrics
from daemon.runtime.quotas import Quotas
from daemon.runtime.restoring import Restoring
from daemon.runtime.result_cache import ResultCache
from daemon.runtime.retention import ExecutionRetention, Retention
from daemon.runtime.secrets import SecretResolver
from daemon.runtime.shared_limits import shared_limits
from daemon.runtime.streams import StreamHub
from eventstore.memory_results import MemoryResults
from eventstore.sealed_values import SealedResults

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine, Mapping
    from datetime import datetime
    from uuid import UUID

    from daemon.core.node import NodeType
    from daemon.runtime.clock import Clock, SharedClock
    from daemon.runtime.handler_registry import DurableFunction, Handler
    from daemon.runtime.leases import Membership
    from daemon.runtime.otlp import OtlpCollector
    from daemon.runtime.supervisor import Follower
    from daemon.settings import Settings
    from eventstore.results import Results
    from eventstore.store import Store

Spawn: TypeAlias = "Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]]"
"""Starts a task whose failure stops the daemon."""


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What can be made of the settings alone, without opening anything."""

    settings: Settings
    clock: SharedClock
    jitter: Callable[[], float]
    handlers: Mapping[str, Handler]
    functions: Mapping[str, DurableFunction]
    brokers: Brokers
    compiler: Compiler
    secrets: SecretResolver
    env: Mapping[str, str]
    metrics: Metrics
    links: ApprovalLinks

    def link(self, execution_id: UUID, address: str, question: int, approver: str, due: datetime | None) -> str | None:
        """Return a link to an approval, if the settings say where to."""
        return self.links.url(execution_id, address, question, approver, now=self.clock.now(), due=due)


class KeptResults(NamedTuple):
    """What is kept beside the log for a time, and what drops it."""

    cache: ResultCache
    streams: StreamHub
    retention: Retention
    quotas: Quotas


def make_tools(
    settings: Settings,
    *,
    clock: SharedClock,
    environ: Mapping[str, str],
    jitter: Callable[[], float],
    handlers: Mapping[str, Handler],
    functions: Mapping[str, DurableFunction],
    node_types: Mapping[str, NodeType],
) -> Tools:
    """Make them; nothing is opened."""
    env = {name: environ[name] for name in settings.workflows.env if name in environ}
    return Tools(
        settings=settings,
        clock=clock,
        jitter=jitter,
        handlers=handlers,
        functions=functions,
        brokers=Brokers(settings, now=clock.now),
        compiler=Compiler(
            node_types=node_types,
            handlers=frozenset(handlers) | settings.workers.sent_away().keys(),
            env=env,
            functions=frozenset(functions),
            connections=frozenset(settings.connections),
            shared=shared_limits(settings),
        ),
        secrets=SecretResolver(environ, settings.secrets.dir),
        env=env,
        metrics=Metrics(),
        links=ApprovalLinks(
            settings.approvals.link_keys,
            settings.approvals.public_url,
            timedelta(seconds=settings.approvals.link_lifetime_s),
        ),
    )


def cache_backend(settings: Settings, store: Store) -> Results:
    """Return where cached results are. Raises Misconfigured when the library for Redis is not there."""
    match settings.cache.backend:
        case "memory":
            return SealedResults(MemoryResults(max_bytes=settings.cache.memory_bytes), store.vault)
        case "redis":
            try:
                from daemon.runtime.redis_results import RedisResults  # noqa: PLC0415  an optional dependency
            except ImportError as error:
                hint = "pip install 'sagad[redis]', or choose another backend"
                raise Misconfigured([Problem(message=f"[cache] backend = redis: {error}", hint=hint)]) from error
            codec = codec_of(settings)
            redis = RedisResults(settings.cache.url or "", seal=codec.seal, unseal=codec.unseal)
            return SealedResults(redis, store.vault)
        case _:
            return store.results


def keep_results(tools: Tools, store: Store, membership: Membership, spawn: Spawn) -> KeptResults:
    """Make what keeps results and chunks, on what the store has for them."""
    clock, settings, backend = tools.clock, tools.settings.cache, store.results
    missed = tools.metrics.not_cached
    cache = ResultCache(backend, clock, spawn=spawn, max_bytes=settings.max_result_bytes, missed=missed)
    retention = Retention(store.streams, backend, clock, keep_s=tools.settings.streams.keep_s)
    quotas = Quotas(
        store,
        codec_of(tools.settings),
        clock,
        tools.settings.storage,
        leads=lambda: membership.leads,
        counted=tools.metrics.payloads,
    )
    return KeptResults(cache, StreamHub(store.streams, clock, spawn=spawn, ended=retention.wanted), retention, quotas)


def expiry_of(
    settings: Settings, store: Store, clock: Clock, *, on_deleted: Callable[[str], None] = lambda _workflow: None
) -> Expiry:
    """Return what lets executions of the store go. Raises Misconfigured when the library for S3 is not there."""
    retention = settings.retention
    return Expiry(store, codec_of(settings), clock, retention, place_of(retention), on_deleted=on_deleted)


def letting_go(tools: Tools, expiry: Expiry, membership: Membership) -> Follower:
    """Make what lets executions go now and then: the settings may have rules for that, and any definition."""
    retention = tools.settings.retention
    pauses = {"interval_s": retention.interval_s, "pause_s": retention.pause_s}
    return ExecutionRetention(expiry, tools.clock, leads=lambda: membership.leads, **pauses)


def restoring_of(settings: Settings, store: Store, clock: Clock) -> Restoring:
    """Return what brings them back. Raises Misconfigured when the library for S3 is not there."""
    return Restoring(store, codec_of(settings), clock, place_of(settings.retention))


def collector_of(settings: Settings) -> OtlpCollector | None:
    """Return where traces go, if anywhere."""
    if settings.tracing.otlp_endpoint is None:
        return None
    from daemon.runtime.otlp import OtlpCollector  # noqa: PLC0415  OpenTelemetry is slow to import

    return OtlpCollector(settings.tracing.otlp_endpoint, service_name=settings.tracing.service_name)
