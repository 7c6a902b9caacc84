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
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from daemon.assembled import Daemon
from daemon.core.node import Remote
from daemon.foundations import (
    KeptResults,
    Spawn,
    Tools,
    cache_backend,
    collector_of,
    expiry_of,
    keep_results,
    letting_go,
    make_tools,
)
from daemon.nodes import all_node_types
from daemon.runtime.branches import Branches
from daemon.runtime.changes import Changes, ForeignChanges
from daemon.runtime.checkpoints import Checkpoints
from daemon.runtime.children import Children
from daemon.runtime.client_metrics import ClientMetrics
from daemon.runtime.clock import Clock, SharedClock, SystemClock
from daemon.runtime.cuts import Cuts
from daemon.runtime.databases import Databases
from daemon.runtime.dead_letters import Letters
from daemon.runtime.definitions import InputSchemas
from daemon.runtime.engine import Engine
from daemon.runtime.functions import Functions
from daemon.runtime.grants import Grants
from daemon.runtime.handler_registry import handlers_of, naming_of
from daemon.runtime.history import History
from daemon.runtime.intake import Intake
from daemon.runtime.leases import ALONE, Membership
from daemon.runtime.measured_log import MeasuredLog
from daemon.runtime.migrations import Migrations
from daemon.runtime.notices import tell_operators
from daemon.runtime.opening import store_of
from daemon.runtime.people import People
from daemon.runtime.plans import Plans
from daemon.runtime.recovery import Recovery
from daemon.runtime.remote_calls import RemoteCalls
from daemon.runtime.remote_channel import Channel
from daemon.runtime.services import Outgoing, outbound_policy
from daemon.runtime.snapshot_taking import SnapshotTaker
from daemon.runtime.steps import Steps
from daemon.runtime.subscriptions import Subscriptions
from daemon.runtime.supervisor import Supervisor
from daemon.runtime.timers import Timers
from daemon.runtime.tracing import Tracing
from eventstore.writer import Writer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from daemon.core.node import NodeType
    from daemon.core.plan import Plan
    from daemon.runtime.expiry import Expiry
    from daemon.runtime.handler_registry import DurableFunction, Handler
    from daemon.runtime.metrics import Metrics
    from daemon.runtime.otlp import OtlpCollector
    from daemon.runtime.supervisor import Follower
    from daemon.settings import Settings
    from eventstore.store import Store


@asynccontextmanager
async def open_daemon(
    settings: Settings,
    *,
    clock: Clock | None = None,
    environ: Mapping[str, str] | None = None,
    jitter: Callable[[], float] = random.random,
    store: Store | None = None,
    handlers: Mapping[str, Handler] | None = None,
    functions: Mapping[str, DurableFunction] | None = None,
    node_types: Mapping[str, NodeType] | None = None,
) -> AsyncIterator[Daemon]:
    """Open the store, wire everything, and stop it in order at the end. `Daemon.start` begins the work.

    Raises Misconfigured for settings and handlers that cannot work, `eventstore.Unavailable` when there is no store. A
    failing task of the daemon ends the block with its error in an ExceptionGroup. A `store` that is given is used, and
    left open, in place of the one that the settings name; `handlers`, `functions` and `node_types` that are given are
    all there are.
    """
    if handlers is None:
        registry = handlers_of(settings)
        handlers, functions = registry, registry.functions
    tools = make_tools(
        settings,
        clock=SharedClock(clock or SystemClock()),
        environ=os.environ if environ is None else environ,
        jitter=jitter,
        handlers=handlers,
        functions=functions or {},
        node_types=all_node_types() if node_types is None else node_types,
    )
    async with AsyncExitStack() as stack:
        if store is None:
            store = await store_of(settings, auto_migrate=settings.store.auto_migrate)
            stack.push_async_callback(store.close)
        store = replace(store, results=cache_backend(settings, store))
        stack.push_async_callback(store.results.close)
        policy, databases = outbound_policy(settings.outbound), Databases(settings.connections, tools.secrets)
        outgoing = Outgoing(tools.brokers.publishers, policy, databases, smtp=settings.smtp, link=tools.link)
        await stack.enter_async_context(outgoing)
        if (collector := collector_of(settings)) is not None:
            stack.callback(collector.close)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        tools.metrics.registry.register(ClientMetrics(outgoing.clients))
        daemon = _wire(tools, store, outgoing, collector, tasks.create_task)
        stack.push_async_callback(daemon.stop)
        yield daemon


