"""Remote workers on real brokers, in processes of their own: killed workers, killed daemons, cancellation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.journal_handlers import __file__ as handlers_file
from tests.support.worker_process import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.support.process import SagadProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

WORKFLOW = """
workflow: far
nodes:
  work:
    task: journal.work
    worker: far
    heartbeat: 2s
    with: {name: "{{ input }}"}
    retry: {max_attempts: 2, initial: 10ms}
output: "{{ work }}"
---
workflow: wide
nodes:
  all:
    parallel: "{{ input }}"
    do:
      nodes: {one: {task: journal.quick, worker: far, with: {n: "{{ parallel.currentItem }}"}}}
      output: "{{ one }}"
output: "{{ all }}"
"""


class Place:
    """A daemon, its workers, and the folder where handlers write."""

    def __init__(self, daemon: SagadProcess, folder: Path, environ: dict[str, str]) -> None:
        self.daemon, self.folder, self._environ = daemon, folder, environ
        self.workers: list[WorkerProcess] = []

    def worker(self, *arguments: str) -> WorkerProcess:
        self.workers.append(
            WorkerProcess(self.daemon.config, self._environ, "--queue", "far", "--handlers", handlers_file, *arguments)
        )
        return self.workers[-1]

    def hold(self, name: str) -> None:
        (self.folder / f"hold-{name}").touch()

    def let_on(self, name: str) -> None:
        (self.folder / f"hold-{name}").unlink()

    def runs(self, name: str) -> list[list[str]]:
        """Key, attempt and process of each run."""
        journal = self.folder / "journal"
        lines = journal.read_text().splitlines() if journal.exists() else []
        return [line.split()[1:] for line in lines if line.startswith(f"{name} ")]

    async def ran(self, name: str, times: int = 1) -> None:
        await self.daemon.until(lambda: _true(len(self.runs(name)) >= times))

    async def ask(self, method: str, path: str, value: Any = None) -> Any:
        async with httpx.AsyncClient(base_url=self.daemon.url, trust_env=False, timeout=30) as client:
            answer = await client.request(method, path, json=value)
            assert answer.is_success, answer.text
            return answer.json()

    async def start(self, workflow: str, value: Any) -> str:
        answer = await self.ask("POST", f"/workflows/{workflow}/executions", {"input": value})
        return str(answer["execution_id"])

    async def finished(self, execution_id: str) -> dict[str, Any]:
        found: dict[str, Any] = {}

        async def ended() -> bool:
            found.update(await self.ask("GET", f"/executions/{execution_id}"))
            return found["status"] in ("completed", "failed", "cancelled")

        await self.daemon.until(ended, patience_s=60)
        return found


async def _true(value: object) -> bool:
    return bool(value)


@pytest.fixture(params=["rabbitmq", "kafka"])
async def place(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    sagad: Callable[..., SagadProcess],
    unique_name: Callable[[str], str],
) -> AsyncIterator[Place]:
    environ = {"JOURNAL_FOLDER": str(tmp_path)}
    parts: dict[str, dict[str, Any]] = {"workers": {"broker": request.param, "prefix": unique_name("far")}}
    if request.param == "rabbitmq":
        parts["rabbitmq"] = {"url": request.getfixturevalue("rabbitmq_url")}
    else:
        parts["kafka"] = {"bootstrap": [request.getfixturevalue("kafka_bootstrap")]}
    daemon = sagad(
        WORKFLOW, handlers="tests.support.order_handlers", environ=environ, store={"url": "sqlite:///sagad.db"}, **parts
    )
    made = Place(daemon, tmp_path, environ)
    try:
        daemon.start()
        await daemon.ready()
        yield made
    finally:
        for worker in made.workers:
            worker.clean_up()


async def test_steps_go_through_a_worker_which_then_drains(place: Place) -> None:
    worker = place.worker()
    items = list(range(60))
    execution_id = await place.start("wide", items)
    done = await place.finished(execution_id)
    assert done["output"] == [item + 1 for item in items], done
    assert await asyncio.to_thread(worker.stop) == 0


async def test_a_killed_worker_is_lost_and_another_tries_again(place: Place) -> None:
    first = place.worker()
    place.hold("a")
    execution_id = await place.start("far", "a")
    await place.ran("a")
    first.kill()
    place.worker()
    await place.ran("a", 2)
    place.let_on("a")
    done = await place.finished(execution_id)
    assert (done["status"], done["output"]) == ("completed", "a")
    keys, attempts, processes = zip(*place.runs("a"), strict=True)
    assert (len(set(keys)), attempts, len(set(processes))) == (1, ("1", "2"), 2)


async def test_a_killed_daemon_gets_the_outcome_when_it_is_back(place: Place) -> None:
    """The worker has never stopped: the handler has run once, whoever asked."""
    place.worker()
    place.hold("b")
    execution_id = await place.start("far", "b")
    await place.ran("b")
    place.daemon.kill()
    place.let_on("b")
    place.daemon.start()
    await place.daemon.ready()
    done = await place.finished(execution_id)
    assert (done["status"], done["output"], len(place.runs("b"))) == ("completed", "b", 1)


async def test_a_cancelled_execution_stops_the_handler(place: Place) -> None:
    place.worker()
    place.hold("c")
    execution_id = await place.start("far", "c")
    await place.ran("c")
    await place.ask("POST", f"/executions/{execution_id}/cancel", {"reason": "enough"})
    await place.daemon.until(lambda: _true((place.folder / "cancelled-c").exists()))
    assert (await place.finished(execution_id))["status"] == "cancelled"
