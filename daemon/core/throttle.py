"""Limits that executions share, and how executions begin: as a definition says it, and as a plan has it.

A limit has a name that says who shares it: `orders/charge` is that of one node, over all executions and versions of the
workflow; `orders` that of the workflow itself; any other is declared in the settings and shared by whoever names it.

Comes from: `parsing`, `compilation`. Goes to: `plan`, `admission`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct

from daemon.core.parsing_retry import read_duration
from daemon.core.problems import did_you_mean
from daemon.core.references import Visible, check_references
from daemon.core.templates import Template, TemplateError, compile_template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from daemon.core.definition import Definition
    from daemon.core.problems import Findings, Path

Check: TypeAlias = "Callable[[Template, object, Path], None]"
"""Reports what a template reads that is not there."""

AT_START = Visible(roots=("input", "trigger", "env", "execution"))
ON_COLLECTING = Visible(roots=("input", "env"))
MICROSECOND = timedelta(microseconds=1)
NEWEST = "#newest"
"""Ends the name of a limit of which the newest execution has the others cancelled."""


class SharedLimit(Struct, frozen=True, kw_only=True):
    """A limit of the settings. It holds for nodes that name it, and for those of these types or handlers."""

    name: str
    most: int | None = None
    interval_us: int | None = None
    burst: int = 1
    node_types: tuple[str, ...] = ()
    handlers: tuple[str, ...] = ()
    """Patterns of names: `payments.*`."""

    def covers(self, node_type: str, handler: str | None) -> bool:
        """Tell whether it holds for all nodes of this type or with this handler."""
        return node_type in self.node_types or any(fnmatchcase(handler or "", each) for each in self.handlers)


class ThrottleDefinition(Struct, frozen=True, kw_only=True):
    """One limit as written."""

    path: tuple[str | int, ...]
    shared: str | None = None
    most: int | None = None
    interval_us: int | None = None
    burst: int = 1
    key: Any = None
    fair: Any = None


class StartDefinition(Struct, frozen=True, kw_only=True):
    """How executions of a workflow begin, as written."""

    delay: timedelta | None = None
    collect: str | None = None
    """`debounce` | `batch`; None where each message has its execution."""
    key: Any = None
    """Of the messages that are collected together; None for all."""
    within: timedelta = timedelta()
    """After this long without another message (`debounce`), or since the first (`batch`), it begins."""
    at_most: timedelta | None = None
    """A debounce ends so long after the first message, whatever still comes."""
    size: int = 0
    """A batch of so many begins at once."""
    policy: str | None = None
    """Of a singleton: `skip` | `queue` | `cancel_older`; None where there may be many."""
    single: Any = None
    """Key of the singleton; None for the workflow as a whole."""


class PlannedLimit(Struct, frozen=True, kw_only=True):
    """A limit, ready to be asked."""

    name: str
    most: int | None
    interval_us: int | None
    burst: int
    key: Template | None = None
    fair: Template | None = None
    skips: bool = False
    """Whether one that finds no slot free is not to wait."""


class PlannedStart(Struct, frozen=True, kw_only=True):
    """How executions begin."""

    definition: StartDefinition
    key: Template | None
    limits: tuple[PlannedLimit, ...]
    subject: Template | None = None
    """Whose data executions hold."""


AT_ONCE = PlannedStart(definition=StartDefinition(), key=None, limits=())
"""Nothing is waited for."""


def parse_throttle(
    given: object, path: Path, findings: Findings, *, node: str | None = None
) -> tuple[ThrottleDefinition, ...]:
    """Read `throttle`: one limit or a list of them, of the right structure."""
    entries = (
        [(each, (*path, place)) for place, each in enumerate(given)] if isinstance(given, list) else [(given, path)]
    )
    found: list[ThrottleDefinition] = []
    for entry, where in entries:
        value: Mapping[str, Any] = {"shared": entry} if isinstance(entry, str) else entry  # type: ignore[assignment]  # the schema says so
        if "shared" in value and ("concurrency" in value or "rate" in value):
            hint = "name a limit of the settings, or say what it is"
            findings.error("`shared` stands beside `concurrency` or `rate`", where, node=node, hint=hint)
        interval, burst = None, 1
        if (rate := value.get("rate")) is not None:
            interval, burst = read_rate(rate, (*where, "rate"), findings, node=node)
        found.append(
            ThrottleDefinition(
                path=where,
                shared=value.get("shared"),
                most=value.get("concurrency"),
                interval_us=interval,
                burst=burst,
                key=value.get("key"),
                fair=value.get("fair"),
            )
        )
    return tuple(found)


def read_rate(
    rate: Mapping[str, Any], path: Path, findings: Findings, *, node: str | None = None
) -> tuple[int | None, int]:
    """Return microseconds from one to the next, and the burst. None when the rate cannot be."""
    per = read_duration(rate["per"], (*path, "per"), findings, node=node)
    if per is None:
        return None, 1
    interval = (per // MICROSECOND) // rate["limit"]
    if interval < 1:
        findings.error("the rate is more than one in a microsecond", path, node=node, hint="make `limit` smaller")
        return None, 1
    return interval, rate.get("burst", 1)


def parse_start(given: Mapping[str, Any] | None, findings: Findings) -> StartDefinition | None:
    """Read `start` of the right structure."""
    if given is None:
        return None
    named = [name for name in ("delay", "debounce", "batch") if name in given]
    if len(named) > 1:
        words = " and ".join(f"`{name}`" for name in named)
        findings.error(f"an execution begins in several ways: {words}", ("start",), hint="keep one of them")
    read: dict[str, Any] = {}
    for path, name in ((("delay",), "delay"), (("debounce", "after"), "within"), (("batch", "within"), "within")):
        value: Any = given
        for key in path:
            value = value.get(key, {}) if isinstance(value, Mapping) else None
        if isinstance(value, str) and (duration := read_duration(value, ("start", *path), findings)) is not None:
            read[name] = duration
    for kind in ("debounce", "batch"):
        if kind in given:
            read |= {"collect": kind, "key": given[kind].get("key"), "size": given[kind].get("size", 0)}
    if "at_most" in given.get("debounce", {}):
        read["at_most"] = read_duration(given["debounce"]["at_most"], ("start", "debounce", "at_most"), findings)
        if read["at_most"] is not None and read["at_most"] < read.get("within", timedelta()):
            hint = "make it longer than `after`"
            findings.error("a debounce ends before it can settle", ("start", "debounce", "at_most"), hint=hint)
    if "singleton" in given:
        read |= {"policy": given["singleton"].get("policy", "queue"), "single": given["singleton"].get("key")}
    return StartDefinition(**read)


class Planning:
    """Makes limits of what a definition says."""

    def __init__(self, shared: Mapping[str, SharedLimit], findings: Findings, *, strict: bool) -> None:
        """`shared` are those of the settings; only with `strict` must those be there that are named."""
        self._shared = shared
        self.shared = tuple(limit for _, limit in sorted(shared.items()))
        self._findings = findings
        self._strict = strict

    def limits(
        self, name: str, throttles: Iterable[ThrottleDefinition], check: Check, *, node: str | None = None
    ) -> tuple[PlannedLimit, ...]:
        """Return the limits of one node, or of the workflow. The first is called `name`."""
        limits: list[PlannedLimit] = []
        for place, each in enumerate(throttles):
            key = self.template(each.key, (*each.path, "key"), check, node=node)
            fair = self.template(each.fair, (*each.path, "fair"), check, node=node)
            own = name if place == 0 else f"{name}#{place + 1}"
            if each.shared is None:
                limits.append(_planned(own, each, key, fair))
            elif each.shared in self._shared:
                limits.append(_planned(each.shared, self._shared[each.shared], key, fair))
            elif self._strict:
                nearest = did_you_mean(each.shared, self._shared)
                hint = f"declare it in the settings, as [throttle.{each.shared}]; {nearest}"
                self._findings.error(f"there is no shared limit {each.shared!r}", each.path, node=node, hint=hint)
        return tuple(limits)

    def covering(self, node_type: str, handler: str | None, named: Sequence[PlannedLimit]) -> tuple[PlannedLimit, ...]:
        """Return the shared limits that hold for all nodes of this type or with this handler, but for those named."""
        names = {limit.name for limit in named}
        return tuple(limit for limit in covering(self.shared, node_type, handler) if limit.name not in names)

    def start(self, definition: Definition) -> tuple[PlannedStart, Template | None]:
        """Return how executions of the workflow begin, and under which limits; and their priority."""
        workflow, start = definition.workflow, definition.start or StartDefinition()
        limits = self.limits(workflow, definition.throttle, self._check_start)
        if start.policy == "skip" and limits:
            hint = "choose another policy"
            message = "`skip` beside `throttle`: what the limit holds back would be left out too"
            self._findings.error(message, ("start", "singleton", "policy"), hint=hint)
        if start.policy is not None:
            end = NEWEST if start.policy == "cancel_older" else "#singleton"
            limits += (
                PlannedLimit(
                    name=workflow + end,
                    most=1,
                    interval_us=None,
                    burst=1,
                    key=self.template(start.single, ("start", "singleton", "key"), self._check_start),
                    skips=start.policy == "skip",
                ),
            )
        path = ("start", start.collect or "", "key")
        key = self.template(start.key, path, self._check_collecting)
        priority = self.template(definition.priority, ("priority",), self._check_start)
        subject = self.template(definition.subject, ("subject",), self._check_start)
        if subject is not None and start.collect == "batch":
            hint = "collect them by `debounce`, or let each have its execution"
            self._findings.error("a batch has messages of several subjects", ("subject",), hint=hint)
        return PlannedStart(definition=start, key=key, limits=limits, subject=subject), priority

    def _check_start(self, template: Template, written: object, path: Path) -> None:
        check_references([template], written, path, AT_START, self._findings)

    def _check_collecting(self, template: Template, written: object, path: Path) -> None:
        check_references([template], written, path, ON_COLLECTING, self._findings)

    def template(self, written: object, path: Path, check: Check, *, node: str | None = None) -> Template | None:
        """Compile and check a template; None for one that is not written, or wrong."""
        if written is None:
            return None
        try:
            template = compile_template(written)
        except TemplateError as error:
            self._findings.template(error, path, node=node)
            return None
        check(template, written, path)
        return template


def covering(shared: Iterable[SharedLimit], node_type: str, handler: str | None) -> tuple[PlannedLimit, ...]:
    """Return those of the limits that hold for all nodes of this type or with this handler."""
    return tuple(_planned(limit.name, limit, None, None) for limit in shared if limit.covers(node_type, handler))


def _planned(
    name: str, limit: SharedLimit | ThrottleDefinition, key: Template | None, fair: Template | None
) -> PlannedLimit:
    return PlannedLimit(
        name=name, most=limit.most, interval_us=limit.interval_us, burst=limit.burst, key=key, fair=fair
    )