def _wire(tools: Tools, store: Store, outgoing: Outgoing, collector: OtlpCollector | None, spawn: Spawn) -> Daemon:
    """Connect the parts. Nothing runs yet."""
    base, grants = _base(tools, store, outgoing, spawn), Grants(store.slots, tools.clock)
    engine = _engine(base, grants)
    children = _children(base, engine)
    steps = _steps(base, engine, children)
    timers, branches = _timers(base, engine), _branches(base, engine)
    engine.steps, engine.timers, engine.children, engine.past = steps, timers, children, branches
    engine.functions = _functions(base, engine)
    base.membership.engine, base.membership.steps = engine, steps
    intake, recovery = _intake(base, engine), _recovery(base, engine)
    letters = _letters(base, intake)
    subscriptions = _subscriptions(tools, store, intake, letters, spawn)
    supervisor = Supervisor(
        membership=base.membership,
        recovery=recovery,
        writer=base.writer,
        engine=engine,
        steps=steps,
        children=children,
        timers=timers,
        grants=grants,
        subscriptions=subscriptions,
        brokers=tools.brokers,
        changes=base.changes,
        grace_s=tools.settings.limits.grace_s,
        spawn=spawn,
        followers=[letters, *_followers(base, collector)],
    )
    _watch(tools.metrics, engine, steps, grants, supervisor)
    return Daemon(
        settings=tools.settings,
        clock=tools.clock,
        store=store,
        history=base.history,
        expiry=base.expiry,
        checkpoints=_checkpoints(base),
        plans=base.plans,
        changes=base.changes,
        log=base.log,
        engine=engine,
        intake=intake,
        steps=steps,
        children=children,
        branches=branches,
        migrations=Migrations(engine=engine, plans=base.plans, history=base.history, clock=tools.clock),
        cache=base.results.cache,
        streams=base.results.streams,
        membership=base.membership,
        recovery=recovery,
        brokers=tools.brokers,
        subscriptions=subscriptions,
        supervisor=supervisor,
        compiler=tools.compiler,
        metrics=tools.metrics,
        people=People(engine, base.history, tools.clock, tools.settings.approvals.members),
        links=tools.links,
        letters=letters,
    )


@dataclass(frozen=True, kw_only=True)
class _Base:
    """What the engine and those around it are made of."""

    tools: Tools
    store: Store
    log: MeasuredLog
    writer: Writer
    changes: Changes
    history: History
    snapshots: SnapshotTaker
    plans: Plans
    membership: Membership
    outgoing: Outgoing
    check_input: Callable[[Plan, Any], None]
    results: KeptResults
    expiry: Expiry
    spawn: Spawn


def _base(tools: Tools, store: Store, outgoing: Outgoing, spawn: Spawn) -> _Base:
    log = MeasuredLog(store.log, tools.metrics)
    history = History(store.log, store.snapshots, store.deletions)
    return _Base(
        tools=tools,
        store=store,
        log=log,
        writer=Writer(log),
        changes=Changes(),
        history=history,
        snapshots=SnapshotTaker(store.snapshots, history, tools.clock, tools.settings.snapshots, spawn=spawn),
        plans=Plans(store.definitions, tools.compiler.compile_stored, tools.clock),
        membership=(membership := _membership(tools, store)),
        outgoing=outgoing,
        check_input=InputSchemas().check,
        results=keep_results(tools, store, membership, spawn),
        expiry=expiry_of(tools.settings, store, tools.clock, on_deleted=tools.metrics.deleted),
        spawn=spawn,
    )


def _engine(base: _Base, grants: Grants) -> Engine:
    """Make the engine; who carries out what it decides is told to it later, as they need it too."""
    engine = Engine(
        history=base.history,
        writer=base.writer,
        plans=base.plans,
        changes=base.changes,
        snapshots=base.snapshots,
        spawn=base.spawn,
        max_active=base.tools.settings.limits.max_active_executions,
        listeners=[base.tools.metrics.committed, tell_operators, grants.committed],
        on_fenced=base.membership.doubt,
    )
    grants.engine, engine.crowded = engine, grants.crowded
    return engine


def _children(base: _Base, engine: Engine) -> Children:
    return Children(
        engine=engine,
        plans=base.plans,
        history=base.history,
        leases=base.store.leases,
        membership=base.membership,
        clock=base.tools.clock,
        check_input=base.check_input,
        spawn=base.spawn,
    )


def _checkpoints(base: _Base) -> Checkpoints:
    return Checkpoints(base.store.log, base.store.snapshots, base.history, base.plans, base.snapshots)


def _branches(base: _Base, engine: Engine) -> Branches:
    return Branches(
        engine=engine,
        plans=base.plans,
        history=base.history,
        cuts=Cuts(base.history, base.plans, _checkpoints(base)),
        clock=base.tools.clock,
        spawn=base.spawn,
    )


