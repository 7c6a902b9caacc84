"""What the checker finds."""

from __future__ import annotations

from uuid import UUID

from msgspec import Struct

RULES = {
    "versions": "versions of an execution are dense, from 1",
    "positions": "positions grow strictly",
    "start": "one start, and only signals before it",
    "end": "at most one end, and nothing after it",
    "success": "no step succeeds twice",
    "settled": "a step that is settled stays as it is",
    "attempts": "attempts are dense, each after the failure of the one before, and are answered once",
    "timers": "a timer is set once and ends once",
    "signals": "a signal is received once, and taken at most once, after that",
    "fold": "the fold takes every event",
    "cause": "what is not finished waits for a recorded cause",
    "key": "one execution for each key of a trigger",
    "definition": "the definition that an execution is pinned to is stored",
    "readable": "every stored event can be read",
    "index": "executions, timers and counts of the index are what the log implies",
    "lease": "an execution is leased exactly when a handler is owed",
    "accepted": "an accepted message has its execution, its signal or its dead letter",
    "unasked": "nothing happens that nobody has asked for",
    "outcome": "an execution ends as its message says it must",
    "called": "a witnessed step that succeeded was called, and had the effect that it tells of",
    "started": "a witness is called for a recorded attempt only",
    "twice": "no life of a daemon begins an attempt twice",
}
"""Each rule by its short name."""


class Violation(Struct, frozen=True):
    """A rule that the log, or what goes with it, breaks."""

    rule: str
    message: str
    execution_id: UUID | None = None
    versions: tuple[int, ...] = ()

    def __str__(self) -> str:
        where = f" {self.execution_id}" if self.execution_id is not None else ""
        at = f" v{','.join(map(str, self.versions))}" if self.versions else ""
        return f"[{self.rule}]{where}{at}: {self.message}"
