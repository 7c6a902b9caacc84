"""A daemon on Postgres is killed in the middle of durable functions: the next one goes on where they were."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import httpx
import pytest

from daemon.core import events as e
from daemon.core.evolve import fold
from daemon.core.state import Finished
from daemon.core.values import from_json
from daemon.runtime.codec import codec_of
from daemon.settings import load_settings
from eventstore.store import open_store
from tests.support.crash_orders import histories

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from uuid import UUID

    from eventstore.log import Recorded
    from eventstore.store import Store
    from tests.support.process import SagadProcess

pytestmark = [pytest.mark.timeout(120)]

WORKFLOW = """
workflow: durable
nodes: {f: {function: journal.flow, with: {number: "{{ input }}"}}}
output: "{{ f }}"
"""
EXECUTIONS, KILLS, STEPS = 10, 3, 8


async def test_functions_go_on_after_a_kill(
    tmp_path: Path, sagad: Callable[..., SagadProcess], fresh_postgres_url: str
) -> None:
    journal = tmp_path / "journal"
    daemon = sagad(
        WORKFLOW,
        handlers="tests.support.durable_flows",
        environ={"WORK_JOURNAL": str(journal)},
        store={"url": fresh_postgres_url},
        log={"level": "warning"},
    )
    daemon.start()
    await daemon.ready()
    async with httpx.AsyncClient(trust_env=False, base_url=daemon.url) as client:
        for number in range(EXECUTIONS):
            answer = await client.post("/workflows/durable/executions", json={"input": number})
            assert answer.is_success, answer.text
    store = await open_store(fresh_postgres_url, codec_of(load_settings(daemon.config, {})), auto_migrate=False)
    try:
        for _ in range(KILLS):
            enough = await store.log.head() + 60

            async def grown(enough: int = enough) -> bool:
                return await store.log.head() >= enough or await _all_ended(store)

            await daemon.until(grown)
            daemon.kill()
            daemon.start()
        await daemon.until(lambda: _all_ended(store))
        await daemon.ready()
        assert await daemon.stop() == 0
        _check(await histories(store), Counter(json.loads(line) for line in lines_of(journal)))
    finally:
        await store.close()


async def _all_ended(store: Store) -> bool:
    counts = await store.index.counts()
    return sum(count for (_, status), count in counts.items() if status == "completed") == EXECUTIONS


def lines_of(file: Path) -> list[str]:
    return file.read_text().splitlines()


def _check(found: Mapping[UUID, Sequence[Recorded]], runs: Counter[str]) -> None:
    """Every execution has its end, every step one result, and a handler ran again only where a kill had hit it."""
    outputs = []
    for execution_id, history in found.items():
        events = [recorded.event for recorded in history]
        state = fold(events)
        assert isinstance(state, Finished)
        outputs.append(from_json(state.output))
        succeeded = Counter(each.address for each in events if isinstance(each, e.StepSucceeded))
        assert set(succeeded.values()) == {1}
        assert not [each for each in events if isinstance(each, e.FunctionDiverged)]
        done = [address for address in succeeded if runs[f"{execution_id}/{address}"]]
        assert len(done) == STEPS
    assert sorted(output["number"] for output in outputs) == list(range(EXECUTIONS))
    assert all(output["sum"] == sum(range(STEPS)) and output["pending"] == 1 for output in outputs)
    assert len(runs) == EXECUTIONS * STEPS
    assert max(runs.values()) <= KILLS + 1
