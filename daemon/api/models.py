"""The shapes of answers, for the OpenAPI document. The answers themselves are made by daemon/runtime/views."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003  pydantic resolves the annotations at run time
from typing import Any, Literal
from uuid import UUID  # noqa: TC003  pydantic resolves the annotations at run time

from pydantic import BaseModel, ConfigDict

Status = Literal["pending", "running", "paused", "compensating", "completed", "failed", "cancelled"]
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


ApprovalStatus = Literal["open", "approved", "rejected", "failed", "withdrawn"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """An error, as RFC 9457 has it. `code` is a stable word for programs."""

    type: str
    title: str
    status: int
    detail: str
    code: str


class Error(_Model):
    """Why a step or an execution failed."""

    message: str
    code: str
    type: str
    attempt: int
    details: Any


class Row(_Model):
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


class Page(_Model):
    """Executions, newest first. `next` is the cursor of the page that follows, null on the last."""

    executions: list[Row]
    next: str | None


class Parent(_Model):
    """The step of another execution that has started one as a subflow, or has it undone."""

    execution_id: UUID
    address: str


class Summary(_Model):
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


class Answered(_Model):
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


class ExecutionState(Summary):
    """All that the fold of the events knows."""

    steps: dict[str, Step] | None = None
    timers: dict[str, Any] | None = None
    signals: dict[str, Any] | None = None
    variables: dict[str, Any] | None = None


class OwedCompensation(_Model):
    """One entry of the undo plan. `input` is what the compensation is sent, secrets masked."""

    address: str
    version: int
    kind: str
    unknown: bool
    problem: str | None
    input: Any
    at_work: bool


class Question(_Model):
    """What is asked of a person; the address is empty for the plan as a whole."""

    address: str
    question: str
    kind: str
    message: str
    choices: list[str]
    since: datetime


class SideEffect(_Model):
    """A step that was run, and what became of what it did."""

    address: str
    status: str
    at: datetime
    kind: str | None
    version: int | None
    error: str | None
    note: str | None
    actor: str | None


class Undo(_Model):
    """The undo plan, newest first; what is asked of people; and all that the execution has done outside."""

    execution_id: UUID
    status: Status
    undoing: bool
    ends_as: str | None
    mode: str | None
    plan: list[OwedCompensation]
    asking: list[Question]
    effects: list[SideEffect]


class Many(_Model):
    """What became of a page of executions: how many matched, were changed, and could not be."""

    matched: int
    changed: int
    refused: int
    next: str | None


class Approval(_Model):
    """A question to people. `question` names it: who decides says which one is meant."""

    execution_id: UUID
    address: str
    question: str
    workflow: str
    status: ApprovalStatus
    prompt: str
    requested_at: datetime
    due_at: datetime | None
    decided_at: datetime | None


class Approvals(_Model):
    """Approvals, oldest first. `next` is the cursor of the page that follows, null on the last."""

    approvals: list[Approval]
    next: str | None


class Voice(_Model):
    """One of those who are asked, and what was decided; `via` is who has handed it on."""

    approver: str
    via: str
    decision: Literal["approved", "rejected"] | None
    actor: str | None
    comment: str
    data: Any
    at: datetime | None


class OpenApproval(_Model):
    """A question that an execution waits for. `form` is the JSON Schema of `data`; `needed` approvals are enough."""

    address: str
    since: datetime
    due: datetime | None
    question: str
    prompt: str
    needed: int
    comment: str
    form: Any
    on_timeout: str | None
    escalated: bool
    approvers: list[Voice]


class OpenApprovals(_Model):
    """What an execution waits for people to decide."""

    approvals: list[OpenApproval]


class Event(_Model):
    """One event. `data` holds the fields of its type."""

    version: int
    position: int
    type: str
    at: datetime
    data: dict[str, Any]


class Events(_Model):
    """Events in order. `finished` says that no more will come."""

    events: list[Event]
    finished: bool


class Cause(_Model):
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


class Why(_Model):
    """Why an execution is not finished, or how it ended."""

    status: Status | Literal["parked"]
    summary: str
    causes: list[Cause]
    alarm: bool
    daemon: str | None


class Trigger(_Model):
    """A trigger of a workflow."""

    name: str
    kind: str


class Workflow(_Model):
    """A loaded workflow."""

    workflow: str
    hash: str
    description: str
    input_schema: dict[str, Any] | None
    triggers: list[Trigger]


class WorkflowDefinition(Workflow):
    """A loaded workflow with its definition as it was written."""

    definition: dict[str, Any]


class Workflows(_Model):
    """The loaded workflows."""

    workflows: list[Workflow]


class Connection(_Model):
    """A connection that the daemon needs."""

    name: str
    connected: bool
    detail: str


class Client(_Model):
    """A host or a database that steps call; one whose circuit is open does not make the daemon unready."""

    name: str
    state: Literal["closed", "half-open", "open"]
    failures: int
    rejected: int
    waits: int
    waited_s: float


class Readiness(_Model):
    """Whether the daemon can do its work."""

    ready: bool
    connections: list[Connection]
    clients: list[Client]


class Daemon(_Model):
    """A daemon that works on the store. `executions` is how many it has work in flight for."""

    id: UUID
    name: str
    rank: int
    this: bool
    joined_at: datetime
    beat_at: datetime
    executions: int


class Daemons(_Model):
    """All daemons of the store, oldest first. `orphans`: executions with work in flight that none has."""

    daemons: list[Daemon]
    orphans: int


class SlotHolder(_Model):
    """Who holds a slot of a limit; an empty address is the execution itself."""

    execution_id: UUID
    address: str
    since: datetime


class SlotWaiter(SlotHolder):
    """Who waits for one."""

    priority: int
    fair: str


class LimitUse(_Model):
    """How a limit is used for one key. `oldest`: since when the one waits that has waited longest."""

    limit: str
    key: str
    most: int | None
    held: int
    waiting: int
    oldest: datetime | None
    holders: list[SlotHolder] | None = None
    queue: list[SlotWaiter] | None = None


class SharedLimit(_Model):
    """A limit of the settings."""

    concurrency: int | None
    rate: int | None
    per: str
    burst: int
    node_types: list[str]
    handlers: list[str]


class Limits(_Model):
    """Limits that executions share: those in use, by key, and those of the settings."""

    limits: list[LimitUse]
    shared: dict[str, SharedLimit]


class Health(_Model):
    """The process lives."""

    alive: bool


class CachedResult(_Model):
    """A result that is kept for other steps. `hash` is the key's; `execution_id` and `address` name who made it."""

    name: str
    hash: str
    workflow: str
    execution_id: UUID
    address: str
    stored_at: datetime
    expires_at: datetime
    bytes: int


class CachePage(_Model):
    """Results by cache and key. `next` is the cursor of the page that follows, null on the last."""

    results: list[CachedResult]
    next: str | None


class Cleared(_Model):
    """How many results were dropped."""

    cleared: int


class Published(_Model):
    """Where a message went."""

    published: str
