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

_THROTTLE = mapping(
    "A limit of its own: at once, in a time, or both.",
    {
        "shared": text("The name of a limit of the settings; `key` and `fair` may stand beside.", minLength=1),
        "concurrency": whole_number("How many may be at work at once.", minimum=1, maximum=1_000_000),
        "rate": mapping(
            "How many may begin in a time.",
            {
                "limit": whole_number("How many.", minimum=1, maximum=1_000_000),
                "per": ref("duration", "In this time; they are spread over it evenly."),
                "burst": whole_number(
                    "How many may begin at once after a quiet time.", minimum=1, maximum=1_000_000, default=1
                ),
            },
            "limit",
            "per",
        ),
        "key": ref("template", "The limit counts by what this gives; without it all count together."),
        "fair": ref("template", "Of those that wait with the same priority, what this gives takes turns."),
    },
) | {"anyOf": [{"required": [name]} for name in ("shared", "concurrency", "rate")]}

_START = mapping(
    "When executions begin, and how many of a key.",
    {
        "delay": ref("duration", "So long after its message."),
        "debounce": mapping(
            "The last of several messages counts: they are collected, and start one execution.",
            {
                "key": ref(
                    "template", "Messages for which this gives the same are collected together; it may read `input`."
                ),
                "after": ref("duration", "The execution begins when there was no message for this long."),
                "at_most": ref("duration", "It begins so long after the first message, whatever still comes."),
            },
            "after",
        ),
        "batch": mapping(
            "Several messages start one execution; its input is {messages: […]}, with what each would have been.",
            {
                "key": ref(
                    "template", "Messages for which this gives the same are collected together; it may read `input`."
                ),
                "size": whole_number("It begins with so many.", minimum=1, maximum=10_000),
                "within": ref("duration", "It begins so long after the first message, with those that came."),
            },
            "size",
            "within",
        ),
        "singleton": mapping(
            "One execution at a time.",
            {
                "key": ref("template", "For each that this gives."),
                "policy": choice(
                    "What becomes of one more: it is left out, waits, or has the others cancelled.",
                    "skip",
                    "queue",
                    "cancel_older",
                    default="queue",
                ),
            },
        ),
    },
)

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
    "throttle": either(
        "The name of a limit of the settings, a limit, or a list of these. What is above a limit waits.",
        text("The name of a limit of the settings: `[throttle.payments]`.", minLength=1),
        _THROTTLE,
        list_of("All of them hold.", either("A limit.", text("Its name in the settings.", minLength=1), _THROTTLE)),
    ),
    "priority": {
        "type": ["integer", "string"],
        "x-expected": "a whole number, or an expression that gives one",
        "description": "Who goes first where there is a limit: the higher number, from -1000 to 1000; 0 if not given.",
        "examples": ["{{ input.priority }}"],
    },
    "start": _START,
    "compensation": {"type": "object", "x-expected": "a mapping", "description": "What undoes the step."},
    "body": {"type": "object", "x-expected": "a mapping with `nodes`", "description": "A graph of its own."},
    "scalar": {
        "type": ["string", "number", "boolean"],
        "x-expected": "a text, a number, or true or false",
        "description": "A single value.",
    },
}
