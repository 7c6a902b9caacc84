"""What a handler answered, read into the form that is reported, and back again.

Comes from: `step_attempt`, `process_worker`. Goes to: daemon/core/commands, `process_frames`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from msgspec import Struct

from daemon.core.durations import LONGEST, DurationError, format_duration, parse_duration
from daemon.core.values import Json, bounded_json, from_json
from daemon.nodes.answers import Again, End, Pause, Port, Route
from daemon.nodes.context import StepFailure
from daemon.runtime.json_schema import BadSchema, InputSchema


class Returned(Struct, frozen=True, tag=True):
    """The step's output, and how the step is left; see `daemon.core.commands.CompleteStep`."""

    output: Json
    port: str = "out"
    to: tuple[str, ...] | None = None


class Postponed(Struct, frozen=True, tag=True):
    """The handler is to be called again; see `daemon.core.commands.PostponeStep`."""

    after: timedelta
    state: Json


class Paused(Struct, frozen=True, tag=True):
    """The handler waits for input; see `daemon.core.commands.SuspendStep`."""

    reason: str
    expects: Json
    state: Json
    timeout: timedelta | None


def read_answer(answer: object) -> Returned | Postponed | Paused:
    """Read what a handler gave, a value with a JSON form or an `Answer`.

    Raises `StepFailure`, never to be retried, with code `port`, `route`, `again`, `pause` or `invalid_output` for what
    cannot be meant.
    """
    match answer:
        case Port():
            return Returned(_as_json(answer.output), _port(answer.name))
        case Route():
            return Returned(_as_json(answer.output), to=_targets(answer.to))
        case End():
            return Returned(_as_json(answer.output), port="")
        case Again():
            return Postponed(_length(answer.after), _as_json(answer.state))
        case Pause():
            return _paused(answer)
        case _:
            return Returned(_as_json(answer))


def _paused(answer: Pause) -> Paused:
    reason: object = answer.reason
    if not isinstance(reason, str) or not reason.strip():
        raise _refused("Pause: the reason is text: people read it", "pause")
    if answer.expects is not None:
        try:
            InputSchema(answer.expects)
        except (BadSchema, TypeError, ValueError) as error:
            raise _refused(f"Pause: expects is not a JSON Schema: {error}", "pause") from None
    timeout = None if answer.timeout is None else _length(answer.timeout, "Pause", "pause")
    return Paused(reason, _as_json(answer.expects), _as_json(answer.state), timeout)


def answer_of(read: Returned | Postponed | Paused) -> object:
    """Return what `read_answer` gives this for."""
    match read:
        case Postponed(after=after, state=state):
            return Again(after, from_json(state))
        case Paused(reason=reason, expects=expects, state=state, timeout=timeout):
            return Pause(reason, from_json(expects), from_json(state), timeout)
        case Returned(output=output, to=tuple() as to):
            return Route(to, from_json(output))
        case Returned(output=output, port="out"):
            return from_json(output)
        case Returned(output=output, port=port):
            return Port(port, from_json(output)) if port else End(from_json(output))


def _port(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise _refused(f"Port: the name of a port is text, not {name!r}", "port")
    return name


def _targets(to: object) -> tuple[str, ...]:
    targets = (to,) if isinstance(to, str) or not isinstance(to, Iterable) else tuple(dict.fromkeys(to))
    ids = tuple(each for each in targets if isinstance(each, str))
    if ids != targets:
        raise _refused(f"Route: a route leads to ids of nodes, not to {to!r}", "route")
    return ids


def _length(after: object, what: str = "Again", code: str = "again") -> timedelta:
    try:
        length = after if isinstance(after, timedelta) else parse_duration(after)
    except DurationError as error:
        raise _refused(f"{what}: {error}", code) from error
    if not timedelta() <= length <= LONGEST:
        raise _refused(f"{what}: {length} is not from 0s to {format_duration(LONGEST)}", code)
    return length


def _as_json(value: object) -> Json:
    try:
        return bounded_json(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise _refused(f"the result has no JSON form: {error}", "invalid_output") from error


def _refused(message: str, code: str) -> StepFailure:
    return StepFailure(message, code, retryable=False)
