"""`branch`: take one of several ways.

Three forms, each with its ports:

    branch: "{{ input.total > 1000 }}"                                      true, false
    branch: {switch: "{{ input.country }}", cases: [de, fr]}                de, fr, default
    branch: {switch: "{{ input.code }}", cases: {ok: [200, 204], gone: 410}}   ok, gone, default
    branch: {cases: [{large: "{{ input.total > 1000 }}"}, {rush: "{{ input.rush }}"}]}   large, rush, default

A switch compares values with their types: 7 is not "7". In the last form, a list because its order counts, the first
case that is true is taken, and those after it are not evaluated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct

from daemon.core.events import StepError
from daemon.core.node import Begin, Beginning, Done, Fail, NodeType
from daemon.core.schema_parts import either, list_of, mapping, mapping_of, ref
from daemon.core.templates import Template
from daemon.core.values import to_json
from daemon.nodes.reading import Reader

if TYPE_CHECKING:
    from collections.abc import Mapping

OTHERWISE = "default"


class Condition(Struct, frozen=True):
    """Ports `true` and `false`."""

    test: Template


class Switch(Struct, frozen=True):
    """The port that stands for the value, else `default`."""

    value: Template
    ports: tuple[str, ...]
    port_of: dict[bytes, str]
    """By the value's JSON text."""


class FirstTrue(Struct, frozen=True):
    """The first port whose test is true, else `default`."""

    cases: tuple[tuple[str, Template], ...]


Branch: TypeAlias = Condition | Switch | FirstTrue


def parse(own: Mapping[str, Any]) -> Branch:
    """Tell the forms apart and check the names of the ports."""
    reader = Reader()
    match own["branch"]:
        case {"switch": value, "cases": cases}:
            return reader.finish(_switch(reader, value, cases))
        case {"cases": cases}:
            return reader.finish(_first(reader, cases))
        case test:
            return reader.finish(Condition(reader.expression(test, "branch")))


def _first(reader: Reader, cases: list[dict[str, Any]]) -> FirstTrue:
    tests: dict[str, Template] = {}
    for index, case in enumerate(cases):
        [(port, test)] = case.items()
        path = ("branch", "cases", index, port)
        _check_port(reader, port, path)
        if port in tests:
            reader.refuse(f"the case {port!r} is there twice", path, "join the conditions with `or`")
        tests[port] = reader.expression(test, *path)
    return FirstTrue(tuple(tests.items()))


def _switch(reader: Reader, value: object, cases: Mapping[str, Any] | list[Any]) -> Switch:
    port_of: dict[bytes, str] = {}
    ports: list[str] = []
    for place, port, meant in _cases(cases):
        path = ("branch", "cases", place)
        _check_port(reader, port, path)
        ports.append(port)
        for each in meant:
            if (known := port_of.setdefault(_json_text(each), port)) != port or ports.count(port) > 1:
                reader.refuse(f"the case {_shown(each)} is there twice", path, f"the first is {known!r}")
    return Switch(reader.expression(value, "branch", "switch"), tuple(ports), port_of)


def _cases(cases: Mapping[str, Any] | list[Any]) -> list[tuple[str | int, str, list[Any]]]:
    """Return place, port and values of each case."""
    if isinstance(cases, list):
        return [
            (index, value if isinstance(value, str) else _shown(value), [value]) for index, value in enumerate(cases)
        ]
    return [(port, port, meant if isinstance(meant, list) else [meant]) for port, meant in cases.items()]


def _check_port(reader: Reader, port: str, path: tuple[str | int, ...]) -> None:
    hint = "use letters, digits, _ and -; other values can be given as {name: value}"
    reader.port_name(port, path, type_name="branch", taken=("error", OTHERWISE), hint=hint)


def begin(config: Branch, beginning: Beginning) -> Begin:
    """Choose the port; the output is what it was chosen by."""
    match config:
        case Condition(test=test):
            chosen = test.render(beginning.scope).value
            return Done(chosen, _shown(chosen)) if isinstance(chosen, bool) else _not_boolean(chosen)
        case Switch(value=value, port_of=port_of):
            chosen = value.render(beginning.scope).value
            return Done(chosen, port_of.get(_json_text(chosen), OTHERWISE))
        case FirstTrue(cases=cases):
            return _first_true(cases, beginning)


def _first_true(cases: tuple[tuple[str, Template], ...], beginning: Beginning) -> Begin:
    for port, test in cases:
        chosen = test.render(beginning.scope).value
        if not isinstance(chosen, bool):
            return _not_boolean(chosen, f"case {port!r}")
        if chosen:
            return Done(port, port)
    return Done(OTHERWISE, OTHERWISE)


def _not_boolean(value: object, what: str = "the condition") -> Fail:
    return Fail(StepError(f"{what} must give true or false, and gave {_shown(value)[:80]}", "branch"))


def _json_text(value: object) -> bytes:
    """7.0 and 7 are one value."""
    return bytes(to_json(int(value) if isinstance(value, float) and value.is_integer() else value))


def _shown(value: object) -> str:
    return _json_text(value).decode()


def _ports(config: Branch) -> tuple[str, ...]:
    match config:
        case Condition():
            return ("true", "false")
        case Switch(ports=ports):
            return (*ports, OTHERWISE)
        case FirstTrue(cases=cases):
            return (*(port for port, _ in cases), OTHERWISE)


def _templates(config: Branch) -> tuple[Template, ...]:
    match config:
        case Condition(test=test):
            return (test,)
        case Switch(value=value):
            return (value,)
        case FirstTrue(cases=cases):
            return tuple(test for _, test in cases)


_PORTS_BY_VALUE = mapping_of(
    "For each port the value, or the list of values, that it stands for.",
    either("A value or a list of values.", ref("scalar"), list_of("The values.", ref("scalar"), minItems=1)),
)
_PORTS_BY_TEST = list_of(
    "Ports and their conditions; the first that is true is taken.",
    mapping_of("A port and its condition.", ref("template", "A condition: true or false."))
    | {"minProperties": 1, "maxProperties": 1},
    minItems=1,
)

NODE_TYPE = NodeType(
    name="branch",
    summary="Takes one of several ways: by a condition, by the value of an expression, or by the first true condition.",
    schema=either(
        "A condition (ports `true` and `false`), a switch, or a chain of conditions (each with the port `default`).",
        ref("template", "A condition: ports `true` and `false`."),
        mapping(
            "The way is chosen by a value; the port `default` is for all others.",
            {
                "switch": ref("template", "The value, usually an expression."),
                "cases": either(
                    "The values, each its own port; or for each port its values.",
                    list_of("The values, each its own port.", ref("scalar"), minItems=1),
                    _PORTS_BY_VALUE,
                ),
            },
            "switch",
            "cases",
        ),
        mapping("The first true condition is taken, else `default`.", {"cases": _PORTS_BY_TEST}, "cases"),
    ),
    parse=parse,
    templates=_templates,
    ports=_ports,
    begin=begin,
)
