"""The API of limits: who holds, who waits, and why an execution waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from daemon.settings import Throttle
from tests.api.conftest import served
from tests.support import gated_handlers
from tests.support.daemons import finished, in_flight, running, settings_for, start, until

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

WORKFLOW = """
workflow: limited
nodes: {a: {task: gate, with: {name: "{{ input }}"}, throttle: {shared: one, key: "{{ input }}"}}}
"""


async def test_limits_holders_and_queue(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """All limits in short, one in full, and the same in the answer to why."""
    name = request.node.name
    settings = settings_for(tmp_path, WORKFLOW, throttle={"one": Throttle(concurrency=1)})
    async with running(settings) as daemon, served(daemon) as address:
        holder = await start(daemon, "limited", name)
        await until(daemon, holder, in_flight("a"))
        waiter = await start(daemon, "limited", name)
        async with httpx.AsyncClient(base_url=address, trust_env=False) as client:
            everything = (await client.get("/limits")).json()
            assert everything["shared"]["one"]["concurrency"] == 1
            [use] = everything["limits"]
            assert (use["limit"], use["key"], use["most"], use["held"], use["waiting"]) == ("one", name, 1, 1, 1)
            [one] = (await client.get("/limits/one")).json()["limits"]
            assert [each["execution_id"] for each in one["holders"]] == [str(holder)]
            assert [each["execution_id"] for each in one["queue"]] == [str(waiter)]
            [cause] = (await client.get(f"/executions/{waiter}/why")).json()["causes"]
            assert (cause["kind"], cause["limit"], cause["place"]) == ("limit", "one", 1)
            assert cause["holders"] == [f"{holder}/a"]
            step = (await client.get(f"/executions/{waiter}")).json()["steps"][0]
            assert step["status"] == "limited"
            assert (await client.get("/limits/nobody")).json()["limits"] == []
        gated_handlers.gates[name].set()
        await finished(daemon, waiter)
