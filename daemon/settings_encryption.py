"""Settings of what makes stored values unreadable to others.

Comes from: `settings`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from eventstore.at_rest import AtRest
from eventstore.keyring import Keyring, parse_key

if TYPE_CHECKING:
    from daemon.settings_reader import Reader


@dataclass(frozen=True, kw_only=True)
class Encryption:
    """`[encryption]`: keys, each base64 of 32 random bytes (`openssl rand -base64 32`). Keep them elsewhere."""

    keys: tuple[str, ...] = field(default=(), repr=False)
    """They wrap the keys of subjects: the first wraps, all unwrap. Needed by workflows that say a `subject`."""
    at_rest_keys: tuple[str, ...] = field(default=(), repr=False)
    """They encrypt the whole store: the first encrypts, all decrypt; none stores values in the clear."""

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process is given: the keys, for a cipher cannot be pickled."""
        return {"keys": self.keys, "at_rest_keys": self.at_rest_keys}

    @cached_property
    def keyring(self) -> Keyring | None:
        """What wraps the keys of subjects, if anything does."""
        return Keyring([parse_key(key) for key in self.keys]) if self.keys else None

    @cached_property
    def at_rest(self) -> AtRest | None:
        """What encrypts the store, if anything does."""
        return AtRest([parse_key(key) for key in self.at_rest_keys]) if self.at_rest_keys else None


def check_encryption(encryption: Encryption, reader: Reader) -> None:
    """Report keys that are none; no message shows one."""
    hint = "`openssl rand -base64 32` makes a key"
    for name, keys in (("keys", encryption.keys), ("at_rest_keys", encryption.at_rest_keys)):
        for number, key in enumerate(keys, start=1):
            try:
                parse_key(key)
            except ValueError as error:
                reader.report("encryption", name, f"number {number} is no key: {error}", hint)
