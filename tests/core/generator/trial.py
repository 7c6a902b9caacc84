"""A case held to all laws; and, when one does not hold, the smallest case that shows it, as a person can read it.

Comes from: `executions`. Goes to: `__main__`, tests/core/test_generated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import yaml
from msgspec import Struct

from tests.core.generator.executions import Case, case
from tests.core.generator.shrinking import smallest
from tests.core.laws import LAWS, LOG_LAWS
from tests.core.spec import line
from tests.runtime.index_laws import INDEX_LAWS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daemon.core.commands import Command

SHOWN_CHARACTERS = 300


class Fault(Struct, frozen=True):
    """What does not hold, and what is said of it."""

    law: str
    message: str

    @property
    def kind(self) -> str:
        """Return what a smaller case must have in common with this one."""
        return f"{self.law} {self.message.partition(':')[0]}"


def fault_of(drawn: Case) -> Fault | None:
    """Hold the case to all laws; return the first that it breaks."""
    if drawn.error is not None or drawn.history is None:
        return Fault("an execution goes on, and ends", _told(drawn.error))
    history, events, name = drawn.history, drawn.history.events, ""
    try:
        for law in (*LAWS, *INDEX_LAWS):
            name = law.__name__
            law(history)
        for log_law in LOG_LAWS:
            name = log_law.__name__
            log_law(events)
    except Exception as error:  # noqa: BLE001  whatever it is, it is what is looked for
        return Fault(name, _told(error))
    return None


def outcome(number: int) -> tuple[int, Fault | None, int]:
    """Try the case of this number; return the number, what is wrong, and how many events it had."""
    drawn = case(number)
    return number, fault_of(drawn), len(drawn.history.events) if drawn.history is not None else 0


def smallest_like(seed: int) -> Case:
    """Return the smallest case that breaks what the case of this number breaks."""
    drawn = case(seed)
    fault = fault_of(drawn)
    if fault is None:
        return drawn
    kind = fault.kind

    def still(choices: tuple[tuple[int, ...], ...]) -> bool:
        found = fault_of(case(seed, choices))
        return found is not None and found.kind == kind

    return case(seed, smallest(drawn.choices, still))


def story(drawn: Case) -> Iterator[str]:
    """Tell the case: the definition, then each command with its events."""
    yield yaml.safe_dump(drawn.document, sort_keys=False, width=120)
    for turn in drawn.history.turns if drawn.history is not None else ():
        yield _shown(turn.command)
        yield from (f"    {line(event)}"[:SHOWN_CHARACTERS] for event in turn.events)
    if drawn.error is not None and drawn.last is not None:
        yield _shown(drawn.last)


def _shown(command: Command) -> str:
    return f"{type(command).__name__} {msgspec.json.encode(command).decode()}"[:SHOWN_CHARACTERS]


def _told(error: Exception | None) -> str:
    return f"{type(error).__name__}: {error}"
