"""The past by HTTP: checkpoints, snapshots, differences, and many executions at a time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import jsonpatch
import pytest

from tests.api.conftest import started
from tests.support.daemons import finished

if TYPE_CHECKING:
    import httpx

    from daemon.assembled import Daemon


@pytest.fixture
async def target(client: httpx.AsyncClient, daemon: Daemon) -> str:
    """Run an order to its end; give its path."""
    view = await started(client, "order", {"order_id": "1", "total": 40})
    await finished(daemon, UUID(view["execution_id"]))
    return f"/executions/{view['execution_id']}"


async def test_a_version_gets_a_name(client: httpx.AsyncClient, target: str) -> None:
    made = await client.post(f"{target}/checkpoints", json={"name": "before the charge"}, params={"version": 3})
    assert (made.status_code, made.json()) == (200, {"name": "before the charge", "version": 3, "stored": True})
    assert (await client.get(f"{target}/checkpoints")).json()["checkpoints"] == [made.json()]
    other = await client.post(f"{target}/checkpoints", json={"name": "before the charge"})
    assert (other.status_code, other.json()["code"]) == (409, "rejected")
    assert (await client.post(f"{target}/checkpoints")).status_code == 422
    assert (await client.get(f"/executions/{uuid4()}/checkpoints")).status_code == 404


async def test_snapshots_are_listed_checked_and_deleted(client: httpx.AsyncClient, target: str) -> None:
    for version in (2, 4):
        await client.post(f"{target}/checkpoints", json={"name": f"v{version}"}, params={"version": version})
    stored = (await client.get(f"{target}/snapshots")).json()
    assert [each["version"] for each in stored["snapshots"]] == [2, 4]
    assert stored["bytes"] == sum(each["stored_bytes"] for each in stored["snapshots"])
    checked = (await client.get(f"{target}/snapshots/validation")).json()
    assert checked["ok"]
    assert [each["outcome"] for each in checked["snapshots"]] == ["ok", "ok"]
    assert (await client.delete(f"{target}/snapshots", params={"version": 2})).json() == {"cleared": 1}
    assert (await client.delete(f"{target}/snapshots")).json() == {"cleared": 1}
    assert (await client.get(f"{target}/snapshots/document")).status_code == 404


async def test_a_document_goes_out_and_comes_back(client: httpx.AsyncClient, target: str) -> None:
    await client.post(f"{target}/checkpoints", json={"name": "kept"})
    document = (await client.get(f"{target}/snapshots/document")).json()
    await client.delete(f"{target}/snapshots")
    taken = await client.post(f"{target}/snapshots", json=document)
    assert taken.json() == {"name": "kept", "version": document["version"], "stored": True}
    document["state"]["output"] = {"charged": 41}
    refused = await client.post(f"{target}/snapshots", json=document)
    assert refused.status_code == 422
    assert "output.charged" in refused.json()["detail"]


async def test_versions_are_compared(client: httpx.AsyncClient, target: str) -> None:
    """As data, and as a patch of what `/state` gives."""
    found = (await client.get(f"{target}/diff", params={"version": 2})).json()
    fields = {change["field"]: change for change in found["execution"]}
    assert (fields["status"]["from"], fields["status"]["to"]) == ("running", "completed")
    assert not found["same"]
    assert found["to"]["status"] == "completed"
    patch = await client.get(f"{target}/diff", params={"version": 2, "patch": True})
    assert patch.headers["content-type"] == "application/json-patch+json"
    before, after = [(await client.get(f"{target}/state", params=given)).json() for given in ({"version": 2}, {})]
    assert jsonpatch.apply_patch(before, patch.json()) == after
    assert (await client.get(f"{target}/diff", params={"version": 2, "to_version": 2})).json()["same"]


async def test_a_moment_that_cannot_be_is_refused(client: httpx.AsyncClient, target: str) -> None:
    async def status(**given: Any) -> int:
        return (await client.get(f"{target}/diff", params=given)).status_code

    assert await status(version=99) == 404
    assert await status(version="x") == 422
    assert await status(checkpoint="a") == 404
    assert await status(other=str(uuid4())) == 404
    assert await status(at="2020-01-01T00:00:00Z") == 404


async def test_many_executions_at_a_time_are_asked_page_by_page(client: httpx.AsyncClient, daemon: Daemon) -> None:
    ids = []
    for number in range(5):
        view = await started(client, "order", {"order_id": str(number), "total": number})
        await finished(daemon, UUID(view["execution_id"]))
        ids.append(view["execution_id"])
    found: list[str] = []
    pages, cursor = 0, None
    while pages == 0 or cursor is not None:
        asked: dict[str, Any] = {
            "at": datetime.now(UTC).isoformat(),
            "where": "input.total > 1",
            "show": "output.charged",
            "limit": 2,
        }
        page = (await client.get("/as-of", params=asked | ({"cursor": cursor} if cursor else {}))).json()
        found += [view["execution_id"] for view in page["executions"]]
        assert [view["shown"] for view in page["executions"]] == [
            {"output.charged": view["input"]["total"]} for view in page["executions"]
        ]
        pages, cursor = pages + 1, page["next"]
    assert found == ids[:1:-1]
    assert pages == 3


async def test_a_question_that_cannot_be_is_refused(client: httpx.AsyncClient) -> None:
    now = datetime.now(UTC).isoformat()
    wrong = await client.get("/as-of", params={"at": now, "where": "stats == 1"})
    assert wrong.status_code == 422
    assert "did you mean 'status'?" in wrong.json()["detail"]
    assert (await client.get("/as-of", params={"at": now, "where": "1 +"})).status_code == 422


async def test_those_without_an_answer_are_counted(client: httpx.AsyncClient, target: str) -> None:
    """Also those for which the expression gives something else than true or false."""
    for where, why in (("vars.total > 1", "total"), ("input.total", "not true or false")):
        page = (await client.get("/as-of", params={"at": datetime.now(UTC).isoformat(), "where": where})).json()
        assert (page["executions"], page["unclear"]) == ([], 1)
        assert why in page["why_unclear"]
