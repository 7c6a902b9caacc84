"""Loops over what does not fit: items page by page from a handler, and items that are too large for the log."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from daemon.core.state import Running
from daemon.core.values import from_json
from daemon.runtime.views import execution_view, plain
from daemon.runtime.why import why
from tests.support import gated_handlers, paging_handlers
from tests.support.daemons import finished, in_flight, running, settings_for, start, until
from tests.support.workflows import plan_of

if TYPE_CHECKING:
    from pathlib import Path

HANDLERS = "tests.support.paging_handlers"
NUMBERS = """
workflow: numbers
vars: {sum: 0}
nodes:
  each:
    forEach:
      pages:
        task: numbers.page
        with: {upto: "{{ input.upto }}", size: "{{ input.size }}", after: "{{ page.cursor }}"}
        retry: {max_attempts: 3, initial: 1s}
    collect: false
    do:
      nodes: {add: {set: {sum: "{{ vars.sum + loop.item }}"}}}
      output: "{{ loop.index }} of {{ loop.total | default('?', true) }}"
output: {sum: "{{ vars.sum }}", last: "{{ each }}"}
"""
HELD = """
workflow: held
nodes:
  each:
    forEach:
      pages:
        task: pass
        with: {value: {items: ["{{ page.number }}"], next: "{{ 'more' if page.number == 0 else none }}"}}
    do:
      nodes: {hold: {task: gate, with: {name: "{{ input }}{{ loop.index }}", value: "{{ loop.item }}"}}}
      output: "{{ hold }}"
output: "{{ each }}"
"""
ASKED = """
workflow: asked
nodes:
  each:
    forEach: {pages: {task: gate, with: {name: "{{ input }}", value: {items: [1]}}, retry: {max_attempts: 2}}}
    do: {nodes: {x: {transform: "{{ loop.item }}"}}}
"""
LARGE = """
workflow: large
nodes:
  all: {task: numbers.all}
  each:
    forEach: "{{ all }}"
    collect: false
    break: "{{ loop.index == 2 }}"
    do: {nodes: {x: {transform: "{{ loop.item + loop.total }}"}}, output: "{{ x }}"}
edges: [all -> each]
output: "{{ each }}"
"""


async def test_a_loop_goes_through_all_pages(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, NUMBERS, handlers=HANDLERS)) as daemon:
        target = await start(daemon, "numbers", {"upto": 250, "size": 100})
        state = await finished(daemon, target)
        assert state.error is None, state.error
        assert from_json(state.output) == {"sum": sum(range(250)), "last": "249 of 250"}
        assert [paging_handlers.fetched[f"{target}/each[{number}]~page"] for number in range(4)] == [1, 1, 1, 0]


async def test_a_loop_goes_on_where_a_lost_daemon_left_it(tmp_path: Path) -> None:
    """No page is fetched again, and no turn is carried out again."""
    settings = settings_for(tmp_path, HELD, store_url=f"sqlite:///{tmp_path}/log.db")
    async with running(settings) as first:
        gated_handlers.gates["paged0"].set()
        target = await start(first, "held", "paged")
        await until(first, target, in_flight("each[1].hold"))
    gated_handlers.gates["paged1"].set()
    async with running(settings) as second:
        assert from_json((await finished(second, target)).output) == [0, 1]
        assert gated_handlers.runs[f"{target}/each[0].hold"] == 1
        events = [each.event.NAME for each in await second.history.events(target)]
        assert events.count("PageTaken") == 2


async def test_a_page_that_is_waited_for_is_named_and_shown(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, ASKED)) as daemon:
        target = await start(daemon, "asked", "awaited-page")
        state = await until(daemon, target, in_flight("each[0]~page"))
        assert isinstance(state, Running)
        [cause] = why(state, plan_of(ASKED), state.started_at).causes
        assert cause.sentence.startswith("Step each[0]~page: the handler that gives page 0 is at work, attempt 1 of 2")
        steps = {
            step["address"]: step
            for step in plain(execution_view(target, state, await daemon.history.events(target)))["steps"]
        }
        assert steps["each"]["turns"] == {
            "total": None, "begun": 0, "running": 0, "succeeded": 0, "failed": 0, "pages": 0
        }  # fmt: skip
        gated_handlers.gates["awaited-page"].set()
        await finished(daemon, target)


async def test_the_items_may_be_a_result_that_is_too_large_for_the_log(tmp_path: Path) -> None:
    """Of 100,000 items the log holds references only, of one payload: the step's result and the loop's items."""
    url = f"sqlite:///{tmp_path}/log.db"
    async with running(settings_for(tmp_path, LARGE, handlers=HANDLERS, store_url=url)) as daemon:
        target = await start(daemon, "large")
        state = await finished(daemon, target)
        assert from_json(state.output) == 100_002
    with closing(sqlite3.connect(tmp_path / "log.db")) as log:
        assert log.execute("select count(*) from payloads").fetchone() == (1,)
        [(largest,)] = log.execute("select max(length(state)) from stored_events").fetchall()
        assert largest < 2_000
