"""What the daemon and its handler processes tell each other: JSON frames, each after its length in four bytes.

Comes from: `processes`. Goes to: `process_worker`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from daemon.core.events import StepError
from daemon.core.values import NULL, Json
from daemon.runtime.step_answers import Paused, Postponed, Returned

LENGTH_BYTES = 4


class Load(Struct, frozen=True, tag=True):
    """Import the handlers of this module or file; answered with `Loaded` or `Failed`."""

    source: str


class Call(Struct, frozen=True, tag=True, kw_only=True):
    """Run a handler; answered with any number of `Progressed`, `Alive` and `Chunk`, then how it ended."""

    source: str
    handler: str
    input: Json
    execution_id: str
    workflow: str
    address: str
    attempt: int
    idempotency_key: str
    deadline: datetime | None
    traceparent: str | None
    state: Json
    max_output_bytes: int
    resumed: Json = NULL


class Loaded(Struct, frozen=True, tag=True):
    """The handlers of the source are there."""


class Progressed(Struct, frozen=True, tag=True):
    """The handler tells how far it is."""

    value: Json


class Alive(Struct, frozen=True, tag=True):
    """The handler tells that it is alive."""


class Chunk(Struct, frozen=True, tag=True):
    """The handler gives the readers of its stream another chunk."""

    value: Json


class Failed(Struct, frozen=True, tag=True):
    """The handler's exception, described."""

    error: StepError
    retryable: bool


Request = Load | Call
Ended = Returned | Postponed | Paused | Failed
Reply = Loaded | Progressed | Alive | Chunk | Ended

_encode = msgspec.json.Encoder().encode
_requests: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Request)
_replies: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Reply)


def frame(message: Request | Reply) -> bytes:
    """Return the message with its length before it."""
    body = _encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def read_request(body: bytes) -> Request:
    """Return the request in a frame's body."""
    request: Request = _requests.decode(body)
    return request


def read_reply(body: bytes) -> Reply:
    """Return the reply in a frame's body."""
    reply: Reply = _replies.decode(body)
    return reply
