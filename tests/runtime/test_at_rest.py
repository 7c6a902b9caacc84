"""A store that is encrypted at rest, by daemons as they are: what stands in it in the clear, and which keys open it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from daemon.core.state import Finished
from daemon.core.values import from_json
from daemon.settings import Limits, Settings, Snapshots
from daemon.settings_encryption import Encryption
from eventstore.errors import Unusable
from eventstore.index import ApprovalFilter, ExecutionFilter
from tests.support.daemons import finished, running, settings_for, start, until
from tests.support.raw_stores import raw

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

KEY = "c2l4dGVlbiBieXRlcyBhbmQgc2l4dGVlbiBtb3JlISE="
OTHER_KEY = "YW5vdGhlciBrZXksIG9mIHRoaXJ0eSB0d28gYnl0ZXM="
MARKER = "Xanthippe"
TEXT = """
workflow: talk
vars: {seen: null}
nodes:
  keep: {set: {seen: "{{ input.words }}"}}
  each: {forEach: "{{ input.items }}", do: {nodes: {say: {task: pass, with: {value: "{{ loop.item }}"}}}}}
  speak: {task: speak, with: {words: "{{ input.words }}"}, cache: {key: "{{ input.words }}", ttl: 1h}}
  ask: {approval: {prompt: "Say {{ input.words }}?", approvers: [ann]}}
edges: [keep -> each -> speak -> ask]
output: "{{ speak }}"
---
workflow: stammer
nodes: {speak: {task: speak, with: {words: "{{ input.words }}", fail: true}}}
"""


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of a store that others can look into."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/log.db"
    return str(request.getfixturevalue("fresh_postgres_url"))


def with_keys(folder: Path, store_url: str, *keys: str) -> Settings:
    return settings_for(
        folder,
        TEXT,
        handlers="tests.support.speaking_handlers",
        store_url=store_url,
        limits=Limits(grace_s=0.1, payload_threshold_bytes=1024),
        snapshots=Snapshots(every=3),
        encryption=Encryption(at_rest_keys=keys),
    )


async def test_no_value_stands_in_the_database(tmp_path: Path, store_url: str) -> None:
    """Neither in events, payloads, snapshots, chunks and results, nor in the tables that lists are made of."""
    given = {"words": f"{MARKER} {'long ' * 500}", "items": [MARKER, "b"]}
    async with running(with_keys(tmp_path, store_url, KEY)) as daemon:
        talk = await start(daemon, "talk", given, key=f"{MARKER}-1")
        await until(daemon, talk, lambda state: "ask" in getattr(state, "people", {}))
        failed = await finished(daemon, await start(daemon, "stammer", {"words": MARKER}, key=f"{MARKER}-2"))
        assert MARKER.encode() not in await raw(daemon.store, store_url)

        assert failed.error is not None
        assert MARKER in failed.error.message
        rows = await daemon.store.index.executions(ExecutionFilter(limit=10))
        assert sorted((row.dedupe_key, row.error) for row in rows if row.dedupe_key) == [
            (f"{MARKER}-1", None),
            (f"{MARKER}-2", f"cannot say {MARKER}"),
        ]
        [asked] = await daemon.store.index.approvals(ApprovalFilter(status="open"))
        assert asked.prompt.startswith(f"Say {MARKER}")


async def test_another_key_does_not_open_it(tmp_path: Path, store_url: str) -> None:
    """The daemon says so at its start, and which key it misses; nothing is written by the wrong one."""
    async with running(with_keys(tmp_path, store_url, KEY)) as daemon:
        await finished(daemon, await start(daemon, "stammer", {"words": "a"}))
    for keys in ((OTHER_KEY,), ()):
        with pytest.raises(Unusable, match=r"encrypted at rest with the key [0-9a-f]{8}, which is not in"):
            async with running(with_keys(tmp_path, store_url, *keys)):
                pass


async def test_keys_are_changed_and_encryption_is_turned_on(tmp_path: Path, store_url: str) -> None:
    """What was written in the clear, or with a key before, is read as long as that key is listed."""
    made: list[UUID] = []
    for keys in ((), (KEY,), (OTHER_KEY, KEY)):
        async with running(with_keys(tmp_path, store_url, *keys)) as daemon:
            made.append(await start(daemon, "stammer", {"words": f"{MARKER} {len(made)}"}, key=f"k{len(made)}"))
            await finished(daemon, made[-1])
            if not keys:
                assert MARKER.encode() in await raw(daemon.store, store_url), "else this module tests nothing"
            for number, execution_id in enumerate(made):
                state = await daemon.history.load(execution_id)
                assert isinstance(state, Finished)
                assert from_json(state.input) == {"words": f"{MARKER} {number}"}
            rows = await daemon.store.index.executions(ExecutionFilter(limit=10))
            assert {row.dedupe_key for row in rows} == {f"k{number}" for number in range(len(made))}
