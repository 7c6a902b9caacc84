"""Generated executions, once as anybody's and once as a subject's: the same, until the subject is forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import asdict, replace

from daemon.core.events import EVENT_TYPES, UPCASTERS, ExecutionStarted
from daemon.core.personal import COUNTED, PERSONAL_TEXTS
from daemon.core.state import INITIAL, NotStarted
from daemon.runtime.history import History
from daemon.runtime.projection import status_of
from daemon.runtime.verification import Verifier
from eventstore.codec import Codec
from eventstore.keyring import Keyring
from eventstore.log import Sealing
from eventstore.sealing import Personal
from tests.core.generator.executions import case
from tests.core.spec import EXECUTION, NOON
from tests.support.archives import CODEC, appends_of, put_history
from tests.support.stores import opened

if TYPE_CHECKING:
    from daemon.core.state import State
    from eventstore.store import Store
    from tests.core.histories import History as Drawn

CASES = 60
IN_A_TEST = 30
WHO = "Xanthippe"
KEYRING = Keyring([b"k" * 32])
SEALED = Codec(
    EVENT_TYPES,
    UPCASTERS,
    payload_threshold_bytes=300,
    keyring=KEYRING,
    personal=Personal(PERSONAL_TEXTS, COUNTED),
)
SHORTEST = 12
"""Characters of a value that is looked for: shorter ones are found in structure by chance."""


async def put_sealed(store: Store, drawn: Drawn) -> None:
    """Put a drawn execution into the store as one of a subject."""
    started = False
    for append in appends_of(drawn):
        events = tuple(
            replace(each, subject=WHO) if isinstance(each, ExecutionStarted) else each for each in append.events
        )
        begins = any(isinstance(each, ExecutionStarted) for each in events)
        started = started or begins
        sealing = (
            Sealing(WHO, None if begins else EXECUTION)
            if started
            else Sealing("", EXECUTION if append.after_version else None)
        )
        index = replace(append.index, slots=())
        await store.log.insert([replace(append, events=events, index=index, sealing=sealing)])


async def states_in(store: Store) -> list[State]:
    """Return the state after each event, as it is folded from what the store gives."""
    history = History(store.log, store.snapshots)
    states: list[State] = []
    for recorded in await history.events(EXECUTION):
        states.append(await history.after(states[-1] if states else INITIAL, recorded))
    return states


def plainly(state: State) -> State:
    return state if isinstance(state, NotStarted) else replace(state, subject="")


def structure(state: State) -> Any:
    """Return what is left of a state without its values."""
    steps = {
        address: (type(step), getattr(step, "attempt", 0)) for address, step in getattr(state, "steps", {}).items()
    }
    times = getattr(state, "started_at", None), getattr(state, "finished_at", None)
    timers = sorted(getattr(state, "timers", {}).items())
    counts = [len(getattr(state, name, ())) for name in ("seen", "signals", "variables", "owed", "calls", "children")]
    return type(state), status_of(state), state.version, steps, times, timers, counts


def values_of(drawn: Drawn) -> set[bytes]:
    """Return the longer values of all events; times are in the events themselves."""
    found: set[bytes] = set()
    for event in drawn.events:
        found |= {bytes(value) for value in asdict(event).values() if type(value).__name__ == "Raw"}
    return {value for value in found if len(value) >= SHORTEST and not value.startswith(b'"20')} | {WHO.encode()}


@pytest.mark.parametrize("first", range(0, CASES, IN_A_TEST))
async def test_a_subject_changes_nothing_until_it_is_forgotten(first: int) -> None:
    """The state at each version is the same; then its structure is; and of its values none is left in the log."""
    for number in range(first, first + IN_A_TEST):
        drawn = case(number).history
        if drawn is None or not drawn.events:
            continue
        async with opened("memory://", CODEC) as plain, opened("memory://", SEALED) as store:
            await put_history(plain, drawn)
            await put_sealed(store, drawn)
            stored = [
                await each.archive.rows(EXECUTION, after_version=0, up_to_version=9999) for each in (plain, store)
            ]
            anybodys, states = await states_in(plain), await states_in(store)
            assert [plainly(state) for state in states] == anybodys
            assert [row.topic for row in stored[0]] == [row.topic for row in stored[1]]

            text = b"\n".join(row.state for row in stored[1]) + repr(vars(store.payloads)["kept"]).encode()
            assert not [value for value in values_of(drawn) if value in text]
            proof = await Verifier(store, SEALED).verify(EXECUTION)
            head = proof.head
            if any(isinstance(each, ExecutionStarted) for each in drawn.events):
                await forget(store)
            assert [structure(state) for state in await states_in(store)] == [structure(state) for state in states]
            assert (await Verifier(store, SEALED).verify(EXECUTION)).head == head


async def forget(store: Store) -> None:
    """Destroy the key, whether or not the execution has ended."""
    [key] = await store.subjects.in_use(KEYRING.hashes(WHO))
    vars(store.subjects)["_index"]._rows.clear()
    assert await store.subjects.destroy([key.key_id], by="test", reason="", at=NOON)
