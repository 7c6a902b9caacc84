"""Was this webhook sent by who holds the secret, and lately? One scheme each for the senders that matter. Pure.

Every scheme takes several secrets, so that a secret can be changed without losing a delivery: add the new one, change
the sender, remove the old one. Comparisons take the same time wherever the difference is. GitHub and plain HMAC sign no
time: an old delivery that somebody has recorded verifies for ever, and only `dedupe` stops it.

Comes from: `webhook`.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from triggers.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Headers = Mapping[str, str]
    Signatures = tuple[list[str], list[str]]  # those given by the sender, and those that would be right

UNAUTHORIZED = 401


class _Scheme(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="scheme"):
    secret: str | list[str]
    """One, or several while it is being changed."""

    def __post_init__(self) -> None:
        if not self.secrets or not all(self.secrets):
            raise ValueError("a webhook secret is empty; anybody could sign with it")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(secret=***)"

    @property
    def secrets(self) -> list[str]:
        return [self.secret] if isinstance(self.secret, str) else self.secret


class StandardWebhooks(_Scheme, frozen=True, tag="standard-webhooks"):
    """standardwebhooks.com: `webhook-id`, `webhook-timestamp`, `webhook-signature` with `v1,` and Base64."""

    tolerance_s: float = 300.0

    def __post_init__(self) -> None:
        """Raise `ValueError` for a secret that is none."""
        super().__post_init__()
        for secret in self.secrets:
            _standard_key(secret)

    def signatures(self, headers: Headers, body: bytes, now: datetime) -> Signatures:
        """Sign id, time and body."""
        timestamp = _fresh(_header(headers, "webhook-timestamp"), self.tolerance_s, now)
        signed = f"{_header(headers, 'webhook-id')}.{timestamp}.".encode() + body
        given = _header(headers, "webhook-signature").split(" ")
        return given, [f"v1,{_base64(_mac(_standard_key(secret), signed))}" for secret in self.secrets]


class GitHub(_Scheme, frozen=True, tag="github"):
    """`X-Hub-Signature-256`."""

    def signatures(self, headers: Headers, body: bytes, _now: datetime) -> Signatures:
        """Sign the body."""
        given = [_header(headers, "x-hub-signature-256")]
        return given, [f"sha256={_mac(secret.encode(), body).hex()}" for secret in self.secrets]


class Stripe(_Scheme, frozen=True, tag="stripe"):
    """`Stripe-Signature: t=…,v1=…`."""

    tolerance_s: float = 300.0

    def signatures(self, headers: Headers, body: bytes, now: datetime) -> Signatures:
        """Sign time and body."""
        fields = [field.strip().partition("=") for field in _header(headers, "stripe-signature").split(",")]
        timestamp = _fresh(next((value for name, _, value in fields if name == "t"), ""), self.tolerance_s, now)
        signed = f"{timestamp}.".encode() + body
        given = [value for name, _, value in fields if name == "v1"]
        return given, [_mac(secret.encode(), signed).hex() for secret in self.secrets]


class Slack(_Scheme, frozen=True, tag="slack"):
    """`X-Slack-Signature: v0=…` with `X-Slack-Request-Timestamp`."""

    tolerance_s: float = 300.0

    def signatures(self, headers: Headers, body: bytes, now: datetime) -> Signatures:
        """Sign time and body."""
        timestamp = _fresh(_header(headers, "x-slack-request-timestamp"), self.tolerance_s, now)
        signed = f"v0:{timestamp}:".encode() + body
        given = [_header(headers, "x-slack-signature")]
        return given, [f"v0={_mac(secret.encode(), signed).hex()}" for secret in self.secrets]


class Hmac(_Scheme, frozen=True, tag="hmac"):
    """An HMAC of the body in a header, for everybody else."""

    header: str
    algorithm: Literal["sha256", "sha384", "sha512", "sha1"] = "sha256"
    """SHA-1 only for senders that cannot do better."""
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = ""
    """What stands before the signature in the header: `sha256=`, say."""

    def signatures(self, headers: Headers, body: bytes, _now: datetime) -> Signatures:
        """Sign the body."""
        encode = _base64 if self.encoding == "base64" else bytes.hex
        macs = [_mac(secret.encode(), body, self.algorithm) for secret in self.secrets]
        return [_header(headers, self.header.lower())], [self.prefix + encode(mac) for mac in macs]


class Unsigned(Struct, frozen=True, forbid_unknown_fields=True, tag_field="scheme", tag="none"):
    """Anybody who can reach the address may start executions. It must be said: there is no default."""


Scheme = StandardWebhooks | GitHub | Stripe | Slack | Hmac | Unsigned


def verify(scheme: Scheme, headers: Headers, body: bytes, now: datetime) -> None:
    """Return when the delivery is genuine and its time, where one is signed, within the tolerance on either side.

    Header names are in lower case. Raises `Refused` with status 401.
    """
    if isinstance(scheme, Unsigned):
        return
    given, expected = scheme.signatures(headers, body, now)
    if not _any_equal(given, expected):
        raise Refused("the signature does not match", UNAUTHORIZED)


def _mac(key: bytes, signed: bytes, algorithm: str = "sha256") -> bytes:
    return hmac.digest(key, signed, algorithm)


def _base64(raw: bytes) -> str:
    return b64encode(raw).decode()


def _standard_key(secret: str) -> bytes:
    try:
        return b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        raise ValueError("a Standard Webhooks secret is `whsec_` and Base64") from None


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if not value:
        raise Refused(f"header {name} is missing", UNAUTHORIZED)
    return value


def _fresh(timestamp: str, tolerance_s: float, now: datetime) -> str:
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= len("253402300799")):
        raise Refused("the timestamp is not in Unix seconds", UNAUTHORIZED)
    age = now - datetime.fromtimestamp(int(timestamp), UTC)
    if abs(age) > timedelta(seconds=tolerance_s):
        raise Refused("the timestamp is too old or too new; compare the clocks", UNAUTHORIZED)
    return timestamp


def _any_equal(given: Iterable[str], expected: Iterable[str]) -> bool:
    """Compare each with each, without stopping at the first that is equal."""
    wanted = [hashlib.sha256(one.encode()).digest() for one in expected]
    offered = [hashlib.sha256(one.encode(errors="replace")).digest() for one in given]
    return any([hmac.compare_digest(one, other) for one in offered for other in wanted])  # noqa: C419  no early end
