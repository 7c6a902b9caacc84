"""A workflow in a test: what is faked, what comes of it, what is seen of it."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from daemon.core.errors import InvalidInput, Misconfigured
from daemon.core.events import StepSucceeded
from daemon.core.values import from_json
from daemon.handlers import Context, StepFailure, handler
from daemon.testing import Misused, Stuck, Unfaked, WorkflowFailed
from tests.support import gated_handlers

if TYPE_CHECKING:
    from pathlib import Path

    from daemon.testing import Flow, Sagad

ORDER = """
workflow: order
input: {type: object, required: [order_id, total], properties: {total: {type: number, minimum: 0}}}
nodes:
  reserve: {task: inventory.reserve, with: {order: "{{ input }}"}, retry: {max_attempts: 5, initial: 200ms}}
  large:   {branch: "{{ input.total > 1000 }}"}
  review:  {signal: {name: reviewed, timeout: 24h}}
  charge:  {task: payments.charge, with: {amount: "{{ input.total }}", reservation: "{{ reserve.id }}"}}
  notify:  {publish: {kafka: {topic: orders.done}, value: "{{ charge }}"}}
  sorry:   {task: mail.apologise, with: {error: "{{ charge.error }}"}}
edges:
  - reserve -> large
  - large.true -> review
  - large.false -> charge
  - review -> charge
  - charge -> notify
  - charge.error -> sorry
output: "{{ charge }}"
"""
SMALL, LARGE = {"order_id": "A7", "total": 20}, {"order_id": "A8", "total": 2000}

CALL = """
workflow: call
nodes:
  call: {http: {method: POST, url: "https://bank.example/charge", json: {amount: "{{ input }}"}}, timeout: 5s}
output: "{{ call.body }}"
"""

ONE = """
workflow: one
nodes:
  work: {task: shop.work, with: {number: "{{ input }}"}}
