"""Which texts of events hold what users say, and which hold structure: the former are sealed with a subject's key.

Values of JSON are all sealed, and not named here. Structure stays in the clear: addresses, names of nodes, handlers,
signals and variables, statuses, codes, ids and times; and who has acted: actors, approvers.

Comes from: daemon/runtime/codec. Goes to: eventstore/sealing.
"""

from __future__ import annotations

PERSONAL_TEXTS = frozenset(
    {
        ("ApprovalDelegated", "comment"),
        ("ApprovalGiven", "comment"),
        ("ApprovalRefused", "reason"),
        ("ApprovalRequested", "prompt"),
        ("Breakpoint", "condition"),
        ("CancelRequested", "reason"),
        ("ChildCancelRequested", "reason"),
        ("CompensationOwed", "problem"),
        ("EffectLookedUp", "problem"),
        ("ExecutionCancelled", "reason"),
        ("ExecutionForked", "reason"),
        ("ExecutionMigrated", "reason"),
        ("ExecutionPaused", "reason"),
        ("ExecutionStarted", "dedupe_key"),
        ("ExecutionStarted", "subject"),
        ("FunctionDiverged", "found"),
        ("FunctionDiverged", "recorded"),
        ("ManualActionDone", "note"),
        ("ManualActionRequested", "message"),
        ("ResumeReceived", "resume_id"),
        ("RewindRequested", "reason"),
        ("SignalReceived", "signal_id"),
        ("SecretSlot", "parts"),
        ("Slot", "fair"),
        ("Slot", "key"),
        ("StepCached", "key"),
        ("StepError", "message"),
        ("StepResumed", "resume_id"),
        ("StepStarted", "cache_key"),
        ("StepSucceeded", "signal_id"),
        ("StepSuspended", "problem"),
        ("StepSuspended", "reason"),
        ("UndoPlanned", "reason"),
        ("UndoRequested", "reason"),
        ("UpdateHandled", "update_id"),
    }
)
"""As (class, field); of a list, its texts."""

COUNTED = frozenset({("FanOutExpanded", "items"), ("LoopStarted", "items"), ("SagaStarted", "items")})
"""Lists whose length is structure: so many turns there were."""
