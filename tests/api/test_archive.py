"""Executions as files over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from tests.api.conftest import client_of, started
from tests.support.daemons import finished, running, settings_for

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from daemon.assembled import Daemon

HEAD = f"00000000-0000-0000-0000-000000000001:7:{'0' * 64}"
TEXT = "workflow: other\nnodes: {a: {transform: 1}}"


async def charged(client: httpx.AsyncClient, daemon: Daemon) -> UUID:
    view = await started(client, "order", {"order_id": "1", "total": 5})
    return (await finished(daemon, UUID(view["execution_id"]))).execution_id


async def test_a_file_goes_from_one_daemon_to_another(
    client: httpx.AsyncClient, daemon: Daemon, tmp_path: Path
) -> None:
    """And comes back the same; a second time it is a conflict."""
    execution_id = await charged(client, daemon)
    whole = await client.get(f"/executions/{execution_id}/export")
    assert (whole.status_code, whole.headers["content-type"]) == (200, "application/x-ndjson")
    async with running(settings_for(tmp_path, TEXT)) as other, client_of(other) as there:
        done = await there.post("/executions/import", content=whole.content)
        assert (done.status_code, done.json()["imported"]) == (200, [str(execution_id)])
        assert (await there.get(f"/executions/{execution_id}")).json()["status"] == "completed"
        assert (await there.get(f"/executions/{execution_id}/export")).content == whole.content
        again = await there.post("/executions/import", content=whole.content)
        assert again.status_code == 409
        left = await there.post("/executions/import?on_conflict=skip", content=whole.content)
        assert left.json()["left"] == [str(execution_id)]
        head = (await there.get(f"/executions/{execution_id}/verify")).json()["head"]
    proof = (await client.get(f"/executions/{execution_id}/verify", params={"expect": head})).json()
    assert (proof["sound"], proof["findings"]) == (True, [])


async def test_what_is_not_whole_is_refused_with_its_line(client: httpx.AsyncClient, daemon: Daemon) -> None:
    execution_id = await charged(client, daemon)
    whole = (await client.get(f"/executions/{execution_id}/export")).content
    for data, line in ((whole[:-5], whole.count(b"\n")), (b"", 1), (b"{}\n", 1)):
        done = await client.post("/executions/import", content=data)
        assert (done.status_code, f"line {line}: " in done.json()["detail"]) == (409, True)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/executions/00000000-0000-0000-0000-000000000001/export", 404),
        ("/executions/00000000-0000-0000-0000-000000000001/verify", 404),
        ("/executions/00000000-0000-0000-0000-000000000001/verify?expect=nothing", 422),
        (f"/executions/00000000-0000-0000-0000-000000000001/verify?expect={HEAD}", 200),
        (f"/executions/00000000-0000-0000-0000-000000000001/verify?expect={HEAD}:{'a' * 64}", 409),
        (f"/executions/00000000-0000-0000-0000-000000000002/verify?expect={HEAD}", 409),
    ],
)
async def test_what_is_not_there_is_told(client: httpx.AsyncClient, path: str, status: int) -> None:
    assert (await client.get(path)).status_code == status
