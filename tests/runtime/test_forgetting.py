"""Subjects on real daemons: whose data executions hold, and what is left of it when the subject is forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from daemon.core.errors import Misconfigured
from daemon.core.events import SignalReceived
from daemon.core.state import Finished, NotStarted
from daemon.core.subjects import SubjectForgotten, UnknownSubject
from daemon.core.values import from_json
from daemon.runtime.branches import ForkWish
from daemon.runtime.codec import codec_of
from daemon.runtime.forgetting import Forgetting, StillOpen
from daemon.runtime.verification import Verifier
from daemon.runtime.what_if import verdict
from daemon.settings import Limits, Snapshots, settings_from
from daemon.settings_encryption import Encryption
from tests.support.daemons import finished, in_flight, running, settings_for, start, until
from tests.support.gated_handlers import gates
from tests.support.raw_stores import raw
from tests.support.stores import store_url
from triggers.routing import execution_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from uuid import UUID

    from daemon.assembled import Daemon
    from daemon.core.state import State

__all__ = ("store_url",)

KEY = "c2l4dGVlbiBieXRlcyBhbmQgc2l4dGVlbiBtb3JlISE="
MARKER = "Xanthippe"
TEXT = """
workflow: visit
subject: "{{ input.patient }}"
vars: {seen: null}
signals: {told: {}}
nodes:
  keep: {set: {seen: "{{ input.name }}"}}
  each:
    forEach: "{{ input.notes }}"
    do: {nodes: {note: {task: pass, with: {value: "{{ input.name }} {{ loop.item }}"}}}}
  cached: {task: pass, with: {value: "{{ input.name }}"}, cache: {key: "{{ input.name }}", ttl: 1h}}
  below: {subflow: inner, with: "{{ input }}"}
  held: {task: gate, with: {name: "{{ input.gate }}", value: "{{ below }}"}}
  bad: {fail: {message: "no more of {{ input.name }}", code: gone}}
  sorry: {transform: {value: "{{ bad.error.message }}"}}
edges: [keep -> each -> cached -> below -> held -> bad, bad.error -> sorry]
output: {said: "{{ sorry.value }}", seen: "{{ vars.seen }}"}
---
workflow: inner
nodes:
  word: {task: pass, with: {value: "{{ input.name }}"}}
