"""The part of a definition that says which signals, updates and queries its executions take.

Comes from: `parsing`, which has had its structure checked. Goes to: `definition`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from daemon.core.definition import QueryDefinition, SignalDefinition, UpdateDefinition

if TYPE_CHECKING:
    from collections.abc import Mapping


def read_messages(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields `signals`, `updates` and `queries` of a `Definition`."""
    return {
        "signals": {
            name: SignalDefinition(data=each.get("data"), description=each.get("description", ""))
            for name, each in given.get("signals", {}).items()
        },
        "updates": {name: _update(name, each) for name, each in given.get("updates", {}).items()},
        "queries": {
            name: QueryDefinition(path=("queries", name), data=each.get("data"), result=each["result"])
            for name, each in given.get("queries", {}).items()
        },
    }


def _update(name: str, given: Mapping[str, Any]) -> UpdateDefinition:
    more = {"refusal": given["refusal"]} if "refusal" in given else {}
    return UpdateDefinition(
        path=("updates", name),
        data=given.get("data"),
        accept=given.get("accept", UNSET),
        variables=given.get("set", {}),
        signal=given.get("signal"),
        result=given.get("result", UNSET),
        **more,
    )
