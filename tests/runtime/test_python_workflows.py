"""Workflows in Python files: when they are imported, what is wrong with them, and that one file is an application."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from daemon.core.errors import Misconfigured
from daemon.core.values import from_json
from daemon.runtime.handler_registry import load_handlers, python_files, split_name
from daemon.settings import Settings, Store, Workflows
from daemon.testing import crash_everywhere
from tests.support.daemons import finished, running, start
from tests.support.definitions import compiler

if TYPE_CHECKING:
    from daemon.testing import Execution, Sagad

SHOP = """
from daemon.flow import CONTEXT, Context, Retry, branch, error_of, signal, step, workflow
from daemon.handlers import handler

CHARGED = {}


@step("refund")
async def refund(payment: str) -> None:
    CHARGED.pop(payment, None)


@step("charge", compensate=refund, retry=Retry(2, initial="1s"))
async def charge(amount: float, *, context: Context = CONTEXT) -> str:
    CHARGED[context.idempotency_key] = amount
    return context.idempotency_key


@step("ship")
async def ship(payment: str, amount: float) -> str:
    if amount == 13:
        raise ValueError("unlucky")
    return "shipped"


@step(cpu=True)
def weigh(amount: int) -> int:
    return amount * 2


@workflow("shop")
def shop(order: dict[str, float]) -> str:
    payment = charge(order["amount"])
    large = branch("large", order["amount"] > 100, after=payment)
    with large.true:
        review = signal("review", "reviewed", timeout="1h")
    return ship.options(after=[large.false, review])(payment, order["amount"])


@workflow("other")
def other(amount: int) -> int:
    return weigh(amount)
