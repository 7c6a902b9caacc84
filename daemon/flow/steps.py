"""`@step`: a handler that can be called in a workflow's function.

Comes from: the author. Goes to: `options`, which makes the node; daemon/runtime/handler_registry, for which
`Step.function` is a handler.
"""

from __future__ import annotations

import inspect
from functools import update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeAlias, TypeVar, Unpack, cast, overload

from msgspec import UNSET

from daemon.flow.marks import Source, node_mark
from daemon.flow.mistakes import mistake, place_of
from daemon.flow.options import StepOptions, make
from daemon.flow.reference import Ref
from daemon.flow.undoing import Undoer
from daemon.flow.wiring import OUT, current
from daemon.handlers import LOADED_AS, Context, handler, spec_of
from daemon.nodes.answers import Again, End, Port, Route
from daemon.runtime.signatures import BadSignature, Signature, signature_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from daemon.flow.undoing import Compensation, Done, Irreversible, Undo

P = ParamSpec("P")
T = TypeVar("T")
U = TypeVar("U")
U_contra = TypeVar("U_contra", contravariant=True)

Answer: TypeAlias = Port | Route | End | Again

CONTEXT = cast("Context", None)
"""Default of a step's context: `*, context: Context = CONTEXT`. A workflow's function calls the step without one; an
attempt always gets its own."""


