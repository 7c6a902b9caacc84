"""Verifying executions of real stores, of which somebody has changed something behind our back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from daemon.core.errors import ExecutionNotFound, Misconfigured, Rejected
from daemon.runtime.branches import ForkWish
from daemon.runtime.heads import Head, HeadKeys, checking_keys, head_keys, parse_head, signed
from daemon.runtime.verification import Verifier
from daemon.settings import Archive, Limits
from eventstore.relational import SqlIndex
from tests.core.spec import EXECUTION
from tests.support.archives import CODEC
from tests.support.daemons import finished, running, settings_for, start
from tests.support.stores import store_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from uuid import UUID

    from daemon.assembled import Daemon

__all__ = ("store_url",)

TEXT = """
workflow: w
nodes: {a: {transform: {note: "{{ input }}"}}, b: {set: {x: 1}}, c: {signal: {name: never, timeout: 1ms}}}
edges: [a -> b -> c]
"""
KEY, OLD_KEY = "k" * 16, "o" * 16


@pytest.fixture(params=["sqlite", "postgres"])
def sql_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of a store that somebody can reach with SQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/log.db"
    return str(request.getfixturevalue("fresh_postgres_url"))


@pytest.fixture
async def daemon(tmp_path: Path, sql_url: str) -> AsyncIterator[Daemon]:
    limits = Limits(grace_s=0.1, payload_threshold_bytes=300)
    async with running(settings_for(tmp_path, TEXT, store_url=sql_url, limits=limits)) as daemon:
        yield daemon


async def ended(daemon: Daemon) -> UUID:
    return (await finished(daemon, await start(daemon, "w", "long " * 100))).execution_id


async def change(daemon: Daemon, sql: str, **params: Any) -> None:
    """Change something behind our back."""
    index = daemon.store.index
    assert isinstance(index, SqlIndex)
    assert await index._database.execute((sql, params))


async def found(daemon: Daemon, execution_id: UUID, head: Head | None = None) -> tuple[int | None, str]:
    """Return the first finding, that there must be."""
    proof = await Verifier(daemon.store, CODEC).verify(execution_id, head)
    assert proof.findings
    return proof.findings[0].version, proof.findings[0].message


async def head_of(daemon: Daemon, execution_id: UUID) -> Head:
    proof = await Verifier(daemon.store, CODEC).verify(execution_id)
    assert proof.findings == ()
    assert proof.head is not None
    return proof.head


@pytest.mark.parametrize(
    ("sql", "version", "message"),
    [
        ("DELETE FROM stored_events WHERE originator_id = :id AND originator_version = 3", 3, "is missing"),
        (
            "UPDATE stored_events SET state = :bytes WHERE originator_id = :id AND originator_version = 2",
            2,
            "cannot be",
        ),
        ("UPDATE stored_events SET topic = 'No/1' WHERE originator_id = :id AND originator_version = 2", 2, "unknown"),
        (
            "UPDATE stored_events SET originator_version = 99 WHERE originator_id = :id AND originator_version = 2",
            2,
            "miss",
        ),
        ("UPDATE stored_events SET state = NULL WHERE originator_id = :id AND originator_version = 2", 2, "no state"),
        ("UPDATE payloads SET data = :bytes WHERE :id = :id", 1, "its hash is another"),
        ("DELETE FROM payloads WHERE :id = :id", 1, "is not in the store"),
        ("UPDATE definitions SET document = :bytes WHERE :id = :id", 1, "definition .* was changed"),
        ("DELETE FROM definitions WHERE :id = :id", 1, "definition .* is missing"),
        (
            "UPDATE executions SET status = 'cancelled' WHERE execution_id = :id",
            None,
            "another status than the events say",
        ),
        ("DELETE FROM executions WHERE execution_id = :id", None, "the index has no row"),
    ],
)
async def test_what_was_changed_is_found_and_located(daemon: Daemon, sql: str, version: int, message: str) -> None:
    execution_id = await ended(daemon)
    await head_of(daemon, execution_id)
    await change(daemon, sql, id=execution_id, bytes=b"{}")
    at, told = await found(daemon, execution_id)
    assert at == version
    assert re.search(message, told)


async def test_a_change_that_fits_is_found_by_a_head_that_was_kept(daemon: Daemon) -> None:
    """So are events that were taken off the end, with the row of the index made to fit."""
    execution_id = await ended(daemon)
    head = await head_of(daemon, execution_id)
    [first] = await daemon.store.archive.rows(execution_id, after_version=0, up_to_version=1)
    other = bytes(first.state).replace(b'"actor":"test"', b'"actor":"evil"')
    assert other != first.state
    sql = "UPDATE stored_events SET state = :state WHERE originator_id = :id AND originator_version = 1"
    await change(daemon, sql, id=execution_id, state=other)
    assert (await Verifier(daemon.store, CODEC).verify(execution_id)).findings == ()
    assert "is not what it was when the head was kept" in (await found(daemon, execution_id, head))[1]
    await change(daemon, sql, id=execution_id, state=bytes(first.state))
    assert await head_of(daemon, execution_id) == head
    gone = "DELETE FROM stored_events WHERE originator_id = :id AND originator_version = :version"
    await change(daemon, gone, id=execution_id, version=head.version)
    assert (await found(daemon, execution_id, head))[0] == head.version
    await change(daemon, "DELETE FROM stored_events WHERE originator_id = :id", id=execution_id)
    assert await found(daemon, execution_id, head) == (
        1,
        f"it ends with event 0, and had {head.version} when the head was kept",
    )


async def test_a_head_covers_the_past_that_a_fork_shares(daemon: Daemon) -> None:
    execution_id = await ended(daemon)
    fork, _ = await daemon.branches.fork(execution_id, ForkWish(where="before:b", actor="ann"))
    await finished(daemon, fork)
    head = await head_of(daemon, fork)
    [first] = await daemon.store.archive.rows(execution_id, after_version=0, up_to_version=1)
    other = bytes(first.state).replace(b'"actor":"test"', b'"actor":"evil"')
    sql = "UPDATE stored_events SET state = :state WHERE originator_id = :id AND originator_version = 1"
    await change(daemon, sql, id=execution_id, state=other)
    assert (await found(daemon, fork, head))[1].startswith("an event up to")
    await change(
        daemon,
        sql.replace("= 1", "= 1 AND :state IS NOT NULL").replace("state = :state", "topic = 'No/1'"),
        id=execution_id,
        state=other,
    )
    assert "goes on from a past that is not sound" in (await found(daemon, fork))[1]


async def test_a_head_stays_good_while_the_execution_goes_on(daemon: Daemon) -> None:
    """It is of the version at which it was kept."""
    execution_id = await ended(daemon)
    events = Verifier(daemon.store, CODEC)._events
    early = await events.hash_at(execution_id, 2)
    assert early is not None
    proof = await Verifier(daemon.store, CODEC).verify(execution_id, Head(execution_id, 2, early))
    assert proof.findings == ()


async def test_there_must_be_such_an_execution(daemon: Daemon) -> None:
    with pytest.raises(ExecutionNotFound):
        await Verifier(daemon.store, CODEC).verify(EXECUTION)


def test_a_signed_head_is_read_back_with_any_of_the_keys() -> None:
    head = Head(EXECUTION, 7, bytes(range(32)))
    assert parse_head(signed(head, HeadKeys()), HeadKeys()) == head
    assert parse_head(signed(head, HeadKeys((OLD_KEY,))), HeadKeys((KEY, OLD_KEY))) == head


def test_a_head_that_a_private_key_has_signed_is_checked_with_its_public_half() -> None:
    """Who has only that can tell heads of its owner from others, and can make none."""
    owner, other, head = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate(), Head(EXECUTION, 7, bytes(32))
    text = signed(head, HeadKeys((KEY,), owner))

    assert parse_head(text, HeadKeys(public=[other.public_key(), owner.public_key()])) == head
    assert parse_head(text, HeadKeys(private=owner)) == head
    for changed, keys, message in (
        (text.replace(":7:", ":8:"), [owner], "not of any public key"),
        (text, [other], "not of any public key"),
        (f"{text}0", [owner], "not of any public key"),
        (text, [], "no public key"),
        (str(head), [owner], "is not signed"),
        (signed(head, HeadKeys((KEY,))), [owner], "there is no key"),
    ):
        with pytest.raises(Rejected, match=message):
            parse_head(changed, HeadKeys(public=[key.public_key() for key in keys]))


def test_keys_for_heads_are_read_from_files(tmp_path: Path) -> None:
    """As PEM; what is another kind of file is told with its name."""
    owner = Ed25519PrivateKey.generate()
    private, public = tmp_path / "head.pem", tmp_path / "head.pub.pem"
    private.write_bytes(owner.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(owner.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    head = Head(EXECUTION, 7, bytes(32))

    for archive in (Archive(head_private_key=private.read_text()), Archive(head_private_key_file=private)):
        text = signed(head, head_keys(archive))
        assert parse_head(text, checking_keys([public])) == head
        assert parse_head(text, head_keys(Archive(head_public_keys=(public,)))) == head
    with pytest.raises(Misconfigured, match="no Ed25519 private key"):
        head_keys(Archive(head_private_key_file=public))
    with pytest.raises(Misconfigured, match="no Ed25519 public key"):
        checking_keys([private])
    with pytest.raises(Misconfigured, match="No such file"):
        checking_keys([tmp_path / "nothing.pem"])


@pytest.mark.parametrize(
    ("text", "keys", "message"),
    [
        ("HEAD", (KEY,), "is not signed"),
        ("HEAD:aa", (KEY,), "not of any key"),
        ("HEAD:aa", (), "there is no key"),
        ("HEAD:", (), "is no head"),
        ("nothing", (), "is no head"),
        ("", (), "is no head"),
        (f"{EXECUTION}:0:{'ab' * 32}", (), "is no head"),
        (f"{EXECUTION}:1:{'ab' * 31}", (), "is no head"),
        (f"{EXECUTION}:01:{'ab' * 32}", (), "is no head"),
    ],
)
def test_what_is_no_head_of_ours_is_refused(text: str, keys: tuple[str, ...], message: str) -> None:
    with pytest.raises(Rejected, match=message):
        parse_head(text.replace("HEAD", str(Head(EXECUTION, 1, bytes(32)))), HeadKeys(keys))


def test_a_head_that_was_changed_does_not_fit_its_signature() -> None:
    text = signed(Head(EXECUTION, 7, bytes(32)), HeadKeys((KEY,)))
    for changed in (text.replace(":7:", ":8:"), text.replace(":0000", ":0001", 1)):
        with pytest.raises(Rejected, match="not of any key"):
            parse_head(changed, HeadKeys((KEY,)))
