"""`signal`: wait for a named message to this execution. One that came before is taken at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from daemon.core.durations import DurationError, parse_duration
from daemon.core.events import StepError
from daemon.core.node import AwaitSignal, Begin, Beginning, Fail, NodeType
from daemon.core.schema_parts import either, mapping, ref
from daemon.core.templates import Template
from daemon.nodes.reading import Reader

if TYPE_CHECKING:
    from collections.abc import Mapping


class Signal(Struct, frozen=True):
    """Which signal, and for how long it is waited for; None is for ever."""

    name: Template
    timeout: Template | None


def parse(own: Mapping[str, Any]) -> Signal:
    """`signal: name` is short for `signal: {name: name}`."""
    reader = Reader()
    match own["signal"]:
        case {"name": name, **rest}:
            timeout = reader.duration(rest["timeout"], "signal", "timeout") if "timeout" in rest else None
            return reader.finish(Signal(reader.template(name, "signal", "name"), timeout))
        case name:
            return reader.finish(Signal(reader.template(name, "signal"), None))


def begin(config: Signal, beginning: Beginning) -> Begin:
    """Ask for the signal."""
    name = config.name.render(beginning.scope).value
    if not isinstance(name, str) or not name:
        return Fail(StepError(f"the name of a signal is text, not {str(name)[:80]!r}", "signal"))
    if config.timeout is None:
        return AwaitSignal(name)
    try:
        return AwaitSignal(name, parse_duration(config.timeout.render(beginning.scope).value))
    except DurationError as error:
        return Fail(StepError(f"timeout: {error}", "signal"))


NODE_TYPE = NodeType(
    name="signal",
    summary="Waits for a named signal to the execution; the signal's data is the step's output.",
    schema=either(
        "The signal's name, or `{name: …, timeout: …}`.",
        ref("template", "The signal's name."),
        mapping(
            "A signal that is waited for no longer than a given time.",
            {
                "name": ref("template", "The signal's name."),
                "timeout": ref("duration_template", "After this time the step fails with the code `timeout`."),
            },
            "name",
        ),
    ),
    parse=parse,
    templates=lambda config: (config.name,) if config.timeout is None else (config.name, config.timeout),
    begin=begin,
)
