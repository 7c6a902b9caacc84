"""The running triggers of the current workflows: made from their definitions, each in its own task.

Comes from: `supervisor`, daemon/core/definition. Goes to: the adapters in triggers/, with `intake` as their sink.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from daemon.core.durations import parse_duration
from daemon.core.errors import Misconfigured
from daemon.core.problems import Problem
from daemon.core.templates import compile_template, fill
from eventstore.errors import Unavailable
from triggers.kafka import KafkaSettings, KafkaTrigger
from triggers.memory import MemorySettings, MemoryTrigger
from triggers.message import RetryPolicy, Trigger
from triggers.rabbitmq import RabbitSettings, RabbitTrigger
from triggers.schedule import ScheduleSettings, ScheduleTrigger
from triggers.webhook import WebhookSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from daemon.core.definition import TriggerDefinition
    from daemon.runtime.brokers import Brokers
    from daemon.runtime.clock import Clock
    from eventstore.index import Index
    from eventstore.log import Definitions
    from triggers.message import Aside, ConnectionStatus, Sink

PAUSE_S = 1.0
"""Between two tries to read when a schedule has last ticked, while the store is away."""

_logger = structlog.get_logger(__name__)


class Subscriptions:
    """What the daemon receives from. `replace` brings it in line with the definitions, at the start and at a reload."""

    def __init__(
        self,
        *,
        sink: Sink,
        aside: Aside,
        brokers: Brokers,
        index: Index,
        definitions: Definitions,
        clock: Clock,
        resolve_secret: Callable[[str], str],
        env: Mapping[str, str],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        """`aside` keeps dead letters.

        `spawn` starts a task whose failure stops the daemon: a trigger ends by itself only when it was stopped.
        """
        self._sink = sink
        self._aside = aside
        self._brokers = brokers
        self._index = index
        self._definitions = definitions
        self._clock = clock
        self._resolve_secret = resolve_secret
        self._env = env
        self._spawn = spawn
        self._running: dict[str, tuple[TriggerDefinition, Trigger]] = {}
        self._webhooks: dict[str, tuple[str, WebhookSettings]] = {}
        self._stopped = False

    @property
    def webhooks(self) -> Mapping[str, tuple[str, WebhookSettings]]:
        """Path -> qualified name of the trigger and its settings, secrets filled in."""
        return self._webhooks

    def statuses(self) -> Sequence[ConnectionStatus]:
        """How each running trigger's connection is."""
        return [trigger.status for _, trigger in self._running.values()]

    def prepare(self, wanted: Mapping[str, TriggerDefinition]) -> Prepared:
        """Make the triggers that are new or changed, without starting them. Raise Misconfigured for all that cannot be.

        What is running stays as it is.
        """
        prepared, problems = Prepared(), []
        for name, definition in wanted.items():
            prepared.wanted.add(name)
            try:
                if definition.kind == "webhook":
                    settings = msgspec.convert(self._settings(definition), WebhookSettings)
                    prepared.webhooks[settings.path] = (name, settings)
                elif name not in self._running or self._running[name][0] != definition:
                    prepared.made[name] = (definition, self._make(name, definition))
            except (msgspec.ValidationError, ValueError, LookupError, OSError) as error:
                problems.append(Problem(message=f"trigger {name}: {error}", path=("triggers", definition.name)))
        if problems:
            raise Misconfigured(problems)
        return prepared

    async def replace(self, prepared: Prepared) -> None:
        """Stop what is not wanted any more or has changed, then start what is new. After `stop`, nothing is started."""
        gone = [name for name in self._running if name not in prepared.wanted or name in prepared.made]
        await asyncio.gather(*(self._running.pop(name)[1].stop() for name in gone))
        if self._stopped:
            return
        self._webhooks = prepared.webhooks
        for name, (definition, trigger) in prepared.made.items():
            self._running[name] = (definition, trigger)
            self._spawn(trigger.run())

    async def stop(self) -> None:
        """Stop all intake; return when messages in flight have had their verdicts."""
        self._stopped = True
        self._webhooks = {}
        running, self._running = self._running, {}
        await asyncio.gather(*(trigger.stop() for _, trigger in running.values()))

    def _make(self, name: str, definition: TriggerDefinition) -> Trigger:
        settings, retry = self._settings(definition), _retry(definition)
        sink, now, dead_letter = self._sink, self._clock.now, definition.dead_letter
        match definition.kind:
            case "kafka":
                connection, publisher = self._brokers.kafka, self._brokers.kafka_publisher
                if connection is None or publisher is None:
                    raise LookupError("it needs Kafka; set [kafka] bootstrap or SAGAD_KAFKA_BOOTSTRAP")
                return KafkaTrigger(
                    name,
                    msgspec.convert(settings, KafkaSettings),
                    connection,
                    sink=sink,
                    retry=retry,
                    publisher=publisher,
                    dead_letter=dead_letter,
                    aside=self._aside,
                    now=now,
                )
            case "rabbitmq":
                link, sender = self._brokers.rabbitmq, self._brokers.rabbit_publisher
                if link is None or sender is None:
                    raise LookupError("it needs RabbitMQ; set [rabbitmq] url or SAGAD_RABBITMQ_URL")
                return RabbitTrigger(
                    name,
                    msgspec.convert(settings, RabbitSettings),
                    link,
                    sink=sink,
                    retry=retry,
                    publisher=sender,
                    dead_letter=dead_letter,
                    aside=self._aside,
                    now=now,
                )
            case "memory":
                return MemoryTrigger(
                    name,
                    msgspec.convert(settings, MemorySettings),
                    broker=self._brokers.memory,
                    sink=sink,
                    retry=retry,
                    dead_letter=dead_letter,
                    aside=self._aside,
                    now=now,
                )
            case "schedule":
                return ScheduleTrigger(
                    name,
                    msgspec.convert(settings, ScheduleSettings),
                    sink=sink,
                    retry=retry,
                    aside=self._aside,
                    last_tick=lambda: self._last_tick(name),
                    now=now,
                    sleep=self._clock.sleep,
                )
            case kind:
                raise LookupError(f"there is no kind of trigger {kind!r}")

    async def _last_tick(self, name: str) -> datetime | None:
        """Return the newest tick in the log; before the first, the time since which the workflow is known."""
        while True:
            try:
                tick = _tick(await self._index.latest_dedupe_key(name))
                return tick or await self._definitions.first_seen(name.partition("/")[0])
            except Unavailable as error:
                _logger.warning("schedule_waits_for_store", trigger=name, error=str(error))
                await self._clock.sleep(PAUSE_S)

    def _settings(self, definition: TriggerDefinition) -> Mapping[str, Any]:
        """Return the settings with secrets and environment filled in and durations read."""
        rendered = compile_template(dict(definition.settings), allow_secrets=True).render({"env": self._env})
        settings: dict[str, Any] = fill(rendered.value, rendered.secrets, self._resolve_secret)
        return {key: parse_duration(value) if key == "every" else value for key, value in settings.items()}


class Prepared:
    """Triggers made but not started."""

    def __init__(self) -> None:
        self.wanted: set[str] = set()
        self.made: dict[str, tuple[TriggerDefinition, Trigger]] = {}
        self.webhooks: dict[str, tuple[str, WebhookSettings]] = {}


def _tick(key: str | None) -> datetime | None:
    """Return the time of a tick; None for what is none, since a schedule may have a `dedupe` of its own."""
    try:
        tick = datetime.fromisoformat(key or "")
    except ValueError:
        return None
    return tick if tick.tzinfo is not None else None


def _retry(definition: TriggerDefinition) -> RetryPolicy:
    policy = definition.retry
    return RetryPolicy(max_attempts=policy.max_attempts, backoff=policy.backoff, initial=policy.initial, max=policy.max)
