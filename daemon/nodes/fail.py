"""`fail`: end this way with an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from daemon.core.events import StepError
from daemon.core.node import Beginning, Fail, NodeType
from daemon.core.schema_parts import either, mapping, ref, text
from daemon.core.templates import Template
from daemon.core.values import NULL, to_json
from daemon.nodes.reading import Reader

if TYPE_CHECKING:
    from collections.abc import Mapping


class Failure(Struct, frozen=True):
    """The error to end with."""

    message: Template
    code: str
    details: Template | None


def parse(own: Mapping[str, Any]) -> Failure:
    """`fail: text` is short for `fail: {message: text}`."""
    reader = Reader()
    match own["fail"]:
        case dict() as given:
            details = reader.template(given["details"], "fail", "details") if "details" in given else None
            message = reader.template(given["message"], "fail", "message")
            return reader.finish(Failure(message, given.get("code", "fail"), details))
        case message:
            return reader.finish(Failure(reader.template(message, "fail"), "fail", None))


def begin(config: Failure, beginning: Beginning) -> Fail:
    """Fail."""
    message = config.message.render(beginning.scope).value
    details = to_json(config.details.render(beginning.scope).value) if config.details is not None else NULL
    shown = message if isinstance(message, str) else bytes(to_json(message)).decode()
    return Fail(StepError(shown, config.code, details=details))


NODE_TYPE = NodeType(
    name="fail",
    summary="Fails with an error of your own, which an `error` edge or the error policy then handles.",
    schema=either(
        "The error's message, or `{message: …, code: …, details: …}`.",
        ref("template", "The error's message."),
        mapping(
            "The error.",
            {
                "message": ref("template", "The error's message."),
                "code": text(
                    "A stable word for rules; `fail` if not given.",
                    pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$",
                    default="fail",
                    examples=["out_of_stock"],
                ),
                "details": ref("value", "More about the error, for people and `error` edges."),
            },
            "message",
        ),
    ),
    parse=parse,
    templates=lambda config: (config.message,) if config.details is None else (config.message, config.details),
    begin=begin,
)
