"""Nodes with a body: loops, fan-outs and groups. What is made in their `with` is their body.

    with for_each("lines", order.lines) as lines:
        lines.skip_if(lines.item.quantity == 0)
        price = transform("price", lines.item.quantity * lines.item.price)
        prices = lines.collect(price)                 # list[float], to be read after the loop
    total = transform("total", pipe(prices, "sum"))

Comes from: the author. Goes to: `wiring`.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, Unpack, cast, overload

from msgspec import UNSET

from daemon.flow.marks import Source, node_mark, turn_mark
from daemon.flow.mistakes import mistake
from daemon.flow.options import NodeOptions, make
from daemon.flow.reference import Ref
from daemon.flow.wiring import OUT, Origin, current

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager
    from types import TracebackType

    from daemon.flow.wiring import Graph

T = TypeVar("T")
R = TypeVar("R")


class Body(Origin):
    """A node whose body is what is made in its `with`."""

    def __init__(
        self,
        node_id: str,
        keys: Mapping[str, Any],
        options: Mapping[str, Any],
        turn: str = "",
        *,
        collects: bool = False,
    ) -> None:
        wiring = current()
        self._node = make(node_id, keys, options)
        self._turn = turn
        self._collects = collects
        self._graph: Graph | None = None
        self._open: AbstractContextManager[Graph] = wiring.body(self._node, turn)
        self.source = Source(node_id, OUT)

    def __enter__(self) -> Self:
        if self._graph is not None:
            raise mistake(f"`{self._node.id}` has its body already")
        if self._node.graph is not current().graph:
            raise mistake(f"the body of `{self._node.id}` must be written where the node is made")
        self._graph = self._open.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, traceback)

    @property
    def result(self) -> Any:
        """What the node gives: by its `collect`, `last` or `output`, or what the last nodes of its body give, by id."""
        return Ref(node_mark(self.source))

    def output(self, value: R) -> R:
        """Say what the body gives; return what stands for it outside, where the node gives just that."""
        current().give(self._body, value)
        return cast("R", self.result)

    @property
    def _body(self) -> Graph:
        if self._graph is None:
            raise mistake(f"`{self._node.id}` has no body yet", "write it below `with … as …:`")
        return self._graph

    def _turn_value(self, name: str) -> Any:
        return Ref(turn_mark(self._node.id))[name]

    def _gives(self, value: object, *, collect: bool) -> Any:
        if collect != self._collects:
            self._node.keys["collect"] = collect
        return self.output(value)


class Turns(Body, Generic[T]):
    """A body that is repeated."""

    _item = "item"

    @property
    def item(self) -> T:
        """The item, or the number, of this turn."""
        return cast("T", self._turn_value(self._item))

    @property
    def index(self) -> int:
        """Which turn this is, from 0."""
        return cast("int", self._turn_value("index"))

    @property
    def total(self) -> int:
        """How many turns there are, where that is known."""
        return cast("int", self._turn_value("total"))

    @property
    def results(self) -> list[Any]:
        """In `aggregate`: what the turns gave."""
        return cast("list[Any]", self._turn_value("results"))

    def collect(self, value: R) -> list[R]:
        """Say what a turn gives; the node gives the list of that."""
        return cast("list[R]", self._gives(value, collect=True))

    def aggregate(self, value: R) -> R:
        """Say what the node gives instead, made of `results`."""
        current().extend(self._node, "aggregate", value, within=self._body)
        return cast("R", self.result)


class Loop(Turns[T]):
    """A body that is repeated, one turn after the other."""

    @property
    def iteration(self) -> int:
        """Which turn this is, from 1."""
        return cast("int", self._turn_value("iteration"))

    @property
    def previous(self) -> Any:
        """What the turn before gave."""
        return self._turn_value("previous")

    def last(self, value: R) -> R:
        """Say what a turn gives; the node gives what the last one gave."""
        return cast("R", self._gives(value, collect=False))

    def skip_if(self, test: bool) -> None:
        """Leave out the turns for which this holds; asked before each turn."""
        current().extend(self._node, "continue", test, within=self._body)

    def stop_if(self, test: bool) -> None:
        """End the loop after a turn in which this holds; it may read what was in the turn."""
        current().extend(self._node, "break", test, within=self._body)


class DoWhile(Loop[None]):
    """A loop whose condition is asked after each turn."""

    def again_if(self, test: bool) -> None:
        """Go on for another turn if this holds; it may read what was in the turn."""
        current().extend(self._node, "doWhile", test, within=self._body)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, traceback)
        if error is None and not self._node.keys["doWhile"]:
            raise mistake(f"`{self._node.id}` does not say when it goes on", "write .again_if(…) in it")


class FanOut(Turns[T]):
    """A body that is repeated beside itself."""

    _item = "currentItem"


class Group(Body):
    """A body that is carried out once."""


def for_each(id: str, items: Iterable[T], *, limit: int | None = None, **options: Unpack[NodeOptions]) -> Loop[T]:
    """Repeat a body for each item of a list, one after the other. More turns than `limit` are an error."""
    return Loop(id, {"forEach": items, "limit": _some(limit)}, options, "loop", collects=True)


def for_times(id: str, times: int, *, limit: int | None = None, **options: Unpack[NodeOptions]) -> Loop[int]:
    """Repeat a body so many times; `item` counts from 0."""
    return Loop(id, {"for": times, "limit": _some(limit)}, options, "loop", collects=True)


def for_range(
    id: str,
    first: int,
    last: int,
    step: int = 1,
    *,
    limit: int | None = None,
    **options: Unpack[NodeOptions],
) -> Loop[int]:
    """Repeat a body for each number from `first` to `last`, which is among them."""
    numbers = {"from": first, "to": last} | ({"step": step} if isinstance(cast("Any", step), Ref) or step != 1 else {})
    return Loop(id, {"for": numbers, "limit": _some(limit)}, options, "loop", collects=True)


def while_loop(
    id: str,
    test: bool | Callable[[Loop[None]], bool],
    *,
    limit: int | None = None,
    **options: Unpack[NodeOptions],
) -> Loop[None]:
    """Repeat a body while a condition holds, which is asked before each turn.

    A function of the loop gives a condition that reads the turn: `lambda loop: loop.previous.more`.
    """
    loop = Loop[None](id, {"while": "", "limit": _some(limit)}, options, "loop")
    asked = cast("Any", test)(loop) if inspect.isroutine(test) else test
    with current().body(loop._node, "loop") as graph:  # noqa: SLF001  our own, a moment old
        current().extend(loop._node, "while", asked, within=graph)  # noqa: SLF001
    return loop


def do_while(id: str, *, limit: int | None = None, **options: Unpack[NodeOptions]) -> DoWhile:
    """Repeat a body at least once, and on while `.again_if(…)` in it holds."""
    return DoWhile(id, {"doWhile": "", "limit": _some(limit)}, options, "loop")


@overload
def parallel(
    id: str,
    over: int,
    *,
    concurrency: int | None = None,
    on_failure: Literal["fail_fast", "collect"] | None = None,
    enough: int | None = None,
    limit: int | None = None,
    **options: Unpack[NodeOptions],
) -> FanOut[int]: ...
@overload
def parallel(
    id: str,
    over: Iterable[T],
    *,
    concurrency: int | None = None,
    on_failure: Literal["fail_fast", "collect"] | None = None,
    enough: int | None = None,
    limit: int | None = None,
    **options: Unpack[NodeOptions],
) -> FanOut[T]: ...
def parallel(
    id: str,
    over: object,
    *,
    concurrency: int | None = None,
    on_failure: str | None = None,
    enough: int | None = None,
    limit: int | None = None,
    **options: Unpack[NodeOptions],
) -> FanOut[Any]:
    """Repeat a body beside itself, for each item of a list or so many times; see `sagad schema` for the keys."""
    own = {"concurrency": concurrency, "on_failure": on_failure, "enough": enough, "limit": limit}
    keys = {"parallel": over} | {key: _some(value) for key, value in own.items()}
    return FanOut(id, keys, options, "parallel", collects=True)


def saga(
    id: str,
    undo: Literal["automatic", "manual", "confirm_each"] = "automatic",
    **options: Unpack[NodeOptions],
) -> Group:
    """Group nodes that are undone by themselves when one of them fails, before the group's error goes on."""
    return Group(id, {"saga": undo}, options)


def group(id: str, own: Mapping[str, Any], **options: Unpack[NodeOptions]) -> Group:
    """Make a node with a body of a type of any other package, of its keys as a definition has them."""
    return Group(id, own, options)


def _some(value: object) -> object:
    return UNSET if value is None else value
