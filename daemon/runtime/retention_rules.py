"""Which rule counts for an execution: those of the settings, and what its own definition says.

The first rule of the settings that fits counts. Where that is one for all workflows, or there is none, the definition
that the execution is pinned to counts before it, for the statuses that it names.

Comes from: `expiry`. Goes to: eventstore/log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core.durations import format_duration
from daemon.core.retention import RetentionDefinition, retention_in
from daemon.settings_retention import EVERY, RetentionRule

if TYPE_CHECKING:
    from datetime import timedelta

    from daemon.settings_retention import Retention
    from eventstore.index import ExecutionRow
    from eventstore.log import Definitions

PAGE = 500


class Rules:
    """The rules of one store, as they were when `refresh` was called last."""

    def __init__(self, retention: Retention, definitions: Definitions) -> None:
        self._retention = retention
        self._definitions = definitions
        self._said: dict[str, RetentionDefinition | None] = {}
        """What each definition of the store says, by hash."""

    async def refresh(self) -> timedelta | None:
        """Look at definitions that are new; return the shortest time of all rules, None when nothing may ever go.

        Raises Unavailable.
        """
        after = ""
        while page := await self._definitions.hashes(after=after, limit=PAGE):
            for each in page:
                if each not in self._said:
                    stored = await self._definitions.get(each)
                    self._said[each] = None if stored is None else retention_in(stored.document)
            after = page[-1]
        ages = [rule.age for rule in self._retention.rules]
        ages += [age for said in self._said.values() if said is not None for age in said.keep.values()]
        return min(ages, default=None)

    def rule_for(self, row: ExecutionRow) -> RetentionRule | None:
        """Return the rule that counts; None when the execution stays."""
        rule = self._retention.rule_for(row.workflow, row.status)
        return rule if rule is not None and rule.workflow != EVERY else self._own(row) or rule

    def _own(self, row: ExecutionRow) -> RetentionRule | None:
        said = self._said.get(row.definition)
        if said is None or row.status not in said.keep:
            return None
        keep = format_duration(said.keep[row.status])
        return RetentionRule(workflow=row.workflow, status=(row.status,), keep=keep, archive=said.archive)  # type: ignore[arg-type]  # a status that the definition names
