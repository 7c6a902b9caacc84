"""What a user's function must look like, how its input is bound, and how handlers are found."""
# ruff: noqa: A002, A006  `input` is the name that gets the whole input

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from textwrap import dedent
from typing import Annotated, Any, TypedDict
from uuid import UUID

import jsonschema_rs
import msgspec
import pytest
from pydantic import BaseModel

from daemon.core.errors import Misconfigured
from daemon.handlers import Context, HandlerSpec, StepFailure, handler, spec_of
from daemon.runtime.handler_registry import HandlerRegistry, handler_of, load_handlers
from daemon.runtime.signatures import BadSignature, encode_output, signature_of


@dataclass
class Line:
    article: str
    count: int = 1


@dataclass
class Order:
    id: UUID
    total: Decimal
    placed_at: datetime
    lines: list[Line] = field(default_factory=list)


class Receipt(msgspec.Struct):
    number: int


class Address(TypedDict):
    street: str


class Inner(BaseModel):
    size: int


class Model(BaseModel):
    name: str
    inner: Inner


ORDER: dict[str, Any] = {
    "id": "5f0c5d8e-6f2b-5a53-9d5e-3c0a3d1e9a11",
    "total": "9.90",
    "placed_at": "2026-01-01T00:00:00Z",
    "lines": [{"article": "tea"}],
}


# The decorator.


def test_a_decorated_function_is_still_the_function() -> None:
    def reserve(order: int) -> int:
        return order + 1

    assert handler("inventory.reserve")(reserve) is reserve
    assert reserve(1) == 2
    assert spec_of(reserve) == HandlerSpec("inventory.reserve", cpu=False)


@handler
def first() -> None: ...


def test_without_a_name_it_is_called_after_its_module() -> None:
    @handler(cpu=True)
    def second() -> None: ...

    assert handler_of(first).name == f"{__name__}.first"
    assert handler_of(first, prefix="shop").name == "shop.first"
    assert spec_of(second) == HandlerSpec(None, cpu=True)
    assert spec_of(3) is None


# Input.


def bind(function: Any, value: object) -> Any:
    """Call the function the way a step does."""
    positional, named = signature_of(function).bind(value, "the context")
    return function(*positional, **named)


def test_parameters_are_bound_by_name_and_converted_by_type() -> None:
    def reserve(order: Order, quantity: int = 1, *, context: Context) -> object:
        return order, quantity, context

    order, quantity, context = bind(reserve, {"order": ORDER})
    assert order == Order(
        UUID(ORDER["id"]), Decimal("9.90"), datetime.fromisoformat("2026-01-01T00:00:00Z"), [Line("tea")]
    )
    assert (quantity, context) == (1, "the context")


def test_a_parameter_called_input_gets_everything() -> None:
    def reserve(input: Order) -> str:
        return str(input.total)

    assert bind(reserve, ORDER) == "9.90"
    assert bind(lambda input: input, [1, {"a": None}]) == [1, {"a": None}]


def test_input_and_context_may_be_positional_only() -> None:
    def work(context: Context, input: int, /) -> object:
        return context, input

    assert bind(work, 3) == ("the context", 3)


@pytest.mark.parametrize("value", [None, {}])
def test_a_handler_may_take_no_input(value: object) -> None:
    assert bind(lambda: "called", value) == "called"
    with pytest.raises(StepFailure, match="takes no input"):
        bind(lambda: None, {"order": 1})


def test_the_context_is_known_by_its_type_or_its_name() -> None:
    def by_type(whatever: Context) -> object:
        return whatever

    def by_name(context) -> object:  # type: ignore[no-untyped-def]  # noqa: ANN001  annotations are optional
        return context

    def optional(context: Context | None = None) -> object:
        return context

    def another(context: str) -> str:
        return context

    assert bind(by_type, {}) == bind(by_name, None) == bind(optional, {}) == "the context"
    assert bind(another, {"context": "mine"}) == "mine"


def test_a_default_is_the_functions_own() -> None:
    shared: dict[str, int] = {"a": 1}

    def work(options: dict[str, int] = shared, name: str | None = None) -> tuple[dict[str, int], str | None]:
        return options, name

    options, name = bind(work, {})
    assert options is shared
    assert name is None


def test_typed_dicts_and_annotated_limits_are_checked() -> None:
    def work(address: Address, count: Annotated[int, msgspec.Meta(ge=1)]) -> tuple[Address, int]:
        return address, count

    assert bind(work, {"address": {"street": "x"}, "count": 1}) == ({"street": "x"}, 1)
    with pytest.raises(StepFailure, match=r"with\.count: Expected int >= 1"):
        bind(work, {"address": {"street": "x"}, "count": 0})


