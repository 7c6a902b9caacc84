"""Random declarations of the messages that executions take: some of those updates and queries are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.core.generator.dice import Dice

SIGNALS: dict[str, Any] = {"go": {"data": {"type": "integer"}}, "stay": {}}
UPDATES: dict[str, Any] = {
    "add": {"set": {"count": "{{ vars.count + 1 }}"}, "result": "{{ vars.count }}"},
    "note": {"data": {"type": "integer"}, "set": {"note": "{{ update.data }}"}, "signal": "go"},
    "close": {"accept": "{{ vars.count > 1 }}", "refusal": "not yet, {{ update.actor }}", "signal": "stay"},
    "broken": {"result": "{{ vars.note.nothing.there }}"},
}
QUERIES: dict[str, Any] = {
    "count": {"result": "{{ vars.count }}"},
    "asked": {"data": {"type": "integer"}, "result": ["{{ query.data }}", "{{ n0 | default(0) }}"]},
    "broken": {"result": "{{ vars.note.nothing.there }}"},
}


def declared(dice: Dice) -> dict[str, Any]:
    """Draw which signals, updates and queries there are; signals are declared both or not at all."""
    if not dice.chance(25):
        return {}
    updates, queries = (dice.some(list(each), 3) for each in (UPDATES, QUERIES))
    own: dict[str, Any] = {"signals": SIGNALS} if dice.chance(50) else {}
    if updates:
        own["updates"] = {name: UPDATES[name] for name in updates}
    if queries:
        own["queries"] = {name: QUERIES[name] for name in queries}
    return own
