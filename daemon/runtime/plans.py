"""The plans in use: the current one of each workflow, and those that running executions are pinned to.

Comes from: daemon/runtime/definitions (files), eventstore (definitions by hash). Goes to: `engine`, `intake`.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from daemon.core.errors import Misconfigured, Rejected, UnknownTrigger, UnknownWorkflow
from eventstore.log import StoredDefinition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from daemon.core.definition import TriggerDefinition
    from daemon.core.plan import Plan
    from daemon.runtime.clock import Clock
    from eventstore.log import Definitions


class MissingDefinition(Rejected):
    """The definition that an execution is pinned to cannot be had; the execution is left as it is."""


class Plans:
    """Finds plans by workflow name and by definition hash."""

    def __init__(self, definitions: Definitions, compile_document: Callable[[bytes], Plan], clock: Clock) -> None:
        """`compile_document` makes the plan of a stored document; it raises `Misconfigured` for one it cannot."""
        self._definitions = definitions
        self._compile = compile_document
        self._clock = clock
        self._current: dict[str, Plan] = {}
        self._by_hash: dict[str, Plan] = {}

    async def install(self, plans: Iterable[Plan]) -> None:
        """Make these the current ones; their definitions are stored first, so that executions can be pinned to them.

        Workflows that are not among them are no longer current; their executions go on.
        """
        current = {plan.definition.workflow: plan for plan in plans}
        for name, plan in current.items():
            definition = plan.definition
            await self._definitions.put(StoredDefinition(definition.hash, name, definition.document, self._clock.now()))
        self._current = current
        self._by_hash |= {plan.hash: plan for plan in current.values()}

    def current(self, workflow: str) -> Plan:
        """Return the workflow's current plan; raise UnknownWorkflow."""
        try:
            return self._current[workflow]
        except KeyError:
            raise UnknownWorkflow(workflow, list(self._current)) from None

    def workflows(self) -> Sequence[str]:
        """Return the names of the current workflows, sorted."""
        return sorted(self._current)

    def triggers(self) -> Mapping[str, TriggerDefinition]:
        """Return the triggers of the current plans by qualified name, `workflow/trigger`."""
        return {
            f"{plan.definition.workflow}/{trigger.name}": trigger
            for plan in self._current.values()
            for trigger in plan.definition.triggers
        }

    def trigger(self, name: str) -> TriggerDefinition:
        """Return a trigger by its qualified name, or by its bare name when only one has it; raise UnknownTrigger."""
        triggers = self.triggers()
        fitting = [qualified for qualified in triggers if name in (qualified, qualified.partition("/")[2])]
        if len(fitting) != 1:
            raise UnknownTrigger(name, fitting or list(triggers))
        return triggers[fitting[0]]

    async def version(self, workflow: str, version: str) -> Plan:
        """Return the plan of one version of a workflow; `version` is its hash, or how that begins.

        Raises MissingDefinition when there is none, or more than one.
        """
        found = await self._definitions.find(workflow, version)
        if len(found) != 1:
            problem = "no version" if not found else "more than one version"
            raise MissingDefinition(f"the workflow {workflow!r} has {problem} whose hash begins with {version!r}")
        return await self.pinned(found[0])

    async def pinned(self, definition_hash: str) -> Plan:
        """Return the plan of a definition by hash; raise MissingDefinition."""
        plan = self._by_hash.get(definition_hash)
        if plan is None:
            stored = await self._definitions.get(definition_hash)
            if stored is None:
                raise MissingDefinition(f"definition {definition_hash[:12]} is not in the store")
            if sha256(stored.document).hexdigest() != definition_hash:
                raise MissingDefinition(
                    f"definition {definition_hash[:12]} is damaged in the store: not what its hash says"
                )
            try:
                plan = self._by_hash[definition_hash] = self._compile(stored.document)
            except Misconfigured as error:
                message = f"definition {definition_hash[:12]} cannot be compiled by this daemon: {error}"
                raise MissingDefinition(message) from error
        return plan
