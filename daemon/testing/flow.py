"""A workflow under test, with its fakes; and `Sagad`, which the fixture `sagad` gives: where a test begins.

Comes from: `plugin`. Goes to: `execution`, `stage`.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Unpack

from daemon.core.errors import Misconfigured
from daemon.durable import durable_spec_of
from daemon.flow.steps import Step
from daemon.flow.workflows import Workflow
from daemon.nodes import all_node_types
from daemon.runtime.definitions import Compiler
from daemon.runtime.handler_registry import (
    DurableFunction,
    Handler,
    durable_of,
    handler_of,
    load_handlers,
    python_files,
    split_name,
)
from daemon.runtime.python_files import read_python
from daemon.runtime.secrets import PREFIX
from daemon.runtime.shared_limits import shared_names
from daemon.runtime.yaml_text import to_yaml
from daemon.testing.errors import Misused
from daemon.testing.execution import ACTOR, Execution
from daemon.testing.fakes import Cast, How, fake_of, meant
from daemon.testing.lives import Script
from daemon.testing.stage import Stage
from daemon.testing.staged_log import StoreFaults
from daemon.testing.virtual_time import VirtualClock, VirtualTime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from daemon.core.plan import Plan
    from daemon.testing.lives import Fault

    HandlerSource = ModuleType | str | Path | Callable[..., Any]


class Flow:
    """One workflow of a test. Its daemon runs from the first `start` to the end of the test."""

    def __init__(self, plan: Plan, script: Script, time: VirtualTime, faults: StoreFaults, store: str) -> None:
        self.name = plan.definition.workflow
        self.store = store
        self._plan = plan
        self._script = script
        self._cast = script.cast
        self._time = time
        self._faults = faults
        self._stage: Stage | None = None
        self._started = 0

    def fake(self, handler: str, **how: Unpack[How]) -> None:
        """Have this done in place of the handler, from its next call on.

        It gives `returns`, or what the function `calls` gives, which is bound as a real handler is. With `fails` (an
        error's code, or an exception to raise) each step's attempts fail, the first `times` of them or all; `takes` is
        virtual time (`"10s"`). Raises Misused for what the workflow does not use, and for what contradicts.
        """
        self._cast.fake(handler, fake_of(how))

    def fake_node(self, node: str, **how: Unpack[How]) -> None:
        """Have this done in place of a node that would leave the test: `http`, `publish`. Else as `fake`.

        For `http` what it returns has `status`, `headers` and `body`; what is left out is 200, none, and nothing.
        """
        self._cast.fake_node(node, fake_of(how))

    def calls(self, handler: str) -> list[Any]:
        """Return what a handler, faked or real, was given: one input a call, each attempt being one."""
        self._cast.check_handler(handler)
        return [call.input for call in self.stage.record.calls if call.handler == handler]

    def node_calls(self, node: str) -> list[Any]:
        """Return what a node was given to do: one input a call."""
        self._cast.check_node(node)
        return [call.input for call in self.stage.record.calls if call.node == node]

    async def start(self, input_value: object = None, *, key: str | None = None) -> Execution:
        """Start an execution; return when that is durable: its first steps may have begun. A `key` is one execution.

        Raises Unfaked with all that the workflow needs and the test does not have, InvalidInput for an input that its
        schema refuses.
        """
        self._started += 1
        identity = key or f"test-{self._started}"
        return await start_on(self.stage, self.name, input_value, identity)

    async def restart(self) -> None:
        """Kill the daemon as it is; another one takes up its work from the store."""
        await self.stage.kill()

    @property
    def stage(self) -> Stage:
        """Where it runs in this test."""
        if self._stage is None:
            self._stage = Stage(self._script, self._time, self._faults, self.store)
        return self._stage

    def new_stage(self, fault: Fault | None) -> Stage:
        """Return another stage, with an empty store and a time of its own, whose first life ends at `fault`."""
        return Stage(self._script, VirtualTime(), StoreFaults(), self.store, fault=fault)

    async def close(self) -> None:
        """End the daemon."""
        if self._stage is not None:
            stage, self._stage = self._stage, None
            await stage.close()


async def start_on(stage: Stage, workflow: str, input_value: object, key: str) -> Execution:
    """Start an execution on this stage."""
    execution_id, _ = await stage.act(
        lambda daemon: daemon.intake.start(workflow, input_value, key=key, actor=ACTOR), "the start"
    )
    return Execution(stage, execution_id)


class Sagad:
    """What the fixture `sagad` gives."""

    def __init__(self, folder: Path, store: str) -> None:
        """`folder` is that of the test's file; `store` is where workflows run that name none."""
        self._folder = folder
        self._store = store
        self._time = VirtualTime()
        self._flows: list[Flow] = []
        self.clock = VirtualClock(self._time)
        self.store = StoreFaults()

    def workflow(
        self,
        source: str | Path | Workflow[..., Any],
        *,
        handlers: Iterable[HandlerSource] = (),
        name: str | None = None,
        store: str | None = None,
        env: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
    ) -> Flow:
        """Read a workflow: from a file, beside the test or below the working directory, from YAML text, or in Python.

        `handlers` are real ones: modules, their names, files, decorated functions, durable ones too, steps. `name`
        chooses among several workflows in one file. `store` is `memory`, `sqlite` or the URL of a Postgres server.
        Raises Misconfigured with every mistake in the text, its line and column.
        """
        text, file = self._read(source)
        given, functions = self._handlers(handlers)
        types = all_node_types()
        loaded = Compiler(node_types=types, handlers=None, env=env or {}).load_text(text, file)
        plan = _chosen(loaded.plans, name, file)
        environ = {**(env or {}), **{f"{PREFIX}{key}": value for key, value in (secrets or {}).items()}}
        cast = Cast(plan, given, functions)
        script = Script(
            text=text,
            file=file,
            node_types=types,
            cast=cast,
            environ=environ,
            env=tuple(env or {}),
            shared=shared_names(loaded.plans),
        )
        flow = Flow(plan, script, self._time, self.store, store or self._store)
        self._flows.append(flow)
        return flow

    async def close(self) -> None:
        """End all daemons and remove their stores; the first error is raised when all have ended."""
        errors: list[Exception] = []
        while self._flows:
            try:
                await self._flows.pop().close()
            except Exception as error:  # noqa: BLE001  it is raised below
                errors.append(error)
        if errors:
            raise errors[0]

    def _read(self, source: str | Path | Workflow[..., Any]) -> tuple[str, str]:
        if isinstance(source, Workflow):
            return to_yaml(source.document), source.function.__code__.co_filename
        if isinstance(source, str) and "\n" in source:
            return source, "<text>"
        tried = [folder / source for folder in (self._folder, Path.cwd())]
        path = next((path for path in tried if split_name(path)[0].is_file()), None)
        if path is None:
            places = " and ".join(dict.fromkeys(str(path) for path in tried))
            raise Misused(f"there is no workflow file {str(source)!r}: looked for {places}")
        return _python(path) if python_files([path]) else path.read_text(encoding="utf-8"), str(path)

    def _handlers(self, sources: Iterable[HandlerSource]) -> tuple[dict[str, Handler], dict[str, DurableFunction]]:
        named: list[str] = []
        found: dict[str, Handler] = {}
        functions: dict[str, DurableFunction] = {}
        for source in sources:
            match source:
                case ModuleType():
                    named.append(source.__name__)
                case str() | Path() if str(source).endswith(".py"):
                    named.append(str(self._folder / source))
                case str():
                    named.append(source)
                case Path():
                    raise Misused(f"handlers={source}: name a module, or a file that ends in .py")
                case _ if durable_spec_of(source) is not None:
                    durable = durable_of(source, source="the test")
                    functions[durable.name] = durable
                case _:
                    function = source.function if isinstance(source, Step) else source
                    handler = handler_of(function, source="the test")
                    found[handler.name] = handler
        loaded = load_handlers(named)
        return {**loaded, **found}, {**loaded.functions, **functions}


def _python(path: Path) -> str:
    documents, problems = read_python(path)
    if problems:
        raise Misconfigured(problems)
    return "---\n".join(to_yaml(document.value) for document in documents)


def _chosen(plans: Iterable[Plan], name: str | None, file: str) -> Plan:
    by_name = {plan.definition.workflow: plan for plan in plans}
    if name is not None and name not in by_name:
        raise Misused(f"{file} has no workflow {name!r}{meant(name, by_name)}")
    if name is None and len(by_name) != 1:
        raise Misused(f"{file} has {len(by_name)} workflows: choose one with name=, of {', '.join(sorted(by_name))}")
    return by_name[name] if name is not None else next(iter(by_name.values()))
