"""The OpenAPI document and what the API really does agree, whatever is sent: generated requests, over TCP."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.specs.openapi.checks import positive_data_acceptance

from daemon.settings import Secrets
from tests.api.conftest import SECRET, WORKFLOWS, served, started
from tests.support.daemons import running, settings_for

if TYPE_CHECKING:
    from collections.abc import Iterator


WITH_TEXTS = {
    "/archive": "GET",
    "/check": "POST",
    "/executions/{execution_id}/what-if": "POST",
    "/as-of": "GET",
    "/executions/pause": "POST",
    "/executions/resume": "POST",
    "/replay/shadow": "POST",
    "/dead-letters": "GET",
    "/dead-letters/redrive": "POST",
}
"""What takes texts that not every text is, and how it is called."""


class Background:
    """A served daemon in a thread with an event loop of its own: the generated tests are not asynchronous."""

    def __init__(self, folder: Any) -> None:
        (folder / "HOOK").write_text(SECRET)
        self._settings = settings_for(folder, WORKFLOWS, secrets=Secrets(dir=folder))
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self.address = ""

    async def _serve(self) -> None:
        self._loop, self._done = asyncio.get_running_loop(), asyncio.Event()
        async with running(self._settings) as daemon, served(daemon) as self.address:
            async with httpx.AsyncClient(base_url=self.address, trust_env=False) as client:
                await started(client, "order", {"order_id": "1", "total": 5000})
            self._up.set()
            await self._done.wait()

    def __enter__(self) -> str:
        self._thread.start()
        assert self._up.wait(30)
        return self.address

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(30)


@pytest.fixture(scope="module")
def api_schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with Background(tmp_path_factory.mktemp("api")) as address:
        yield schemathesis.openapi.from_url(f"{address}/openapi.json")


def test_every_answer_is_as_the_document_says(api_schema: Any) -> None:
    """Valid and invalid requests to every operation: statuses, content types and shapes are the documented ones."""
    operations = [result.ok() for result in api_schema.get_all_operations() if result.ok().path not in WITH_TEXTS]
    assert len(operations) > 12
    for operation in operations:
        for mode in schemathesis.GenerationMode:
            strategy = operation.as_strategy(generation_mode=mode)

            @given(case=strategy)
            @settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
            def check(case: Any) -> None:
                case.call_and_validate()

            with suppress(Unsatisfiable):  # nothing can be wrong with a request that takes nothing
                check()


@pytest.mark.parametrize("path", WITH_TEXTS)
def test_texts_with_a_meaning_are_answered_as_the_document_says(api_schema: Any, path: str) -> None:
    """But for texts that are no expressions, times or cursors: of these the document says only that they are texts."""
    for mode in schemathesis.GenerationMode:
        strategy = api_schema[path][WITH_TEXTS[path]].as_strategy(generation_mode=mode)

        @given(case=strategy)
        @settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        def check(case: Any) -> None:
            case.call_and_validate(excluded_checks=[positive_data_acceptance])

        check()
