"""The text form of a state, for snapshots: JSON with plain maps in place of the persistent ones.

`FORMAT` names the form. Raise it when a state's fields change meaning: snapshots of another form are ignored, and the
state is folded from the events again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

import msgspec
from immutables import Map

from daemon.core.state import State

if TYPE_CHECKING:
    from collections.abc import Callable

FORMAT = "state/2"


def _plain_form(state_type: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """Return a struct type with the same fields and tag, maps replaced by dicts."""
    hints = get_type_hints(state_type)
    fields = [(name, _plain_type(hints[name])) for name in state_type.__struct_fields__]
    return msgspec.defstruct(state_type.__name__, fields, frozen=True, kw_only=True, tag=state_type.__name__)


def _plain_type(hint: Any) -> Any:
    return dict.__class_getitem__(get_args(hint)) if get_origin(hint) is Map else hint


_PLAIN: dict[type[State], type[msgspec.Struct]] = {kind: _plain_form(kind) for kind in get_args(State)}
_STATE: dict[type[msgspec.Struct], Callable[..., State]] = {plain: kind for kind, plain in _PLAIN.items()}
_decode: Callable[[bytes], Any] = msgspec.json.Decoder(Union[tuple(_STATE)]).decode  # noqa: UP007  built at run time


def encode_state(state: State) -> bytes:
    """Return the state's text; equal states give equal text."""
    fields = ((name, getattr(state, name)) for name in state.__struct_fields__)
    plain = {name: dict(sorted(value.items())) if isinstance(value, Map) else value for name, value in fields}
    return msgspec.json.encode(_PLAIN[type(state)](**plain))


def decode_state(text: bytes) -> State:
    """Return the state again. Raises `msgspec.MsgspecError` for a text that is not one of this form."""
    plain = _decode(text)
    fields = ((name, getattr(plain, name)) for name in plain.__struct_fields__)
    whole = {name: Map(value) if isinstance(value, dict) else value for name, value in fields}
    return _STATE[type(plain)](**whole)
