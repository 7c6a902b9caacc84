"""Signed links: whoever has one may decide one question as one approver, until it is decided or the link expires.

A link is good once by itself: it names the question, and a question that is decided takes no more. It holds no secret
and is no session: a program that fetches it (a mail scanner, a preview) gets a page and changes nothing.

Comes from: daemon/nodes/notices (made), daemon/api/links (read). Goes to: `people`.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec
from msgspec import Struct

from daemon.core.errors import NotAllowed

if TYPE_CHECKING:
    from collections.abc import Sequence

_PURPOSE = b"sagad approval link 1\0"
MOST_CHARACTERS = 4096


class Link(Struct, frozen=True, array_like=True):
    """What a link is for."""

    execution_id: UUID
    address: str
    question: int
    approver: str
    expires: int
    """Unix seconds."""


class ApprovalLinks:
    """Makes and reads links. The first key signs; all are accepted, so that a key can be changed."""

    def __init__(self, keys: Sequence[str], public_url: str | None, lifetime: timedelta) -> None:
        """Without keys or a URL there are no links."""
        self._keys = tuple(key.encode() for key in keys)
        self._url = public_url.rstrip("/") if public_url is not None else None
        self._lifetime = lifetime

    def url(
        self, execution_id: UUID, address: str, question: int, approver: str, *, now: datetime, due: datetime | None
    ) -> str | None:
        """Return the link; it lasts as long as the question does, where that has an end. None when there are none."""
        if not self._keys or self._url is None:
            return None
        expires = due if due is not None else now + self._lifetime
        link = Link(execution_id, address, question, approver, int(expires.timestamp()))
        return f"{self._url}/approve/{self.token(link)}"

    def token(self, link: Link) -> str:
        """Return the link's last part."""
        claims = _encoded(msgspec.json.encode(link))
        return f"{claims}.{_encoded(self._mac(self._keys[0], claims))}"

    def read(self, token: str, now: datetime) -> Link:
        """Return what the token is for. Raises NotAllowed for one that we did not sign, or that has expired."""
        claims, _, given = token.partition(".")
        try:
            mac = _decoded(given) if len(token) <= MOST_CHARACTERS else b""
            same = [hmac.compare_digest(mac, self._mac(key, claims)) for key in self._keys]
            link = msgspec.json.decode(_decoded(claims), type=Link) if any(same) else None
        except (ValueError, msgspec.MsgspecError):
            link = None
        if link is None:
            raise NotAllowed("the link is not valid")
        if now > datetime.fromtimestamp(link.expires, UTC):
            raise NotAllowed("the link has expired")
        return link

    @staticmethod
    def _mac(key: bytes, claims: str) -> bytes:
        return hmac.digest(key, _PURPOSE + claims.encode(), "sha256")


def _encoded(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
