"""How a workflow is tested: the daemon is real, time is virtual, and what is outside is faked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from daemon.handlers import Context  # noqa: TC001  read when the fake is bound, as a handler's annotations are
from daemon.testing import WorkflowFailed, crash_everywhere

if TYPE_CHECKING:
    from daemon.testing import Execution, Flow, Sagad

pytestmark = pytest.mark.asyncio

SMALL = {"order_id": "A7", "items": [{"price": 10, "count": 2}]}
LARGE = {"order_id": "A8", "items": [{"price": 600, "count": 2}]}


@pytest.fixture
def flow(sagad: Sagad) -> Flow:
    """Give the workflow with everything outside faked. The handler that only computes is the real one."""
    flow = sagad.workflow("workflow.yaml", handlers=["handlers.py"])
    flow.fake("inventory.reserve", returns="r1")
    flow.fake("inventory.release", returns="released")
    flow.fake("payments.charge", returns="paid")
    flow.fake_node("tell", returns={"status": 204})
    return flow


async def test_a_small_order_is_charged(flow: Flow) -> None:
    """It goes straight through."""
    execution = await flow.start(SMALL)
    assert (await execution.result())["charge"] == "paid"
    assert flow.calls("payments.charge") == [{"amount": 20}]
    assert flow.node_calls("tell")[0]["url"] == "https://shop.example/orders/A7"


async def test_a_busy_warehouse_is_asked_again(flow: Flow) -> None:
    """The pauses between the attempts, of minutes, take no time."""
    flow.fake("inventory.reserve", fails="busy", times=2, returns="r3")
    execution = await flow.start(SMALL)
    await execution.result()
    assert execution.step("reserve").attempt == 3


async def test_a_warehouse_that_stays_busy_fails_the_order(flow: Flow) -> None:
    """The error says which step failed, and how."""
    flow.fake("inventory.reserve", fails="busy")
    execution = await flow.start(SMALL)
    with pytest.raises(WorkflowFailed, match=r"in step reserve: .*\(code busy\)"):
        await execution.result()
    assert flow.calls("payments.charge") == []


async def test_a_large_order_waits_for_its_review(flow: Flow, sagad: Sagad) -> None:
    """Look in the middle, then go on."""
    execution = await flow.start(LARGE)
    await sagad.clock.advance("23h")
    assert execution.step("review").status == "awaiting"
    await execution.signal("reviewed", {"ok": True})
    assert (await execution.result())["charge"] == "paid"


async def test_an_order_that_nobody_reviews_is_given_up(flow: Flow) -> None:
    """A day passes while the result is waited for."""
    assert await (await flow.start(LARGE)).result() == {"charge": None, "released": "released"}


async def test_a_crash_at_any_point_changes_nothing(flow: Flow) -> None:
    """The daemon is killed before and after each append. The bank is asked again, and charges once for each key."""
    charged: dict[str, float] = {}

    async def charge(amount: float, *, context: Context) -> str:
        charged[context.idempotency_key] = amount
        return "paid"

    async def review(execution: Execution) -> None:
        await execution.signal("reviewed")

    flow.fake("payments.charge", calls=charge)
    report = await crash_everywhere(
        flow, LARGE, then=review, reset=charged.clear, outside=lambda: list(charged.values())
    )
    assert report.points == 2 * report.appends
