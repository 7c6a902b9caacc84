"""Keys that make the values of one subject readable, and the keys that wrap them.

A *data key* belongs to one subject: it seals values with AES-256-GCM. The nonce is made of the key and of what is
sealed, so that sealing the same twice gives the same bytes, and a value is stored once. The keys of a *keyring* are not
in the store: they wrap the data keys that are. Without its data key a value is lost, without the keyring all of them.

Comes from: `sealed_log`, `codec`. Goes to: the `cryptography` library.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from binascii import Error as NoBase64
from hashlib import sha256
from os import urandom
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from eventstore.errors import Undecodable

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY_BYTES = 32
_NONCE_BYTES = 12
_NAME_CHARS = 16
_KNOWN_KEYS = 10_000
"""How many unwrapped keys are kept in memory; all are dropped then."""


class DataKey:
    """The key of one subject."""

    __slots__ = ("_cipher", "_names", "_nonces", "_secret", "id")

    def __init__(self, key_id: str, secret: bytes) -> None:
        self.id = key_id
        self._secret = secret
        self._cipher = AESGCM(_derived(secret, b"seal"))
        self._nonces = _derived(secret, b"nonce")
        self._names = _derived(secret, b"name")

    @classmethod
    def new(cls, key_id: str) -> DataKey:
        """Return a fresh one."""
        return cls(key_id, urandom(KEY_BYTES))

    def seal(self, plain: bytes) -> bytes:
        """Return the bytes encrypted, as text of base64."""
        nonce = hmac.digest(self._nonces, plain, "sha256")[:_NONCE_BYTES]
        return b64encode(nonce + self._cipher.encrypt(nonce, plain, self.id.encode()))

    def open(self, sealed: bytes) -> bytes:
        """Undo `seal`. Raises Undecodable when it is damaged, or of another key."""
        try:
            data = b64decode(sealed, validate=True)
            return self._cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], self.id.encode())
        except (InvalidTag, NoBase64, ValueError) as error:
            raise Undecodable(f"what was sealed with the key {self.id} is damaged") from error

    def name(self, text: str) -> str:
        """Return what stands for the text when the key is gone: the same for equal texts, and only for these."""
        return hmac.new(self._names, text.encode(errors="surrogatepass"), "sha256").hexdigest()[:_NAME_CHARS]

    def wrapped_by(self, cipher: AESGCM) -> bytes:
        """Return it as it is stored, for the keyring."""
        nonce = urandom(_NONCE_BYTES)
        return nonce + cipher.encrypt(nonce, self._secret, self.id.encode())


class Keyring:
    """The keys that wrap data keys: the first wraps, all unwrap. None of them is ever stored."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """At least one, of 32 random bytes each. ValueError for others."""
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"a keyring has keys of {KEY_BYTES} bytes")
        self._ciphers = {id_of_key(key): AESGCM(_derived(key, b"wrap")) for key in keys}
        self._subjects = [_derived(key, b"subject") for key in keys]
        self._first = id_of_key(keys[0])
        self._known: dict[bytes, DataKey] = {}

    def wrap(self, key: DataKey) -> bytes:
        """Return the data key as it is stored."""
        wrapped = bytes.fromhex(self._first) + key.wrapped_by(self._ciphers[self._first])
        self._remember(wrapped, key)
        return wrapped

    def unwrap(self, key_id: str, wrapped: bytes) -> DataKey:
        """Undo `wrap`. Raises Undecodable when it is damaged, or wrapped by a key that is not here."""
        if (known := self._known.get(wrapped)) is not None and known.id == key_id:
            return known
        by = wrapped[:4].hex()
        cipher = self._ciphers.get(by)
        if cipher is None:
            raise Undecodable(f"the key {key_id} is wrapped by the key {by}, which is not in [encryption] keys")
        try:
            secret = cipher.decrypt(wrapped[4 : 4 + _NONCE_BYTES], wrapped[4 + _NONCE_BYTES :], key_id.encode())
        except InvalidTag as error:
            raise Undecodable(f"the key {key_id} is damaged") from error
        key = DataKey(key_id, secret)
        self._remember(wrapped, key)
        return key

    def is_current(self, wrapped: bytes) -> bool:
        """Tell whether the first key has wrapped it."""
        return wrapped[:4].hex() == self._first

    def hashes(self, subject: str) -> list[str]:
        """Return what the subject is found by in the store: under the first key, then under the others."""
        text = subject.encode(errors="surrogatepass")
        return [hmac.new(key, text, "sha256").hexdigest() for key in self._subjects]

    def _remember(self, wrapped: bytes, key: DataKey) -> None:
        if len(self._known) >= _KNOWN_KEYS:
            self._known.clear()
        self._known[wrapped] = key


def id_of_key(key: bytes) -> str:
    """Return by what a key is named in messages and beside what it has encrypted; it tells nothing of the key."""
    return _derived(key, b"id")[:4].hex()


def parse_key(text: str) -> bytes:
    """Return the key of base64 text. ValueError for a text that is none, or not of 32 bytes."""
    try:
        key = b64decode(text.strip(), validate=True)
    except (NoBase64, ValueError):
        raise ValueError("it is not base64") from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"it has {len(key)} bytes, and {KEY_BYTES} are needed")
    return key


def _derived(key: bytes, purpose: bytes) -> bytes:
    return hmac.new(key, b"sagad " + purpose, sha256).digest()
