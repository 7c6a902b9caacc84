"""The shapes of answers, for the OpenAPI document. The answers themselves are made by daemon/runtime/views."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003  pydantic resolves the annotations at run time
from typing import Any, Literal
from uuid import UUID  # noqa: TC003  pydantic resolves the annotations at run time

from pydantic import BaseModel, ConfigDict

Status = Literal["pending", "running", "paused", "compensating", "completed", "failed", "cancelled"]
Severity = Literal["none", "minor", "major", "critical"]
StepStatus = Literal[
    "queued",
    "limited",
    "running",
    "retrying",
    "postponed",
    "sleeping",
    "awaiting",
    "deciding",
    "suspended",
    "succeeded",
    "failed",
    "skipped",
    "abandoned",
]


class Model(BaseModel):
    """What all shapes have in common: no further fields."""

    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """An error, as RFC 9457 has it. `code` is a stable word for programs."""

    type: str
    title: str
    status: int
    detail: str
    code: str


class Error(Model):
    """Why a step or an execution failed."""

    message: str
    code: str
    type: str
    attempt: int
    details: Any


class Row(Model):
    """An execution in a list."""

    execution_id: UUID
    workflow: str
    definition: str
    status: Status
    waits_for: str | None
    trigger: str | None
    dedupe_key: str | None
    started_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    error: str | None


class Pin(Model):
    """Who wants an execution to stay, and why."""

    at: datetime
    by: str
    reason: str


class Listed(Row):
    """An execution in the list of all; `pin` is null for one that is not pinned."""

    pin: Pin | None


class Page(Model):
    """Executions, newest first. `next` is the cursor of the page that follows, null on the last."""

    executions: list[Listed]
    next: str | None


class Parent(Model):
    """The step of another execution that has started one as a subflow, or has it undone."""

    execution_id: UUID
    address: str


class Summary(Model):
    """An execution without its steps."""

    execution_id: UUID
    workflow: str | None
    definition: str | None
    status: Status
    version: int
    waits_for: str | None
    trigger: Any
    dedupe_key: str | None
    parent: Parent | None
    started_at: datetime | None
    finished_at: datetime | None
    input: Any
    output: Any
    error: Error | None
    failed_step: str | None
    reason: str | None


class Started(Summary):
    """An execution, and whether this call has started it."""

    started: bool


class Changed(Summary):
    """An execution, and whether this call has changed it."""

    changed: bool


class Updated(Changed):
    """What an update has given; `changed` is false for one that had come before."""

    result: Any


class SignalledWithStart(Changed):
    """Whether this call has started the execution, and whether it has signalled it."""

    started: bool


class Answered(Model):
    """What a query gave."""

    result: Any


class Step(BaseModel):
    """A step; which of the further fields are there depends on its status."""

    address: str
    status: StepStatus


class Execution(Summary):
    """An execution with its steps, in the order in which they began."""

    updated_at: datetime
    steps: list[Step]
    pin: Pin | None


class ExecutionState(Summary):
    """All that the fold of the events knows."""

    steps: dict[str, Step] | None = None
    breaking: dict[str, Any] | None = None
    timers: dict[str, Any] | None = None
    signals: dict[str, Any] | None = None
    variables: dict[str, Any] | None = None


class OwedCompensation(Model):
    """One entry of the undo plan. `input` is what the compensation is sent, secrets masked."""

    address: str
    version: int
    kind: str
    unknown: bool
    problem: str | None
    input: Any
    at_work: bool


class Question(Model):
    """What is asked of a person; the address is empty for the plan as a whole."""

    address: str
    question: str
    kind: str
    message: str
    choices: list[str]
    since: datetime


class SideEffect(Model):
    """A step that was run, and what became of what it did."""

    address: str
    status: str
    at: datetime
    kind: str | None
    version: int | None
    error: str | None
    note: str | None
    actor: str | None


class Undo(Model):
    """The undo plan, newest first; what is asked of people; and all that the execution has done outside."""

    execution_id: UUID
    status: Status
    undoing: bool
    ends_as: str | None
    mode: str | None
    plan: list[OwedCompensation]
    asking: list[Question]
    effects: list[SideEffect]


class Event(Model):
    """One event. `data` holds the fields of its type."""

    version: int
    position: int
    type: str
    at: datetime
    data: dict[str, Any]


class Events(Model):
    """Events in order. `finished` says that no more will come."""

    events: list[Event]
    finished: bool


class Cause(Model):
    """One thing that an execution waits for."""

    kind: str
    sentence: str
    address: str | None
    since: datetime | None
    due: datetime | None
    attempt: int | None
    max_attempts: int | None
    signal: str | None
    place: int | None
    limit: str | None
    key: str | None
    holders: list[str]


class Why(Model):
    """Why an execution is not finished, or how it ended."""

    status: Status | Literal["parked"]
    summary: str
    causes: list[Cause]
    alarm: bool
    daemon: str | None


class Trigger(Model):
    """A trigger of a workflow."""

    name: str
    kind: str


class Workflow(Model):
    """A loaded workflow."""

    workflow: str
    hash: str
    description: str
    input_schema: dict[str, Any] | None
    triggers: list[Trigger]


class WorkflowDefinition(Workflow):
    """A loaded workflow with its definition as it was written."""

    definition: dict[str, Any]


class Workflows(Model):
    """The loaded workflows."""

    workflows: list[Workflow]


class Version(Model):
    """A definition, by its hash, and the executions that are pinned to it."""

    definition: str
    open: int
    executions: int
    oldest_open_at: datetime | None
    last_started_at: datetime | None
    first_seen_at: datetime | None
    current: bool | None


class Versions(Model):
    """The definitions of a workflow, the last used first."""

    workflow: str
    versions: list[Version]