def _steps(base: _Base, engine: Engine, children: Children) -> Steps:
    tools, limits = base.tools, base.tools.settings.limits
    return Steps(
        post=engine.post,
        outgoing=base.outgoing,
        handlers=tools.handlers,
        secrets=tools.secrets,
        children=children,
        clock=tools.clock,
        jitter=tools.jitter,
        spawn=base.spawn,
        max_running=limits.max_running_steps,
        max_threads=limits.max_threads,
        max_processes=limits.max_processes,
        cache=base.results.cache,
        streams=base.results.streams,
        calls=_calls(base, engine),
        sent_away={name: Remote(queue) for name, queue in tools.settings.workers.sent_away().items()},
        heartbeat=timedelta(seconds=tools.settings.workers.heartbeat_s),
    )


def _timers(base: _Base, engine: Engine) -> Timers:
    membership = base.membership
    timers = Timers(base.store.index, engine, base.tools.clock, share=lambda: membership.share, late=membership.ttl)
    membership.listen(timers.share_changed)
    return timers


def _intake(base: _Base, engine: Engine) -> Intake:
    tools = base.tools
    return Intake(
        engine,
        base.plans,
        base.history,
        tools.clock,
        slots=base.store.slots,
        check_input=base.check_input,
        on_verdict=tools.metrics.message,
        admit=base.results.quotas.check,
    )


def _functions(base: _Base, engine: Engine) -> Functions:
    tools = base.tools
    return Functions(
        post=engine.post,
        history=base.history,
        functions=tools.functions,
        naming=naming_of(tools.handlers),
        clock=tools.clock,
        random=tools.jitter,
        spawn=base.spawn,
        soon=asyncio.get_running_loop().call_soon,
    )


def _recovery(base: _Base, engine: Engine) -> Recovery:
    membership, max_active = base.membership, base.tools.settings.limits.max_active_executions
    return Recovery(base.store.leases, engine, membership, base.tools.clock, ttl=membership.ttl, max_active=max_active)


def _calls(base: _Base, engine: Engine) -> RemoteCalls | None:
    """Return the way to remote workers, if the settings name one."""
    tools, settings = base.tools, base.tools.settings.workers
    if settings.broker is None:
        return None
    channel = Channel(tools.brokers, settings, now=tools.clock.now)
    return RemoteCalls(channel, engine, clock=tools.clock, spawn=base.spawn)


def _watch(metrics: Metrics, engine: Engine, steps: Steps, grants: Grants, supervisor: Supervisor) -> None:
    """Let the metrics read what is there when they are asked for."""
    metrics.watch(
        active=lambda: engine.active,
        parked=lambda: len(engine.parked),
        handlers=lambda: len(list(steps.at_work())),
        connections=supervisor.statuses,
        waiting=lambda: grants.waiting,
    )


def _letters(base: _Base, intake: Intake) -> Letters:
    settings = base.tools.settings.dead_letters
    return Letters(base.store.dead_letters, intake, base.tools.clock, keep_s=settings.keep_s, most=settings.keep_most)


def _subscriptions(tools: Tools, store: Store, intake: Intake, letters: Letters, spawn: Spawn) -> Subscriptions:
    return Subscriptions(
        sink=intake,
        aside=letters.keep,
        brokers=tools.brokers,
        index=store.index,
        definitions=store.definitions,
        clock=tools.clock,
        resolve_secret=tools.secrets,
        env=tools.env,
        spawn=spawn,
    )


def _membership(tools: Tools, store: Store) -> Membership:
    settings, clock = tools.settings.daemon, tools.clock
    return Membership(
        store.leases,
        clock,
        name=settings.name or f"{socket.gethostname()}:{os.getpid()}",
        ttl=timedelta(seconds=settings.lease_ttl_s),
        fenced=tools.metrics.fenced,
        compare=clock.compare if store.url.startswith("postgres") else None,
    )


def _followers(base: _Base, collector: OtlpCollector | None) -> Sequence[Follower]:
    """Make what works beside the engine: reads the log, and drops what was kept long enough."""
    store, membership, clock = base.store, base.membership, base.tools.clock
    foreign = ForeignChanges(base.changes, store.versions, store.hints, clock, alone=lambda: membership.share == ALONE)
    membership.listen(base.changes.come.set)
    results, going = base.results, letting_go(base.tools, base.expiry, membership)
    followers: list[Follower] = [results.retention, results.quotas, going, foreign]
    if collector is not None:
        followers.append(Tracing(store, base.history, collector, clock, leads=lambda: membership.leads))
    return followers
