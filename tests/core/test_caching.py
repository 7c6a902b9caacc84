"""The result cache: the key is settled when a step begins, and a hit settles the step without its handler."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from daemon.core import commands as c
from daemon.core.caching import hashed
from daemon.core.effects import RunStep, owed
from daemon.core.errors import Misconfigured
from daemon.core.events import Origin, StepCached, StepStarted
from daemon.core.state import Succeeded
from daemon.core.values import to_json
from tests.core.spec import Story, minute
from tests.support.workflows import plan_of

QUOTE = """
workflow: quotes
limits: {output_bytes: 2000}
nodes:
  quote:
    task: t.quote
    retry: {max_attempts: 2, initial: 1m}
    cache: {key: ["{{ input.from }}", "{{ input.to }}"], ttl: 1h}
  book: {task: t.book, with: "{{ quote }}"}
  sorry: {task: t.sorry}
edges: [quote -> book, quote.error -> sorry]
"""
KEY = hashed(["VIE", "GRZ"])
ELSEWHERE = Origin(execution_id=UUID(int=7), address="each[1].quote", stored_at=minute(-5))


def story(**more: Any) -> Story:
    told = Story.of(QUOTE)
    told.start({"from": "VIE", "to": "GRZ", **more})
    return told


def hit(told: Story, output: Any, *, attempt: int = 1, to: tuple[str, ...] | None = None) -> list[str]:
    """Report that the step's result was in the cache."""
    at = minute(told.clock)
    return told.when(
        c.CompleteStep(address="quote", attempt=attempt, output=to_json(output), to=to, origin=ELSEWHERE, at=at)
    )


def test_the_key_is_recorded_as_a_hash_when_the_step_begins() -> None:
    """What the key's expression gives is in no event; equal values have equal hashes."""
    told = story(secret="x")
    started = told.events[-1]
    assert isinstance(started, StepStarted)
    assert started.cache_key == KEY
    assert [effect.cache_key for effect in owed(told.state) if isinstance(effect, RunStep)] == [KEY]


def test_a_hit_settles_the_step_and_what_follows_begins_in_the_same_append() -> None:
    """It is an event of its own, which tells whose result it is; the step counts as succeeded."""
    told = story()
    caused = hit(told, 99)
    assert [line.split()[:2] for line in caused] == [
        ["StepCached", "address=quote"],
        ["StepStarted", "address=book"],
        ["StepSkipped", "address=sorry"],
    ]
    cached, started, _ = told.events[-3:]
    assert isinstance(cached, StepCached)
    assert (cached.cache, cached.key, cached.origin) == ("quotes/quote", KEY, ELSEWHERE)
    step = getattr(told.state, "steps", {})["quote"]
    assert isinstance(step, Succeeded)
    assert step.cached
    assert isinstance(started, StepStarted)
    assert started.input == to_json(99)


def test_a_retry_may_find_a_result_too() -> None:
    """The key goes along with the attempts of a step."""
    told = story()
    told.fail("quote")
    told.fire("quote#retry", after=1)
    assert [effect.cache_key for effect in owed(told.state) if isinstance(effect, RunStep)] == [KEY]
    assert hit(told, 99, attempt=2)[0].startswith("StepCached address=quote attempt=2 output=99")


def test_a_null_key_asks_nothing() -> None:
    key = "{{ none if input.fresh else 1 }}"
    told = Story.of(f'workflow: w\nnodes: {{a: {{task: t.a, cache: {{key: "{key}", ttl: 1h}}}}}}')
    told.start({"fresh": True})
    assert told.events[-1] == StepStarted(address="a", input=to_json({}), at=minute(0))


def test_a_key_without_a_value_fails_the_step() -> None:
    told = Story.of(QUOTE)
    assert told.start({"from": "VIE"})[1].startswith("StepFailed address=quote error=expression port=error")


def test_what_is_in_the_cache_obeys_the_limits_and_ports_of_this_workflow() -> None:
    """A result that another workflow may have is not too large here because it was cached."""
    assert hit(story(), "x" * 3000)[0].startswith("StepFailed address=quote error=output_too_large port=error")
    assert hit(story(), 1, to=("nowhere",))[0].startswith("StepFailed address=quote error=route port=error")


def test_a_cache_has_a_name_of_its_own_or_a_shared_one() -> None:
    assert plan_of(QUOTE).nodes["quote"].cache.name == "quotes/quote"  # type: ignore[union-attr]  # it has one
    shared = QUOTE.replace("ttl: 1h}", "ttl: 1h, name: fares}")
    assert plan_of(shared).nodes["quote"].cache.name == "fares"  # type: ignore[union-attr]  # it has one


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        ("{task: t.a, cache: {key: 1, ttl: 0s}}", "the result would be of no use to anybody"),
        ("{task: t.a, cache: {key: 1, ttl: 400000d}}", "too long"),
        ("{task: t.a, cache: {key: '{{ secret.KEY }}', ttl: 1h}}", "secret"),
        ("{task: t.a, cache: {key: '{{ nobody }}', ttl: 1h}}", "nobody"),
        ("{task: t.a, cache: {key: '{{', ttl: 1h}}", "has no `}}`"),
        ("{task: t.a, cache: {key: 1, ttl: 1h}, compensate: {task: t.b}}", "cannot have a cache"),
        ("{subflow: s, cache: {key: 1, ttl: 1h}}", "a `subflow` starts an execution each time"),
        ("{transform: 1, cache: {key: 1, ttl: 1h}}", "`cache` has no meaning for a `transform`"),
        ("{task: t.a, cache: {ttl: 1h}}", "key"),
    ],
)
def test_mistakes_are_told_with_their_place(node: str, problem: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        plan_of(f"workflow: w\nnodes: {{a: {node}}}")
    told = [str(each) for each in refused.value.problems]
    assert any(problem in each for each in told), told
    assert all(each.line == 2 for each in refused.value.problems)