class Step(Undoer, Generic[P, T]):
    """A handler that can be called in a workflow's function, where it makes a node and gives a reference."""

    def __init__(
        self, function: Callable[..., Any], name: str, options: Mapping[str, Any], ports: Iterable[str] = ()
    ) -> None:
        update_wrapper(self, function)
        self.name = name
        self._function = function
        self._options = options
        self._ports = tuple(ports)

    @property
    def function(self) -> Callable[..., Any]:
        """The function as it was written: what an attempt, and a unit test, calls."""
        return self._function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a node that runs this with these arguments; return what stands for its output."""
        wiring = current()
        wiring.steps.append(self)
        own = {"task": self.name, "with": self._input(args, kwargs), "ports": list(self._ports) or UNSET}
        options = dict(self._options)
        node = make(options.pop("id", self.function.__name__), own, options)
        return cast("T", Ref(node_mark(Source(node.id, OUT))))

    def options(
        self,
        *,
        id: str | None = None,
        compensate: Compensation[T] | None = None,
        **options: Unpack[StepOptions],
    ) -> Step[P, T]:
        """Return the same step with other options; `id` names its node, which is the function's name if not given."""
        changed: dict[str, Any] = {**self._options, **options}
        changed |= {key: value for key, value in (("id", id), ("compensate", compensate)) if value is not None}
        return Step(self._function, self.name, changed, self._ports)

    def undo_output(self, output: Ref) -> None:
        """Make a node that is given an output alone."""
        cast("Step[[Ref], object]", self)(output)

    def __repr__(self) -> str:
        return f"<Step {self.name}>"

    def _input(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> Any:
        return input_of(self.name, inspect.signature(self._function), self._signature(), args, kwargs)

    def _signature(self) -> Signature:
        try:
            return signature_of(self._function)
        except BadSignature as error:
            raise mistake(f"{self.name}: {error}", place=place_of(inspect.unwrap(self._function).__code__)) from None


def input_of(
    name: str,
    accepted: inspect.Signature,
    signature: Signature,
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
) -> Any:
    """Return what a handler, or a durable function, is sent when it is called so, without its context."""
    inputs = [each for each in accepted.parameters.values() if each.name != signature.context_name]
    try:
        given = accepted.replace(parameters=inputs).bind(*args, **kwargs).arguments
    except TypeError as error:
        raise mistake(f"{name}: {error}") from None
    if signature.input_name is not None:
        return given.get(signature.input_name, UNSET)
    return dict(given) or UNSET


class Steps:
    """What `step(…)` gives to decorate a function with."""

    def __init__(self, name: str | None, options: Mapping[str, Any], ports: Iterable[str], *, cpu: bool) -> None:
        self._name, self._options, self._ports, self._cpu = name, options, ports, cpu

    @overload
    def __call__(self, function: Callable[P, Awaitable[Answer]], /) -> Step[P, Any]: ...
    @overload
    def __call__(self, function: Callable[P, Awaitable[T | Answer]], /) -> Step[P, T]: ...
    @overload
    def __call__(self, function: Callable[P, Answer], /) -> Step[P, Any]: ...
    @overload
    def __call__(self, function: Callable[P, T | Answer], /) -> Step[P, T]: ...
    def __call__(self, function: Callable[P, Any], /) -> Step[P, Any]:
        """Make a step of the function."""
        return cast("Step[P, Any]", _step(function, self._name, self._options, self._ports, cpu=self._cpu))


class TakesOutput(Protocol[U_contra]):
    """A step that takes one value; no other function has a name of this kind."""

    name: str

    def __call__(self, output: U_contra, /) -> Any:
        """Make a node that is given the value."""


class StepsOf(Protocol[U]):
    """The same as `Steps` for functions that give what the compensation takes."""

    @overload
    def __call__(self, function: Callable[P, Awaitable[U | Answer]], /) -> Step[P, U]: ...
    @overload
    def __call__(self, function: Callable[P, U | Answer], /) -> Step[P, U]: ...


@overload
def step(function: Callable[P, Awaitable[Answer]], /) -> Step[P, Any]: ...
@overload
def step(function: Callable[P, Awaitable[T | Answer]], /) -> Step[P, T]: ...
@overload
def step(function: Callable[P, Answer], /) -> Step[P, Any]: ...
@overload
def step(function: Callable[P, T | Answer], /) -> Step[P, T]: ...
@overload
def step(  # type: ignore[overload-overlap]  # a step is a function too, and the more precise form is meant
    name: str | None = None,
    /,
    *,
    compensate: TakesOutput[U],
    cpu: bool = False,
    ports: Iterable[str] = (),
    **options: Unpack[StepOptions],
) -> StepsOf[U]: ...
@overload
def step(
    name: str | None = None,
    /,
    *,
    compensate: Callable[[Done[Any]], object] | Undo | Irreversible | None = None,
    cpu: bool = False,
    ports: Iterable[str] = (),
    **options: Unpack[StepOptions],
) -> Steps: ...
def step(
    name: Any = None,
    /,
    *,
    compensate: Any = None,
    cpu: bool = False,
    ports: Iterable[str] = (),
    **options: Any,
) -> Any:
    """Make a step of a function that is written as any handler is (see daemon/handlers).

    It is registered under `name`, or its module's name and its own. The options are those of each node that it makes;
    `Step.options` gives other ones for a call. `ports` are those that it may leave by with `Port(name)`.
    """
    if callable(name):
        return _step(name, None, {}, (), cpu=False)
    given = options if compensate is None else {**options, "compensate": compensate}
    return Steps(name, given, ports, cpu=cpu)


def _step(
    function: Callable[..., Any], name: str | None, options: Mapping[str, Any], ports: Iterable[str], *, cpu: bool
) -> Step[..., Any]:
    if not inspect.isroutine(function):
        raise mistake("@step is for functions")
    known = spec_of(function)
    if known is not None and known.name is not None and name is None:
        return Step(function, known.name, options, ports)
    named = name or f"{module_of(function)}.{function.__qualname__}"
    return Step(handler(named, cpu=cpu)(function), named, options, ports)


def module_of(function: Callable[..., Any]) -> str:
    """Return what a step's name begins with: for a file that is loaded by its path, the file's name."""
    if function.__module__.startswith(LOADED_AS) or function.__module__ == "__main__":
        return Path(inspect.unwrap(function).__code__.co_filename).stem
    return function.__module__
