"""Intake: a message becomes a command, and what became of the command becomes a verdict.

A whole batch is sent to the engine in one turn of the event loop, so its executions are committed together: one append.
An acknowledgement is given only after that commit.

Comes from: the adapters in triggers/, the API. Goes to: triggers/routing, `engine`.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import structlog
from msgspec.structs import replace

from daemon.core.admission import NoSlot
from daemon.core.commands import HandleUpdate, ReceiveSignal, StartExecution
from daemon.core.errors import ExecutionDeleted, InvalidInput, Rejected, StorageFull
from daemon.core.events import UpdateHandled
from daemon.core.state import NotStarted
from daemon.core.trace_ids import parse_traceparent
from daemon.core.updates import answer_query, check_signal
from daemon.core.values import bounded_json, to_json
from daemon.runtime.collecting import Collecting
from eventstore.errors import Conflict, StoreError, Unavailable
from triggers.message import Ack, DeadLetter, Retry
from triggers.routing import Filtered, Route, SignalExecution, Start, Unusable, execution_id, route

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from uuid import UUID

    from daemon.core.break_events import Breakpoint
    from daemon.core.plan import Plan
    from daemon.core.values import Json
    from daemon.runtime.clock import Clock
    from daemon.runtime.engine import Engine
    from daemon.runtime.history import History
    from daemon.runtime.mailbox import Handled
    from daemon.runtime.plans import Plans
    from eventstore.slots import Slots
    from triggers.message import Inbound, Verdict

PAUSE = timedelta(seconds=1)
"""Least pause before a message is tried again because the store was away."""

PRIVATE_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key"})
"""Headers that are never recorded; nor is any with `signature`, `token` or `secret` in its name."""

_logger = structlog.get_logger(__name__)


class Intake:
    """Takes messages of all triggers, and starts and signals that come by the API."""

    def __init__(
        self,
        engine: Engine,
        plans: Plans,
        history: History,
        clock: Clock,
        *,
        slots: Slots,
        check_input: Callable[[Plan, Any], None],
        new_id: Callable[[], UUID] = uuid4,
        on_verdict: Callable[[str, Verdict], None] = lambda _trigger, _verdict: None,
        admit: Callable[[str], None] = lambda _workflow: None,
    ) -> None:
        """`check_input` raises InvalidInput for an input that the workflow's schema does not allow.

        `on_verdict` is told each message's trigger and verdict, to count them; `admit` raises StorageFull for a
        workflow of which none may be started now.
        """
        self._engine = engine
        self._collecting = Collecting(engine, slots)
        self._plans = plans
        self._history = history
        self._clock = clock
        self._check_input = check_input
        self._new_id = new_id
        self._on_verdict = on_verdict
        self._admit = admit
        self._routes: Mapping[str, Route] = {}

    def install(self, routes: Mapping[str, Route]) -> None:
        """Route messages by these from now on; one for each trigger, by its qualified name."""
        self._routes = routes

    async def __call__(self, batch: Sequence[Inbound]) -> Sequence[Verdict]:
        """Handle the batch as one append; see `triggers.message.Sink`."""
        if not await self._engine.room():
            return [Retry("the daemon is stopping", PAUSE, counted=False) for _ in batch]
        verdicts = _Verdicts(batch, self._on_verdict)
        collected = [self._take(inbound, partial(verdicts.give, place)) for place, inbound in enumerate(batch)]
        if any(collected):
            await asyncio.gather(*filter(None, collected))
        return await verdicts.all()

    async def start(
        self,
        workflow: str,
        input_value: Any,
        *,
        key: str | None = None,
        actor: str,
        traceparent: str | None = None,
        breakpoints: tuple[Breakpoint, ...] = (),
    ) -> tuple[UUID, Handled]:
        """Start an execution by name, with breakpoints. The same `key` gives the same execution, at whatever time.

        Raises UnknownWorkflow, InvalidInput, or what the engine raises.
        """
        plan = self._plans.current(workflow)
        scope = f"{workflow}/api"
        new = self._new_id() if key is None else execution_id(scope, key)
        trigger: dict[str, Any] = {"name": scope, "source": "api", "key": key, "headers": {}}
        command = self._start(plan, new, input_value, trigger=trigger, key=key, actor=actor, traceparent=traceparent)
        if breakpoints:
            command = replace(command, breakpoints=breakpoints)
        if plan.start.definition.collect is not None:
            return await self._collecting.take(plan, command)
        return new, await self._engine.send(new, command, plan=plan)

    async def signal(self, target: UUID, name: str, data: Any, *, signal_id: str | None = None, actor: str) -> Handled:
        """Give an execution a signal; a signal id that it has had is not given again."""
        return await self._engine.send(target, self._signal(name, data, signal_id or str(self._new_id()), actor))

    async def signal_with_start(
        self,
        workflow: str,
        key: str,
        input_value: Any,
        *,
        name: str,
        data: Any,
        signal_id: str | None = None,
        actor: str,
    ) -> tuple[UUID, Handled, Handled]:
        """Give a signal to the execution that was started with this key; where there is none, start it too.

        Both are one commit. Returns the id, what became of the start, and of the signal. Raises what `start` does, and
        what `signal` does; a signal that the workflow does not take starts nothing.
        """
        plan = self._plans.current(workflow)
        check_signal(plan, name, data)
        scope = f"{workflow}/api"
        target = execution_id(scope, key)
        trigger: dict[str, Any] = {"name": scope, "source": "api", "key": key, "headers": {}}
        start = self._start(plan, target, input_value, trigger=trigger, key=key, actor=actor, traceparent=None)
        signal = self._signal(name, data, signal_id or str(self._new_id()), actor)
        started, signalled = await asyncio.gather(
            self._engine.send(target, start, plan=plan), self._engine.send(target, signal)
        )
        return target, started, signalled

    async def update(
        self, target: UUID, name: str, data: Any, *, update_id: str | None = None, actor: str
    ) -> tuple[Handled, Json]:
        """Give an execution an update; return what became of it, and its result. One that comes again gives the same.

        Raises `Rejected` and its kinds when the execution does not accept it.
        """
        identity = update_id or str(self._new_id())
        command = HandleUpdate(update_id=identity, name=name, data=_json(data), actor=actor, at=self._clock.now())
        handled = await self._engine.send(target, command)
        events = handled.events or [recorded.event for recorded in await self._history.events(target)]
        for event in events:
            if isinstance(event, UpdateHandled) and event.update_id == identity:
                return handled, event.result
        raise Rejected(f"the execution has had another message with the id {identity!r}")

    async def query(self, target: UUID, name: str, data: Any = None) -> Any:
        """Ask an execution; nothing is recorded. Raises `Rejected` and its kinds for what cannot be answered."""
        state = await self._history.existing(target)
        if isinstance(state, NotStarted):
            raise Rejected("the execution has not started")
        return answer_query(await self._plans.pinned(state.definition), state, name, data)

    def _take(
        self, inbound: Inbound, give: Callable[[Verdict | BaseException], None]
    ) -> Coroutine[Any, Any, None] | None:
        """Give the verdict: at once, or when what the message asks for is durable. What is returned must be awaited."""
        if inbound.trigger not in self._routes:
            give(Retry(f"trigger {inbound.trigger} is no longer loaded", PAUSE, counted=True))
            return None
        match route(inbound, self._routes):
            case Filtered():
                give(Ack("filtered"))
            case Unusable(code=code, reason=reason):
                give(DeadLetter(reason, code))
            case (Start() | SignalExecution()) as wanted:
                return self._act(inbound, wanted, give)
        return None

    def _act(
        self, inbound: Inbound, wanted: Start | SignalExecution, give: Callable[[Verdict | BaseException], None]
    ) -> Coroutine[Any, Any, None] | None:
        """Carry it out, and turn what comes of it into a verdict."""
        target, plan = wanted.execution_id, None
        outcome = "started" if isinstance(wanted, Start) else "signalled"

        def answered(handled: Handled | None, error: BaseException | None) -> None:
            if handled is not None:
                give(Ack(outcome if handled.events else "duplicate", target))
            elif isinstance(error, ExecutionDeleted) and isinstance(wanted, Start):
                give(Ack("duplicate", target))
            else:
                give(_verdict_of(inbound, error))

        try:
            command: StartExecution | ReceiveSignal
            if isinstance(wanted, Start):
                plan = self._plans.current(inbound.trigger.partition("/")[0])
                command = self._start_by(inbound, wanted, plan)
                if plan.start.definition.collect is not None:
                    return self._collect(inbound, plan, command, give)
            else:
                command = self._signal(wanted.name, wanted.data, wanted.signal_id, f"trigger:{inbound.trigger}")
        except Rejected as error:
            answered(None, error)
        else:
            self._engine.post(target, command, answered, plan=plan)
        return None

    async def _collect(
        self, inbound: Inbound, plan: Plan, start: StartExecution, give: Callable[[Verdict | BaseException], None]
    ) -> None:
        """Have the message collected, and give the verdict."""
        try:
            target, handled = await self._collecting.take(plan, start)
        except ExecutionDeleted:
            give(Ack("duplicate"))
        except Exception as error:  # noqa: BLE001  what is none of those foreseen is raised by the verdicts
            give(_verdict_of(inbound, error))
        else:
            give(Ack("collected" if handled.events else "duplicate", target))

    def _signal(self, name: str, data: Any, signal_id: str, actor: str) -> ReceiveSignal:
        return ReceiveSignal(signal_id=signal_id, name=name, data=_json(data), actor=actor, at=self._clock.now())

    def _start_by(self, inbound: Inbound, wanted: Start, plan: Plan) -> StartExecution:
        trigger = {
            "name": inbound.trigger,
            "source": inbound.source,
            "key": inbound.key,
            "headers": {name: value for name, value in inbound.headers.items() if not is_private(name)},
        }
        return self._start(
            plan,
            wanted.execution_id,
            wanted.input,
            trigger=trigger,
            key=wanted.dedupe_key,
            actor=f"trigger:{inbound.trigger}",
            traceparent=inbound.headers.get("traceparent"),
        )

    def _start(
        self,
        plan: Plan,
        target: UUID,
        input_value: Any,
        *,
        trigger: Mapping[str, Any],
        key: str | None,
        actor: str,
        traceparent: str | None,
    ) -> StartExecution:
        self._admit(plan.definition.workflow)
        encoded = _json(input_value)
        batch = plan.start.definition.collect == "batch"
        self._check_input(plan, {"messages": [input_value]} if batch else input_value)
        return StartExecution(
            execution_id=target,
            input=encoded,
            trigger=to_json(trigger),
            trigger_name=trigger["name"],
            dedupe_key=key,
            traceparent=traceparent if traceparent and parse_traceparent(traceparent) else None,
            actor=actor,
            at=self._clock.now(),
        )


class _Verdicts:
    """The verdicts of one batch, until each message has one."""

    def __init__(self, batch: Sequence[Inbound], on_verdict: Callable[[str, Verdict], None]) -> None:
        self._batch = batch
        self._on_verdict = on_verdict
        self._given: list[Verdict | BaseException | None] = [None] * len(batch)
        self._missing = len(batch)
        self._done = asyncio.get_running_loop().create_future()

    def give(self, place: int, verdict: Verdict | BaseException) -> None:
        """Take the verdict of the message at this place; an error is a bug, and is raised by `all`."""
        self._given[place] = verdict
        self._missing -= 1
        if not self._missing and not self._done.done():
            self._done.set_result(None)

    async def all(self) -> Sequence[Verdict]:
        """Return them in the order of the messages."""
        if self._missing:
            await self._done
        verdicts: list[Verdict] = []
        for inbound, verdict in zip(self._batch, self._given, strict=True):
            if verdict is None or isinstance(verdict, BaseException):
                raise verdict or AssertionError("a message without a verdict")
            self._on_verdict(inbound.trigger, verdict)
            verdicts.append(verdict)
        return verdicts


def _verdict_of(inbound: Inbound, error: BaseException | None) -> Verdict | BaseException:
    """Return what an error means for the message that led to it; one that is none of these is a bug."""
    match error:
        case NoSlot():
            return Ack("skipped")
        case InvalidInput():
            return DeadLetter(str(error), "invalid")
        case StorageFull():
            return Retry(str(error), PAUSE, counted=False)
        case Rejected():
            return DeadLetter(str(error), "refused")
        case Unavailable() | Conflict():
            return Retry(str(error), PAUSE, counted=False)
        case StoreError():
            _logger.error("message_not_taken", trigger=inbound.trigger, source=inbound.source, error=str(error))
            return Retry(str(error), PAUSE, counted=True)
        case _:
            return error or AssertionError("neither handled nor refused")


def _json(value: Any) -> Json:
    try:
        return bounded_json(value)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"not a JSON value that is taken: {error}") from error


def is_private(header: str) -> bool:
    """Tell whether a header, in lower case, is one that is never recorded."""
    return header in PRIVATE_HEADERS or any(word in header for word in ("signature", "token", "secret"))
