"""`function`: a durable function as a node.

    @durable("orders.fulfil")
    async def fulfil(ctx: DurableContext, items: list[str], total: float) -> Receipt: ...

    receipt = function("order", fulfil)(order.items, order.total)

Comes from: the author. Goes to: `options`, which makes the node.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, Unpack, cast, overload

from msgspec import UNSET

from daemon.durable import durable_spec_of
from daemon.flow.marks import Source, node_mark
from daemon.flow.mistakes import mistake
from daemon.flow.options import NodeOptions, make
from daemon.flow.reference import Ref
from daemon.flow.steps import input_of, module_of
from daemon.flow.wiring import OUT
from daemon.runtime.signatures import BadSignature, signature_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from daemon.durable import DurableContext

P = ParamSpec("P")
T = TypeVar("T")


@overload
def function(
    id: str, code: Callable[Concatenate[DurableContext, P], Awaitable[T]], **options: Unpack[NodeOptions]
) -> Callable[P, T]: ...
@overload
def function(id: str, code: str, **options: Unpack[NodeOptions]) -> Callable[..., Any]: ...
@overload
def function(id: str, code: str, type_: type[T], **options: Unpack[NodeOptions]) -> Callable[..., T]: ...
def function(id: str, code: Any, type_: object = None, **options: Any) -> Callable[..., Any]:  # noqa: ARG001  for type checkers
    """Return what makes the node when it is called, with what the function takes after its context.

    One of another module, or of a daemon elsewhere, may be known by its name alone: then one value is the whole input,
    and names are its fields.
    """
    name, bind = (code, _whole) if isinstance(code, str) else (_name_of(code), _bound_to(code))

    def call(*args: object, **kwargs: object) -> Any:
        node = make(id, {"function": name, "with": bind(args, kwargs)}, options)
        return Ref(node_mark(Source(node.id, OUT)))

    return call


def _name_of(code: Callable[..., Any]) -> str:
    spec = durable_spec_of(code)
    if spec is None:
        raise mistake(f"{getattr(code, '__name__', code)!r} is no durable function", "decorate it with @durable(…)")
    return spec.name or f"{module_of(code)}.{code.__qualname__}"


def _bound_to(code: Callable[..., Any]) -> Callable[[tuple[object, ...], Mapping[str, object]], Any]:
    accepted = inspect.signature(code)
    first = next(iter(accepted.parameters), None)
    try:
        signature = signature_of(code, context=first)
    except BadSignature as error:
        raise mistake(f"{_name_of(code)}: {error}") from None
    return lambda args, kwargs: input_of(_name_of(code), accepted, signature, args, kwargs)


def _whole(args: tuple[object, ...], kwargs: Mapping[str, object]) -> Any:
    if len(args) > 1 or (args and kwargs):
        raise mistake("a function that is known by its name alone takes one value, or values by name")
    return cast("Any", args[0] if args else dict(kwargs) or UNSET)
