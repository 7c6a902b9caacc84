"""Bytes to values: what a message's body and headers mean. Pure.

Comes from: `routing`, `cloudevents`, the adapters.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct


class Content(Struct, frozen=True):
    """A decoded body."""

    value: Any
    """A JSON value."""
    encoding: str
    """`json` | `text` | `form` | `base64` | `empty` (no bytes at all: a Kafka tombstone, a bare webhook)."""


def media_type(content_type: str | None) -> str:
    """Return `application/json` for `Application/JSON; charset=utf-8`; empty for None."""
    return (content_type or "").partition(";")[0].strip().lower()


def is_json(media: str) -> bool:
    """Tell whether this media type promises JSON."""
    return media in {"application/json", "text/json"} or media.endswith("+json")


def decode(body: bytes, content_type: str | None) -> Content:
    """Read a body by its content type; without a telling one as JSON, else text, else Base64.

    Raises `ValueError` when it says JSON, form or text and is not.
    """
    media = media_type(content_type)
    if not body:
        return Content(None, "empty")
    if is_json(media):
        return Content(_json(body), "json")
    if media == "application/x-www-form-urlencoded":
        return Content(_form(body), "form")
    if media.startswith("text/"):
        return Content(body.decode(), "text")
    if media in {"", "application/octet-stream"}:
        return _guess(body)
    return Content(b64encode(body).decode(), "base64")


def header_text(value: bytes) -> str:
    """Return a header's bytes as text, or as Base64 when they are not UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return b64encode(value).decode()


def _guess(body: bytes) -> Content:
    try:
        return Content(_json(body), "json")
    except ValueError:
        pass
    try:
        return Content(body.decode(), "text")
    except UnicodeDecodeError:
        return Content(b64encode(body).decode(), "base64")


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None
    except RecursionError:
        raise ValueError("JSON is nested too deeply") from None


def _form(body: bytes) -> dict[str, Any]:
    fields = parse_qs(body.decode(), keep_blank_values=True)
    return {name: values[0] if len(values) == 1 else values for name, values in fields.items()}
