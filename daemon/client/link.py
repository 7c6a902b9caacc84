"""Requests to one daemon, and what their answers mean.

Comes from: `client`, `execution`. Goes to: httpx.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx

from daemon.client.errors import ClientError, NoAnswer, NotFound, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

Answer = dict[str, Any]


class Link:
    """One daemon."""

    def __init__(self, http: httpx.AsyncClient, headers: Mapping[str, str], timeout_s: float) -> None:
        self._http = http
        self._headers = headers
        self._timeout_s = timeout_s

    async def ask(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        content: bytes | AsyncIterator[bytes] | None = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        wait_s: float = 0.0,
        **query: Any,
    ) -> Answer:
        """Send a request, with JSON or these bytes; return the answer's JSON. What is None is left out.

        `key` is its `Idempotency-Key`; `wait_s` is how much longer than usual it may take. Raises ClientError's kinds.
        """
        sent = {**self._headers, **(headers or {}), **given({"Idempotency-Key": key})}
        if body is not None:
            sent["Content-Type"] = "application/json"
            content = json.dumps(body, default=_text).encode()
        with self._answering():
            answer = await self._http.request(
                method,
                path,
                params=_texts(query),
                headers=sent,
                content=content,
                timeout=self._timeout_s + wait_s,
            )
        if answer.is_error:
            raise _error(answer)
        found: Answer = answer.json()
        return found

    async def pages(
        self, method: str, path: str, *, body: Mapping[str, Any] | None = None, **query: Any
    ) -> AsyncIterator[Answer]:
        """Give one page of an answer after the other."""
        cursor: str | None = None
        while True:
            if body is None:
                page = await self.ask(method, path, cursor=cursor, **query)
            else:
                page = await self.ask(method, path, body=given({**body, "cursor": cursor}), **query)
            yield page
            cursor = page["next"]
            if cursor is None:
                return

    async def told(self, path: str, **query: Any) -> AsyncIterator[Any]:
        """Give the JSON of each server-sent event as it comes."""
        async with self._stream(path, "text/event-stream", query) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data:"):
                    yield json.loads(line.removeprefix("data:"))

    async def load(self, path: str, **query: Any) -> AsyncIterator[bytes]:
        """Give the bytes of an answer as they come."""
        async with self._stream(path, "*/*", query) as answer:
            async for part in answer.aiter_bytes():
                yield part

    @asynccontextmanager
    async def _stream(self, path: str, accept: str, query: Mapping[str, Any]) -> AsyncIterator[httpx.Response]:
        headers, timeout = {**self._headers, "Accept": accept}, httpx.Timeout(self._timeout_s, read=None)
        with self._answering():
            async with self._http.stream("GET", path, params=_texts(query), headers=headers, timeout=timeout) as answer:
                if answer.is_error:
                    await answer.aread()
                    raise _error(answer)
                yield answer

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException as error:
            raise NoAnswer(f"the daemon at {self._http.base_url} did not answer in time") from error
        except httpx.TransportError as error:
            raise NoAnswer(f"no daemon answers at {self._http.base_url}: {error}") from error


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return those that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


def _texts(query: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _shown(value) for name, value in given(query).items()}


def _shown(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return _text(value) if isinstance(value, datetime | UUID) else value


def _error(answer: httpx.Response) -> ClientError:
    try:
        message = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return NoAnswer(f"{answer.url} answered {answer.status_code}, and not as sagad does")
    match answer.status_code:
        case 404 | 410:
            return NotFound(message)
        case 429 | 502 | 503 | 504 | 507:
            return NoAnswer(message)
        case status:
            return Refused(message, status)
