"""A part of the log, lived again by HTTP under another definition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from tests.api.conftest import WORKFLOWS, started
from tests.support.daemons import finished

if TYPE_CHECKING:
    import httpx

    from daemon.assembled import Daemon

OTHER = WORKFLOWS.replace('value: "{{ input.total }}"', 'value: "{{ input.total * 2 }}"')


async def ordered(client: httpx.AsyncClient, daemon: Daemon, total: int) -> str:
    view = await started(client, "order", {"order_id": str(total), "total": total})
    await finished(daemon, UUID(view["execution_id"]))
    return str(view["execution_id"])


async def shadow(client: httpx.AsyncClient, **body: Any) -> Any:
    answer = await client.post("/replay/shadow", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_the_newest_are_lived_again(client: httpx.AsyncClient, daemon: Daemon) -> None:
    """What would have been sent is told; nothing is sent, and nothing changes in the store."""
    ids = [await ordered(client, daemon, total) for total in (1, 2, 3)]
    head = await daemon.store.log.head()
    same = await shadow(client, definition=WORKFLOWS)
    assert (same["checked"], same["by_severity"]["none"]) == (3, 3)
    found = await shadow(client, definition=OTHER, limit=2)
    assert {each["execution_id"] for each in found["differing"]} == set(ids[1:])
    [first, _] = found["differing"]
    assert (first["severity"], first["assumed"]) == ("minor", ["charge"])
    assert first["differences"][0]["field"] == "sent.charge.input.value"
    assert await daemon.store.log.head() == head


async def test_a_part_of_the_log_is_named_by_positions_or_times(client: httpx.AsyncClient, daemon: Daemon) -> None:
    first = await ordered(client, daemon, 1)
    between = await daemon.store.log.head()
    await ordered(client, daemon, 2)
    until = await shadow(client, definition=OTHER, **{"from": 0, "to": between})
    assert [each["execution_id"] for each in until["differing"]] == [first]
    assert (await shadow(client, definition=OTHER, **{"from": between + 1}))["checked"] == 1
    assert (await shadow(client, definition=OTHER, to="2020-01-01T00:00:00Z"))["checked"] == 0
    assert (await shadow(client, definition=OTHER, workflow="order", trigger="order/api"))["checked"] == 2
    assert (await shadow(client, definition=OTHER, trigger="order/queue"))["checked"] == 0


async def test_a_workflow_may_have_another_name(client: httpx.AsyncClient, daemon: Daemon) -> None:
    await ordered(client, daemon, 1)
    renamed = OTHER.partition("---")[0].replace("workflow: order", "workflow: newer")
    assert (await shadow(client, definition=renamed, workflow="order"))["checked"] == 1


async def test_what_cannot_be_asked_is_refused(client: httpx.AsyncClient) -> None:
    async def status(body: Any) -> int:
        return (await client.post("/replay/shadow", json=body)).status_code

    assert await status({"definition": "workflow: [", "from": 1}) == 422
    assert await status({"definition": ""}) == 422
    assert await status({"definition": WORKFLOWS, "limit": 201}) == 422
    assert await status({"definition": WORKFLOWS, "workflow": "stranger"}) == 404
