"""What a JSON Schema validator found, in words that its author can act on.

A value that fits none of several shapes is explained by the shape that it is nearest to.

Comes from: `json_schema`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from jsonschema_rs import ValidationErrorKind as Kind

from daemon.core.durations import DurationError, parse_duration
from daemon.core.problems import Path, Problem, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from jsonschema_rs import ValidationError

Shape: TypeAlias = "list[ValidationError]"
"""What is wrong with a value as one of several alternatives."""

_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
}
_LIMITS = {
    "minimum": "must be at least",
    "maximum": "must be at most",
    "exclusiveMinimum": "must be more than",
    "exclusiveMaximum": "must be less than",
    "minLength": "must have this many characters or more:",
    "maxLength": "must have this many characters or fewer:",
    "minItems": "must have this many items or more:",
    "maxItems": "must have this many items or fewer:",
    "minProperties": "must have this many keys or more:",
    "maxProperties": "must have this many keys or fewer:",
}
_NOT_EMPTY = ("minLength", "minItems", "minProperties")
_SHOWN_CHARACTERS = 80
_SHOWN_MESSAGE = 300


def in_words(found: Iterable[ValidationError], schema: Mapping[str, Any]) -> list[Problem]:
    """Return the problems, with paths relative to the value that was checked against `schema`."""
    return [problem for each in found for problem in _explain(each, schema)]


def _explain(found: ValidationError, schema: Mapping[str, Any]) -> list[Problem]:
    path, part = _path(found), _part(schema, found)
    match found.kind:
        case Kind.AnyOf(context=shapes) | Kind.OneOfNotValid(context=shapes):
            return _nearest(found, shapes, schema)
        case Kind.Required(property=key):
            return [Problem(message=f"`{key}` is missing", path=path, hint=_described(key, part))]
        case Kind.AdditionalProperties(unexpected=keys):
            return [_unexpected(key, path, part.get("properties", {})) for key in keys]
        case Kind.Enum(options=options):
            return [_not_among(found.instance, options, path)]
        case Kind.Constant(expected_value=value):
            return [_not_among(found.instance, [value], path)]
        case Kind.Type() | Kind.Pattern():
            return [_wrong_kind(found.instance, part, path)]
    return [Problem(message=_limit(found.kind.name, part, path) or found.message[:_SHOWN_MESSAGE], path=path)]


def _path(found: ValidationError) -> Path:
    return tuple(found.instance_path)


def _part(schema: Any, found: ValidationError) -> dict[str, Any]:
    """Return the part of the schema that holds the keyword; empty when it stands in another document."""
    try:
        for key in found.schema_path[:-1]:
            schema = schema[key]
        return dict(schema)
    except (LookupError, TypeError, ValueError):
        return {}


def _limit(name: str, part: Mapping[str, Any], path: Path) -> str | None:
    if name not in _LIMITS or name not in part:
        return None
    subject = f"`{path[-1]}` " if path and isinstance(path[-1], str) else ""
    empty = name in _NOT_EMPTY and part[name] == 1
    return subject + ("must not be empty" if empty else f"{_LIMITS[name]} {part[name]}")


def _unexpected(key: str, path: Path, known: Iterable[str]) -> Problem:
    return Problem(message=f"there is no key `{key}` here", path=(*path, key), hint=did_you_mean(key, known))


def _not_among(value: object, options: Sequence[object], path: Path) -> Problem:
    words = [str(option) for option in options]
    hint = did_you_mean(value, words) if isinstance(value, str) else f"there are: {', '.join(words)}"
    return Problem(message=f"{_shown(value)} is not known here", path=path, hint=hint)


def _wrong_kind(value: object, part: Mapping[str, Any], path: Path) -> Problem:
    expected = _expected(part)
    if expected == "a duration":
        try:
            parse_duration(value)
        except DurationError as error:
            return Problem(message=error.message, path=path, hint=error.hint)
    if isinstance(value, str) and part.get("type") == "string":
        return Problem(message=f"{_shown(value)} is not {expected}", path=path, hint=_examples(part))
    return Problem(message=f"expected {expected}, not {kind_of(value)}", path=path, hint=_examples(part))


def _expected(part: Mapping[str, Any]) -> str:
    """Our own schemas say what is expected; of others the types are named."""
    if "x-expected" in part:
        return str(part["x-expected"])
    if "pattern" in part:
        return f"text like {part['pattern']}"
    types = part.get("type", [])
    return " or ".join(_TYPES[each] for each in ([types] if isinstance(types, str) else types)) or "another value"


def _examples(part: Mapping[str, Any]) -> str | None:
    return f"write it like {' or '.join(str(each) for each in part['examples'][:3])}" if "examples" in part else None


def _described(key: str, part: Mapping[str, Any]) -> str | None:
    text = str(part.get("properties", {}).get(key, {}).get("description", "")).rstrip(".")
    if not text or len(text) > _SHOWN_CHARACTERS or text.lower() == f"the {key}":
        return None
    return text[0].lower() + text[1:]


def _nearest(found: ValidationError, shapes: list[Shape], schema: Mapping[str, Any]) -> list[Problem]:
    path = _path(found)
    constants = [each for shape in shapes for each in shape if isinstance(each.kind, Kind.Constant)]
    if len(constants) == len(shapes):
        wrong = constants[0]
        return [_not_among(wrong.instance, [_part(schema, each).get("const") for each in constants], _path(wrong))]
    distances = [_distance(shape, path) for shape in shapes]
    best = [shape for shape, distance in zip(shapes, distances, strict=True) if distance == min(distances)]
    if misfits := [each for shape in best for each in _misfits(shape, path)]:
        parts = [_part(schema, each) for each in misfits]
        expected = " or ".join(dict.fromkeys(_expected(part) for part in parts))
        hint = next((_examples(part) for part in parts if "examples" in part), None)
        return [Problem(message=f"expected {expected}, not {kind_of(found.instance)}", path=path, hint=hint)]
    if len(best) == 1 or not isinstance(found.instance, dict):
        return in_words(best[0], schema)
    return _between(best, schema, path) or in_words(best[0], schema)


def _between(shapes: list[Shape], schema: Mapping[str, Any], path: Path) -> list[Problem]:
    """Explain a mapping that is as near to one shape as to another: by the keys of both."""
    here = [each for shape in shapes for each in shape if _path(each) == path]
    known = {key for each in here for key in _part(schema, each).get("properties", {})}
    strange = {key for each in here for key in _strange(each)}
    if strange - known:
        return [_unexpected(key, path, known) for key in sorted(strange - known)]
    if strange:
        return [Problem(message=f"{' and '.join(f'`{key}`' for key in sorted(strange))} exclude each other", path=path)]
    missing = dict.fromkeys(each.kind.property for each in here if isinstance(each.kind, Kind.Required))
    if missing:
        return [Problem(message=f"one of {', '.join(f'`{key}`' for key in missing)} is missing", path=path)]
    return []


def _distance(shape: Shape, path: Path) -> tuple[int, ...]:
    """Tell how far it is: wrong type, wrong constants, keys missing, strange keys, mistakes."""
    here = [each for each in shape if _path(each) == path]
    return (
        len(_misfits(shape, path)),
        len([each for each in shape if isinstance(each.kind, Kind.Constant)]),
        len([each for each in here if isinstance(each.kind, Kind.Required)]),
        sum(len(_strange(each)) for each in here),
        len(shape),
    )


def _strange(found: ValidationError) -> list[str]:
    return found.kind.unexpected if isinstance(found.kind, Kind.AdditionalProperties) else []


def _misfits(shape: Shape, path: Path) -> Shape:
    """Return the findings that say that the value at `path` is of the wrong type altogether."""
    misfits: Shape = []
    for each in shape:
        if _path(each) != path:
            continue
        if isinstance(each.kind, Kind.Type):
            misfits.append(each)
        elif isinstance(each.kind, Kind.AnyOf):
            inner = [_misfits(inside, path) for inside in each.kind.context]
            misfits += [one for some in inner for one in some] if all(inner) else []
    return misfits


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str) else kind_of(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def kind_of(value: object) -> str:
    """Name a JSON value's type as definitions do, with the value where it is short."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "a mapping"
