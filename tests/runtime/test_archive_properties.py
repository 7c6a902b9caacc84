"""Files and hash chains of generated executions: what is written is read back, and no flipped bit is missed."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from daemon.core.state import Running
from daemon.runtime.archive_file import BadFile
from daemon.runtime.verification import Proof, Verifier
from eventstore.memory import MemoryLog
from tests.core.generator.executions import case
from tests.core.histories import History
from tests.core.spec import EXECUTION, NOON
from tests.support.archives import CODEC, exported, imported, put_history, read, write
from tests.support.stores import opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from eventstore.codec import Stored
    from eventstore.index import DueTimer
    from eventstore.store import Store

CASES = 100
IN_A_TEST = 50
FLIPS = 4
"""In each file and each log."""


async def drawn(first: int) -> AsyncIterator[tuple[int, Store]]:
    """Give stores with one generated execution each; every other one has not come to its end."""
    for number in range(first, first + IN_A_TEST):
        history = case(number).history
        if history is None or not history.events:
            continue
        if number % 2:
            most = random.Random(number).randint(1, len(history.turns))  # noqa: S311  no secret
            history = History(history.plan, history.turns[:most])
            end = history.turns[-1].after
            if not history.events or (isinstance(end, Running) and end.children):  # of which there is no log
                continue
        async with opened("memory://", CODEC) as store:
            await put_history(store, history)
            yield number, store


def flipped(data: bytes, dice: random.Random) -> bytes:
    """Return the bytes with one bit of them turned."""
    bit = dice.randrange(len(data) * 8)
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


async def due(store: Store) -> Sequence[DueTimer]:
    return await store.index.due_timers(NOON + timedelta(days=9999), limit=999)


async def proof_of(store: Store) -> Proof:
    return await Verifier(store, CODEC).verify(EXECUTION)


@pytest.mark.parametrize("first", range(0, CASES, IN_A_TEST))
async def test_out_and_in_and_out_again_is_the_same(first: int, tmp_path: Path) -> None:
    """Byte by byte; and the rows of the index are what the events say."""
    path = tmp_path / "execution.jsonl"
    async for number, store in drawn(first):
        whole = await exported(store, EXECUTION, path, with_children=True)
        async with opened("memory://", CODEC) as other:
            await imported(other, path, go_on=True)
            assert await exported(other, EXECUTION, path) == whole, number
            assert await other.index.busy(after=None, limit=9) == await store.index.busy(after=None, limit=9)
            assert await due(other) == await due(store), number
            proof = await proof_of(other)
            assert (proof.findings, proof.head) == ((), (await proof_of(store)).head), number


@pytest.mark.parametrize("first", range(0, CASES, IN_A_TEST))
async def test_a_flipped_bit_of_a_file_is_found(first: int, tmp_path: Path) -> None:
    """A packed one may have it where it means nothing; then every line is as it was."""
    path, packed = tmp_path / "execution.jsonl", tmp_path / "execution.jsonl.gz"
    async for number, store in drawn(first):
        dice = random.Random(number)  # noqa: S311  no secret
        whole = await exported(store, EXECUTION, path)
        for _ in range(FLIPS):
            write(path, flipped(whole, dice))
            with pytest.raises(BadFile):
                read(path)
        await exported(store, EXECUTION, packed)
        sound = read(packed)
        write(packed, flipped(packed.read_bytes(), dice))
        try:
            found = read(packed)
        except BadFile:
            continue
        assert (found.counts, found.told) == (sound.counts, sound.told)


@pytest.mark.parametrize("first", range(0, CASES, IN_A_TEST))
async def test_a_flipped_bit_of_the_log_is_found(first: int) -> None:
    """In a state, a topic or a version of an event, with the head that was kept."""
    async for number, store in drawn(first):
        dice = random.Random(number)  # noqa: S311  no secret
        log = store.payloads
        assert isinstance(log, MemoryLog)
        rows, head = log.streams[EXECUTION], (await proof_of(store)).head
        for _ in range(FLIPS):
            place = dice.randrange(len(rows))
            sound = rows[place]
            rows[place] = damaged(sound, dice)
            proof = await Verifier(store, CODEC).verify(EXECUTION, head)
            assert proof.findings, f"case {number}: {sound} became {rows[place]}"
            rows[place] = sound


@pytest.mark.parametrize("first", range(0, CASES, IN_A_TEST))
async def test_events_that_are_gone_or_swapped_are_found(first: int) -> None:
    """At the place where they were; of the last ones, the head tells."""
    async for number, store in drawn(first):
        dice = random.Random(number)  # noqa: S311  no secret
        log = store.payloads
        assert isinstance(log, MemoryLog)
        rows, head = [*log.streams[EXECUTION]], (await proof_of(store)).head
        gone = dice.randrange(len(rows))
        log.streams[EXECUTION] = [*rows[:gone], *rows[gone + 1 :]]
        [finding] = (await Verifier(store, CODEC).verify(EXECUTION, head)).findings[:1]
        assert finding.version == gone + 1
        if len(rows) > 1:
            at = dice.randrange(len(rows) - 1)
            one, two = rows[at : at + 2]
            exchanged = [two._replace(version=one.version), one._replace(version=two.version)]
            log.streams[EXECUTION] = [*rows[:at], *exchanged, *rows[at + 2 :]]
            [finding] = (await proof_of(store)).findings[:1]
            assert finding.version in (at + 1, at + 2), number


def damaged(row: Stored, dice: random.Random) -> Stored:
    """Return the row with one bit of one of its columns turned."""
    match dice.randrange(4):
        case 0:
            return row._replace(topic=flipped(row.topic.encode(), dice).decode("latin-1"))
        case 1:
            return row._replace(version=row.version ^ 1 << dice.randrange(8))
        case _:
            return row._replace(state=flipped(row.state, dice))


async def test_json_that_is_spread_over_lines_stays_as_it_is(tmp_path: Path) -> None:
    """Nothing says that what is stored has no line breaks in it."""
    async for _, store in drawn(0):
        log = store.payloads
        assert isinstance(log, MemoryLog)
        rows = log.streams[EXECUTION]
        rows[0] = rows[0]._replace(state=b" " + rows[0].state.replace(b",", b",\n") + b"\n")
        whole = await exported(store, EXECUTION, tmp_path / "lines.jsonl")
        async with opened("memory://", CODEC) as other:
            await imported(other, tmp_path / "lines.jsonl", go_on=True)
            assert await exported(other, EXECUTION, tmp_path / "again.jsonl") == whole
            there = await other.archive.rows(EXECUTION, after_version=0, up_to_version=1)
            assert there[0].state == rows[0].state
        return
