"""Random approvals, and what people say to them: those who are asked, and those who are not.

Of the group there are always members who were never asked by name, so that what the group is asked can be decided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daemon.core import commands as c
from daemon.core.people import GROUP, Deciding
from daemon.core.values import to_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from daemon.core.people import Voice
    from daemon.core.state import Running
    from tests.core.generator.dice import Dice

TEAM = f"{GROUP}team"
MEMBERS = ("gil", "gus", "ann")
PEOPLE = ("ann", "bob", "cid", "eve", "gus")
DECISIONS = ("approved", "approved", "rejected")


def node(dice: Dice) -> dict[str, Any]:
    """Draw an approval."""
    ask: dict[str, Any] = {"prompt": dice.pick(("ok?", "pay {{ input.n }}?")), **_asked(dice, "approvers")}
    if dice.chance(50):
        ask["timeout"] = dice.pick(("3m", "{{ input.delay }}"))
        if dice.chance(80):
            ask["on_timeout"] = dice.pick(("approve", "reject", "fail", _escalation(dice), _escalation(dice)))
    if dice.chance(25):
        ask["reminder"] = "1m"
    if dice.chance(25):
        ask["comment"] = dice.pick(("on_reject", "required"))
    if dice.chance(10):
        ask["form"] = {"type": "object"}
    if dice.chance(40):
        channels = ({"handler": "t.tell"}, {"webhook": "{{ input.missing }}"}, {"slack": {"webhook_url": "{{ 1 }}"}})
        ask["notify"] = dice.some(channels, 2) or [channels[0]]
    return {"approval": ask}


def _asked(dice: Dice, key: str) -> dict[str, Any]:
    """Draw who is asked, and how many of them have to approve."""
    who = dice.pick((["ann"], ["ann", "bob"], ["ann", TEAM, "cid"], "{{ ['ann', 'cid'] if input.flag else 'bob' }}"))
    rules = ["all", "any", *([{"quorum": 2}] if len(who) > 1 else [])]
    return {key: who, **({"rule": dice.pick(rules)} if dice.chance(60) else {})}


def _escalation(dice: Dice) -> dict[str, Any]:
    ask = _asked(dice, "to")
    if dice.chance(60):
        ask |= {"timeout": "2m", "then": dice.pick(("approve", "reject", "fail"))}
    return {"escalate": ask}


def decisions(state: Running, number: int, at: datetime) -> Iterator[c.Command]:
    """Give what one may say of those who are asked and have not decided; it goes by the number who, and what."""
    for address, step in _open(state):
        voices = [voice for voice in step.voices if not voice.decision]
        yield _decision(address, step, voices[number % len(voices)], DECISIONS[number % 3], at)


def liberties(dice: Dice, state: Running, at: datetime) -> Iterator[c.Command]:
    """Give what anybody may try: to decide, twice or without being asked, and to hand that on."""
    for address, step in [*_open(state)] * 2:
        asked = [voice.approver for voice in step.voices if voice.approver in PEOPLE]
        actor, to = dice.pick((*asked * 4, *PEOPLE)), dice.pick((*PEOPLE, TEAM))
        groups = ("team",) if actor in MEMBERS else ()
        question = step.question - dice.pick((0, 0, 0, 1))
        yield c.GiveApproval(
            address=address,
            question=question,
            decision=dice.pick(DECISIONS),
            actor=actor,
            groups=groups,
            comment=dice.pick(("so be it", "")),
            at=at,
        )
        yield c.DelegateApproval(address=address, question=question, to=to, actor=actor, groups=groups, at=at)


def _open(state: Running) -> Iterator[tuple[str, Deciding]]:
    steps = ((address, state.steps[address]) for address in sorted(state.people))
    return ((address, step) for address, step in steps if isinstance(step, Deciding))


def _decision(address: str, step: Deciding, voice: Voice, decision: str, at: datetime) -> c.Command:
    actor = voice.approver
    if actor == TEAM:
        decided = {each.actor for each in step.voices}
        actor = next(each for each in MEMBERS if each not in decided)
    return c.GiveApproval(
        address=address,
        question=step.question,
        decision=decision,
        actor=actor,
        groups=("team",) if actor in MEMBERS else (),
        comment="so be it",
        data=to_json({}),
        at=at,
    )
