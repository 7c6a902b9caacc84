"""What an execution has done outside, and what would undo it: the side-effect log and the undo plan. Pure.

Both are read from the events: nothing is kept for them. Comes from: `history`. Goes to: daemon/api, daemon/cli.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import Struct

from daemon.core import events as e
from daemon.core.address import LOOKUP, UNDO, node_of
from daemon.core.evolve_saga import newest_first
from daemon.core.saga import CHOICES
from daemon.core.state import NotStarted, Running
from daemon.runtime.projection import status_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from uuid import UUID

    from daemon.core.plan import Plan
    from daemon.core.state import State
    from daemon.runtime.views import View
    from eventstore.log import Recorded


class Effect(Struct):
    """One step that was run, and so may have changed something outside."""

    address: str
    status: str
    """`intended` (at work, or cut off) | `executed` | `failed` | `unknown` | `compensating` | `compensated` |
    `by_hand` | `left` (a person has skipped its compensation)."""
    at: datetime
    """Of the last change."""
    kind: str | None = None
    """Of the declared compensation; None when none is declared."""
    version: int | None = None
    """Of the event by which it took effect, which gives the order of undoing."""
    error: str | None = None
    note: str | None = None
    actor: str | None = None


def effects_of(history: Iterable[tuple[int, e.Event]], plan: Plan | None) -> list[Effect]:
    """Return the side-effect log in the order in which the steps began; `history` gives versions and events.

    With the plan, nodes that are declared to have no side effects are left out.
    """
    found: dict[str, Effect] = {}
    for version, event in history:
        address = getattr(event, "address", "")
        if address.endswith(LOOKUP):
            continue  # it only looks
        undone = address.endswith(UNDO)
        effect = found.get(address.removesuffix(UNDO))
        match event:
            case e.StepStarted() if undone and effect is not None:
                effect.status, effect.at = "compensating", event.at
            case e.StepStarted() if _pure(plan, address):
                pass
            case e.StepStarted():
                found.setdefault(address, Effect(address, "intended", event.at)).at = event.at
            case _ if effect is None:
                pass
            case e.StepSucceeded():
                effect.status, effect.at = "compensated" if undone else "executed", event.at
                effect.version = effect.version if undone else version
            case e.StepFailed(retry_at=None):
                _fail(effect, event, undone=undone)
            case e.CompensationOwed():
                effect.kind, effect.version = event.kind, effect.version or version - 1
                effect.status = "unknown" if event.unknown else effect.status
            case e.EffectLookedUp():
                effect.status, effect.at = "executed" if event.found else "failed", event.at
            case e.ManualActionDone(choice="skip" | "done"):
                effect.status = "left" if event.choice == "skip" else "by_hand"
                effect.at, effect.note, effect.actor = event.at, event.note or None, event.actor
            case _:
                pass
    return list(found.values())


def undo_view(execution_id: UUID, state: State, history: Sequence[Recorded], plan: Plan | None) -> View:
    """Return the undo plan, newest first, what is asked of people, and the side-effect log."""
    effects = effects_of(((recorded.version, recorded.event) for recorded in history), plan)
    undoing = state.undoing if isinstance(state, Running) else None
    return {
        "execution_id": execution_id,
        "status": status_of(state),
        "undoing": undoing is not None,
        "ends_as": undoing.status if undoing is not None else None,
        "mode": undoing.mode if undoing is not None else plan.definition.undo if plan is not None else None,
        "plan": _plan(state),
        "asking": _asking(state),
        "effects": effects,
    }


def _plan(state: State) -> list[View]:
    if isinstance(state, NotStarted):
        return []
    at_work: Collection[str] = {*state.in_flight, *state.children} if isinstance(state, Running) else ()
    return [
        {
            "address": owed.address,
            "version": version,
            "kind": owed.kind,
            "unknown": owed.unknown,
            "problem": owed.problem or None,
            "input": owed.input,
            "at_work": f"{owed.address}{UNDO}" in at_work,
        }
        for version, owed in newest_first(state)
    ]


def _asking(state: State) -> list[View]:
    if not isinstance(state, Running):
        return []
    return [
        {
            "address": address,
            "question": str(ask.version),
            "kind": ask.kind,
            "message": ask.message,
            "choices": list(CHOICES[ask.kind]),
            "since": ask.since,
        }
        for address, ask in sorted(state.asking.items())
    ]


def _pure(plan: Plan | None, address: str) -> bool:
    node = plan.definition.nodes.get(node_of(address)) if plan is not None else None
    return node is not None and not node.side_effects


def _fail(effect: Effect, event: e.StepFailed, *, undone: bool) -> None:
    effect.at, effect.error = event.at, event.error.message
    if not undone:  # else a person is asked, and until then it is being compensated
        effect.status = "unknown" if event.unknown else "failed"