"""


ANOTHER = "give this one another: `.options(id=…)` does, for a step)"
AGAIN = "start the daemon anew: its handlers are those that it began with"
LETTERS = "(use letters, digits and `_`, at most 64, and no digit first)"


def file_of(folder: Path, text: str, name: str = "shop.py") -> Path:
    file = folder / name
    file.write_text(dedent(text))
    return file


def wrong(path: Path) -> list[str]:
    with pytest.raises(Misconfigured) as caught:
        compiler(handlers=None).load_files([path])
    return [str(problem).removeprefix(f"{path.parent}/") for problem in caught.value.problems]


async def test_one_file_is_a_whole_application(tmp_path: Path) -> None:
    """Its workflows are run and its handlers do the work, in processes too; a step undoes what it says."""
    file = file_of(tmp_path, SHOP)
    settings = Settings(store=Store(url="memory://"), workflows=Workflows(paths=(file,)))
    async with running(settings) as daemon:
        assert daemon.plans.workflows() == ["other", "shop"]
        good = await finished(daemon, await start(daemon, "shop", {"amount": 5}))
        bad = await finished(daemon, await start(daemon, "shop", {"amount": 13}))
        heavy = await finished(daemon, await start(daemon, "other", 21))
    assert (from_json(good.output), from_json(heavy.output)) == ("shipped", 42)
    assert bad.error is not None
    assert "charge~undo" in bad.steps


async def test_a_crash_at_any_point_changes_nothing(sagad: Sagad, tmp_path: Path) -> None:
    """The daemon is killed before and after each append; the file is read by the testing kit as any other."""
    file = file_of(tmp_path, SHOP, "kit.py")
    flow = sagad.workflow(f"{file}:shop", handlers=[file])

    async def review(execution: Execution) -> None:
        await execution.signal("reviewed")

    report = await crash_everywhere(flow, {"amount": 500}, then=review)
    assert report.points == 2 * report.appends


async def test_a_workflow_of_this_process_can_be_tested(sagad: Sagad, tmp_path: Path) -> None:
    """With its steps faked, or given as they are."""
    names: dict[str, object] = {"__name__": "names"}
    file = file_of(tmp_path, SHOP, "names.py")
    exec(compile(file.read_text(), str(file), "exec"), names)  # noqa: S102  our own text
    shop: Any = names["shop"]
    ship: Any = names["ship"]
    flow = sagad.workflow(shop, handlers=[ship])
    flow.fake("charge", returns="p1")
    flow.fake("refund")
    assert await (await flow.start({"amount": 5})).result() == "shipped"
    assert flow.calls("ship") == [{"payment": "p1", "amount": 5}]


def test_a_python_file_is_imported_only_when_it_is_named(tmp_path: Path) -> None:
    """A folder of definitions may hold any Python."""
    file_of(tmp_path, "raise SystemExit('imported')", "danger.py")
    file_of(tmp_path, "workflow: w\nnodes: {a: {transform: 1}}", "w.yaml")
    assert [plan.definition.workflow for plan in compiler().load_files([tmp_path]).plans] == ["w"]
    assert wrong(tmp_path / "danger.py") == ["danger.py:1: cannot be imported: SystemExit: imported"]


def test_one_workflow_of_a_file_is_named_behind_a_colon(tmp_path: Path) -> None:
    file = file_of(tmp_path, SHOP)
    [plan] = compiler(handlers=None).load_files([f"{file}:other"]).plans
    assert plan.definition.workflow == "other"
    assert wrong(Path(f"{file}:refunds")) == ["shop.py: there is no workflow 'refunds' in it (there are: other, shop)"]
    assert split_name(Path("a/flow.py:b")) == (Path("a/flow.py"), "b")
    assert split_name(Path("a:b/flow.py")) == (Path("a:b/flow.py"), None)
    assert python_files([Path("a.yaml"), Path("b.py"), Path("b.py:c"), Path("d")]) == [Path("b.py")]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("1/0", ["shop.py:1: cannot be imported: ZeroDivisionError: division by zero"]),
        ("def", ["shop.py:1: cannot be imported: SyntaxError: invalid syntax (shop.py, line 1)"]),
        ("x = 1", ["shop.py: there is no workflow in it (decorate a function with @workflow of daemon.flow)"]),
        (
            """
            from daemon.flow import transform, workflow

            @workflow("a")
            def first(order):
                transform("x", 1)
                transform("x", 2)

            @workflow("b")
            def second(order):
                return {"a": 1 / 0}

            @workflow("c")
            def third(order):
                transform("x-y", 1)
                transform("z", order.a, timeout="1s")
            """,
            [
                "shop.py:7:5: there is another node `x` (the other is at FILE:6; " + ANOTHER,
                "shop.py:11:1: the workflow cannot be built: ZeroDivisionError: division by zero",
                "shop.py:15:5: 'x-y' cannot be the id of a node " + LETTERS,
                "shop.py:16:5: `timeout` has no meaning for a `transform`: it does not run anything (node z)",
            ],
        ),
        (
            """
            from daemon.flow import workflow

            @workflow("a")
            async def flow(order): ...
            """,
            [
                "shop.py:4:2: a workflow is a plain function: it is run once, to be wired, and waits for nothing",
            ],
        ),
        (
            """
            from daemon.flow import workflow

            @workflow("a")
            def flow(order: "Order"): ...
            """,
            ["shop.py:4:1: the type of the input has no JSON Schema: name 'Order' is not defined"],
        ),
    ],
)
def test_mistakes_name_the_line_in_python(text: str, problems: list[str], tmp_path: Path) -> None:
    file = file_of(tmp_path, text)
    assert [line.replace(str(file), "FILE") for line in wrong(file)] == problems


def test_there_must_be_such_a_file(tmp_path: Path) -> None:
    assert wrong(tmp_path / "none.py") == ["none.py: there is no such file"]


def test_two_workflows_of_one_name_are_told_as_ever(tmp_path: Path) -> None:
    first = file_of(tmp_path, "workflow: shop\nnodes: {a: {transform: 1}}", "first.yaml")
    with pytest.raises(Misconfigured, match="there are two workflows 'shop'"):
        compiler(handlers=None).load_files([first, file_of(tmp_path, SHOP)])


def test_a_file_that_has_changed_is_refused(tmp_path: Path) -> None:
    """Its handlers are those that the daemon began with: a new workflow might not fit them."""
    file = file_of(tmp_path, SHOP)
    loading = compiler(handlers=None)
    loading.load_files([file])
    loading.load_files([file])
    file.write_text(f"{SHOP}\n# changed")
    assert wrong(file) == [f"shop.py: the file has changed since it was imported ({AGAIN})"]


def test_handlers_of_a_file_are_its_steps_and_what_its_workflows_call(tmp_path: Path) -> None:
    """A step of another module is one, also where only the module is imported; a handler is one as ever."""
    file_of(tmp_path, SHOP, "stock_of_steps.py")
    file = file_of(
        tmp_path,
        """
        import stock_of_steps
        from daemon.flow import step, workflow
        from daemon.handlers import handler

        @handler
        async def plain() -> None: ...

        @step
        async def own() -> None: ...

        @workflow("w")
        def flow(order):
            stock_of_steps.ship(order.a, order.b)
        """,
        "front.py",
    )
    handlers = load_handlers([str(file)], search=[tmp_path])
    assert sorted(handlers) == ["front.own", "front.plain", "ship"]
    [plan] = replace(compiler(), handlers=frozenset(handlers)).load_files([file]).plans
    assert plan.definition.workflow == "w"


def test_a_step_that_is_no_handler_is_told_at_its_line(tmp_path: Path) -> None:
    file = file_of(
        tmp_path,
        """
        from daemon.flow import step, workflow

        @step
        async def everything(*args: int) -> None: ...

        @workflow("w")
        def flow(order):
            everything(1)
        """,
    )
    [first] = wrong(file)
    assert first == "shop.py:4:1: shop.everything: it takes *args: int; a handler names each of its parameters"
    with pytest.raises(Misconfigured, match=r"handler everything: it takes \*args"):
        load_handlers([str(file)])
