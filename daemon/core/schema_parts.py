"""Pieces of JSON Schema that definitions are described with; `DEFS` are those that several places refer to.

`x-expected` says what is expected, for messages ("expected a duration"); `description` and `examples` explain it, in
editors too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from daemon.core.durations import PATTERN as DURATION_PATTERN

if TYPE_CHECKING:
    from collections.abc import Mapping

Schema: TypeAlias = dict[str, Any]


def ref(name: str, description: str | None = None) -> Schema:
    """Refer to one of `DEFS`; `description` says what it is for at this place."""
    return {"$ref": f"#/$defs/{name}"} | ({"description": description} if description is not None else {})


def text(description: str, **more: Any) -> Schema:
    """Describe a text; `more` are further keywords (`pattern`, `examples`)."""
    return {"type": "string", "x-expected": "text", "description": description, **more}


def whole_number(description: str, *, minimum: int, **more: Any) -> Schema:
    """Describe an integer."""
    return {"type": "integer", "x-expected": "a whole number", "minimum": minimum, "description": description, **more}


def yes_no(description: str, *, default: bool) -> Schema:
    """Describe a boolean."""
    return {"type": "boolean", "x-expected": "true or false", "default": default, "description": description}


def choice(description: str, *values: str, default: str | None = None) -> Schema:
    """Describe one word out of a few."""
    return {"enum": list(values), "description": description} | ({"default": default} if default is not None else {})


def mapping(description: str, properties: Mapping[str, Mapping[str, Any]], *required: str) -> Schema:
    """Describe a mapping with exactly these keys."""
    return {
        "type": "object",
        "x-expected": "a mapping",
        "description": description,
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }


def mapping_of(description: str, values: Schema) -> Schema:
    """Describe a mapping with any keys."""
    return {"type": "object", "x-expected": "a mapping", "description": description, "additionalProperties": values}


def list_of(description: str, items: Schema, **more: Any) -> Schema:
    """Describe a list."""
    return {"type": "array", "x-expected": "a list", "description": description, "items": items, **more}


def either(description: str, *alternatives: Schema) -> Schema:
    """Describe a value that may have several shapes."""
    return {"description": description, "anyOf": list(alternatives)}


def anything(description: str, **more: Any) -> Schema:
    """Describe any value; texts in it may hold expressions in `{{ }}`."""
    return {"x-expected": "any value", "description": description, **more}


_RETRY: Mapping[str, Schema] = {
    "max_attempts": whole_number("Attempts in all, the first among them.", minimum=1, maximum=1_000_000, default=1),
    "backoff": choice(
        "How the pause grows from attempt to attempt.", "fixed", "linear", "exponential", default="exponential"
    ),
    "initial": ref("duration", "Pause before the second attempt; 1s if not given."),
    "factor": {
        "type": "number",
        "x-expected": "a number",
        "minimum": 1,
        "maximum": 1_000,
        "default": 2,
        "description": "What the pause is multiplied by each time, with `exponential`.",
    },
    "max": ref("duration", "Longest pause."),
    "jitter": {
        "type": "number",
        "x-expected": "a number",
        "minimum": 0,
        "maximum": 1,
        "default": 0,
        "description": "Share of the pause that is left to chance: 0.2 spreads it over 80 % to 100 % of itself.",
    },
    "non_retryable": list_of(
        "Error codes and names of exception classes that are never tried again.",
        text("An error code such as `http_404`, or a class name such as `ValueError`.", minLength=1),
    ),
}

DEFS: Mapping[str, Schema] = {
    "duration": text(
        "A length of time: `200ms`, `10s`, `5m`, `24h`, `7d`, `1h30m`.",
        pattern=DURATION_PATTERN,
        examples=["200ms", "10s", "5m", "24h", "7d", "1h30m"],
    )
    | {"x-expected": "a duration"},
    "duration_template": text(
        "A length of time such as `10s`, or a template that gives one: `{{ input.delay }}`.",
        examples=["10s", "{{ input.delay }}"],
    )
    | {"x-expected": "a duration such as 10s"},
    "template": text(
        "A text that may hold expressions: `Order {{ input.id }}`. Alone in its braces, an expression keeps its type.",
        examples=["{{ input.total * 1.19 }}"],
    ),
    "value": anything("Any value; texts in it may hold expressions: `{amount: '{{ input.total }}'}`."),
    "retry": mapping("When a failed attempt is tried again.", _RETRY),
    "on_error": choice(
        "What an error without an `error` edge does: `stop` fails the execution, `continue` goes on with `default`, or,"
        " where there is none, skips what follows.",
        "stop",
        "continue",
        default="stop",
    ),
    "compensation": {"type": "object", "x-expected": "a mapping", "description": "What undoes the step."},
    "body": {"type": "object", "x-expected": "a mapping with `nodes`", "description": "A graph of its own."},
    "scalar": {
        "type": ["string", "number", "boolean"],
        "x-expected": "a text, a number, or true or false",
        "description": "A single value.",
    },
}
