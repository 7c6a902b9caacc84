"""Gates: the rate, the places, and the circuit with its one try at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from daemon.nodes.context import StepFailure
from daemon.nodes.gates import CircuitOpen, Gate, GateRule
from daemon.nodes.outbound import Gates, OutboundPolicy, http_client
from tests.support.http_server import Answer, Service, service
from tests.support.nodes import FakeServices, executed

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"


class Watch:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def state_of(gate: Gate) -> str:
    return gate.state


async def call(gate: Gate, *, good: bool) -> None:
    async with gate.passed() as made:
        made.went(good=good)


async def failing(gate: Gate, times: int) -> None:
    for _ in range(times):
        await call(gate, good=False)


@pytest.fixture
def called() -> Iterator[Service]:
    with service() as running:
        yield running


async def test_failures_in_a_row_open_the_circuit_and_calls_fail_at_once() -> None:
    gate = Gate("bank", GateRule(failures=3, open_s=10), now_s=Watch())
    await failing(gate, 2)
    await call(gate, good=True)
    await failing(gate, 2)
    assert state_of(gate) == "closed"
    await failing(gate, 1)
    with pytest.raises(CircuitOpen, match=r"bank has failed too often; it is not called for another 10.0 s") as refused:
        await call(gate, good=True)
    assert (refused.value.code, refused.value.retryable) == ("circuit_open", True)
    assert (gate.status.state, gate.status.failures, gate.status.rejected) == ("open", 3, 1)


async def test_when_it_was_open_for_long_enough_one_call_at_a_time_may_try() -> None:
    """Its failure opens the circuit anew, its success closes it; one that is cancelled makes way for another."""
    watch = Watch()
    gate = Gate("bank", GateRule(failures=1, open_s=10), now_s=watch)
    await failing(gate, 1)
    watch.now_s = 10.0
    assert state_of(gate) == "half-open"
    async with gate.passed():
        with pytest.raises(CircuitOpen):
            await call(gate, good=True)
    await call(gate, good=False)
    assert state_of(gate) == "open"
    watch.now_s = 20.0
    await call(gate, good=True)
    assert state_of(gate) == "closed"


async def test_without_a_number_of_failures_it_never_opens() -> None:
    gate = Gate("bank", GateRule())
    await failing(gate, 100)
    assert state_of(gate) == "closed"


async def test_no_more_than_the_places_are_under_way_and_waits_are_counted() -> None:
    gate, inside, let_on = Gate("bank", GateRule(at_once=2)), 0, asyncio.Event()

    async def work() -> None:
        nonlocal inside
        async with gate.passed():
            inside += 1
            await let_on.wait()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(work())
        async with asyncio.timeout(10):
            while inside < 2:  # noqa: ASYNC110  what is watched has no event
                await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert inside == 2
        let_on.set()
    assert (inside, gate.status.waits) == (3, 1)


async def test_the_rate_lets_a_burst_through_and_then_holds_back() -> None:
    gate = Gate("bank", GateRule(calls=5, per_s=0.5))
    began_s = asyncio.get_running_loop().time()
    for _ in range(8):
        await call(gate, good=True)
    took_s = asyncio.get_running_loop().time() - began_s
    assert took_s >= 0.25
    assert gate.status.waits == 3


async def test_a_call_that_waited_is_refused_if_the_circuit_has_opened_meanwhile() -> None:
    gate = Gate("bank", GateRule(at_once=1, failures=1, open_s=10), now_s=Watch())
    async with gate.passed() as first:
        second = asyncio.create_task(call(gate, good=True))
        await asyncio.sleep(0)
        first.went(good=False)
    with pytest.raises(CircuitOpen):
        await second


def test_the_most_exact_pattern_counts() -> None:
    rule = GateRule()
    gates = Gates({"*": rule, "*.shop.example": rule, "api.shop.example": rule})
    named = {host: gate.name for host in ("API.shop.example.", "b.shop.example", "x") if (gate := gates.of(host))}
    assert named == {"API.shop.example.": "api.shop.example", "b.shop.example": "*.shop.example", "x": "*"}
    assert Gates({"a": rule}).of("b") is None


async def test_the_http_node_fails_at_once_while_the_circuit_is_open(called: Service) -> None:
    """5xx and silence count; 4xx is an answer."""
    called.answer(Answer(404), Answer(500), Answer(503), Answer(200))
    policy = OutboundPolicy(gates={HOST: GateRule(failures=2, open_s=60)})
    gates = Gates(policy.gates)
    codes = []
    async with http_client(policy, gates) as http:
        for _ in range(4):
            with pytest.raises(StepFailure) as failed:
                await executed("{http: {url: '{{ input }}'}}", FakeServices(http=http), input=called.url)
            codes.append(failed.value.code)
    assert codes == ["http_404", "http_500", "http_503", "circuit_open"]
    assert len(called.asked) == 3
    [status] = gates.statuses()
    assert (status.name, status.state, status.rejected) == (HOST, "open", 1)


async def test_a_host_that_cannot_be_reached_opens_its_circuit() -> None:
    policy = OutboundPolicy(gates={HOST: GateRule(failures=1)})
    async with http_client(policy) as http:
        with pytest.raises(httpx.ConnectError):
            await http.get("http://127.0.0.1:9/")
        with pytest.raises(CircuitOpen):
            await http.get("http://127.0.0.1:9/")


async def test_a_place_is_held_until_the_response_is_closed(called: Service) -> None:
    policy = OutboundPolicy(gates={HOST: GateRule(at_once=1)})
    async with http_client(policy) as http:
        first = await http.send(http.build_request("GET", called.url), stream=True)
        second = asyncio.create_task(http.get(called.url))
        done, _ = await asyncio.wait({second}, timeout=0.05)
        assert not done
        await first.aclose()
        assert (await second).status_code == 200
