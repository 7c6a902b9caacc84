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

from daemon.core.calls import node_at
from daemon.core.commands import EditAtBreakpoint
from daemon.core.errors import Rejected, UnknownWorkflow
from daemon.core.evolve import evolve
from daemon.core.state import INITIAL, Finished, Running, cause
from daemon.core.values import bounded_json, from_json, to_json
from daemon.debugger.debuggee import Debuggee
from daemon.debugger.gate import Gate, Give, Held
from daemon.debugger.moments import Taken
from daemon.debugger.session import Session
from daemon.debugger.values import ANSWER, INPUT, VARIABLES, expression_of, replaced
from daemon.main import open_daemon
from daemon.nodes import all_node_types
from daemon.nodes.answers import Port
from daemon.runtime.leases import first_of
from daemon.runtime.step_errors import describe
from daemon.settings import Store

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator
    from pathlib import Path
    from uuid import UUID

    from daemon.assembled import Daemon
    from daemon.core.plan import Plan
    from daemon.core.state import State
    from daemon.core.step_error import StepError
    from daemon.debugger.values import Place
    from daemon.settings import Settings


class Local(Debuggee):
    """The execution."""

    changes = True

    def __init__(self, daemon: Daemon, gate: Gate, plan: Plan, execution_id: UUID, hint: asyncio.Event) -> None:
        self.session = Session()
        self.note = ""
        self._daemon = daemon
        self._gate = gate
        self._plan = plan
        self._id = execution_id
        self._hint = hint
        self._state: State = INITIAL

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
        for each in recorded:
            before, self._state = self._state, evolve(self._state, each.event)
            self.session.extend([Taken(self._plan, each.event, before, self._state)])
        return bool(recorded)

    @property
    def answered(self) -> Held | None:
        """The step whose answer has been seen and is not recorded yet."""
        return next((each for each in self._gate.held if each.waits and each.shown), None)

    def refusal(self) -> str:
        """See `Debuggee`. What was decided before the step that is held is the past."""
        if isinstance(self._state, Finished):
            return f"the execution has ended: {self._state.status}"
        if self._held() is None and not self.session.newest:
            return "this is the past; go forwards to where the execution is held"
        return ""

    def settable(self, place: Place) -> bool:
        """See `Debuggee`."""
        if self.refusal():
            return False
        return (place[0] == VARIABLES and len(place) > 1) or (self._held() is not None and place[:2] in (INPUT, ANSWER))

    async def put(self, place: Place, value: Any) -> None:
        """See `Debuggee`; the `answer` of the step that is not recorded yet can be put too."""
        if problem := self.refusal():
            raise Rejected(problem)
        held = self._held()
        if place[:2] == INPUT and held is not None:
            held.edit(place[2:], value)
        elif place[:2] == ANSWER and held is not None and held.answered:
            held.answer, held.error = replaced(held.answer, place[2:], value), None
        elif place[0] == VARIABLES and len(place) > 1:
            await self._set(str(place[1]), replaced(self._variable(place[1]), place[2:], value))
        else:
            raise Rejected(f"{expression_of(place)} cannot be set; a variable of the execution can, and step.input")

    async def skip(self, output: Any, port: str = "out") -> None:
        """See `Debuggee`; of the step that is next."""
        held = self.answered or self._next()
        if held is None:
            raise Rejected("no step waits to begin")
        if port != "out" and port not in (ports := self._ports(held.address)):
            raise Rejected(f"step {held.address} has no port {port!r} to be left by; it has: {', '.join(ports)}")
        held.order(Give(output if port == "out" else Port(port, output)))

    async def answer(self, output: Any) -> None:
        """See `Debuggee`; of an answer that was seen."""
        self._seen().order(Give(output))

    async def retry(self) -> None:
        """See `Debuggee`; in place of recording what its handler has answered."""
        self._seen().order("run")

    async def go_on(self) -> bool:
        """See `Debuggee`."""
        self.session.position = len(self.session.moments) - 1
        return await self.move("into")

    def step(self) -> dict[str, Any]:
        """See `Debuggee`: with what was put into the input, and the answer that is not recorded yet."""
        shown, held = super().step(), self._held()
        if held is None:
            return shown
        for place, value in held.edits.items():
            shown["input"] = replaced(shown.get("input"), place, value)
        if held.answered and held.error is None:
            shown["answer"] = _plain(held.answer)
        return shown

    def failure(self) -> StepError | None:
        """See `Debuggee`: also one that is not recorded yet."""
        held = self._held()
        if held is None or held.error is None:
            return super().failure()
        return describe(held.error, held.attempt)[0]

    async def signal(self, name: str, value: Any) -> None:
        """Give it a signal. Raises Rejected when its workflow takes none of this name or with this data."""
        await self._daemon.intake.signal(self._id, name, value, actor="debugger")

    def _held(self) -> Held | None:
        """Return the step that is held and looked at."""
        here = self.session.here
        attempt = getattr(here.context.steps.get(here.address), "attempt", None)
        fitting = (each for each in self._gate.held if (each.address, each.attempt) == (here.address, attempt))
        return next(fitting, None)

    async def _set(self, name: str, value: Any) -> None:
        """Change a variable, and stand at that."""
        edit = EditAtBreakpoint(
            stop=0,
            address=self.session.here.address,
            variables={name: bounded_json(value)},
            actor="debugger",
            at=self._daemon.clock.now(),
        )
        await self._daemon.engine.send(self._id, edit)
        if await self.read():
            self.session.position = len(self.session.moments) - 1

    def _variable(self, name: str | int) -> Any:
        variables = self._state.variables if isinstance(self._state, Running) else {}
        return from_json(variables[str(name)]) if name in variables else None

    def _ports(self, address: str) -> list[str]:
        found = node_at(self._plan, self.session.here.context, address)
        return [port for port in found.ports if port != "error"]

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


def _plain(answer: Any) -> Any:
    """Return an answer as it can be shown."""
    try:
        return from_json(to_json(answer))
    except (TypeError, ValueError):
        return repr(answer)


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