output: "{{ word }}"
"""


def given(gate: str = "open", patient: Any = f"{MARKER}-7", **more: Any) -> dict[str, Any]:
    gates["open"].set()
    return {"patient": patient, "name": f"{MARKER} {'long ' * 500}", "notes": [MARKER, "b"], "gate": gate, **more}


@pytest.fixture
async def daemon(tmp_path: Path, store_url: str) -> AsyncIterator[Daemon]:
    gates.clear()
    limits = Limits(grace_s=0.1, payload_threshold_bytes=1024)
    settings = settings_for(
        tmp_path,
        TEXT,
        store_url=store_url,
        limits=limits,
        encryption=Encryption(keys=(KEY,)),
        snapshots=Snapshots(every=5),
    )
    async with running(settings) as daemon:
        yield daemon


@pytest.fixture
def forgetting(daemon: Daemon) -> Forgetting:
    return Forgetting(daemon.store, daemon.engine, daemon.clock)


async def visited(daemon: Daemon, **more: Any) -> Finished:
    return await finished(daemon, await start(daemon, "visit", given(**more)))


async def shape(daemon: Daemon, of: UUID) -> list[Any]:
    """Return what happened in an execution, without what was said."""
    events = await daemon.history.events(of)
    names = [(each.version, each.event.NAME, getattr(each.event, "address", ""), each.event.at) for each in events]
    states = [await daemon.history.load(of, up_to_version=each.version) for each in events]
    return [names, *map(structure, states)]


def structure(state: State) -> Any:
    steps = getattr(state, "steps", {})
    return type(state), state.version, sorted((address, type(step)) for address, step in steps.items())


async def test_values_of_a_subject_are_used_as_others_and_stand_nowhere_in_the_clear(
    daemon: Daemon, store_url: str
) -> None:
    """An execution of a subject reads as any other; not one of its values can be found in the database."""
    state = await visited(daemon)

    assert from_json(state.output)["seen"].startswith(MARKER)
    assert from_json(state.output)["said"].startswith(f"no more of {MARKER}")
    assert state.subject == f"{MARKER}-7"
    assert MARKER.encode() not in await raw(daemon.store, store_url)


async def test_what_was_forgotten_is_gone_and_what_happened_stays(
    daemon: Daemon, forgetting: Forgetting, store_url: str
) -> None:
    """States at every version have the same shape as before; each value says that it was forgotten."""
    state = await visited(daemon)
    before = await shape(daemon, state.execution_id)

    held = await forgetting.forget(f"{MARKER}-7", reason="they asked", by="ann")

    assert held.sealed.executions == 2
    after = await daemon.history.load(state.execution_id)
    assert isinstance(after, Finished)
    assert from_json(after.output) == {"$forgotten": held.keys[0]}
    assert after.subject.startswith("$forgotten:")
    assert await shape(daemon, state.execution_id) == before
    assert MARKER.encode() not in await raw(daemon.store, store_url)


async def test_what_was_forgotten_still_verifies(daemon: Daemon, forgetting: Forgetting) -> None:
    """The hash chain is over what is stored: a head that was kept before still fits."""
    state = await visited(daemon)
    verifier = Verifier(daemon.store, codec_of(daemon.settings))
    kept = (await verifier.verify(state.execution_id)).head
    await forgetting.forget(f"{MARKER}-7", by="ann")

    proof = await verifier.verify(state.execution_id, kept)

    assert proof.findings == ()
    assert proof.head == kept


async def test_an_execution_that_has_not_ended_is_in_the_way(daemon: Daemon, forgetting: Forgetting) -> None:
    """It would go on without its values: nothing is destroyed until it has ended."""
    visit = await start(daemon, "visit", given(gate="later"))
    await until(daemon, visit, in_flight("held"))

    with pytest.raises(StillOpen) as refused:
        await forgetting.forget(f"{MARKER}-7", by="ann")
    assert refused.value.executions == [visit]

    assert await forgetting.cancel_open(f"{MARKER}-7", actor="ann") == [visit]
    await finished(daemon, visit)
    held = await forgetting.forget(f"{MARKER}-7", by="ann")
    assert (held.sealed.executions, held.open) == (2, [])


async def test_nothing_goes_on_from_what_was_forgotten(daemon: Daemon, forgetting: Forgetting) -> None:
    """Neither a fork nor a rewind: the values they would need are gone."""
    state = await visited(daemon)
    await forgetting.forget(f"{MARKER}-7", by="ann")

    with pytest.raises(SubjectForgotten):
        await daemon.branches.fork(state.execution_id, ForkWish(where="before:held", actor="test"))
    with pytest.raises(SubjectForgotten):
        await daemon.branches.rewind(state.execution_id, "before:held", actor="test")


async def test_a_fork_has_its_sources_key(daemon: Daemon, forgetting: Forgetting, store_url: str) -> None:
    """So it is forgotten with its source."""
    state = await visited(daemon)
    fork_id, _ = await daemon.branches.fork(state.execution_id, ForkWish(where="before:held", actor="test"))
    fork = await finished(daemon, fork_id)
    assert from_json(fork.output) == from_json(state.output)

    assert (await forgetting.forget(f"{MARKER}-7", by="ann")).sealed.executions == 3
    gone = await daemon.history.load(fork_id)
    assert isinstance(gone, Finished)
    assert "$forgotten" in from_json(gone.output)


async def test_signals_that_come_first_are_forgotten_too(
    daemon: Daemon, forgetting: Forgetting, store_url: str
) -> None:
    """They have a key of their own until it is known whose they are."""
    early = execution_id("visit/api", "early")
    for number in (1, 2):
        await daemon.intake.signal(early, "told", {"told": MARKER}, signal_id=f"{MARKER} {number}", actor="test")
    assert MARKER.encode() not in await raw(daemon.store, store_url)
    state = await daemon.history.load(early)
    assert isinstance(state, NotStarted)
    assert {from_json(signal.data)["told"] for signal in state.signals.values()} == {MARKER}

    assert (await start(daemon, "visit", given(), key="early")) == early
    await finished(daemon, early)
    await forgetting.forget(f"{MARKER}-7", by="ann")

    [first, second, *_] = await daemon.history.events(early)
    for recorded in (first, second):
        assert isinstance(recorded.event, SignalReceived)
        assert "$forgotten" in from_json(recorded.event.data)
    assert first.event.signal_id != second.event.signal_id
    assert MARKER.encode() not in await raw(daemon.store, store_url)


async def test_others_keep_their_values(daemon: Daemon, forgetting: Forgetting) -> None:
    """A key seals what is of one subject; who starts again after being forgotten has a new one."""
    await visited(daemon)
    other = await visited(daemon, patient=12)
    await forgetting.forget(f"{MARKER}-7", by="ann")
    again = await visited(daemon)

    for state in (other, again):
        there = await daemon.history.load(state.execution_id)
        assert isinstance(there, Finished)
        assert from_json(there.output)["seen"].startswith(MARKER)
    known = await forgetting.listed()
    assert sorted((each.subject or "", each.forgotten_by or "") for each in known) == [
        ("", "ann"),
        ("12", ""),
        (f"{MARKER}-7", ""),
    ]
    with pytest.raises(UnknownSubject):
        await forgetting.look("nobody")


async def test_a_subject_needs_a_key_in_the_settings(tmp_path: Path) -> None:
    """Else its values would be stored in the clear."""
    with pytest.raises(ExceptionGroup) as refused:
        async with running(settings_for(tmp_path, TEXT)):
            pass
    [error] = refused.value.exceptions
    assert "visit has a `subject`, and nothing to seal its values with" in str(error)


def test_what_is_no_key_is_told_at_once_and_not_shown() -> None:
    """All of them, with their numbers."""
    with pytest.raises(Misconfigured) as refused:
        settings_from({"encryption": {"keys": [KEY, "c2hvcnQ="], "at_rest_keys": ["no base64!"]}}, {})
    told = str(refused.value)
    assert "number 2 is no key: it has 5 bytes" in told
    assert "number 1 is no key: it is not base64" in told
    assert not any(key in told for key in (KEY, "c2hvcnQ=", "no base64!"))
    with pytest.raises(Misconfigured, match="beside cipher_key"):
        settings_from({"store": {"cipher_key": KEY}, "encryption": {"at_rest_keys": [KEY]}}, {})


async def test_a_stored_definition_that_was_forgotten_with_is_not_decided_again(
    daemon: Daemon, forgetting: Forgetting
) -> None:
    """What-if has no values to decide on, and says so."""
    state = await visited(daemon)
    await forgetting.forget(f"{MARKER}-7", by="ann")
    plan = daemon.plans.current("visit")
    events = [recorded.event for recorded in await daemon.history.events(state.execution_id)]
    with pytest.raises(SubjectForgotten):
        verdict(state.execution_id, plan, plan, events, status="completed")
