"""Files of a subject's executions: they hold what is stored, and never a key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from daemon.core.errors import Rejected
from daemon.core.state import Finished
from daemon.core.values import from_json
from daemon.runtime.clock import SystemClock
from daemon.runtime.codec import codec_of
from daemon.runtime.exports import Export
from daemon.runtime.forgetting import Forgetting
from daemon.runtime.history import History
from daemon.runtime.imports import Import, Wish
from daemon.runtime.verification import Verifier
from daemon.settings import Limits
from daemon.settings_encryption import Encryption
from tests.support.archives import write
from tests.support.daemons import finished, in_flight, running, settings_for, start, until
from tests.support.gated_handlers import gates
from tests.support.stores import opened, store_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from uuid import UUID

    from daemon.assembled import Daemon
    from eventstore.codec import Codec
    from eventstore.store import Store

__all__ = ("store_url",)

KEY = "c2l4dGVlbiBieXRlcyBhbmQgc2l4dGVlbiBtb3JlISE="
MARKER = "Xanthippe"
TEXT = """
workflow: visit
subject: "{{ input.who }}"
nodes: {held: {task: gate, with: {name: "{{ input.gate }}", value: "{{ input.note }}"}}}
output: "{{ held }}"
"""


@pytest.fixture
async def daemon(tmp_path: Path, store_url: str) -> AsyncIterator[Daemon]:
    gates.clear()
    gates["open"].set()
    limits = Limits(grace_s=0.1, payload_threshold_bytes=1024)
    encryption = Encryption(keys=(KEY,))
    async with running(settings_for(tmp_path, TEXT, store_url=store_url, limits=limits, encryption=encryption)) as here:
        yield here


@pytest.fixture
def codec(daemon: Daemon) -> Codec:
    return codec_of(daemon.settings)


@pytest.fixture
async def other(tmp_path: Path, codec: Codec) -> AsyncIterator[Store]:
    async with opened(f"sqlite:///{tmp_path}/other.db", codec) as store:
        yield store


async def visit(daemon: Daemon, gate: str = "open") -> UUID:
    return await start(daemon, "visit", {"who": MARKER, "gate": gate, "note": f"{MARKER} {'long ' * 500}"})


async def written(store: Store, codec: Codec, execution_id: UUID, path: Path) -> bytes:
    whole = b"".join([line async for line in Export(store, codec, execution_id).lines()])
    write(path, whole)
    return whole


async def output_of(store: Store, execution_id: UUID) -> Any:
    state = await History(store.log, store.snapshots).load(execution_id)
    assert isinstance(state, Finished)
    return from_json(state.output)


async def test_a_file_tells_nothing_without_the_key(daemon: Daemon, codec: Codec, other: Store, tmp_path: Path) -> None:
    """Elsewhere it is what it is here after forgetting: verified, exported again, byte by byte the same."""
    visited = await visit(daemon)
    await finished(daemon, visited)
    whole = await written(daemon.store, codec, visited, tmp_path / "visit.jsonl")
    assert MARKER.encode() not in whole

    await Import(other, codec, SystemClock(), tmp_path / "visit.jsonl", Wish()).run()
    assert "$forgotten" in await output_of(other, visited)
    assert (await Verifier(other, codec).verify(visited)).findings == ()
    assert await written(other, codec, visited, tmp_path / "again.jsonl") == whole

    await Forgetting(daemon.store, daemon.engine, daemon.clock).forget(MARKER, by="ann")
    assert await written(daemon.store, codec, visited, tmp_path / "after.jsonl") == whole


async def test_where_the_key_is_a_file_is_read(daemon: Daemon, codec: Codec, tmp_path: Path) -> None:
    """And what came of it is forgotten with the rest."""
    visited = await visit(daemon)
    await finished(daemon, visited)
    await written(daemon.store, codec, visited, tmp_path / "visit.jsonl")
    wish = Wish(conflicts="as-new")
    done = await Import(daemon.store, codec, SystemClock(), tmp_path / "visit.jsonl", wish).run()
    assert (await output_of(daemon.store, done.execution_id)).startswith(MARKER)

    held = await Forgetting(daemon.store, daemon.engine, daemon.clock).forget(MARKER, by="ann")
    assert held.sealed.executions == 2
    assert "$forgotten" in await output_of(daemon.store, done.execution_id)


async def test_one_that_has_not_ended_needs_its_key(daemon: Daemon, codec: Codec, other: Store, tmp_path: Path) -> None:
    """It would go on without its values."""
    visited = await visit(daemon, "later")
    await until(daemon, visited, in_flight("held"))
    await written(daemon.store, codec, visited, tmp_path / "visit.jsonl")
    with pytest.raises(Rejected, match="the key of its subject is not here"):
        await Import(other, codec, SystemClock(), tmp_path / "visit.jsonl", Wish(go_on=True)).run()
