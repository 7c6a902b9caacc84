"""Errors, sorted by what the caller must do. `eventstore.errors` has the store's three beside these.

| class | means | HTTP | broker verdict |
|---|---|---|---|
| `Rejected` | the command is not allowed now, or its data is wrong | 4xx | dead letter |
| `Misconfigured` | found at start or at load, all problems at once | 422 | dead letter; at start: exit code 2 |
| `eventstore.Conflict` | another writer was first | retried in the engine | - |
| `eventstore.Unavailable` | the store did not answer | 503 | retry, not counted |
| `eventstore.Undecodable` | a stored event is damaged | 500, execution parked | - |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from daemon.core.problems import Problem


class SagadError(Exception):
    """Base of all errors a user of sagad meets; never raised itself."""

    def __init__(self, message: str) -> None:
        if type(self) is SagadError:
            raise TypeError("SagadError is abstract: raise one of its kinds")
        super().__init__(message)


class Rejected(SagadError):
    """The command is refused; repeating it unchanged does not help. Nothing was recorded."""


class ExecutionNotFound(Rejected):
    """No execution has this id."""

    def __init__(self, execution_id: UUID | str) -> None:
        super().__init__(f"there is no execution {execution_id}")


class ExecutionDeleted(ExecutionNotFound):
    """Retention has deleted the execution; it may be in the archive."""

    def __init__(self, execution_id: UUID | str, deleted_at: datetime, archived_as: str | None) -> None:
        where = f"archived as {archived_as}" if archived_as is not None else "not archived"
        message = f"execution {execution_id} was deleted at {deleted_at:%Y-%m-%d %H:%M:%S} UTC, {where}"
        Rejected.__init__(self, message)
        self.archived_as = archived_as


class ExecutionFinished(Rejected):
    """The execution has ended; it takes no more commands."""


class UnknownWorkflow(Rejected):
    """No workflow of this name is loaded."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"there is no workflow {name!r}; loaded are: {', '.join(sorted(known)) or 'none'}")


class UnknownTrigger(Rejected):
    """No trigger of this name is loaded."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"there is no trigger {name!r}; loaded are: {', '.join(sorted(known)) or 'none'}")


class UnknownName(Rejected):
    """The execution's workflow declares no update, or no query, of this name; or it has no such moment."""


class InvalidInput(Rejected):
    """The data does not match the schema asked for; the message names each place."""


class StorageFull(Rejected):
    """The workflow's payloads take more than its quota; executions may be started again when there is room."""

    def __init__(self, workflow: str, used: int, quota: int) -> None:
        super().__init__(f"no execution of {workflow} is started: its payloads take {used} bytes, its quota is {quota}")


class NotAllowed(Rejected):
    """Whoever asks may not do this. Unlike what else is rejected, that somebody tried may be on record."""


class Misconfigured(SagadError):
    """Settings or definitions cannot work. Carries every problem found, not just the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)
