"""The definitions of a workflow that executions are pinned to: which of them still have open ones, and which can go.

Comes from: daemon/api/workflows, daemon/cli/sources. Goes to: eventstore/index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict

if TYPE_CHECKING:
    from eventstore.index import Index
    from eventstore.log import Definitions


async def versions_view(
    index: Index, definitions: Definitions, workflow: str, *, current: str | None = None
) -> dict[str, Any]:
    """Return the workflow's definitions, the last used first, with how many executions each has.

    `current` is the hash of what starts executions now; None where nobody knows, as without a daemon.
    """
    rows: list[dict[str, Any]] = [asdict(use) for use in await index.uses(workflow)]
    if current is not None and all(row["definition"] != current for row in rows):
        unused = {"open": 0, "executions": 0, "oldest_open_at": None, "last_started_at": None}
        rows.insert(0, {"definition": current, **unused})
    for row in rows:
        stored = await definitions.get(row["definition"])
        row["first_seen_at"] = None if stored is None else stored.first_seen_at
        row["current"] = None if current is None else row["definition"] == current
    return {"workflow": workflow, "versions": rows}
