"""Who may call: the bearer token of the settings, but for `/healthz`, and webhooks and links, which are signed.

Without a token, which the settings allow on loopback only, anybody on this machine may call, but no web page: a browser
names the host it believes to talk to, and the page's origin, and both must be this machine.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from daemon.api.errors import problem
from daemon.settings import is_loopback

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

OPEN = ("/healthz", "/hooks/", "/approve/")


class Authentication:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, *, token: str | None) -> None:
        self._app = app
        self._token = token.encode() if token is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or answer 401 or 403."""
        if scope["type"] != "http" or scope["path"].startswith(OPEN):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if self._token is None and not _from_this_machine(headers):
            answer = problem(
                403, "foreign-origin", "without a token only programs on this machine may call, no web page"
            )
            await answer(scope, receive, send)
        elif self._token is not None and not self._has_token(headers):
            challenge = {"WWW-Authenticate": "Bearer"}
            answer = problem(
                401, "unauthorized", "a bearer token is needed: Authorization: Bearer …", headers=challenge
            )
            await answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _has_token(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(given.strip().encode("latin-1", "replace"), self._token or b"")
        return scheme.lower() == "bearer" and same


def _from_this_machine(headers: Headers) -> bool:
    try:
        host = urlsplit(f"//{headers.get('host', 'localhost')}").hostname or ""
        origin = urlsplit(headers.get("origin", "http://localhost")).hostname or ""
    except ValueError:  # what is no address is not this machine's
        return False
    return is_loopback(host) and is_loopback(origin)