def test_pydantic_models_work_too() -> None:
    def work(model: Model) -> Model:
        return model

    given = {"name": "a", "inner": {"size": 2}}
    model = bind(work, {"model": given})
    assert model == Model(name="a", inner=Inner(size=2))
    assert encode_output(model) == given
    with pytest.raises(StepFailure, match=r"with\.model: inner\.size: Input should be a valid integer") as raised:
        bind(work, {"model": {"name": "a", "inner": {"size": "secret"}}})
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"order": ORDER | {"total": []}}, "with.order.total: Expected decimal, got array"),
        ({"order": ORDER | {"lines": [{"article": 1}]}}, "with.order.lines[0].article: Expected str, got int"),
        ({"order": ORDER, "quantity": "x"}, "with.quantity: Expected int, got str"),
        ({}, "with: Object missing required field order"),
        ({"order": ORDER, "ordr": 1}, "with: Object contains unknown field ordr"),
        ([1], "with: Expected object, got array"),
        (None, "with: Object missing required field order"),
    ],
)
def test_input_that_does_not_fit_says_where(value: object, message: str) -> None:
    def reserve(order: Order, quantity: int = 1) -> None: ...

    with pytest.raises(StepFailure) as raised:
        bind(reserve, value)
    assert raised.value.message == message
    assert (raised.value.code, raised.value.retryable) == ("invalid_input", False)


# Output and schemas.


def test_output_becomes_json_types() -> None:
    order = Order(UUID(ORDER["id"]), Decimal(1), datetime.fromisoformat("2026-01-01T00:00:00Z"))
    encoded = encode_output({"order": order, "receipt": Receipt(3), 1: {2}})
    expected = {"id": ORDER["id"], "total": "1", "placed_at": "2026-01-01T00:00:00Z", "lines": []}
    assert encoded == {"order": expected, "receipt": {"number": 3}, "1": [2]}


def cycle() -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    return endless


@pytest.mark.parametrize("value", [object(), {"a": object}, {(1, 2): 3}, cycle()])
def test_output_without_a_json_form_is_refused(value: object) -> None:
    with pytest.raises(StepFailure) as raised:
        encode_output(value)
    assert (raised.value.code, raised.value.retryable) == ("invalid_output", False)


def test_types_give_json_schemas() -> None:
    def reserve(order: Order, model: Model, quantity: int = 1) -> Receipt:
        raise NotImplementedError

    signature = signature_of(reserve)
    schema = signature.input_schema()
    valid = {"order": ORDER, "model": {"name": "a", "inner": {"size": 2}}}
    assert jsonschema_rs.is_valid(schema, valid)
    assert not jsonschema_rs.is_valid(schema, valid | {"model": {"name": "a", "inner": {"size": "x"}}})
    assert not jsonschema_rs.is_valid(schema, valid | {"unknown": 1})
    assert jsonschema_rs.is_valid(signature.output_schema(), {"number": 3})


def test_object_is_anything() -> None:
    def work(values: list[object]) -> list[object]:
        return values

    assert bind(work, {"values": [1, {"a": None}]}) == [1, {"a": None}]
    assert signature_of(work).output_schema() == {"type": "array", "items": {"description": "anything"}}


def test_untyped_handlers_take_and_give_anything() -> None:
    signature = signature_of(lambda input: input)
    assert (signature.input_schema(), signature.output_schema()) == ({}, {})
    assert jsonschema_rs.is_valid(signature_of(lambda: None).input_schema(), {})
    assert not jsonschema_rs.is_valid(signature_of(lambda: None).input_schema(), {"a": 1})


# Signatures that do not do.


class Custom:
    pass


def takes_anything(*values: int) -> None: ...
def takes_options(**options: int) -> None: ...
def positional(order: int, /) -> None: ...
def two_contexts(context: Context, other: Context) -> None: ...
def unresolved(order: "Missing") -> None: ...  # type: ignore[name-defined]  # noqa: F821  what is tested
def no_json_form(order: Path) -> None: ...
def no_json_result() -> Custom:
    return Custom()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (takes_anything, r"it takes \*values"),
        (takes_options, r"it takes \*\*options"),
        (positional, "positional-only"),
        (two_contexts, "both context and other would get the context"),
        (unresolved, "annotations cannot be resolved: name 'Missing' is not defined"),
        (no_json_form, "the type of its parameters has no JSON form"),
        (no_json_result, "the type of its result has no JSON form"),
    ],
)
def test_a_signature_that_does_not_do_says_why(function: Any, message: str) -> None:
    with pytest.raises(BadSignature, match=message):
        signature_of(function)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("@handler('h', cpu=True)\nasync def h(): ...", "cpu=True is for `def`"),
        ("@handler('h', collect='all')\ndef h():\n    yield 1", "it is list, text, last, or a function"),
        ("@handler('h', collect='text')\nasync def h():\n    return 1", "collect is for generators"),
        ("@handler('a b')\ndef h(): ...", "the name 'a b' must be words joined by dots"),
        ("@handler('h')\nclass H: ...", "@handler is for functions"),
    ],
)
def test_a_function_that_does_not_do_says_why(tmp_path: Path, source: str, message: str) -> None:
    with pytest.raises(Misconfigured, match=message):
        load(tmp_path, source)


# Loading.


