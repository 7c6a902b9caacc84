"""What undoes a step: another step, a function that calls one, or a person.

    @step(compensate=refund)                                         refund(receipt), where `charge` gives a receipt
    @step(compensate=lambda done: refund(done.output.id, done.input["amount"]))
    @step(compensate=undo(refund, kind="idempotent", retry=Retry(5)))
    @step(compensate=irreversible("the mail is out", manual="write another"))

Comes from: `options`. Goes to: `wiring`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar

from daemon.flow.mistakes import mistake
from daemon.flow.reference import Ref

if TYPE_CHECKING:
    from collections.abc import Callable

    from daemon.flow.steps import Step
    from daemon.flow.wiring import Node, Wiring

T = TypeVar("T")
_ROOT = "step"
KEPT = frozenset({"description", "on_error", "default", "side_effects", "compensate", "after"})
"""Keys that a node may have, and what undoes one, or fetches a page, may not."""


class Undoer(ABC):
    """What can undo by the output alone: a step."""

    @abstractmethod
    def undo_output(self, output: Ref) -> None:
        """Make the node that undoes."""


class Done(Generic[T]):
    """The step that is undone, as it was."""

    output: T
    """What it gave."""
    input: Any
    """What it was sent: its `with`, by name."""


@dataclass(frozen=True)
class Undo:
    """Who undoes a step, and how."""

    by: Step[..., Any] | Callable[[Done[Any]], object]
    kind: Literal["reversible", "idempotent", "eventual"] | None


@dataclass(frozen=True)
class Irreversible:
    """The effect stays: a person is asked to see to it."""

    reason: str
    manual: str | None


Compensation: TypeAlias = "Step[[T], Any] | Callable[[Done[T]], object] | Undo | Irreversible"
"""A step that takes the output alone, a function that calls one step or makes one node, or one of the two above."""


def undo(
    by: Step[..., Any] | Callable[[Done[Any]], object],
    *,
    kind: Literal["reversible", "idempotent", "eventual"] | None = None,
) -> Undo:
    """Say how a step is undone: `idempotent` may also run when the step never took effect, `eventual` takes its time.

    Retries and timeout are those of the step that undoes: `release.options(retry=Retry(5))`.
    """
    return Undo(by, kind)


def irreversible(reason: str, *, manual: str | None = None) -> Irreversible:
    """Say why nothing undoes a step, and what a person has to do."""
    return Irreversible(reason, manual)


def attach(wiring: Wiring, node: Node, compensation: object) -> None:
    """Give a node what undoes it."""
    if isinstance(compensation, Irreversible):
        reason = {"reason": compensation.reason}
        manual = {} if compensation.manual is None else {"manual": compensation.manual}
        node.keys["compensate"] = {"irreversible": reason | manual}
        return
    given = compensation if isinstance(compensation, Undo) else Undo(compensation, None)  # type: ignore[arg-type]  # told below
    with wiring.taking() as taken:
        _call(given.by)
    if len(taken) != 1:
        hint = "let it call one step; what takes several is a step of its own"
        raise mistake(f"`{node.id}` is undone by one node, and not by {len(taken)}", hint, place=node.place)
    keys = {key: value for key, value in taken[0].keys.items() if key not in KEPT}
    node.keys["compensate"] = keys | ({} if given.kind is None else {"kind": given.kind})
    node.reads |= taken[0].reads


def _call(by: Any) -> None:
    if isinstance(by, Undoer):
        by.undo_output(Ref(f"{_ROOT}.output"))
    elif callable(by):
        by(Ref(_ROOT))
    else:
        raise mistake(f"a {type(by).__name__} undoes nothing", "name a step, or a function that calls one")
