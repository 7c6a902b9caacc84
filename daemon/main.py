"""The composition root: settings become a running daemon. The one place where every part is named.

Nothing is global and nothing registers itself: read `open_daemon` from top to bottom to see what there is.

Comes from: daemon/cli. Goes to: everything.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from daemon.assembled import Daemon
from daemon.nodes import all_node_types
from daemon.runtime.brokers import Brokers
from daemon.runtime.changes import Changes, ForeignChanges
from daemon.runtime.clock import Clock, SharedClock, SystemClock
from daemon.runtime.codec import codec_of
from daemon.runtime.definitions import Compiler, InputSchemas
from daemon.runtime.engine import Engine
from daemon.runtime.grants import Grants
from daemon.runtime.handler_registry import handlers_of
from daemon.runtime.history import History
from daemon.runtime.intake import Intake
from daemon.runtime.leases import ALONE, Membership
from daemon.runtime.measured_log import MeasuredLog
from daemon.runtime.metrics import Metrics
from daemon.runtime.notices import tell_operators
from daemon.runtime.plans import Plans
from daemon.runtime.recovery import Recovery
from daemon.runtime.secrets import SecretResolver
from daemon.runtime.services import Outgoing, outbound_policy
from daemon.runtime.shared_limits import shared_limits
from daemon.runtime.steps import Steps
from daemon.runtime.subscriptions import Subscriptions
from daemon.runtime.supervisor import Supervisor
from daemon.runtime.timers import Timers
from daemon.runtime.tracing import Tracing
from eventstore.store import Store, open_store
from eventstore.writer import Writer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence

    from daemon.core.node import NodeType
    from daemon.runtime.handler_registry import Handler
    from daemon.runtime.otlp import OtlpCollector
    from daemon.runtime.supervisor import Follower
    from daemon.settings import Settings

Spawn: TypeAlias = "Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]]"
"""Starts a task whose failure stops the daemon."""


@dataclass(frozen=True, kw_only=True)
class _Tools:
    """What can be made of the settings alone, without opening anything."""

    settings: Settings
    clock: SharedClock
    jitter: Callable[[], float]
    handlers: Mapping[str, Handler]
    brokers: Brokers
    compiler: Compiler
    secrets: SecretResolver
    env: Mapping[str, str]
    metrics: Metrics


@asynccontextmanager
async def open_daemon(
    settings: Settings,
    *,
    clock: Clock | None = None,
    environ: Mapping[str, str] | None = None,
    jitter: Callable[[], float] = random.random,
    store: Store | None = None,
    handlers: Mapping[str, Handler] | None = None,
    node_types: Mapping[str, NodeType] | None = None,
) -> AsyncIterator[Daemon]:
    """Open the store, wire everything, and stop it in order at the end. `Daemon.start` begins the work.

    Raises Misconfigured for settings and handlers that cannot work, `eventstore.Unavailable` when there is no store. A
    failing task of the daemon ends the block with its error in an ExceptionGroup. A `store` that is given is used, and
    left open, in place of the one that the settings name; `handlers` and `node_types` that are given are all there are.
    """
    tools = _tools(
        settings,
        clock=SharedClock(clock or SystemClock()),
        environ=os.environ if environ is None else environ,
        jitter=jitter,
        handlers=handlers_of(settings) if handlers is None else handlers,
        node_types=all_node_types() if node_types is None else node_types,
    )
    async with AsyncExitStack() as stack:
        if store is None:
            store = await open_store(settings.store.url, codec_of(settings), auto_migrate=settings.store.auto_migrate)
            stack.push_async_callback(store.close)
        policy = outbound_policy(settings.outbound)
        outgoing = await stack.enter_async_context(Outgoing(tools.brokers.publishers, policy))
        if (collector := _collector(settings)) is not None:
            stack.callback(collector.close)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        daemon = _wire(tools, store, outgoing, collector, tasks.create_task)
        stack.push_async_callback(daemon.stop)
        yield daemon


def _tools(
    settings: Settings,
    *,
    clock: SharedClock,
    environ: Mapping[str, str],
    jitter: Callable[[], float],
    handlers: Mapping[str, Handler],
    node_types: Mapping[str, NodeType],
) -> _Tools:
    env = {name: environ[name] for name in settings.workflows.env if name in environ}
    return _Tools(
        settings=settings,
        clock=clock,
        jitter=jitter,
        handlers=handlers,
        brokers=Brokers(settings, now=clock.now),
        compiler=Compiler(node_types=node_types, handlers=frozenset(handlers), env=env, shared=shared_limits(settings)),
        secrets=SecretResolver(environ, settings.secrets.dir),
        env=env,
        metrics=Metrics(),
    )


def _wire(tools: _Tools, store: Store, outgoing: Outgoing, collector: OtlpCollector | None, spawn: Spawn) -> Daemon:
    """Connect the parts. Nothing runs yet."""
    settings, clock, metrics, brokers = tools.settings, tools.clock, tools.metrics, tools.brokers
    log = MeasuredLog(store.log, metrics)
    writer, changes = Writer(log), Changes()
    history = History(store.log, store.snapshots)
    plans = Plans(store.definitions, tools.compiler.compile_stored, clock)
    membership = _membership(tools, store)
    engine, steps, timers, grants = _engine(
        tools,
        store=store,
        membership=membership,
        writer=writer,
        history=history,
        plans=plans,
        changes=changes,
        outgoing=outgoing,
        spawn=spawn,
    )
    intake = Intake(
        engine, plans, clock, slots=store.slots, check_input=InputSchemas().check, on_verdict=metrics.message
    )
    subscriptions = _subscriptions(tools, store, intake, spawn)
    max_active = settings.limits.max_active_executions
    recovery = Recovery(store.leases, engine, membership, clock, ttl=membership.ttl, max_active=max_active)
    supervisor = Supervisor(
        membership=membership,
        recovery=recovery,
        writer=writer,
        engine=engine,
        steps=steps,
        timers=timers,
        grants=grants,
        subscriptions=subscriptions,
        brokers=brokers,
        changes=changes,
        grace_s=settings.limits.grace_s,
        spawn=spawn,
        followers=_followers(tools, store, history, changes, membership, collector),
    )
    _watch(metrics, engine, steps, grants, supervisor)
    return Daemon(
        settings=settings,
        clock=clock,
        store=store,
        history=history,
        plans=plans,
        changes=changes,
        log=log,
        engine=engine,
        intake=intake,
        steps=steps,
        membership=membership,
        recovery=recovery,
        brokers=brokers,
        subscriptions=subscriptions,
        supervisor=supervisor,
        compiler=tools.compiler,
        metrics=metrics,
    )


def _engine(
    tools: _Tools,
    *,
    store: Store,
    membership: Membership,
    writer: Writer,
    history: History,
    plans: Plans,
    changes: Changes,
    outgoing: Outgoing,
    spawn: Spawn,
) -> tuple[Engine, Steps, Timers, Grants]:
    """Make the engine and those that carry out what it decides; they need each other."""
    crowded: set[tuple[str, str]] = set()
    engine = Engine(
        history=history,
        writer=writer,
        plans=plans,
        changes=changes,
        clock=tools.clock,
        spawn=spawn,
        max_active=tools.settings.limits.max_active_executions,
        listeners=[tools.metrics.committed, tell_operators],
        on_fenced=membership.doubt,
        crowded=crowded,
    )
    steps = Steps(
        post=engine.post,
        outgoing=outgoing,
        handlers=tools.handlers,
        secrets=tools.secrets,
        clock=tools.clock,
        jitter=tools.jitter,
        spawn=spawn,
        max_running=tools.settings.limits.max_running_steps,
        max_threads=tools.settings.limits.max_threads,
        max_processes=tools.settings.limits.max_processes,
    )
    timers = Timers(store.index, engine, tools.clock, share=lambda: membership.share, late=membership.ttl)
    grants = Grants(store.slots, engine, tools.clock, crowded=crowded)
    engine.listen(grants.committed)
    membership.listen(timers.share_changed)
    membership.engine, membership.steps = engine, steps
    engine.steps, engine.timers = steps, timers
    return engine, steps, timers, grants


def _watch(metrics: Metrics, engine: Engine, steps: Steps, grants: Grants, supervisor: Supervisor) -> None:
    """Let the metrics read what is there when they are asked for."""
    metrics.watch(
        active=lambda: engine.active,
        parked=lambda: len(engine.parked),
        handlers=lambda: len(list(steps.at_work())),
        connections=supervisor.statuses,
        waiting=lambda: grants.waiting,
    )


def _subscriptions(tools: _Tools, store: Store, intake: Intake, spawn: Spawn) -> Subscriptions:
    return Subscriptions(
        sink=intake,
        brokers=tools.brokers,
        index=store.index,
        definitions=store.definitions,
        clock=tools.clock,
        resolve_secret=tools.secrets,
        env=tools.env,
        spawn=spawn,
    )


def _membership(tools: _Tools, store: Store) -> Membership:
    settings, clock = tools.settings.daemon, tools.clock
    return Membership(
        store.leases,
        clock,
        name=settings.name or f"{socket.gethostname()}:{os.getpid()}",
        ttl=timedelta(seconds=settings.lease_ttl_s),
        fenced=tools.metrics.fenced,
        compare=clock.compare if store.url.startswith("postgres") else None,
    )


def _followers(  # noqa: PLR0917  as they stand in `_wire`
    tools: _Tools,
    store: Store,
    history: History,
    changes: Changes,
    membership: Membership,
    collector: OtlpCollector | None,
) -> Sequence[Follower]:
    """Make what reads the log beside the engine."""
    clock = tools.clock
    foreign = ForeignChanges(changes, store.versions, store.hints, clock, alone=lambda: membership.share == ALONE)
    membership.listen(changes.come.set)
    if collector is None:
        return (foreign,)
    return foreign, Tracing(store, history, collector, clock, leads=lambda: membership.leads)


def _collector(settings: Settings) -> OtlpCollector | None:
    """Return where traces go, if anywhere."""
    if settings.tracing.otlp_endpoint is None:
        return None
    from daemon.runtime.otlp import OtlpCollector  # noqa: PLC0415  OpenTelemetry is slow to import

    return OtlpCollector(settings.tracing.otlp_endpoint, service_name=settings.tracing.service_name)
