"""Runs durable functions: lets each go on when it can, and brings what it has called to the engine.

1. A function that is in memory is given its calls' new results; one that is not is replayed from the log first. 2. It
runs until it can do nothing more. 3. What it has called is reported till the store has taken it. 4. While its execution
has a handler at work it stays in memory; one that waits for timers, signals or people is let go of. What stops before 3
is through leaves the advance owed, and it is made again: nothing of it has happened.

Comes from: `engine` (Advance). Goes to: `function_machine`, `function_replay`; then `engine` (AdvanceFunction).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias
from zlib import crc32

import structlog
from msgspec import Struct

from daemon.core.address import split_turn
from daemon.core.commands import AdvanceFunction, StopFunction
from daemon.core.errors import Rejected
from daemon.core.state import Failed, Running, Succeeded
from daemon.core.values import Json, from_json
from daemon.runtime.function_context import FunctionContext
from daemon.runtime.function_machine import Machine, Mismatch, Result
from daemon.runtime.function_replay import Diverged, replay, story_of
from eventstore.errors import Conflict, StoreError, Unavailable

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine, Mapping
    from uuid import UUID

    from daemon.core.effects import Advance
    from daemon.core.state import Journal
    from daemon.runtime.clock import Clock
    from daemon.runtime.function_calls import Naming
    from daemon.runtime.handler_registry import DurableFunction
    from daemon.runtime.history import History
    from daemon.runtime.mailbox import Answer, Handled

    Report: TypeAlias = AdvanceFunction | StopFunction
    Key: TypeAlias = tuple[UUID, str]

PAUSE_S = 0.5
"""Before a report is repeated that the store has not taken."""

_logger = structlog.get_logger(__name__)


class _Wanted(Struct, frozen=True):
    """An advance that is owed, and the execution as it is then."""

    number: int
    state: Running


class _Job:
    """One function of one execution, while its execution is in memory."""

    __slots__ = ("busy", "dropped", "key", "machine", "wanted")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.machine: Machine | None = None
        self.wanted: _Wanted | None = None
        self.busy = False
        """Whether it is being replayed, or what it has done is being reported."""
        self.dropped = False

    def end(self) -> None:
        """Let go of the function, not of the job."""
        if self.machine is not None:
            self.machine.end()
            self.machine = None


class Functions:
    """Runs the durable functions of all executions of one daemon; in one event loop, and never in a task of its own."""

    def __init__(
        self,
        *,
        post: Callable[[UUID, Report, Answer], None],
        history: History,
        functions: Mapping[str, DurableFunction],
        naming: Naming,
        clock: Clock,
        random: Callable[[], float],
        spawn: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
        soon: Callable[..., object],
    ) -> None:
        """`post` is the engine's; `spawn` starts a task whose failure stops the daemon; `soon` calls outside of tasks.

        `naming` gives the name of a handler's function, and `random` gives [0, 1).
        """
        self._post = post
        self._history = history
        self._functions = functions
        self._naming = naming
        self._clock = clock
        self._random = random
        self._spawn = spawn
        self._soon = soon
        self._jobs: dict[UUID, dict[str, _Job]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopped = False

    def advance(self, execution_id: UUID, effect: Advance, state: Running) -> None:
        """Let the function go on, now or when its last report is answered. A repeat is harmless."""
        if self._stopped:
            return
        jobs = self._jobs.setdefault(execution_id, {})
        job = jobs.get(effect.address)
        if job is None:
            job = jobs[effect.address] = _Job((execution_id, effect.address))
        job.wanted = _Wanted(effect.number, state)
        if not job.busy:
            job.busy = True
            self._soon(self._begin, job)

    def forget(self, execution_id: UUID) -> None:
        """Let go of all functions of an execution; nothing that they do is reported any more."""
        for job in self._jobs.pop(execution_id, {}).values():
            job.dropped = True
            job.end()

    def forget_all(self) -> None:
        """Let go of all functions: another daemon has this one's work."""
        for execution_id in list(self._jobs):
            self.forget(execution_id)

    def stop(self) -> None:
        """Begin no advance any more; those that are owed stay owed."""
        self._stopped = True
        for task in self._tasks:
            task.cancel()
        self.forget_all()

    def _begin(self, job: _Job) -> None:
        """1. Take the function as it is in memory, if it is where the log says; else replay it."""
        if job.dropped or (wanted := job.wanted) is None or self._stopped:
            job.busy = False
            return
        job.wanted = None
        journal = wanted.state.functions[job.key[1]]
        machine = job.machine
        if machine is not None and (machine.number, machine.seen) == (journal.number, journal.seen):
            self._go_on(job, machine, wanted)
        elif journal.number or journal.function not in self._functions:
            job.end()
            self._in_task(self._replayed(job, wanted))
        else:
            job.end()
            job.machine = self._machine(job.key, wanted.state, journal.function, journal.input)
            self._go_on(job, job.machine, wanted)

    async def _replayed(self, job: _Job, wanted: _Wanted) -> None:
        """Read the function's story and replay it; then go on, in no task."""
        execution_id, address = job.key
        try:
            upto = await self._history.timeline(execution_id, up_to_version=wanted.state.version)
        except StoreError as error:
            _logger.warning("function_waits_for_store", **_named(job.key), error=str(error))
            await self._clock.sleep(PAUSE_S)
            job.wanted = job.wanted or wanted
            self._soon(self._begin, job)
            return
        self._soon(self._replay, job, wanted, story_of(address, upto))

    def _replay(self, job: _Job, wanted: _Wanted, story: Any) -> None:
        if job.dropped:
            return
        if story.function not in self._functions:
            missing = Mismatch(
                f"it is the function {story.function}", "no durable function is registered under that name", ""
            )
            self._stop_function(job, wanted, Diverged(wanted.state.version, missing))
            return
        replayed = replay(story, lambda sent: self._machine(job.key, wanted.state, story.function, sent))
        if isinstance(replayed, Diverged):
            self._stop_function(job, wanted, replayed)
        else:
            job.machine = replayed
            self._go_on(job, replayed, wanted)

    def _go_on(self, job: _Job, machine: Machine, wanted: _Wanted) -> None:
        """2. Give it the results that it has not seen, and report what it does."""
        address, at = job.key[1], max(self._clock.now(), machine.now)
        journal = wanted.state.functions[address]
        made = machine.advance(results_of(wanted.state, journal), at)
        if machine.mismatch is not None:
            job.end()
            self._stop_function(job, wanted, Diverged(wanted.state.version, machine.mismatch))
            return
        command = AdvanceFunction(
            address=address,
            number=wanted.number,
            seen=machine.seen,
            calls=made.calls,
            cancelled=tuple(f"{address}.{call}" for call in made.cancelled),
            drawn=made.drawn,
            outcome=made.outcome,
            at=at,
        )
        self._report(job, command)

    def _stop_function(self, job: _Job, wanted: _Wanted, diverged: Diverged) -> None:
        mismatch = diverged.mismatch
        command = StopFunction(
            address=job.key[1],
            number=wanted.number,
            version=diverged.version,
            recorded=mismatch.recorded,
            found=mismatch.found,
            place=mismatch.place,
            at=self._clock.now(),
        )
        self._report(job, command)

    def _report(self, job: _Job, report: Report) -> None:
        """3. Report, until there is an answer."""
        self._post(job.key[0], report, lambda handled, error: self._reported(job, report, handled, error))

    def _reported(self, job: _Job, report: Report, handled: Handled | None, error: BaseException | None) -> None:
        """Take the engine's answer. Where nothing was recorded, somebody else was first: what is in memory is wrong."""
        if job.dropped:
            return
        if isinstance(error, Unavailable | Conflict):
            if not self._stopped:
                self._in_task(self._report_again(job, report, error))
            return
        if isinstance(error, Rejected | StoreError):
            _logger.error("advance_not_recorded", **_named(job.key), error=str(error))
        if handled is None or not handled.events or isinstance(report, StopFunction):
            job.end()
        if job.wanted is not None and job.wanted.number <= report.number:
            job.wanted = None
        if job.wanted is None:
            job.busy = False
        else:
            self._soon(self._begin, job)

    async def _report_again(self, job: _Job, report: Report, error: BaseException) -> None:
        _logger.warning("advance_waits_for_store", **_named(job.key), error=str(error))
        await self._clock.sleep(PAUSE_S)
        if not job.dropped:
            self._report(job, report)

    def _in_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._spawn(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _machine(self, key: Key, state: Running, name: str, sent: Json) -> Machine:
        function = self._functions[name]

        async def begin(machine: Machine) -> Any:
            step = split_turn(key[1])[0]
            context = FunctionContext(
                machine, execution_id=key[0], workflow=state.workflow, address=step, naming=self._naming
            )
            positional, named = function.signature.bind(from_json(sent), context)
            return await function.function(*positional, **named)

        def told(context: dict[str, Any]) -> None:
            _logger.warning("function_error_not_taken", **_named(key), error=str(context.get("message")))

        salt = crc32(f"{key[0]}/{key[1]}".encode())
        return Machine(begin, random=self._random, salt=salt, on_error=told)


def results_of(state: Running, journal: Journal) -> list[Result]:
    """Return the results that the function has not seen."""
    found: list[Result] = []
    for address in journal.done:
        step, call_id = state.steps[address], address.rpartition(".")[2]
        match step:
            case Succeeded(output=output):
                found.append(Result(call_id, output))
            case Failed(error=error):
                found.append(Result(call_id, error))
            case _:
                raise TypeError(f"the call at {address} has not settled")
    return found


def _named(key: Key) -> dict[str, str]:
    return {"execution_id": str(key[0]), "journal": key[1]}
