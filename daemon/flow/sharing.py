"""What nodes share with those of other executions: limits and results.

    @step("payments.charge", throttle=Throttle(concurrency=5, rate=Rate(100, per="1s", burst=10)))
    charge.options(throttle=["payments", Throttle(concurrency=1, key=order.customer)], priority=order.priority)(order)
    rate.options(cache=Cache(order.currency, ttl="1h", name="rates"))(order.currency)

Comes from: the author. Goes to: `options`, `workflows`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from daemon.flow.values import duration

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta


@dataclass(frozen=True)
class Rate:
    """So many in a time, spread over it evenly."""

    limit: int
    per: str | timedelta
    burst: int | None = None
    """How many may begin at once after a quiet time; 1 if not given."""


@dataclass(frozen=True, kw_only=True)
class Throttle:
    """A limit that steps of all executions share, on all daemons: what is above it waits.

    Either one of its own, by `concurrency`, `rate` or both, or one of the settings, by its name.
    """

    shared: str | None = None
    """Name of a limit of the settings; `key` and `fair` may stand beside."""
    concurrency: int | None = None
    """How many may be at work at once."""
    rate: Rate | None = None
    """How many may begin in a time."""
    key: object = None
    """The limit counts by what this gives; without it all count together."""
    fair: object = None
    """Of those that wait with the same priority, what this gives takes turns."""


@dataclass(frozen=True)
class Cache:
    """A step's results are kept for other steps, which then need not run."""

    key: object
    """What the result depends on."""
    ttl: str | timedelta
    """How long a result may be used."""
    name: str | None = None
    """Of a cache that nodes share; `workflow/node` if not given."""


Throttles: TypeAlias = "str | Throttle | Iterable[str | Throttle]"
"""A limit, or several which all hold; a text is the name of one of the settings."""


def throttle_keys(given: Throttles) -> Any:
    """Return limits as a definition has them."""
    if isinstance(given, str | Throttle):
        return _one(given)
    return [_one(each) for each in given]


def _one(given: str | Throttle) -> Any:
    if isinstance(given, str):
        return given
    rate = None
    if given.rate is not None:
        rate = _some(limit=given.rate.limit, per=duration(given.rate.per), burst=given.rate.burst)
    return _some(shared=given.shared, concurrency=given.concurrency, rate=rate, key=given.key, fair=given.fair)


def cache_keys(given: Cache) -> dict[str, Any]:
    """Return it as a definition has it."""
    return {"key": given.key, **_some(ttl=duration(given.ttl), name=given.name)}


def _some(**keys: object) -> dict[str, object]:
    return {key: value for key, value in keys.items() if value is not None}