def load(folder: Path, *sources: str) -> HandlerRegistry:
    """Write each source to a file of its own and load them."""
    files = []
    for number, source in enumerate(sources):
        file = folder / f"handlers{number}.py"
        file.write_text(f"from __future__ import annotations\nfrom daemon.handlers import handler\n{dedent(source)}")
        files.append(str(file))
    return load_handlers(files)


def test_handlers_are_found_in_files(tmp_path: Path) -> None:
    registry = load(
        tmp_path,
        """
        @handler("inventory.reserve")
        async def reserve(order: int) -> int:
            '''Reserve it.

            For good.'''

        @handler
        def release(): ...

        def no_handler(): ...
        """,
        """
        @handler("numbers.crunch", cpu=True)
        def crunch(): ...
        """,
    )
    assert {name: each.runs_in for name, each in registry.items()} == {
        "inventory.reserve": "loop",
        "handlers0.release": "thread",
        "numbers.crunch": "process",
    }
    assert registry["inventory.reserve"].summary == "Reserve it."
    assert registry["numbers.crunch"].source == str(tmp_path / "handlers1.py")


def test_handlers_are_found_in_modules_of_a_search_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / f"shop_{tmp_path.name.replace('-', '_')}"
    package.mkdir()
    (package / "__init__.py").write_text(f"from {package.name}.inventory import reserve\n")
    (package / "inventory.py").write_text("from daemon.handlers import handler\n@handler\ndef reserve(): ...\n")
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    registry = load_handlers([package.name, f"{package.name}.inventory"], search=[tmp_path])
    assert list(registry) == [f"{package.name}.inventory.reserve"]


def test_types_of_a_file_may_be_named_in_strings(tmp_path: Path) -> None:
    registry = load(
        tmp_path,
        """
        from dataclasses import dataclass

        @handler("work")
        def work(order: Order) -> Order:
            return order

        @dataclass
        class Order:
            line: Line | None = None

        @dataclass
        class Line:
            count: int
        """,
    )
    (order,) = registry["work"].signature.bind({"order": {"line": {"count": 3}}}, None)[1].values()
    assert order.line.count == 3


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import nowhere_to_be_found\n")
    (tmp_path / "syntax.py").write_text("def x(:\n")
    (tmp_path / "exits.py").write_text("import sys\nsys.exit(2)\n")
    (tmp_path / "empty.py").write_text("")
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    one.write_text("from daemon.handlers import handler\n@handler('same')\ndef first(): ...\n")
    two.write_text(one.read_text().replace("first()", "second(*a)") + "@handler('same')\ndef third(): ...\n")
    names = ["broken", "syntax", "exits", "empty", "one", "two", "missing"]
    with pytest.raises(Misconfigured) as raised:
        load_handlers([*(str(tmp_path / f"{name}.py") for name in names), "no_such.module"])
    found = [(problem.message, problem.file, problem.line) for problem in raised.value.problems]
    assert found == [
        (
            "cannot be imported: ModuleNotFoundError: No module named 'nowhere_to_be_found'",
            str(tmp_path / "broken.py"),
            1,
        ),
        ("cannot be imported: SyntaxError: invalid syntax (syntax.py, line 1)", str(tmp_path / "syntax.py"), 1),
        ("cannot be imported: SystemExit: 2", str(tmp_path / "exits.py"), 2),
        ("there is no handler in it", None, None),
        ("handler second: it takes *a; a handler names each of its parameters", str(two), 2),
        (found[5][0], str(two), 4),
        (found[6][0], None, None),
        ("cannot be imported: ModuleNotFoundError: No module named 'no_such'", None, None),
    ]
    assert found[5][0].startswith("handler third: the name 'same' is taken by sagad_handlers_one_")
    assert found[6][0].startswith("cannot be imported: FileNotFoundError: ")


def test_durable_functions_are_found_beside_handlers(tmp_path: Path) -> None:
    """Each has a name and takes the context first; what cannot be one is told with its place."""
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    head = "from daemon.durable import durable\n"
    good.write_text(f"{head}@durable('a.b')\nasync def one(ctx, n: int): ...\n@durable()\nasync def two(ctx): ...\n")
    registry = load_handlers([str(good)])
    assert dict(registry) == {}
    assert set(registry.functions) == {"a.b", "good.two"}
    bad.write_text(
        f"{head}@durable('x')\ndef plain(ctx): ...\n@durable('y')\nasync def nothing(): ...\n"
        "@durable('no name')\nasync def third(ctx): ...\n@durable('a.b')\nasync def fourth(ctx): ...\n"
    )
    with pytest.raises(Misconfigured) as raised:
        load_handlers([str(good), str(bad)])
    told = [(problem.message.partition(": ")[2], problem.line) for problem in raised.value.problems]
    assert told[:3] == [
        ("@durable is for `async def`", 2),
        ("it takes no context: its first parameter is `ctx`", 4),
        ("the name 'no name' must be words joined by dots, such as orders.fulfil", 6),
    ]
    assert told[3][0].startswith("the name 'a.b' is taken by")
