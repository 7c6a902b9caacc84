"""What the checker finds."""

from __future__ import annotations

from uuid import UUID

from msgspec import Struct

RULES = {
    "versions": "versions of an execution are dense, from 1",
    "positions": "positions grow strictly",
    "start": "one start, and only signals before it",
    "end": "at most one end, and nothing after it but a wish to undo",
    "success": "no step succeeds twice",
    "settled": "a step that is settled stays as it is",
    "attempts": "attempts are dense, each after the failure of the one before, and are answered once",
    "timers": "a timer is set once and ends once",
    "signals": "a signal is received once, and taken at most once, after that",
    "undo": "what is owed is undone once, the newest first, and before the end",
    "approvals": "who is asked decides once, and the decisions say how an approval ends",
    "inputs": "an input for a handler that has paused is received once, and taken in its turn",
    "breaks": "nothing but undo begins while an execution stands at a breakpoint",
    "functions": "a durable function makes each call once, and is given each result once",
    "limits": "no more hold a limit than may, and none comes before its time by a rate",
    "told": "the end of a child is told to its parent once, and as it was",
    "untold": "a child that has ended has told its parent",
    "slots": "what is held and waited for of limits is what the log implies",
    "fold": "the fold takes every event",
    "cause": "what is not finished waits for a recorded cause",
    "key": "one execution for each key of a trigger",
    "definition": "the definition that an execution is pinned to is stored",
    "readable": "every stored event can be read",
    "index": "executions, timers and counts of the index are what the log implies",
    "lease": "an execution is leased exactly when the shell owes it more than timers",
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
