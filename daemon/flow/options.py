"""What can be said of every node: `retry=Retry(5)`, `timeout="10s"`, `after=[…]`, and so on.

Comes from: the author. Goes to: `nodes`, `steps`, `bodies`, which make nodes with them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

from msgspec import UNSET

from daemon.core.problems import did_you_mean
from daemon.flow.mistakes import mistake
from daemon.flow.sharing import cache_keys, throttle_keys
from daemon.flow.undoing import attach
from daemon.flow.values import duration, fixed
from daemon.flow.wiring import Node, Origin, current, sources_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import timedelta

    from daemon.flow.marks import Source
    from daemon.flow.sharing import Cache, Throttles
    from daemon.flow.undoing import Compensation

Duration: TypeAlias = "str | timedelta"
"""`200ms`, `10s`, `1h30m`, or a timedelta."""


@dataclass(frozen=True)
class Retry:
    """When a failed attempt is tried again; what is None is as `sagad schema` says."""

    max_attempts: int | None = None
    """Attempts in all, the first among them."""
    backoff: Literal["fixed", "linear", "exponential"] | None = None
    initial: Duration | None = None
    """Pause before the second attempt."""
    factor: float | None = None
    max: Duration | None = None
    """Longest pause."""
    jitter: float | None = None
    non_retryable: Iterable[str | type[Exception]] | None = None
    """Error codes, and names of exception classes."""


def retry_keys(retry: Retry) -> dict[str, Any]:
    """Return the policy as a definition has it."""
    given = {each.name: duration(value) for each in fields(retry) if (value := getattr(retry, each.name)) is not None}
    if "non_retryable" in given:
        given["non_retryable"] = [each if isinstance(each, str) else each.__name__ for each in given["non_retryable"]]
    return given


class NodeOptions(TypedDict, total=False):
    """What can be said of every node."""

    description: str
    after: Any
    """What it comes after beside what it reads: values of steps and nodes, ways, loops; one or a list of them, or
    `any_of(…)` to begin with the first."""
    on_error: Literal["stop", "continue"]
    default: Any
    """Its output when it failed and `on_error` is `continue`: a fixed value."""
    checkpoint: bool
    """True: the version at which it succeeds gets a name, and its snapshot is kept."""
    keys: Mapping[str, Any]
    """Further keys of the node, as a definition has them."""


class StepOptions(NodeOptions, total=False):
    """What can be said of the nodes that do something outside, and of steps."""

    retry: Retry | None
    timeout: Duration | None
    side_effects: bool
    """False: it changes nothing outside, so there is nothing to undo."""
    throttle: Throttles | None
    """Limits that it shares with steps of other executions."""
    priority: object
    """Who goes first where there is a limit: the higher number, from -1000 to 1000."""
    cache: Cache | None
    """Its results are kept for other steps."""


class RunOptions(StepOptions, total=False):
    """What can be said of the nodes that do something outside."""

    compensate: Compensation[Any]


class AnyOf(tuple[object, ...]):
    """What a node begins with the first of."""

    __slots__ = ()


def any_of(*values: object) -> AnyOf:
    """Begin with the first of these, and do not wait for the others: `after=any_of(a, b)`."""
    return AnyOf(values)


def make(node_id: str, own: Mapping[str, Any], options: Mapping[str, Any]) -> Node:
    """Make a node of its own keys and its options; a key that is UNSET is left out."""
    wiring = current()
    given = () if options.get("after") is None else options["after"]
    first_of = isinstance(given, AnyOf)
    keys = {key: value for key, value in own.items() if value is not UNSET} | _common(options)
    if first_of:
        keys["after"] = "any"
    node = wiring.add(node_id, keys, after=_sources(given), first_of=first_of)
    compensation = options.get("compensate")
    if compensation is not None:
        attach(wiring, node, compensation)
    return node


def _common(options: Mapping[str, Any]) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    for name, value in options.items():
        match name:
            case "default":
                keys["default"] = fixed(value, "a default")
            case _ if value is None:
                pass
            case "retry":
                keys["retry"] = retry_keys(value)
            case "timeout":
                keys["timeout"] = duration(value)
            case "side_effects" if value is False:
                keys["side_effects"] = "none"
            case "description" | "on_error" | "checkpoint":
                keys[name] = value
            case "keys":
                keys |= value
            case "priority":
                keys[name] = value
            case "throttle":
                keys["throttle"] = throttle_keys(value)
            case "cache":
                keys["cache"] = cache_keys(value)
            case "after" | "compensate" | "side_effects":
                pass  # no values, or as ever
            case _:
                known = [*StepOptions.__annotations__, *RunOptions.__annotations__]
                raise mistake(f"there is no option {name!r}", did_you_mean(name, set(known)))
    return keys


def _sources(after: object) -> list[Source]:
    values = after if isinstance(after, list | tuple) else [after]
    return [source for value in values for source in named_by(value)]


def named_by(value: object) -> list[Source]:
    """Return what a value, a way or a loop comes from."""
    return [value.source] if isinstance(value, Origin) else sources_of(value)
