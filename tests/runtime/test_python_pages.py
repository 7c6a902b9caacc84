"""One Python file with pages, people, a limit, a cache and a durable function is a whole application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core.values import from_json
from daemon.settings import Settings, Store, Workflows
from tests.support.daemons import finished, running, start, until

if TYPE_CHECKING:
    from pathlib import Path

BOOKS = """
from dataclasses import dataclass

from daemon.durable import DurableContext, durable
from daemon.flow import Cache, Page, Throttle, approval, for_pages, function, step, workflow


@dataclass
class Bill:
    id: int
    amount: float


@step("books.open")
async def open_bills(after: int | None = None) -> Page[Bill]:
    if after is None:
        return {"items": [Bill(1, 10), Bill(2, 20)], "next": 2}
    return {"items": [Bill(3, 30)]}


@step("books.rate")
async def rate(currency: str) -> float:
    return 2.0


@durable("books.add")
async def add(ctx: DurableContext, amount: float, currency: str) -> float:
    return amount * await ctx.step(rate, {"currency": currency})


@workflow("books")
def books(currency: str) -> list[float]:
    with for_pages("bills", lambda page: open_bills(page.cursor)) as bills:
        now = rate.options(throttle=Throttle(concurrency=1), cache=Cache(currency, "1h"))(currency)
        added = function("add", add, after=now)(bills.item.amount, currency)
        amounts = bills.collect(added)
    ask = approval("ask", f"All {amounts}?", ["ann"], after=bills)
    with ask.approved:
        return amounts
"""


async def test_all_of_it_runs(tmp_path: Path) -> None:
    file = tmp_path / "books.py"
    file.write_text(BOOKS)
    async with running(Settings(store=Store(url="memory://"), workflows=Workflows(paths=(file,)))) as daemon:
        target = await start(daemon, "books", "EUR")
        await until(daemon, target, lambda state: "ask" in getattr(state, "people", {}))
        await daemon.people.decide(target, "ask", "approved", actor="ann")
        state = await finished(daemon, target)
        assert from_json(state.output) == [20, 40, 60]
        names = [each.event.NAME for each in await daemon.history.events(target)]
        assert (names.count("PageTaken"), names.count("StepCached"), names.count("FunctionStarted")) == (2, 2, 3)
