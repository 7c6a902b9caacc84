"""What comes of one story, and how two of them are compared.

Comes from: `crash_bench`. Goes to: `crash_points`, `test_lost_answers`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from daemon.core.state import Failed, Finished, Skipped, Succeeded
from daemon.testing.differences import first_difference

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from daemon.core.events import Event
    from tests.faults.crash_stories import Story

TIMES = frozenset({"at", "due", "retry_at"})
_PLACE = re.compile(r"memory:done@\d+")
"""Where a message went: another place for each time that it is sent."""
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:[\d.]+(Z|\+00:00)")
"""When something was: a timer that came due while nobody lived fires later."""


@dataclass
class Outcome:
    """What must be the same however the story went, and what may only grow."""

    states: dict[UUID, object] = field(default_factory=dict)
    logs: dict[UUID, list[tuple[str, str]]] = field(default_factory=dict)
    done: dict[str, object] = field(default_factory=dict)
    refused: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    """How often the world was asked for each thing."""
    lives: list[list[str]] = field(default_factory=list)
    """The points that each process has passed."""
    reached: bool = True
    """Whether every planned fault has happened."""


def differences(story: Story, expected: Outcome, got: Outcome, crashes: int) -> list[str]:
    """Return what a run with so many crashes may not do, and did."""
    wrong = [
        f"{what}: {_told(meant.get(key), found.get(key))}"
        for what, meant, found in (
            ("states", _by_text(expected.states), _by_text(got.states)),
            ("logs", _by_text(expected.logs), _by_text(got.logs)),
            ("done", _by_text(expected.done), _by_text(got.done)),
        )
        for key in meant.keys() | found.keys()
        if meant.get(key) != found.get(key)
    ]
    if expected.counts.keys() != got.counts.keys():
        wrong.append(f"asked for {sorted(expected.counts.keys() ^ got.counts.keys())}, or not")
    wrong += [
        f"{key}: {got.counts[key]} times, uninterrupted {least}"
        for key, least in expected.counts.items()
        if key in got.counts and not least <= got.counts[key] <= least + crashes
    ]
    if not story.refused <= got.refused <= story.refused + crashes:
        wrong.append(f"{got.refused} dead letters")
    return wrong


def _by_text(mapping: Mapping[Any, object]) -> dict[str, object]:
    return {str(key): value for key, value in mapping.items()}


def _told(meant: object, found: object) -> str:
    one, other = first_difference(meant, found)
    return f"{other!r} in place of {one!r}"


def without_times(event: Event) -> tuple[str, str]:
    """Return the event's name, and what it tells without what may differ."""
    fields = msgspec.json.decode(msgspec.json.encode(event))
    told = msgspec.json.encode({name: value for name, value in fields.items() if name not in TIMES}, order="sorted")
    return event.NAME, _masked(told)


def _masked(told: bytes) -> str:
    """Return the text without what may differ: where a message went, and when something was."""
    return _TIME.sub("THEN", _PLACE.sub("memory:done@N", bytes(told).decode()))


def what_came_of(state: Finished) -> object:
    """Return how the execution has ended, and each of its steps."""
    steps: dict[str, Any] = {}
    for address, step in state.steps.items():
        match step:
            case Succeeded(output=output, port=port):
                steps[address] = ("succeeded", _masked(output), port)
            case Failed(error=error, port=port):
                steps[address] = ("failed", error.code, port)
            case Skipped():
                steps[address] = ("skipped",)
            case _:
                steps[address] = (type(step).__name__,)
    return state.status, _masked(state.output), steps
