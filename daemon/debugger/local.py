"""An execution that is carried out in this process, with the real handlers, and goes on only when it is told to.

Its log is in memory and gone with it. One step is at work at a time. The time limits of attempts do not count: somebody
is looking. Retries and waits take the time that they take.

Comes from: daemon/cli/debugging. Goes to: daemon/main, `gate`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace as changed

from daemon.core.errors import Rejected, UnknownWorkflow
from daemon.core.redeciding import redecide
from daemon.core.state import INITIAL, Finished, cause
from daemon.core.values import to_json
from daemon.debugger.debuggee import Debuggee
from daemon.debugger.gate import Gate, Give, Held
from daemon.debugger.moments import Taken
from daemon.debugger.session import Session
from daemon.main import open_daemon
from daemon.nodes import all_node_types
from daemon.runtime.leases import first_of
from daemon.settings import Store

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator
    from pathlib import Path
    from uuid import UUID

    from daemon.assembled import Daemon
    from daemon.core.plan import Plan
    from daemon.settings import Settings


class Local(Debuggee):
    """The execution."""

    def __init__(self, daemon: Daemon, gate: Gate, plan: Plan, execution_id: UUID, hint: asyncio.Event) -> None:
        self.session = Session()
        self.note = ""
        self._daemon = daemon
        self._gate = gate
        self._plan = plan
        self._id = execution_id
        self._hint = hint
        self._state = INITIAL

    async def more(self, how: str) -> bool:
        """Let it go on; return when something was decided, False where it waits for whoever debugs it."""
        self.note = ""
        if (seen := self.answered) is not None:
            seen.order("record")
        while not await self.read():
            held = next((each for each in self._gate.held if each.waits and each.answered), None)
            if held is not None and not self._passes(held, how):
                held.shown = True
                self.note = told(held)
                return False
            if held is not None:
                held.order("record")
            elif (waiting := self._next()) is not None:
                waiting.order("run")
            elif (note := self._stuck()) != "":
                self.note = note
                return False
            await first_of(self._hint.wait(), self._gate.changed.wait())
            self._hint.clear()
            self._gate.changed.clear()
        return True

    async def read(self) -> bool:
        """Take over what was decided since; tell whether it was anything."""
        recorded = await self._daemon.history.events(self._id, after_version=self._state.version)
        for decision in redecide(self._plan, [each.event for each in recorded], self._state):
            self.session.extend([Taken(self._plan, decision)])
            self._state = decision.after
        return bool(recorded)

    @property
    def answered(self) -> Held | None:
        """The step whose answer has been seen and is not recorded yet."""
        return next((each for each in self._gate.held if each.waits and each.shown), None)

    def skip(self, value: Any) -> None:
        """Have the step that is next answer this, without its handler. Raises Rejected when none waits to begin."""
        held = None if self.answered is not None else self._next()
        if held is None:
            raise Rejected("no step waits to begin")
        held.order(Give(value))

    def edit(self, value: Any) -> None:
        """Have this recorded in place of the answer that was seen. Raises Rejected when there is none."""
        self._seen().order(Give(value))

    def retry(self) -> None:
        """Run the handler again in place of recording what it has answered. Raises Rejected when it has not."""
        self._seen().order("run")

    async def signal(self, name: str, value: Any) -> None:
        """Give it a signal. Raises Rejected when its workflow takes none of this name or with this data."""
        await self._daemon.intake.signal(self._id, name, value, actor="debugger")

    def _seen(self) -> Held:
        held = self.answered
        if held is None:
            raise Rejected("no step has answered that is not recorded yet")
        return held

    def _next(self) -> Held | None:
        """Return the step that is to begin next, the one that is looked at before others; None while one is at work."""
        if any(not each.waits for each in self._gate.held):
            return None
        begins = [each for each in self._gate.held if not each.answered]
        looked_at = self.session.here.address if self.session.moments else ""
        return min(begins, key=lambda each: each.address != looked_at, default=None)

    def _passes(self, held: Held, how: str) -> bool:
        """Tell whether an answer is recorded without a stop."""
        stops = held.error is not None and any(each.errors for each in self.session.breakpoints)
        return how == "continue" and not stops

    def _stuck(self) -> str:
        """Return why nothing more comes by itself; empty when something may."""
        if isinstance(self._state, Finished):
            return f"the execution has ended: {self._state.status}"
        kind = cause(self._state)
        return f"the execution waits for a {kind}" if kind in ("signal", "person", "pause") else ""


def told(held: Held) -> str:
    """Return what a step has answered."""
    if held.error is not None:
        what = f"has failed: {str(held.error) or type(held.error).__name__}"
    else:
        what = f"has answered {_short(held.answer)}"
    return f"{held.address} {what}. It is not recorded yet: go on, edit it, or retry."


def _short(value: Any) -> str:
    try:
        text = bytes(to_json(value)).decode()
    except TypeError:
        text = repr(value)
    return text if len(text) <= 200 else f"{text[:199]}…"  # noqa: PLR2004  characters of one line


@asynccontextmanager
async def local(settings: Settings, file: Path, given: Any, workflow: str | None = None) -> AsyncIterator[Local]:
    """Begin an execution of the workflow in the file, and hold it. `workflow` names it where there are several.

    Raises what `open_daemon` raises, UnknownWorkflow, InvalidInput.
    """
    gate = Gate()
    settings = replace(
        settings,
        store=Store(url="memory://"),
        workflows=replace(settings.workflows, paths=(file,)),
        limits=replace(settings.limits, grace_s=0.0),
    )
    async with open_daemon(settings, node_types=gate.around(all_node_types())) as daemon:
        daemon.recovery.claim_no_more()
        await daemon.load()
        names = daemon.plans.workflows()
        plans = [_untimed(daemon.plans.current(name)) for name in names]
        await daemon.plans.install(plans)
        await daemon.supervisor.start()
        await daemon.supervisor.subscribe({})
        if workflow is None and len(names) != 1:
            raise UnknownWorkflow("", names)
        execution_id, _ = await daemon.intake.start(workflow or names[0], given, actor="debugger")
        with daemon.changes.watch(execution_id) as hint:
            found = Local(daemon, gate, daemon.plans.current(workflow or names[0]), execution_id, hint)
            await found.read()
            if not found.session.moments:
                raise Rejected("the workflow collects messages before it begins; there is nothing to be debugged yet")
            yield found


def _untimed(plan: Plan) -> Plan:
    """Return the plan without the time limits of attempts; that of a subflow is its execution's, and stays."""
    return changed(
        plan,
        nodes={
            name: node if node.subflow is not None else changed(node, timeout=None) for name, node in plan.nodes.items()
        },
    )
