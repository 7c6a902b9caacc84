"""Ways: `branch`, `switch`, `choose`, and the ports of steps.

    large = branch("large", order.total > 1000)
    with large.true:                                  # what begins in here begins by this way
        review = signal("review", "reviewed", timeout="24h")
    receipt = charge.options(after=[large.false, review])(order)

    with port(receipt, "error") as problem:           # an `error` way, and what went wrong
        apologise(problem)

Comes from: the author. Goes to: `wiring`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, Unpack, cast, overload

from msgspec import Struct

from daemon.flow.marks import Source, node_mark
from daemon.flow.mistakes import mistake
from daemon.flow.options import NodeOptions, make, named_by
from daemon.flow.reference import Ref
from daemon.flow.wiring import ERROR, OUT, Origin, current

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager
    from types import TracebackType

T = TypeVar("T")


class Failure(Struct, frozen=True):
    """What went wrong in a step; a handler may take one."""

    message: str
    code: str
    type: str
    attempt: int
    """Counts from 1."""
    details: Any


class Way(Origin, Generic[T]):
    """A port by which a node is left. In `with`, nodes begin by it; in `after=[…]`, a node does."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._open: list[AbstractContextManager[None]] = []

    @property
    def value(self) -> T:
        """What is read behind it: the node's output, or its error."""
        suffix = ".error" if self.source.port == ERROR else ""
        return cast("T", Ref(node_mark(self.source) + suffix))

    def __enter__(self) -> T:
        wiring = current()
        block = wiring.under(wiring.nodes[self.source.node], self.source.port)
        block.__enter__()
        self._open.append(block)
        return self.value

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.pop().__exit__(kind, error, traceback)


class Branch(Origin):
    """A node that takes one of several ways."""

    def __init__(self, node_id: str, ports: Iterable[str]) -> None:
        self._ports = (*ports, ERROR)
        self._id = node_id
        self.source = Source(node_id, OUT)

    def __getitem__(self, port: str) -> Way[Any]:
        """Return the way by this port."""
        if port not in self._ports:
            raise mistake(f"`{self._id}` has no way {port!r}", f"there are: {', '.join(self._ports)}")
        return Way(Source(self._id, port))


class Condition(Branch):
    """A branch with two ways."""

    @property
    def true(self) -> Way[Any]:
        """The way when the condition holds."""
        return self["true"]

    @property
    def false(self) -> Way[Any]:
        """The way when it does not."""
        return self["false"]


class Cases(Branch):
    """A branch with a way for each case; `branch["name"]` is one of them."""

    @property
    def default(self) -> Way[Any]:
        """The way when no case fits."""
        return self["default"]


def branch(id: str, test: bool, **options: Unpack[NodeOptions]) -> Condition:
    """Take the way `true` or `false`."""
    return Condition(make(id, {"branch": test}, options).id, ("true", "false"))


def switch(
    id: str,
    value: object,
    cases: Iterable[str | float | bool] | Mapping[str, object],
    **options: Unpack[NodeOptions],
) -> Cases:
    """Take the way of the value: `["de", "fr"]` are values and ways, `{"ok": [200, 204]}` a way with its values."""
    given: Any = dict(cases) if isinstance(cases, Mapping) else list(cases)
    ports = [each if isinstance(each, str) else str(each).lower() for each in given]
    return Cases(make(id, {"branch": {"switch": value, "cases": given}}, options).id, (*ports, "default"))


def choose(id: str, cases: Mapping[str, bool], **options: Unpack[NodeOptions]) -> Cases:
    """Take the way of the first condition that holds: `{"large": order.total > 1000, "rush": order.rush}`."""
    given = [{port: test} for port, test in cases.items()]
    return Cases(make(id, {"branch": {"cases": given}}, options).id, (*cases, "default"))


@overload
def port(value: object, name: Literal["error"]) -> Way[Failure]: ...
@overload
def port(value: object, name: str) -> Way[Any]: ...
@overload
def port(value: object, name: str, type_: type[T]) -> Way[T]: ...
def port(value: object, name: str, type_: object = None) -> Way[Any]:  # noqa: ARG001  for type checkers
    """Return the way by this port of the step that has given the value."""
    sources = named_by(value)
    if len(sources) != 1:
        raise mistake(f"the value comes from {len(sources)} nodes: it is not clear whose way is meant", "name one step")
    return Way(Source(sources[0].node, name))


def error_of(value: object) -> Failure:
    """Return what went wrong in the step that would have given the value; what reads it begins by the `error` way."""
    return port(value, "error").value


def edges(*places: object) -> None:
    """Let each come after the one before: `edges(prices, flight, [hotel, car], pay)`."""
    wiring = current()
    for before, after in pairwise(places):
        sources = [source for each in _each(before) for source in named_by(each)]
        for target in (source.node for each in _each(after) for source in named_by(each)):
            node = wiring.nodes[target]
            node.after += [source for source in sources if source not in node.after]


def _each(place: object) -> Iterable[object]:
    return place if isinstance(place, list | tuple) else [place]
