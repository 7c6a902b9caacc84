"""Heads of hash chains as text, to be kept outside of the store, signed where there is a key.

`ID:VERSION:HASH` or `ID:VERSION:HASH:SIGNATURE`; the signature is an HMAC-SHA-256 over what stands before it, or
`ed25519=…`, which is made with a private key, and which whoever has the public one can check, and not make.

Comes from: daemon/cli/verifying. Goes to: `verification`.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from msgspec import Struct

from daemon.core.errors import Misconfigured, Rejected
from daemon.core.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from daemon.settings import Archive

_HEX_CHARS = 64
_ED25519 = "ed25519="
_Key = TypeVar("_Key", Ed25519PrivateKey, Ed25519PublicKey)


class Head(Struct, frozen=True):
    """The hash of one event, which stands for all up to it."""

    execution_id: UUID
    version: int
    hash: bytes

    def __str__(self) -> str:
        return f"{self.execution_id}:{self.version}:{self.hash.hex()}"


class HeadKeys(Struct, frozen=True):
    """What signs heads and checks them; nothing of it leaves heads as they are."""

    shared: Sequence[str] = ()
    """The first signs, if there is no private key; all are accepted."""
    private: Ed25519PrivateKey | None = None
    """It signs, and its public half is accepted."""
    public: Sequence[Ed25519PublicKey] = ()

    @property
    def accepted(self) -> Sequence[Ed25519PublicKey]:
        """The public keys by which a signature may be checked."""
        return self.public if self.private is None else (self.private.public_key(), *self.public)


def private_key(pem: bytes) -> Ed25519PrivateKey:
    """Return the key. ValueError for what is no Ed25519 private key in PEM without a password."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("it is no Ed25519 private key in PEM: `openssl genpkey -algorithm ed25519` makes one")  # noqa: TRY004  its contents are wrong
    return key


def public_key(pem: bytes) -> Ed25519PublicKey:
    """Return the key. ValueError for what is no Ed25519 public key in PEM."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("it is no Ed25519 public key in PEM: `openssl pkey -pubout` makes one of the private key")  # noqa: TRY004  as above
    return key


def head_keys(archive: Archive) -> HeadKeys:
    """Return what the settings say. Raises Misconfigured for keys that are none."""
    private: Ed25519PrivateKey | None = None
    if archive.head_private_key is not None:
        private = _read("head_private_key", archive.head_private_key.encode, private_key)
    elif (file := archive.head_private_key_file) is not None:
        private = _read(str(file), file.read_bytes, private_key)
    return HeadKeys(archive.head_keys, private, checking_keys(archive.head_public_keys).public)


def checking_keys(files: Iterable[Path]) -> HeadKeys:
    """Return the public keys in these files, by which alone heads are checked then. Raises Misconfigured."""
    return HeadKeys(public=[_read(str(file), file.read_bytes, public_key) for file in files])


def _read(name: str, pem: Callable[[], bytes], parse: Callable[[bytes], _Key]) -> _Key:
    try:
        return parse(pem())
    except (ValueError, OSError) as error:
        message = f"the key for heads in {name} cannot be used: {error}"
        raise Misconfigured([Problem(message=message, hint="see head_private_key in [archive]")]) from error


def signed(head: Head, keys: HeadKeys) -> str:
    """Return the head as text, signed if there is a key that does."""
    if keys.private is not None:
        return f"{head}:{_ED25519}{keys.private.sign(_message(head)).hex()}"
    return f"{head}:{_signature(head, keys.shared[0])}" if keys.shared else str(head)


def parse_head(text: str, keys: HeadKeys) -> Head:
    """Return the head again. Where there are keys, it must be signed with one of them.

    Raises Rejected for a text that is no head, and for a signature that is missing, wrong, or cannot be checked.
    """
    execution_id, version, found, signature = (*text.strip().split(":"), "", "", "", "")[:4]
    try:
        head = Head(UUID(execution_id), int(version), bytes.fromhex(found))
    except ValueError:
        head = None
    whole = f"{head}:{signature}" if signature else f"{head}"
    if head is None or len(found) != _HEX_CHARS or head.version < 1 or text.strip() != whole:
        raise Rejected(f"{text.strip()[:200]!r} is no head: it is ID:VERSION:HASH, as `sagad verify --head` prints it")
    if not signature:
        if keys.shared or keys.accepted:
            raise Rejected("the head is not signed, and could be anybody's: there are keys that heads are signed with")
    elif signature.startswith(_ED25519):
        _check_ed25519(head, signature.removeprefix(_ED25519), keys.accepted)
    else:
        _check_shared(head, signature, keys.shared)
    return head


def _check_ed25519(head: Head, signature: str, keys: Sequence[Ed25519PublicKey]) -> None:
    if not keys:
        raise Rejected("the head is signed, and there is no public key to check it with: give one by --public-key")
    for key in keys:
        try:
            key.verify(bytes.fromhex(signature), _message(head))
        except (InvalidSignature, ValueError):
            continue
        return
    raise Rejected("the head's signature is not of any public key that is known here")


def _check_shared(head: Head, signature: str, keys: Sequence[str]) -> None:
    if not keys:
        raise Rejected("the head is signed, and there is no key to check it with: see head_keys in [archive]")
    if not any(hmac.compare_digest(_signature(head, key).encode(), signature.encode()) for key in keys):
        raise Rejected("the head's signature is not of any key in [archive] head_keys")


def _signature(head: Head, key: str) -> str:
    return hmac.new(key.encode(), _message(head), sha256).hexdigest()


def _message(head: Head) -> bytes:
    return f"sagad head {head}".encode()
