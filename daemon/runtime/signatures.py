"""What a handler takes and gives, read from its annotations: JSON Schemas, and values in and out.

Comes from: `handler_registry`. Goes to: the handler itself.
"""

from __future__ import annotations

import inspect
from types import UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from daemon.handlers import Context
from daemon.nodes.answers import Again, Answer, End, Pause, Port, Route
from daemon.nodes.context import NodeContext, StepFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_INPUT, _CONTEXT = "input", "context"
_ANSWERS = get_args(Answer)
_HAVE_VALUE_FORM = (type(None), bool, int, float, str, bytes)


class BadSignature(Exception):
    """The function cannot be a handler; the message says why."""


class Signature(Struct, frozen=True):
    """How a handler is called."""

    input: Any
    """Type that the whole of `with` is converted to; None for a handler that takes no input."""
    named: bool
    """Whether the fields of the input are handed over as arguments of their own."""
    positional: tuple[str, ...]
    """Parameters that can only be handed over by position: at most the input, then the context."""
    input_name: str | None
    context_name: str | None
    output: Any

    def bind(self, value: object, context: object) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments for this input. Raises `StepFailure` with code `invalid_input`."""
        arguments: dict[str, Any] = {}
        if self.input is None:
            if value not in (None, {}):
                raise StepFailure("with: the handler takes no input", "invalid_input", retryable=False)
        elif self.named:
            bound = _converted(value if value is not None else {}, self.input)
            arguments = {name: getattr(bound, name) for name in self.input.__struct_fields__}
        else:
            arguments = {self.input_name or _INPUT: _converted(value, self.input)}
        if self.context_name is not None:
            arguments[self.context_name] = context
        return tuple(arguments.pop(name) for name in self.positional), arguments

    def input_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of `with`."""
        return schema_of(self.input) if self.input is not None else {"type": ["object", "null"], "maxProperties": 0}

    def output_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of what the handler gives."""
        return schema_of(self.output)


def signature_of(function: Callable[..., Any], *, context: str | None = None) -> Signature:
    """Read a function's signature; `context` names the parameter that gets the context, if it is known.

    Raises `BadSignature`.
    """
    try:
        hints = get_type_hints(inspect.unwrap(function), include_extras=True)
    except (NameError, TypeError, AttributeError, SyntaxError) as error:
        raise BadSignature(f"its annotations cannot be resolved: {error}") from error
    inputs: list[inspect.Parameter] = []
    context_name: str | None = None
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise BadSignature(f"it takes {parameter}; a handler names each of its parameters")
        if parameter.name == context or (context is None and _is_context(parameter, hints)):
            if context_name is not None:
                raise BadSignature(f"both {context_name} and {parameter.name} would get the context")
            context_name = parameter.name
        else:
            inputs.append(parameter)
    whole = len(inputs) == 1 and inputs[0].name == _INPUT
    if not whole and any(parameter.kind is parameter.POSITIONAL_ONLY for parameter in inputs):
        raise BadSignature("a parameter that is bound by name cannot be positional-only")
    signature = Signature(
        input=_input_type(function, inputs, hints, whole=whole),
        named=bool(inputs) and not whole,
        positional=_positional(function),
        input_name=inputs[0].name if whole else None,
        context_name=context_name,
        output=Any if _is_generator(function) else _output_type(hints.get("return", Any)),
    )
    _check_types(signature)
    return signature


def _is_generator(function: Callable[..., Any]) -> bool:
    plain = inspect.unwrap(function)
    return inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain)


def encode_output(value: object) -> object:
    """Return the value, or what is in the answer, in JSON types. Raises `StepFailure` with code `invalid_output`."""
    match value:
        case Port() | Route() | End():
            return replace(value, output=_encoded(value.output))
        case Again() | Pause():
            return replace(value, state=_encoded(value.state))
        case _:
            return _encoded(value)


def _encoded(value: object) -> object:
    try:
        return msgspec.to_builtins(value, str_keys=True, enc_hook=_encode)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise StepFailure(
            f"the handler's result has no JSON form: {error}", "invalid_output", retryable=False
        ) from error


def _is_context(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> bool:
    hint = hints.get(parameter.name, Any)
    return bool({Context, NodeContext} & {hint, *get_args(hint)}) or (parameter.name == _CONTEXT and hint is Any)


def _positional(function: Callable[..., Any]) -> tuple[str, ...]:
    parameters = inspect.signature(function).parameters.values()
    return tuple(each.name for each in parameters if each.kind is each.POSITIONAL_ONLY)


def _input_type(
    function: Callable[..., Any], inputs: list[inspect.Parameter], hints: Mapping[str, Any], *, whole: bool
) -> Any:
    if not inputs:
        return None
    if whole:
        return hints.get(_INPUT, Any)
    fields: list[Any] = []
    for parameter in inputs:
        hint = hints.get(parameter.name, Any)
        required = parameter.default is parameter.empty
        fields.append((parameter.name, hint) if required else (parameter.name, hint, _default(parameter.default)))
    name = getattr(function, "__name__", "handler")
    try:
        return msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True)
    except (TypeError, ValueError) as error:
        raise BadSignature(str(error)) from error


def _output_type(hint: Any) -> Any:
    """Return what the step's output is of, when the handler may give answers beside it."""
    if get_origin(hint) not in (Union, UnionType):
        return Any if hint in _ANSWERS else hint
    outputs = tuple(each for each in get_args(hint) if each not in _ANSWERS)
    return Union[outputs] if outputs else Any  # noqa: UP007  built at run time