output: "{{ work }}"
"""


def order(sagad: Sagad) -> Flow:
    flow = sagad.workflow(ORDER)
    flow.fake("inventory.reserve", returns={"id": "r1"})
    flow.fake("payments.charge", returns={"id": "p1"})
    flow.fake("mail.apologise", returns=None)
    flow.fake_node("notify")
    return flow


async def test_a_fake_takes_the_place_of_a_handler(sagad: Sagad) -> None:
    flow = order(sagad)
    execution = await flow.start(SMALL)
    assert await execution.result() == {"id": "p1"}
    assert flow.calls("payments.charge") == [{"amount": 20, "reservation": "r1"}]
    assert flow.node_calls("notify")[0]["value"] == {"id": "p1"}
    assert flow.calls("mail.apologise") == []


async def test_what_a_fake_gives_is_a_copy(sagad: Sagad) -> None:
    flow = order(sagad)
    given = {"id": "p1"}
    flow.fake("payments.charge", returns=given)
    (await (await flow.start(SMALL)).result())["id"] = "changed"
    assert await (await flow.start(SMALL)).result() == given == {"id": "p1"}


async def test_the_first_attempts_fail_then_it_succeeds(sagad: Sagad) -> None:
    flow = order(sagad)
    flow.fake("inventory.reserve", fails="sold_out", times=2, returns={"id": "r2"})
    execution = await flow.start(SMALL)
    await execution.result()
    assert len(flow.calls("inventory.reserve")) == 3
    assert [event.error.code for event in execution.events("StepFailed", step="reserve")] == ["sold_out", "sold_out"]
    assert (execution.step("reserve").attempt, execution.step("reserve").output) == (3, {"id": "r2"})


async def test_a_failure_without_end_takes_the_error_edge(sagad: Sagad) -> None:
    flow = order(sagad)
    flow.fake("payments.charge", fails=StepFailure("no money", code="declined", retryable=False))
    execution = await flow.start(SMALL)
    await execution.until(lambda execution: execution.finished)
    assert flow.calls("mail.apologise")[0]["error"]["code"] == "declined"
    step = execution.step("charge")
    assert step.error is not None
    assert (step.status, step.error.message, step.port) == ("failed", "no money", "error")


async def test_a_function_is_bound_as_a_handler_is(sagad: Sagad) -> None:
    seen: list[tuple[float, str, str]] = []

    async def charge(amount: float, reservation: str, *, context: Context) -> dict[str, str]:
        seen.append((amount, reservation, context.address))
        return {"id": f"charge of {amount:g}"}

    flow = order(sagad)
    flow.fake("payments.charge", calls=charge)
    assert await (await flow.start(SMALL)).result() == {"id": "charge of 20"}
    assert seen == [(20.0, "r1", "charge")]


async def test_a_plain_function_runs_in_a_thread(sagad: Sagad) -> None:
    threads: list[threading.Thread] = []

    def work(number: int) -> int:
        threads.append(threading.current_thread())
        return number + 1

    flow = sagad.workflow(ONE)
    flow.fake("shop.work", calls=work)
    assert await (await flow.start(4)).result() == 5
    assert threads != [threading.main_thread()]


async def test_real_handlers_are_used_and_their_calls_seen(sagad: Sagad) -> None:
    @handler("shop.work")
    async def work(number: int) -> int:
        return 2 * number

    flow = sagad.workflow(ONE, handlers=[work])
    assert await (await flow.start(21)).result() == 42
    assert flow.calls("shop.work") == [{"number": 21}]
    flow.fake("shop.work", returns=0)
    assert await (await flow.start(21)).result() == 0


@pytest.mark.parametrize("source", [gated_handlers, "tests.support.gated_handlers"], ids=["module", "name"])
async def test_handlers_of_a_module_are_used(sagad: Sagad, source: Any) -> None:
    flow = sagad.workflow(ONE.replace("shop.work", "pass").replace("number", "value"), handlers=[source])
    assert await (await flow.start("x")).result() == "x"


async def test_an_http_node_is_faked_by_its_id(sagad: Sagad) -> None:
    flow = sagad.workflow(CALL)
    flow.fake_node("call", fails="http_503", returns={"body": {"paid": True}}, times=1)
    with pytest.raises(WorkflowFailed, match="http_503"):
        await (await flow.start(20)).result()
    flow.fake_node("call", returns={"body": {"paid": True}})
    execution = await flow.start(20)
    assert await execution.result() == {"paid": True}
    assert execution.step("call").output == {"status": 200, "headers": {}, "body": {"paid": True}}
    assert flow.node_calls("call")[-1]["json"] == {"amount": 20}


async def test_a_node_is_faked_by_a_function_of_what_it_would_do(sagad: Sagad) -> None:
    flow = sagad.workflow(CALL)
    flow.fake_node("call", calls=lambda input: {"status": 200, "headers": {}, "body": input["json"]})  # noqa: A006  its name is the contract
    assert await (await flow.start(3)).result() == {"amount": 3}


async def test_a_node_that_asks_a_database_is_faked_without_one(sagad: Sagad) -> None:
    flow = sagad.workflow("""
        workflow: totals
        nodes: {total: {sql: {connection: orders, query: select 1, fetch: value}}}
        output: "{{ total }}"
    """)
    flow.fake_node("total", returns=7)
    assert await (await flow.start()).result() == 7


async def test_nothing_leaves_the_test_by_accident(sagad: Sagad) -> None:
    flow = sagad.workflow(ORDER)
    flow.fake("inventory.reserve", returns={"id": "r1"})
    with pytest.raises(Unfaked) as error:
        await flow.start(SMALL)
    told = str(error.value)
    assert "order needs what is neither faked nor given" in told
    assert 'handler payments.charge, of node charge: flow.fake("payments.charge", returns=...)' in told
    assert 'node notify, which is `publish`: flow.fake_node("notify", returns=...)' in told
    assert "inventory.reserve" not in told


async def test_a_signal_is_taken_and_a_large_order_reviewed(sagad: Sagad) -> None:
    flow = order(sagad)
    execution = await flow.start(LARGE)
    await execution.until(lambda execution: execution.step("review").status == "awaiting")
    assert (execution.status, execution.step("charge").status) == ("running", "not reached")
    assert "reviewed" in execution.waits_for
    await execution.signal("reviewed", {"ok": True})
    await execution.result()
    assert execution.step("review").output == {"ok": True}


async def test_a_failed_execution_shows_its_error(sagad: Sagad) -> None:
    flow = order(sagad)
    flow.fake("inventory.reserve", fails="sold_out", retryable=False)
    execution = await flow.start(SMALL)
    with pytest.raises(WorkflowFailed) as error:
        await execution.result()
    assert "order failed in step reserve: inventory.reserve fails, as the test wants (code sold_out)" in str(
        error.value
    )
    assert (error.value.status, error.value.step) == ("failed", "reserve")
    assert error.value.error is not None


async def test_a_cancelled_execution_has_no_result(sagad: Sagad) -> None:
    execution = await order(sagad).start(LARGE)
    await execution.cancel("changed my mind")
    with pytest.raises(WorkflowFailed, match="order cancelled: changed my mind"):
        await execution.result()


async def test_events_are_typed_and_chosen_by_kind_and_step(sagad: Sagad) -> None:
    execution = await order(sagad).start(SMALL)
    await execution.result()
    assert [event.address for event in execution.events(StepSucceeded)] == ["reserve", "large", "charge", "notify"]
    assert [from_json(event.output) for event in execution.events("StepSucceeded", step="charge")] == [{"id": "p1"}]
    assert execution.events()[0].NAME == "ExecutionStarted"


async def test_steps_in_turns_are_seen_when_their_loop_has_ended(sagad: Sagad) -> None:
    flow = sagad.workflow(
        "workflow: each\nnodes:\n  each:\n    forEach: [1, 2]\n    do:\n"
        '      nodes: {work: {task: shop.work, with: {number: "{{ loop.item }}"}}}\n      output: "{{ work }}"\n'
        'output: "{{ each }}"\n'
    )
    flow.fake("shop.work", calls=lambda number: number * 10)
    execution = await flow.start()
    assert await execution.result() == [10, 20]
    assert execution.step("each[1].work").output == 20


async def test_secrets_and_environment_are_the_tests_own(sagad: Sagad) -> None:
    text = 'workflow: s\nnodes: {work: {task: shop.work, with: {number: "{{ secret.PIN }}-{{ env.SHOP }}"}}}'
    flow = sagad.workflow(text, secrets={"PIN": "1234"}, env={"SHOP": "north"})
    flow.fake("shop.work", returns=None)
    execution = await flow.start()
    await execution.result()
    assert flow.calls("shop.work") == [{"number": "1234-north"}]
    assert execution.step("work").input == {"number": "***-north"}


async def test_two_workflows_in_one_test_share_its_time(sagad: Sagad) -> None:
    nap = "workflow: {name}\nnodes: {{nap: {{wait: {wait}}}}}\n"
    one = await sagad.workflow(nap.format(name="one", wait="2h")).start()
    two = await sagad.workflow(nap.format(name="two", wait="1h")).start()
    await one.result()
    assert two.status == "completed"


async def test_the_input_is_checked_by_its_schema(sagad: Sagad) -> None:
    with pytest.raises(InvalidInput, match="total"):
        await order(sagad).start({"order_id": "A7", "total": -1})


async def test_an_execution_that_waits_for_a_signal_is_stuck(sagad: Sagad) -> None:
    flow = sagad.workflow("workflow: s\nnodes: {go: {signal: go}}")
    with pytest.raises(Stuck, match="signal") as error:
        await (await flow.start()).result()
    assert "no time is due" in str(error.value)


async def test_a_file_beside_the_test_is_found(sagad: Sagad, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(ONE)
    assert sagad.workflow(tmp_path / "one.yaml").name == "one"
    assert sagad.workflow("deploy/examples/hello/workflow.yaml").name


async def test_mistakes_in_a_workflow_are_told_with_their_place(sagad: Sagad) -> None:
    with pytest.raises(Misconfigured, match=r"<text>:3:3: the node has no type \(node nap; did you mean 'wait'"):
        sagad.workflow("workflow: x\nnodes:\n  nap: {wiat: 3s}\n")


def misuse(flow: Flow, sagad: Sagad) -> list[tuple[str, Any]]:
    return [
        ("did you mean 'payments.charge'", lambda: flow.fake("payments.chrage")),
        ("did you mean 'notify'", lambda: flow.fake_node("notfy")),
        ("runs as it is", lambda: flow.fake_node("large")),
        ("not both", lambda: flow.fake("payments.charge", returns=1, calls=len)),
        ("add fails=", lambda: flow.fake("payments.charge", times=2)),
        ("counts attempts from 1", lambda: flow.fake("payments.charge", fails="x", times=0)),
        ("never gives a result", lambda: flow.fake("payments.charge", fails="x", returns=1)),
        ("no JSON form", lambda: flow.fake("payments.charge", returns=object())),
        ("must be a function", lambda: flow.fake("payments.charge", calls=3)),  # type: ignore[arg-type]  # that is the mistake
        ("or an exception to raise", lambda: flow.fake("payments.charge", fails=ValueError)),  # type: ignore[arg-type]  # that is the mistake
        ("after counts from 0", lambda: sagad.store.fails(after=-1)),
        ("cannot be a handler", lambda: flow.fake("payments.charge", calls=lambda *numbers: numbers)),
        ("is not a duration", lambda: flow.fake("payments.charge", takes="soon")),
        ("did you mean 'reserve'", lambda: flow.node_calls("reserv")),
        ("did you mean 'mail.apologise'", lambda: flow.calls("mail.apologize")),
        ("there is no workflow file", lambda: sagad.workflow("missing.yaml")),
        ("has no workflow 'x'", lambda: sagad.workflow(ORDER, name="x")),
        ("choose one with name=", lambda: sagad.workflow(f"{ONE}---{CALL}")),
        ("status, headers and body", lambda: sagad.workflow(CALL).fake_node("call", returns={"paid": True})),
        ("name a module", lambda: sagad.workflow(ONE, handlers=[sagad._folder])),
        ("use memory, sqlite", lambda: sagad.workflow(ONE, store="mysql://x").stage),
    ]


async def test_every_misuse_is_told(sagad: Sagad) -> None:
    for message, use in misuse(order(sagad), sagad):
        with pytest.raises(Misused, match=message):
            use()


async def test_what_was_not_reached_and_does_not_exist_is_told(sagad: Sagad) -> None:
    execution = await order(sagad).start(SMALL)
    await execution.result()
    assert execution.step("review").status == "skipped"
    assert execution.step("sorry").status == "skipped"
    with pytest.raises(Misused, match="has no node 'chrage'; did you mean 'charge'"):
        execution.step("chrage")
    with pytest.raises(Misused, match="did you mean 'StepSucceeded'"):
        execution.events("StepSuceeded")


async def test_a_condition_that_fails_fails_the_test_alone(sagad: Sagad) -> None:
    execution = await order(sagad).start(SMALL)
    with pytest.raises(Misused, match="has no node 'reviw'"):
        await execution.until(lambda execution: execution.step("reviw").status == "awaiting")
    answers = [False]
    with pytest.raises(IndexError):
        await execution.until(lambda _: answers.pop())
    await execution.result()


async def test_a_test_may_stand_in_a_handler(sagad: Sagad) -> None:
    """`start` returns when the start is durable, not when handlers have ended."""
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def work(number: int) -> int:
        entered.set()
        await go_on.wait()
        return number

    flow = sagad.workflow(ONE)
    flow.fake("shop.work", calls=work)
    execution = await flow.start(1)
    await execution.until(lambda execution: "work" in execution.steps)
    await entered.wait()
    assert execution.step("work").status == "running"
    go_on.set()
    assert await execution.result() == 1


async def test_a_limit_of_the_settings_lets_everything_through(sagad: Sagad) -> None:
    """What a workflow names is there, without settings: a test is of the workflow."""
    flow = sagad.workflow("workflow: t\nnodes: {a: {task: shop.work, throttle: payments}}")
    flow.fake("shop.work", returns=1)
    assert await (await flow.start(None)).result() == {"a": 1}
