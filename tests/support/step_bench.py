"""Runs single steps on the real `Steps`, without an engine: what the engine would be told is kept in a list."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid5

from immutables import Map

from daemon.core.address import node_of
from daemon.core.child_events import Parent
from daemon.core.commands import AwaitChild, CompleteStep, FailStep, PostponeStep, ReportProgress, SuspendStep
from daemon.core.definition import Definition
from daemon.core.effects import RunStep
from daemon.core.errors import Rejected
from daemon.core.node import NodeType
from daemon.core.plan import Body, Plan, PlannedNode
from daemon.core.retry import RetryPolicy
from daemon.core.state import InFlight, Running
from daemon.core.templates import SecretSlot, compile_template
from daemon.core.values import NULL, from_json, to_json
from daemon.nodes.answers import Child
from daemon.nodes.task import NODE_TYPE as TASK
from daemon.nodes.task import Task
from daemon.runtime.children import Starting
from daemon.runtime.handler_registry import Handler, HandlerRegistry, handler_of
from daemon.runtime.mailbox import Answer
from daemon.runtime.secrets import SecretResolver
from daemon.runtime.services import Outgoing
from daemon.runtime.steps import Steps
from daemon.runtime.streams import StreamHub
from daemon.testing.clock import FakeClock
from eventstore.errors import StoreError
from eventstore.memory import MemoryIndex
from eventstore.memory_streams import MemoryStreams

Command = CompleteStep | PostponeStep | SuspendStep | AwaitChild | FailStep | ReportProgress

EXECUTION = UUID("5f0c5d8e-6f2b-5a53-9d5e-3c0a3d1e9a11")


def execution(number: int) -> UUID:
    """Return one of many execution ids."""
    return uuid5(EXECUTION, str(number))


def node_of_type(node_type: NodeType, config: object, timeout_s: float | None = None) -> PlannedNode:
    """Return a node that stands alone."""
    return PlannedNode(
        id="work",
        type=node_type,
        config=config,
        ports=("out", "error"),
        incoming=(),
        outgoing=(),
        retry=RetryPolicy(),
        timeout=timedelta(seconds=timeout_s) if timeout_s is not None else None,
        on_error="stop",
        default=None,
    )


class Bench:
    """One `Steps` with its handlers, and what it has reported."""

    steps: Steps

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.reported: list[tuple[UUID, Command]] = []
        self.refuse: Callable[[Command], Exception | None] = lambda _: None
        """Gives what the engine raises instead of taking a command."""
        self.silent = False
        """Whether nothing is answered: the answers wait in `unanswered`."""
        self.unanswered: list[Answer] = []
        self.streams = MemoryStreams(MemoryIndex())
        self._arrived = asyncio.Event()

    def run(
        self,
        handler: str = "work",
        value: object = None,
        *,
        execution_id: UUID = EXECUTION,
        address: str = "work",
        attempt: int = 1,
        timeout_s: float | None = None,
        secrets: tuple[SecretSlot, ...] = (),
        traceparent: str | None = None,
        progress_number: int = 0,
        state: object = None,
        node: PlannedNode | None = None,
    ) -> None:
        """Owe the step to `Steps`, as the engine does."""
        node = node or node_of_type(TASK, Task(handler, compile_template(None)), timeout_s)
        definition = Definition(workflow="orders", hash="h", document=b"{}", nodes={})
        plan = Plan(
            definition=definition, nodes={node_of(address): node}, body=Body(starts=(), last=(), output=None), env={}
        )
        now = self.clock.now()
        step = InFlight(attempt, to_json(value), secrets, now, progress_number=progress_number)
        running = Running(
            version=2,
            execution_id=execution_id,
            workflow="orders",
            definition="h",
            input=NULL,
            trigger=NULL,
            trigger_name=None,
            dedupe_key=None,
            traceparent=traceparent,
            started_at=now,
            steps=Map({address: step}),
        )
        effect = RunStep(address, attempt, to_json(value), secrets, now, to_json(state))
        self.steps.run(execution_id, plan, effect, running)

    def post(self, execution_id: UUID, command: Command, answer: Answer) -> None:
        """Stand for the engine."""
        if self.silent:
            self.unanswered.append(answer)
            return
        error = self.refuse(command)
        if error is not None and not isinstance(error, Rejected | StoreError):
            raise error
        if error is None:
            self.reported.append((execution_id, command))
            self._arrived.set()
        asyncio.get_running_loop().call_soon(answer, None, error)

    async def commands(self, number: int = 1) -> list[Command]:
        """Return all that was reported, when it is so much."""
        while len(self.reported) < number:
            self._arrived.clear()
            await self._arrived.wait()
        return [command for _, command in self.reported]

    async def output(self) -> Any:
        """Return the output of the first step to complete."""
        command = await self.result()
        assert isinstance(command, CompleteStep), command
        return from_json(command.output)

    async def failure(self) -> FailStep:
        """Return the first report, which must be a failure."""
        command = await self.result()
        assert isinstance(command, FailStep), command
        return command

    async def result(self) -> Command:
        """Return the first report that is not of progress."""
        while not (results := [each for _, each in self.reported if not isinstance(each, ReportProgress)]):
            self._arrived.clear()
            await self._arrived.wait()
        return results[0]


class NoChildren:
    """A daemon that can start no execution for a step."""

    async def start(self, wanted: Starting) -> Child:
        """Refuse it."""
        raise AssertionError(f"nothing is started here: {wanted}")

    async def undo(self, child: UUID, parent: Parent) -> Child:
        """Refuse it."""
        raise AssertionError(f"nothing is undone here: {child} of {parent}")


@asynccontextmanager
async def bench(
    *functions: Callable[..., Any],
    handlers: Mapping[str, Handler] | None = None,
    secrets: Mapping[str, str] | None = None,
    max_running: int = 100,
    max_threads: int = 4,
    max_processes: int = 1,
) -> AsyncIterator[Bench]:
    """Give a bench for these decorated functions; at the end everything is stopped without grace."""
    made = Bench(FakeClock())
    async with Outgoing({}) as outgoing, asyncio.TaskGroup() as tasks:
        steps = Steps(
            post=made.post,
            outgoing=outgoing,
            handlers=handlers if handlers is not None else HandlerRegistry(map(handler_of, functions)),
            secrets=SecretResolver(secrets or {}),
            children=NoChildren(),
            clock=made.clock,
            jitter=lambda: 0.25,
            spawn=tasks.create_task,
            max_running=max_running,
            max_threads=max_threads,
            max_processes=max_processes,
            streams=StreamHub(made.streams, made.clock, spawn=tasks.create_task),
        )
        made.steps = steps
        yield made
        await steps.stop(0)