def _default(value: Any) -> Any:
    """Return the function's own default object, as Python would hand it over."""
    return value if isinstance(value, _HAVE_VALUE_FORM) else msgspec.field(default_factory=lambda: value)


def _check_types(signature: Signature) -> None:
    for what, hint in (("parameters", signature.input), ("result", signature.output)):
        if hint is None:
            continue
        try:
            schema_of(hint)
        except (TypeError, NameError, AttributeError) as error:
            raise BadSignature(f"the type of its {what} has no JSON form: {_first_line(error)}") from error


def _converted(value: object, to: Any) -> Any:
    try:
        return msgspec.convert(value, to, str_keys=True, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise StepFailure(_in_our_words(error), "invalid_input", retryable=False) from error


def _in_our_words(error: msgspec.ValidationError) -> str:
    """Turn "Expected `int`, got `str` - at `$.order.total`" into "with.order.total: Expected int, got str"."""
    message, _, path = str(error).rpartition(" - at `")
    if not message:
        return f"with: {str(error).replace('`', '')}"
    return f"with{path.rstrip('`').removeprefix('$')}: {message.replace('`', '')}"


# What msgspec does not know: `object`, which is anything, and pydantic models, known by their methods.


def _decode(to: Any, value: Any) -> Any:
    if to is object:
        return value
    validate = getattr(to, "model_validate", None)
    if validate is None:
        raise NotImplementedError(f"{to} cannot be made from JSON")
    try:
        return validate(value)
    except ValueError as error:
        problems: list[dict[str, Any]] = getattr(error, "errors", list)()
        places = ((".".join(str(part) for part in each["loc"]), each["msg"]) for each in problems)
        told = "; ".join(f"{place}: {text}" if place else text for place, text in places)
        raise ValueError(told or str(error)) from None


def _encode(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"{type(value).__name__} has none")
    return dump(mode="json")


def schema_of(hint: Any) -> dict[str, Any]:
    """Return the JSON Schema of a type. TypeError for one that has none."""
    return msgspec.json.schema(hint, schema_hook=_schema_of_model)


def _schema_of_model(hint: Any) -> dict[str, Any]:
    if hint is object:
        return {"description": "anything"}
    schema = getattr(hint, "model_json_schema", None)
    if schema is None:
        raise NotImplementedError
    inner: dict[str, Any] = schema()
    return {"$id": f"urn:sagad:model:{hint.__module__}.{hint.__qualname__}", **inner}


def _first_line(error: Exception) -> str:
    """Msgspec's message ends with the type that it could not describe."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
