"""The demonstration, act by act: start, orders, SIGKILL, start again, all ended, proof.

Comes from: `command_line`. Goes to: the other parts, in this order.
"""

from __future__ import annotations

import asyncio
import math
import signal
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING

import httpx
from rich.text import Text

from daemon.runtime.codec import codec_of
from deploy.demonstration.checks import Evidence, examine, gather, number, repeated
from deploy.demonstration.daemon_process import DaemonFailed, DaemonProcess
from deploy.demonstration.deliveries import Senders
from deploy.demonstration.screen import Screen
from deploy.demonstration.topics import NotReachable, topics
from deploy.demonstration.watching import Progress, Watcher, at_work
from eventstore.errors import StoreError
from eventstore.store import open_store
from triggers.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
    from typing import Any

    from rich.console import Console

    from deploy.demonstration.stage import Stage
    from eventstore.store import Store

KILL_WITHIN_S = 30.0
END_WITHIN_S = 60.0
DEAD_S = 1.0
"""How long the daemon is away."""
TICK_S = 0.02
ID_SHOWN = 13
"""So many characters of an execution's id are enough to name it."""


class StoryFailed(Exception):
    """It could not be told to its end."""


FORESEEN = (StoryFailed, DaemonFailed, NotReachable, StoreError, BrokerUnavailable, httpx.HTTPError)
"""What ends it without a traceback."""


async def tell(stage: Stage, console: Console, *, keep: bool) -> bool:
    """Give the demonstration; tell whether everything checked out. Raises StoryFailed when it stops on the way."""
    daemon = DaemonProcess(stage)
    try:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(topics(stage))
            stack.callback(daemon.kill)
            return await _Story(stage, console, daemon, stack).acts(keep=keep)
    except (*FORESEEN, BaseExceptionGroup) as error:
        reasons = list(_plain(error))
        if not all(isinstance(reason, FORESEEN) for reason in reasons):
            raise
        raise StoryFailed("\n".join(map(str, reasons))) from None


