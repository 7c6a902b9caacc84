"""What another definition would have decided, and which definitions are in use, by HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from tests.api.conftest import WORKFLOWS, started
from tests.support.daemons import finished

if TYPE_CHECKING:
    import httpx

    from daemon.assembled import Daemon

ORDER = WORKFLOWS.partition("---")[0]
OTHER = ORDER.replace('value: "{{ input.total }}"', 'value: "{{ input.total * 2 }}"')


async def ordered(client: httpx.AsyncClient, daemon: Daemon, number: int) -> str:
    view = await started(client, "order", {"order_id": str(number), "total": number})
    await finished(daemon, UUID(view["execution_id"]))
    return str(view["execution_id"])


async def told(client: httpx.AsyncClient, path: str, **body: Any) -> Any:
    answer = await client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_what_if_tells_where_another_definition_parts(client: httpx.AsyncClient, daemon: Daemon) -> None:
    execution = await ordered(client, daemon, 7)
    head = await daemon.store.log.head()
    same = await told(client, f"/executions/{execution}/what-if", definition=WORKFLOWS)
    assert (same["severity"], same["version"], same["recorded"]) == ("none", None, None)
    other = await told(client, f"/executions/{execution}/what-if", definition=OTHER)
    assert (other["severity"], other["step"], other["reason"]) == (
        "major",
        "charge",
        "StepStarted charge has another input",
    )
    assert (other["recorded"]["input"]["value"], other["found"]["input"]["value"]) == (7, 14)
    assert await daemon.store.log.head() == head


async def test_what_if_needs_a_definition_of_the_workflow(client: httpx.AsyncClient, daemon: Daemon) -> None:
    execution = await ordered(client, daemon, 7)
    path = f"/executions/{execution}/what-if"
    stranger = await client.post(path, json={"definition": OTHER.replace("workflow: order", "workflow: newer")})
    assert (stranger.status_code, stranger.json()["detail"]) == (
        409,
        "there is no new workflow 'order'; there are: newer",
    )
    broken = await client.post(path, json={"definition": "workflow: order\nnodes: {a: {tusk: x}}"})
    assert broken.status_code == 422
    assert "definition:2" in broken.json()["detail"]
    assert (await client.post(path, json={})).status_code == 422


async def test_a_check_takes_a_page_in_each_call(client: httpx.AsyncClient, daemon: Daemon) -> None:
    ids = [await ordered(client, daemon, number) for number in (1, 2, 3)]
    first = await told(client, "/check", definition=OTHER, limit=2)
    assert (first["checked"], first["by_severity"]["major"], first["by_node"]) == (2, 2, {"charge": 2})
    second = await told(client, "/check", definition=OTHER, limit=2, cursor=first["next"])
    assert (second["checked"], second["next"]) == (1, None)
    assert {each["execution_id"] for page in (first, second) for each in page["parted"]} == set(ids)
    assert (await told(client, "/check", definition=OTHER, status="running"))["checked"] == 0
    assert (await told(client, "/check", definition=OTHER, until="2020-01-01T00:00:00Z"))["checked"] == 0


async def test_a_check_says_which_workflow_is_meant(client: httpx.AsyncClient) -> None:
    unclear = await client.post("/check", json={"definition": WORKFLOWS})
    assert unclear.status_code == 422
    assert unclear.json()["detail"].startswith("`workflow` says which one is meant: ")
    assert (await told(client, "/check", definition=WORKFLOWS, workflow="order"))["checked"] == 0


async def test_versions_tell_which_definitions_still_have_executions(client: httpx.AsyncClient, daemon: Daemon) -> None:
    empty = (await client.get("/workflows/order/versions")).json()["versions"]
    assert [(each["current"], each["open"], each["executions"]) for each in empty] == [(True, 0, 0)]
    await ordered(client, daemon, 1)
    [used] = (await client.get("/workflows/order/versions")).json()["versions"]
    assert (used["definition"], used["current"], used["executions"]) == (empty[0]["definition"], True, 1)
    assert used["first_seen_at"] is not None
    assert (await client.get("/workflows/nobody/versions")).json() == {"workflow": "nobody", "versions": []}
