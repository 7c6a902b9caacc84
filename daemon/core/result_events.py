"""Events and parts of events about where a step's result comes from: the cache, or a stream of chunks.

Comes from: `caching`, `settling`. Goes to: `events`, which has the rules for all of them.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar
from uuid import UUID

from msgspec import Struct

from daemon.core.values import NULL, Json


class Origin(Struct, frozen=True, gc=False, kw_only=True):
    """The step that a cached result was made by, which may be one of another execution."""

    execution_id: UUID
    address: str
    stored_at: datetime


class Streamed(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What went through a step's stream in the attempt that succeeded: all of it, whoever has read it."""

    run: int
    """Which of the stream's runs that was; each time that a handler begins to stream is one."""
    chunks: int
    bytes: int
    """Of the chunks as JSON."""
    counted: Json = NULL
    """What the handler's own `count` gave, added up by name; null without one."""


class StepCached(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The step has the result that another step made, once and for all; the edges of `port` fire.

    No handler ran for it in this attempt, so it has changed nothing.
    """

    NAME: ClassVar = "StepCached"
    VERSION: ClassVar = 1

    address: str
    attempt: int = 1
    output: Json
    port: str = "out"
    to: tuple[str, ...] | None = None
    cache: str
    """Name of the cache."""
    key: str
    """Hash of what the key's expression gave."""
    origin: Origin
    at: datetime
