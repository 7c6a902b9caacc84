"""The shapes of answers about the daemon and what it shares, for the OpenAPI document; see `models`."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003  pydantic resolves the annotations at run time
from typing import Literal
from uuid import UUID  # noqa: TC003  pydantic resolves the annotations at run time

from daemon.api.models import Model


class Connection(Model):
    """A connection that the daemon needs."""

    name: str
    connected: bool
    detail: str


class Client(Model):
    """A host or a database that steps call; one whose circuit is open does not make the daemon unready."""

    name: str
    state: Literal["closed", "half-open", "open"]
    failures: int
    rejected: int
    waits: int
    waited_s: float


class Readiness(Model):
    """Whether the daemon can do its work."""

    ready: bool
    connections: list[Connection]
    clients: list[Client]


class Daemon(Model):
    """A daemon that works on the store. `executions` is how many it has work in flight for."""

    id: UUID
    name: str
    rank: int
    this: bool
    joined_at: datetime
    beat_at: datetime
    executions: int


class Daemons(Model):
    """All daemons of the store, oldest first. `orphans`: executions with work in flight that none has."""

    daemons: list[Daemon]
    orphans: int


class SlotHolder(Model):
    """Who holds a slot of a limit; an empty address is the execution itself."""

    execution_id: UUID
    address: str
    since: datetime


class SlotWaiter(SlotHolder):
    """Who waits for one."""

    priority: int
    fair: str


class LimitUse(Model):
    """How a limit is used for one key. `oldest`: since when the one waits that has waited longest."""

    limit: str
    key: str
    most: int | None
    held: int
    waiting: int
    oldest: datetime | None
    holders: list[SlotHolder] | None = None
    queue: list[SlotWaiter] | None = None


class SharedLimit(Model):
    """A limit of the settings."""

    concurrency: int | None
    rate: int | None
    per: str
    burst: int
    node_types: list[str]
    handlers: list[str]


class Limits(Model):
    """Limits that executions share: those in use, by key, and those of the settings."""

    limits: list[LimitUse]
    shared: dict[str, SharedLimit]


class Health(Model):
    """The process lives."""

    alive: bool


class CachedResult(Model):
    """A result that is kept for other steps. `hash` is the key's; `execution_id` and `address` name who made it."""

    name: str
    hash: str
    workflow: str
    execution_id: UUID
    address: str
    stored_at: datetime
    expires_at: datetime
    bytes: int


class CachePage(Model):
    """Results by cache and key. `next` is the cursor of the page that follows, null on the last."""

    results: list[CachedResult]
    next: str | None


class Cleared(Model):
    """How many results were dropped."""

    cleared: int


class Published(Model):
    """Where a message went."""

    published: str


class Many(Model):
    """What became of a page of executions: how many matched, were changed, and could not be."""

    matched: int
    changed: int
    refused: int
    next: str | None
