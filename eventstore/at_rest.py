"""Encryption of the whole store: a cipher with several keys, so that they can be changed.

What it writes begins with a mark and names its key. What does not begin so is read as it is: it was written before
encryption was turned on.

Comes from: `codec`. Goes to: the `cryptography` library.
"""

from __future__ import annotations

from os import urandom
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from eventstore.keyring import KEY_BYTES, id_of_key

if TYPE_CHECKING:
    from collections.abc import Sequence

_MARK = b"\x00sagad1"
_ID_BYTES = 4
_NONCE_BYTES = 12
_HEAD_BYTES = len(_MARK) + _ID_BYTES + _NONCE_BYTES


class AtRest:
    """`codec.Cipher`, AES-256-GCM: the first key encrypts, all decrypt."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """At least one, of 32 random bytes each. ValueError for others."""
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"keys have {KEY_BYTES} bytes")
        self.ids = [id_of_key(key) for key in keys]
        self._ciphers = {bytes.fromhex(id_): AESGCM(key) for id_, key in zip(self.ids, keys, strict=True)}
        self._first = bytes.fromhex(self.ids[0])

    def encrypt(self, plaintext: bytes) -> bytes:
        """See `codec.Cipher`."""
        nonce = urandom(_NONCE_BYTES)
        return _MARK + self._first + nonce + self._ciphers[self._first].encrypt(nonce, plaintext, _MARK)

    def decrypt(self, ciphertext: bytes) -> bytes:
        """See `codec.Cipher`."""
        if not ciphertext.startswith(_MARK):
            return ciphertext
        key_id = ciphertext[len(_MARK) : len(_MARK) + _ID_BYTES]
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise ValueError(f"it is encrypted with the key {key_id.hex()}, which is not in [encryption] at_rest_keys")
        try:
            return cipher.decrypt(ciphertext[_HEAD_BYTES - _NONCE_BYTES : _HEAD_BYTES], ciphertext[_HEAD_BYTES:], _MARK)
        except InvalidTag:
            raise ValueError("it is damaged") from None