class _Story:
    """One run; each method is an act."""

    def __init__(self, stage: Stage, console: Console, daemon: DaemonProcess, stack: AsyncExitStack) -> None:
        self._stage = stage
        self._daemon = daemon
        self._stack = stack
        self._progress = Progress({order.order_id for order in stage.orders})
        self._screen = Screen(console, self._progress, len(stage.orders))
        self._total = len(stage.orders)

    async def acts(self, *, keep: bool) -> bool:
        """Play them all."""
        self._say(f"[bold]sagad demonstration[/]: {self._total} orders, {self._where()}")
        await self._start("started")
        store = await self._open()
        beginning = await store.log.head()
        watcher = Watcher(store, self._progress, beginning)
        async with Senders(self._stage, watcher, self._progress) as senders:
            with self._screen.live():
                async with _beside(watcher.run(), self._daemon.guard(), self._ticking(), senders.review_all()):
                    sending = asyncio.create_task(senders.send_all())
                    try:
                        working = await self._kill()
                        await watcher.catch_up()
                        owed = self._progress.steps_in_flight
                        await self._start(f"started again, and takes up what is owed{self._patience()}")
                        await self._all_ended(watcher, sending)
                    finally:
                        sending.cancel()
            accepted, deliveries = number(len(senders.accepted), "order"), number(senders.deliveries, "delivery")
            self._say(f"accepted: {accepted} in {deliveries}; {senders.sent_again} tries found nobody there")
        if keep:
            await self._keep()
        evidence = await gather(
            store,
            after_position=beginning,
            orders=self._stage.orders,
            accepted=senders.accepted,
            journal=self._stage.journal,
            working=working,
            owed=owed,
            exit_code=await self._daemon.stop(),
        )
        checks = list(examine(evidence))
        self._screen.checks(checks)
        self._look_further(evidence)
        return all(check.holds for check in checks)

    async def _start(self, what: str) -> None:
        self._screen.daemon = Text("starting", style="yellow")
        self._daemon.launch()
        self._say(f"daemon {what}: pid {self._daemon.pid}")
        await self._daemon.ready()
        self._screen.daemon = Text(f"pid {self._daemon.pid}, {self._stage.url}", style="green")
        self._say(f"daemon [green]ready[/]: {self._stage.url}")

    async def _open(self) -> Store:
        store = await open_store(self._stage.settings.store.url, codec_of(self._stage.settings), auto_migrate=False)
        self._stack.push_async_callback(store.close)
        return store

    async def _kill(self) -> int:
        """Kill the daemon when half of the orders have come and handlers are at work; return how many were."""
        wanted = max(1, min(5, self._total // 8))
        await self._until(
            lambda: self._progress.started >= self._total / 2 and len(at_work(self._stage.journal)) >= wanted,
            KILL_WITHIN_S,
        )
        self._daemon.kill()
        working = len(at_work(self._stage.journal))
        self._screen.daemon = Text(f"dead: SIGKILL to pid {self._daemon.pid}", style="bold red")
        progress = self._progress
        open_ends, to_come = progress.started - len(progress.ended), self._total - progress.started
        self._say(
            f"[bold red]SIGKILL[/] to pid {self._daemon.pid}: {number(working, 'handler')} at work,"
            f" {number(open_ends, 'execution')} not ended, {number(to_come, 'order')} yet to come"
        )
        await asyncio.sleep(DEAD_S)
        return working

    async def _all_ended(self, watcher: Watcher, sending: asyncio.Task[None]) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(sending, END_WITHIN_S)
        if not await watcher.until(lambda seen: len(seen.ended) >= self._total, END_WITHIN_S):
            ended = f"{len(self._progress.ended)} of {self._total} executions have ended"
            raise StoryFailed(f"after {END_WITHIN_S:g} s only {ended}; see {self._stage.log}")
        self._say(f"[green]all {self._total} executions have ended[/]")

    async def _until(self, condition: Callable[[], bool], timeout_s: float) -> None:
        """Return when it holds, or after this time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not condition():  # noqa: ASYNC110  it depends on another process
                    await asyncio.sleep(TICK_S)

    async def _ticking(self) -> None:
        while True:
            self._screen.tick()
            await asyncio.sleep(TICK_S)

    async def _keep(self) -> None:
        stage = self._stage
        order = '{"order_id": "mine", "total": 20}'
        self._screen.commands(
            "The daemon runs on; try it from another terminal. Ctrl-C ends it.",
            [
                (stage.command("publish", "order-hook", "--data", order), "an order of your own, by a signed webhook"),
                (stage.command("list"), "all executions, newest first"),
            ],
        )
        enough = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, enough.set)
        await self._until(lambda: enough.is_set() or not self._daemon.alive, math.inf)

    def _look_further(self, evidence: Evidence) -> None:
        again = [key.partition("/")[0] for key, _ in repeated(evidence)]
        some = (again[0] if again else str(next(iter(evidence.histories))))[:ID_SHOWN]
        command = self._stage.command
        self._screen.commands(
            "Look further",
            [
                (command("list", "--limit", "10"), "executions, newest first"),
                (command("show", some), "its steps" + (": one of them ran again after the kill" if again else "")),
                (command("why", some), "what it waits for, or how it ended"),
                (command("events", some), "all that has happened to it"),
                (command("state", some, "--version", "3"), "as it was after its third event"),
            ],
        )

    def _patience(self) -> str:
        kafka = "kafka" in self._stage.brokers
        return " (Kafka waits up to 10 s for the dead one before it hands its partitions over)" if kafka else ""

    def _where(self) -> str:
        services = self._stage.services
        names = {"memory": "the in-process broker", "kafka": "Kafka", "rabbitmq": "RabbitMQ"}
        brokers = " and ".join(names[broker] for broker in self._stage.brokers)
        return f"by webhook and {brokers}, on {'Postgres' if services.postgres else 'SQLite'}"

    def _say(self, text: str) -> None:
        self._screen.say(text)


@asynccontextmanager
async def _beside(*coroutines: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run these beside the block; one that fails ends the block with its error."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(coroutine) for coroutine in coroutines]
        yield
        for task in tasks:
            task.cancel()


def _plain(error: BaseException) -> Iterable[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _plain(one)
    else:
        yield error
