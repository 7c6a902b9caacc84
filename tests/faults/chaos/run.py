"""One chaos run: servers, daemons, load and faults; then peace, and the check that nothing was lost.

1. servers and daemons come up  2. load and faults until the time is over  3. no more faults: wait until all that was
sent has come to its end  4. stop the daemons in order  5. check the history against the ledger and the witness, and
once more with an index that was made anew.

Comes from: `__main__`, tests/faults/test_chaos_short.py. Goes to: tests/faults/checker.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections import Counter
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import yaml

from daemon.cli.upkeep import changes
from daemon.core.events import EVENT_TYPES, UPCASTERS
from eventstore.codec import Codec
from eventstore.errors import StoreError
from eventstore.index import ExecutionFilter
from eventstore.store import open_store
from tests.faults.chaos import faults, load
from tests.faults.chaos.fleet import FOLDER, Fleet, now_s, total
from tests.faults.chaos.servers import Server, servers
from tests.faults.chaos.timeline import Timeline
from tests.faults.chaos.world import World
from tests.faults.checker.leases import lease_table
from tests.faults.checker.notebook import lines
from tests.faults.checker.reading import Evidence, Report, check
from tests.support import witness

if TYPE_CHECKING:
    from pathlib import Path

    from eventstore.store import Store

LOOK_S = 0.5
TELL_S = 5.0
"""This often the timeline has what is still open."""
REST_S = 2.0
"""So long nothing must be open: a queue does not tell of the messages that a daemon has taken and not settled."""
READY_S = 180.0
"""How long all daemons may take to be ready, on a busy machine."""
LOST_ANSWERS = 0.02
"""Share of the witness's answers that are lost after the effect."""
ALARMS = frozenset({"execution_parked", "timer_parked", "result_not_recorded", "a traceback", "unhandled_exception"})
"""What a daemon must never have to say here."""
SHOWN = 30
OPEN = ("running", "pending", "compensating", "paused")
"""What an execution is that has not ended."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a run is like. The seed alone makes its messages, and the schedule of its faults."""

    folder: Path
    seed: int
    load_s: float
    daemons: int = 1
    store: str = "postgres"
    rate: float = 8.0
    every_s: float = 4.0
    """Seconds between two faults, on average."""
    harm_s: float = 4.0
    """About how long a fault lasts."""
    ttl_s: float = 10.0
    skew_s: float = 20.0
    settle_s: float = 180.0
    """How long what was sent may take to its end, once there is peace."""
    kafka: bool = True
    rabbitmq: bool = True
    kinds: tuple[str, ...] | None = None
    """Only these faults; None is all that are possible."""
    quiet: bool = False


