"""One durable function under way: results in, calls out, in steps that can be repeated.

`advance` gives it results one after the other, each when all that the one before has set going is at rest, and returns
what it has called meanwhile. That is a function of its code, its input, the results so far in their order, and what was
drawn (`Drawn`): with the same of each, a second machine comes to the same place.

Comes from: `functions`, `function_replay`. Goes to: `function_context`, the durable function.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from contextvars import Context
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from daemon.core.events import StepError
from daemon.core.function_events import Call, Drawn
from daemon.core.values import Json, from_json, to_json
from daemon.durable import CallFailed, SignalTimeout
from daemon.nodes.context import StepFailure
from daemon.runtime.function_calls import json_of
from daemon.runtime.function_loop import FunctionLoop
from daemon.runtime.step_errors import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)


class Result(Struct, frozen=True, gc=False):
    """What has become of a call."""

    call: str
    """Its id."""
    outcome: Json | StepError


class Advanced(Struct, frozen=True, kw_only=True):
    """How far a function has come."""

    calls: tuple[Call, ...]
    cancelled: tuple[str, ...]
    """Ids of the calls, of this advance or an earlier one, that it does not want any more."""
    drawn: tuple[Drawn, ...]
    outcome: Json | StepError | None
    """What it has returned, or failed with; None while it waits."""


class Mismatch(Struct, frozen=True):
    """Where the code differs from what was recorded."""

    recorded: str
    found: str
    place: str


class Machine:
    """See the module. It belongs to the thread that makes it; nothing of it may be used in a task of another loop."""

    def __init__(
        self,
        begin: Callable[[Machine], Coroutine[Any, Any, Any]],
        *,
        random: Callable[[], float],
        salt: int = 0,
        on_error: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> None:
        """`begin` gives the function's coroutine, in its own loop; `on_error` is told of errors that nobody takes.

        `salt` is the same whenever the same function of the same execution is run, and another for others.
        """
        self._begin = begin
        self._random = random
        self._on_error = on_error
        self._loop = FunctionLoop(  # type: ignore[abstract]  # what it lacks is refused, below the class
            on_timer=self._timer_begun, on_cancelled=self._timer_cancelled, on_error=self._untaken, salt=salt
        )
        self._main: asyncio.Task[Any] | None = None
        self._open: dict[str, asyncio.Future[Any] | asyncio.TimerHandle] = {}
        self._timers: dict[asyncio.TimerHandle, str] = {}
        self._signals: set[str] = set()
        self._calls: dict[str, Call] = {}
        self._places: dict[str, str] = {}
        self._cancelled: list[str] = []
        self._drawn: list[Drawn] = []
        self._expected: deque[Drawn] | None = None
        self._versions: dict[str, int] = {}
        self._ended = False
        self.mismatch: Mismatch | None = None
        """What was drawn otherwise than recorded; nothing of the machine is of use then."""
        self.now = EPOCH
        self.number = 0
        """How many advances it has made."""
        self.seen = 0
        """How many results it was given."""

    @property
    def replaying(self) -> bool:
        """Whether it does again what is recorded."""
        return self._expected is not None

    def advance(self, results: Iterable[Result], at: datetime, drawn: Iterable[Drawn] | None = None) -> Advanced:
        """Give it these results, and let it run until it can do nothing more. With `drawn` it is a replay."""
        self.now = max(self.now, at)
        self._calls, self._places, self._cancelled, self._drawn = {}, {}, [], []
        self._expected = None if drawn is None else deque(drawn)
        try:
            if self._main is None:
                self._main = Context().run(self._loop.create_task, self._coroutine())
                self._run()
            for result in results:
                self.seen += 1
                self._deliver(result)
                self._run()
            outcome = self._outcome()
        except (Exception, SystemExit) as error:  # noqa: BLE001  of a task beside the main one, or an endless loop
            outcome = _error_of(error)
        self.number += 1
        return Advanced(
            calls=tuple(self._calls.values()),
            cancelled=tuple(self._cancelled),
            drawn=tuple(self._drawn),
            outcome=outcome,
        )

    def not_drawn(self) -> Mismatch | None:
        """Return what the last advance was to draw, and did not; a version may be asked for no more."""
        left = next((each for each in self._expected or () if not _version(each)), None)
        return None if left is None else Mismatch(left.kind, "nothing of that kind", self.waits_at())

    def end(self) -> None:
        """Let go of the function, wherever it is."""
        self._ended = True
        self._loop.end()

    def place_of(self, call_id: str) -> str:
        """Return where in the user's code a call of the last advance was made; empty when that is not known."""
        return self._places.get(call_id, "")

    def waits_at(self) -> str:
        """Return where the function's own task stands; empty when it does not stand anywhere."""
        frames = self._main.get_stack(limit=1) if self._main is not None and not self._main.done() else []
        return f"{frames[-1].f_code.co_filename}:{frames[-1].f_lineno}" if frames else ""

    # What the context asks for.

    def check(self) -> None:
        """Raise in a function that is let go of, and in code that is not the function's own."""
        if self._ended or asyncio._get_running_loop() is not self._loop:  # noqa: SLF001  the public one raises
            raise RuntimeError("the context of a durable function was used outside of it")

    async def call(self, call: Call, label: str, place: str) -> Any:
        """Record the call under its place in the program, and wait for its result."""
        self.check()
        call_id = self._name(label)
        future: asyncio.Future[Any] = self._loop.create_future()
        self._begin_call(Call(**{**_fields(call), "id": call_id}), future, place)
        future.add_done_callback(lambda done: self._given_up(call_id) if done.cancelled() else None)
        return await future

    def draw(self, kind: str, make: Callable[[], object], place: str) -> Any:
        """Return what is recorded, or else what `make` gives, and record that."""
        self.check()
        if self._expected is None:
            value = to_json(make())
            self._drawn.append(Drawn(kind, value))
            return from_json(value)
        while self._expected and _version(self._expected[0]) and self._expected[0].kind != kind:
            self._expected.popleft()  # a version that the code asks for no more
        if self._expected and self._expected[0].kind == kind:
            return from_json(self._expected.popleft().value)
        self._note_mismatch(self._expected[0].kind if self._expected else "nothing", kind, place)
        return from_json(to_json(make()))

    def version(self, name: str, oldest: int, newest: int, place: str) -> int:
        """Return the version that this execution follows; see `DurableContext.version`."""
        self.check()
        if name not in self._versions:
            kind = f"{_VERSION}{name}"
            known = self._expected is None or any(each.kind == kind for each in self._expected)
            self._versions[name] = self.draw(kind, lambda: newest, place) if known else oldest
        version = self._versions[name]
        if not oldest <= version <= newest:
            self._note_mismatch(f"version {version} of {name}", f"versions {oldest} to {newest}", place)
        return version

    def random(self) -> float:
        """Return a number that is not recorded; see `draw`."""
        return self._random()

    # What happens inside.

    async def _coroutine(self) -> Any:
        return await self._begin(self)

    def _run(self) -> None:
        def going() -> bool:
            return self.mismatch is None and not (self._main is not None and self._main.done())

        self._loop.run_until_idle((self.now - EPOCH).total_seconds(), going)

    def _name(self, label: str) -> str:
        place = self._loop.next_call()
        return f"{place}:{label}" if label else place

    def _begin_call(self, call: Call, waits: asyncio.Future[Any] | asyncio.TimerHandle, place: str) -> None:
        self._calls[call.id] = call
        self._places[call.id] = place
        self._open[call.id] = waits
        if call.kind == "signal":
            self._signals.add(call.id)

    def _timer_begun(self, timer: asyncio.TimerHandle) -> None:
        call_id = self._name("")
        try:
            due = max(EPOCH + timedelta(seconds=timer.when()), self.now + timedelta(microseconds=1))
        except OverflowError:
            due = LATEST
        self._timers[timer] = call_id
        self._begin_call(Call(id=call_id, kind="sleep", due=due), timer, caller())

    def _timer_cancelled(self, timer: asyncio.TimerHandle) -> None:
        if (call_id := self._timers.pop(timer, None)) is not None:
            self._given_up(call_id)

    def _given_up(self, call_id: str) -> None:
        """Note that the function does not want the call any more; one that nobody has heard of yet never was."""
        if self._open.pop(call_id, None) is not None and self._calls.pop(call_id, None) is None:
            self._cancelled.append(call_id)

    def _deliver(self, result: Result) -> None:
        """Hand over a result; the function may have given the call up meanwhile."""
        waits = self._open.pop(result.call, None)
        match waits:
            case None:
                pass
            case asyncio.TimerHandle():
                del self._timers[waits]
                self._loop.fire(waits)
            case _ if waits.done():
                pass
            case _ if isinstance(result.outcome, StepError):
                waits.set_exception(_raised(result.outcome, signal=result.call in self._signals))
            case _:
                waits.set_result(from_json(result.outcome))

    def _outcome(self) -> Json | StepError | None:
        if self._main is None or not self._main.done():
            return None
        if self._main.cancelled():
            return StepError("the function was cancelled by itself", "cancelled", "CancelledError")
        if (error := self._main.exception()) is not None:
            return _error_of(error)
        try:
            return json_of(self._main.result())
        except StepFailure as failure:
            return _error_of(failure)

    def _untaken(self, context: dict[str, Any]) -> None:
        if not self._ended and not self.replaying:
            self._on_error(context)

    def _note_mismatch(self, recorded: str, found: str, place: str) -> None:
        self.mismatch = self.mismatch or Mismatch(recorded, found, place)


_VERSION = "version:"


def _version(drawn: Drawn) -> bool:
    return drawn.kind.startswith(_VERSION)


def _fields(call: Call) -> dict[str, Any]:
    return {name: getattr(call, name) for name in call.__struct_fields__}


def _raised(error: StepError, *, signal: bool) -> CallFailed:
    kind = SignalTimeout if signal else CallFailed
    return kind(error.message, error.code, error.type, error.attempt, from_json(error.details))


def _error_of(error: BaseException) -> StepError:
    """Return how the function's failure is recorded; that of a call it has not handled, as that was."""
    if isinstance(error, CallFailed):
        return StepError(error.message, error.code, error.error_type, error.attempt, to_json(error.details))
    return describe(error, 1)[0]


def caller() -> str:
    """Return where in the user's code we are: the innermost frame that is neither ours nor asyncio's."""
    frame = sys._getframe(1)  # noqa: SLF001  cheaper than `inspect`, and this is asked at every call
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(_NOT_USERS):
            return f"{file}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]  # None ends it
    return ""


_NOT_USERS = (__file__.rpartition("runtime")[0], asyncio.__file__.rpartition("__init__")[0], "<")