@dataclass(kw_only=True)
class Outcome:
    """What came of a run."""

    seed: int
    report: Report
    faults: Counter[str]
    deaths: Counter[str]
    complaints: Counter[str]
    deliveries: int
    lives: int
    settled_s: float
    problems: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing was lost, and nothing died by itself."""
        return not self.report.total and not self.problems

    def __str__(self) -> str:
        befell = ", ".join(f"{kind} {count}" for kind, count in sorted(self.faults.items()))
        told = ", ".join(f"{event} {count}" for event, count in self.complaints.most_common(8))
        return (
            f"seed {self.seed}: {self.report}, problems: {len(self.problems)}\n"
            f"faults: {self.faults.total()} ({befell}); {self.lives} daemon lives;"
            f" {self.deliveries} deliveries; at rest {self.settled_s:.1f} s after the last fault\n"
            f"logged as errors: {told or 'nothing'}"
        )


async def run(options: Options) -> Outcome:
    """Run, and return what came of it. The folder keeps the logs, the ledger and the timeline."""
    for library in ("aiokafka", "aiormq", "aio_pika", "asyncio"):
        logging.getLogger(library).setLevel(logging.CRITICAL)  # of our own clients, which meet the same faults
    names = [name for name, wanted in _wanted(options).items() if wanted]
    timeline = Timeline(options.folder / "timeline.jsonl", quiet=options.quiet)
    async with AsyncExitStack() as stack:
        stack.callback(timeline.close)
        sync = stack.enter_context(ExitStack())
        found = await asyncio.to_thread(sync.enter_context, servers(*names))
        seen = sync.enter_context(witness.running(options.folder / "witness.db", lose=LOST_ANSWERS, seed=options.seed))
        if "kafka" in found:
            await load.make_topics(found["kafka"].proxied)
        fleet = Fleet(options.folder, _settings(options, found), {"WITNESS_URL": seen.url})
        stack.callback(fleet.clean_up)
        return await Run(options, found, fleet, timeline).live()


class Run:
    """The parts of a run that is going on."""

    def __init__(self, options: Options, found: dict[str, Server], fleet: Fleet, timeline: Timeline) -> None:
        self._options = options
        self._servers = found
        self._fleet = fleet
        self._timeline = timeline
        self._ledger = load.Ledger(options.folder / "sent.jsonl")
        self._url = found["postgres"].url if "postgres" in found else f"sqlite:///{options.folder}/sagad.db"
        self._problems: list[str] = []

    async def live(self) -> Outcome:
        """Go through all of it."""
        options = self._options
        for _ in range(options.daemons):
            self._fleet.add().start()
        await self._ready()
        self._timeline.note("begin", what=f"seed {options.seed}")
        keeping = asyncio.create_task(self._fleet.look_after())
        try:
            done = await self._load_and_faults()
            last_fault_s = now_s()
            settled = await self._settle(last_fault_s)
        finally:
            keeping.cancel()
        codes = await self._fleet.stop()
        self._problems += [f"{name} ended with {code} at the stop" for name, code in codes.items() if code != 0]
        self._timeline.note("stopped")
        report = await self._check()
        return self._outcome(report, done, settled)

    async def _load_and_faults(self) -> Counter[str]:
        options = self._options
        sender = load.Load(servers=self._servers, fleet=self._fleet, ledger=self._ledger, seed=options.seed)
        several = options.daemons > 1
        kinds = options.kinds or faults.kinds_for(self._servers, several=several)
        planned = faults.schedule(
            options.seed, list(kinds), first_s=1.0, every_s=options.every_s, until_s=options.load_s
        )
        world = World(
            servers=self._servers,
            fleet=self._fleet,
            timeline=self._timeline,
            harm_s=options.harm_s,
            ttl_s=options.ttl_s,
            skew_s=options.skew_s,
            several=several,
        )
        stop = asyncio.Event()
        began = now_s()
        sending = asyncio.create_task(sender.run(options.rate, stop))
        try:
            done = await faults.carry_out(world, planned, began)
            await asyncio.sleep(max(0.0, began + options.load_s - now_s()))
            stop.set()
            self._timeline.note("peace", what=f"{sender.orders} orders")
            await self._within(sending, "what was sent is not taken")
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            await sender.close()
        return done

    async def _within(self, task: asyncio.Task[None], otherwise: str) -> None:
        _, pending = await asyncio.wait({task}, timeout=self._options.settle_s)
        if pending:
            self._problems.append(f"{otherwise} after {self._options.settle_s:g} s")
        else:
            task.result()

    async def _ready(self) -> None:
        """Return when all daemons are ready."""
        async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(READY_S):
            for member in self._fleet.members:
                while True:
                    with suppress(httpx.TransportError):
                        if (await client.get(f"{member.url}/readyz")).status_code == httpx.codes.OK:
                            break
                    member.look_after()
                    await asyncio.sleep(0.05)

    async def _settle(self, since_s: float) -> float:
        """Return how long it took until nothing is open: no message, no execution."""
        open_ones: object = None
        async with AsyncExitStack() as stack:
            store = await open_store(self._url, Codec(EVENT_TYPES, UPCASTERS), auto_migrate=False)
            stack.push_async_callback(store.close)
            resting_since_s = told_s = now_s()
            while now_s() < since_s + self._options.settle_s:
                try:
                    open_ones = await self._open(store)
                except (StoreError, OSError) as error:
                    open_ones = f"{type(error).__name__}: {error}"
                if open_ones:
                    resting_since_s = now_s()
                    if resting_since_s > told_s + TELL_S:
                        told_s = resting_since_s
                        self._timeline.note("open", what=str(open_ones))
                elif now_s() >= resting_since_s + REST_S:
                    self._timeline.note("at rest")
                    return resting_since_s - since_s
                await asyncio.sleep(LOOK_S)
            self._problems.append(f"not at rest {self._options.settle_s:g} s after the last fault: {open_ones}")
            self._problems += await self._why(store)
        return now_s() - since_s

    async def _open(self, store: Store) -> dict[str, int]:
        """Return what is still open, by name; empty when all is done."""
        counts: Counter[str] = Counter()
        for (_, status), count in (await store.index.counts()).items():
            if status in OPEN:
                counts[status] += count
        if not counts and "kafka" in self._servers:
            counts["kafka lag"] = await load.kafka_lag(self._servers["kafka"].proxied)
        if not counts.total() and "rabbitmq" in self._servers:
            counts["rabbitmq backlog"] = await load.rabbit_backlog(self._servers["rabbitmq"].url)
        if not counts.total() and (leases := lease_table(self._url)) is not None:
            counts["leases"] = len(leases.executions())
        return dict(+counts)

    async def _why(self, store: Store) -> list[str]:
        """Say what the executions wait for that have not ended."""
        rows = [
            row for status in OPEN for row in await store.index.executions(ExecutionFilter(status=status, limit=10))
        ]
        waiting = [f"{row.execution_id} ({row.dedupe_key}) is {row.status}, waits for {row.cause}" for row in rows]
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            for row in rows[:3]:
                for member in self._fleet.alive()[:1]:
                    with suppress(httpx.HTTPError):
                        answer = await client.get(f"{member.url}/executions/{row.execution_id}/why")
                        waiting.append(f"why {row.execution_id}: {answer.text[:400]}")
        return waiting

    async def _check(self) -> Report:
        folder = self._options.folder
        self._ledger.close()
        bodies: list[bytes] = []
        if "kafka" in self._servers:
            kafka = self._servers["kafka"].proxied
            bodies += await load.kafka_bodies(kafka, "orders.dlq", "reviews.dlq")
            await self._check_told(kafka)
        if "rabbitmq" in self._servers:
            bodies += await load.rabbit_bodies(self._servers["rabbitmq"].url)
        dead = folder / "dead.jsonl"
        dead.write_text("".join(f"{json.dumps({'id': name})}\n" for body in bodies for name in _name(body)))
        evidence = Evidence(
            sent=folder / "sent.jsonl",
            dead=dead,
            witness=folder / "witness.db",
            leases=lease_table(self._url),
        )
        store = await open_store(self._url, Codec(EVENT_TYPES, UPCASTERS), auto_migrate=False)
        try:
            report = await check(store, evidence)
            await store.index.rebuild(changes(store.log, lambda *_: None, {"events": 0, "executions": 0}))
            rebuilt = await check(store, Evidence(leases=evidence.leases))
        finally:
            await store.close()
        self._problems += [f"after the index was rebuilt: {violation}" for violation in rebuilt.shown]
        return report

    async def _check_told(self, kafka: str) -> None:
        """Each completed order that was charged has been published at least once."""
        told = {name for body in await load.kafka_bodies(kafka, "done") for name in _name(body)}
        for line in lines(self._options.folder / "sent.jsonl"):
            if line["confirmed"] and line.get("output", {}).get("charged") and line["id"] not in told:
                self._problems.append(f"{line['id']} was charged, but nothing was published")

    def _outcome(self, report: Report, done: Counter[str], settled_s: float) -> Outcome:
        members = self._fleet.members
        complaints = total(member.complaints() for member in members)
        deaths = total(member.deaths for member in members)
        problems = self._problems + self._ledger.wrong
        problems += [f"a daemon died by itself: {how}, {count} times" for how, count in deaths.items()]
        problems += [f"logged: {event}, {count} times" for event, count in complaints.items() if event in ALARMS]
        return Outcome(
            seed=self._options.seed,
            report=report,
            faults=done,
            deaths=deaths,
            complaints=complaints,
            deliveries=self._ledger.deliveries,
            lives=sum(member.lives for member in members),
            settled_s=settled_s,
            problems=problems,
        )


def _wanted(options: Options) -> dict[str, bool]:
    return {"postgres": options.store == "postgres", "rabbitmq": options.rabbitmq, "kafka": options.kafka}


def _settings(options: Options, found: dict[str, Server]) -> dict[str, dict[str, Any]]:
    """Return the settings of the daemons, who know of the proxies only."""
    order, *others = yaml.safe_load_all((FOLDER / "workflow.yaml").read_text())
    for name in ("kafka", "rabbitmq"):
        if name not in found:
            _without(order, name)
    workflow = options.folder / "workflow.yaml"
    workflow.write_text(yaml.safe_dump_all([order, *others], sort_keys=False))
    url = found["postgres"].proxied if "postgres" in found else f"sqlite:///{options.folder}/sagad.db"
    parts: dict[str, dict[str, Any]] = {
        "store": {"url": url},
        "workflows": {
            "paths": [str(workflow)],
            "handlers": [str(FOLDER / "handlers.py")],
            "env": ["WITNESS_URL"],
        },
        "outbound": {"allow_private": True},
        "limits": {"grace_s": 3.0},
        "daemon": {"lease_ttl_s": options.ttl_s},
        "log": {"level": "warning"},
    }
    if "kafka" in found:
        parts["kafka"] = {"bootstrap": [found["kafka"].proxied]}
    if "rabbitmq" in found:
        parts["rabbitmq"] = {"url": found["rabbitmq"].proxied}
    return parts


def _without(definition: dict[str, Any], broker: str) -> None:
    """Take out the triggers of a broker, and what is published there."""
    definition["triggers"] = [trigger for trigger in definition["triggers"] if broker not in trigger]
    for node, keys in definition["nodes"].items():
        if broker in keys.get("publish", {}):
            definition["nodes"][node] = {"transform": keys["publish"]["value"]}


def _name(body: bytes) -> list[str]:
    """Return the id of a message: a review names its order too."""
    return sorted((name.decode() for name in re.findall(rb"\b[opfr]-\d+\b", body)), key=lambda name: name[0] != "r")[:1]
