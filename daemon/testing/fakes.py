"""Fakes: what stands in for handlers, and for nodes that would leave the test; and the record of what they were asked.

A fake is decided by the attempt alone (`times` counts attempts of a step), so a step that runs again after a crash is
treated as before: as a service treats a repeat that has the same idempotency key.

Comes from: `flow`, which says what is faked. Goes to: `lives`, whose daemon runs these in place of the real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from datetime import timedelta
from difflib import get_close_matches
from inspect import iscoroutinefunction, isroutine
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from msgspec import Struct
from msgspec.structs import replace

from daemon.core.address import NOTIFY, node_of
from daemon.core.values import to_json
from daemon.nodes.context import StepFailure
from daemon.runtime.handler_registry import DurableFunction, Handler
from daemon.runtime.signatures import BadSignature, signature_of
from daemon.testing.errors import Misused, Unfaked
from daemon.testing.virtual_time import duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from daemon.core.node import NodeType
    from daemon.core.plan import Plan, PlannedNode
    from daemon.nodes.context import NodeContext
    from daemon.testing.virtual_time import VirtualTime

HTTP_ANSWER: Mapping[str, Any] = {"status": 200, "headers": {}, "body": None}
"""What a fake of an `http` node gives, but for what it says itself."""


class How(TypedDict, total=False):
    """What a test says of a fake; `Fake` has what each means."""

    returns: Any
    calls: Callable[..., Any] | None
    fails: str | Exception | None
    times: int | None
    retryable: bool
    takes: str | float


class Fake(Struct, frozen=True, kw_only=True):
    """What is done in place of the real thing."""

    returns: Any = None
    calls: Callable[..., Any] | None = None
    """Is called, and gives the result; takes the place of `returns`."""
    fails: str | Exception | None = None
    """Code of the error, or what is raised."""
    times: int | None = None
    """How many attempts of each step fail; None: all."""
    retryable: bool = True
    takes: timedelta = timedelta(0)
    """Virtual time from the call to its end."""

    def failure(self, attempt: int, name: str) -> Exception | None:
        """Return how this attempt fails; None when it does not."""
        if self.fails is None or (self.times is not None and attempt > self.times):
            return None
        if isinstance(self.fails, str):
            return StepFailure(f"{name} fails, as the test wants", self.fails, retryable=self.retryable)
        return self.fails


class Call(Struct, frozen=True, kw_only=True):
    """One attempt that was made."""

    handler: str | None
    """None for a node that has none."""
    node: str
    address: str
    attempt: int
    input: Any


class Record:
    """What handlers and nodes were asked for, and what came of it, over all lives of a daemon."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.inputs: dict[str, Any] = {}
        """Idempotency key -> what was asked for last."""
        self.results: dict[str, Any] = {}
        """Idempotency key -> the result that was given last."""


class Cast:
    """Everything that can be asked by one workflow's steps: fakes, and real handlers where there are no fakes."""

    def __init__(
        self, plan: Plan, given: Mapping[str, Handler], functions: Mapping[str, DurableFunction] | None = None
    ) -> None:
        self._plan = plan
        self.functions = functions or {}
        """The durable functions: these are never faked, but what they call may be."""
        self._fakes: dict[str, Fake] = {}
        self._node_fakes: dict[str, Fake] = {}
        self._given = given
        self.handlers = dict(given)
        """What the daemon may run: real handlers, and the functions of fakes. Changes when a fake is added."""

    def fake(self, name: str, fake: Fake) -> None:
        """Fake a handler; raises Misused for one that the workflow does not use."""
        self.check_handler(name)
        self.handlers.pop(name, None)
        if fake.calls is not None:
            self.handlers[name] = _handler(name, fake.calls)
        elif name in self._given:
            self.handlers[name] = self._given[name]
        self._fakes[name] = fake

    def fake_node(self, node_id: str, fake: Fake) -> None:
        """Fake a node that leaves the workflow; raises Misused for any other, and for an answer it cannot give."""
        node = self.check_node(node_id)
        if node.type.execute is None:
            raise Misused(f"node {node_id} is a `{node.type.name}`: it runs as it is, there is nothing to fake")
        if node.type.name == "http":
            fake = replace(fake, returns=_http_answer(node_id, fake.returns))
        if fake.calls is not None:
            self.handlers[_function_of(node_id)] = _handler(_function_of(node_id), fake.calls)
        self._node_fakes[node_id] = fake

    def check_handler(self, name: str) -> None:
        """Raise Misused for a handler that the workflow does not use; what a durable function uses is not known."""
        used = {handler for _, handler in self._tasks()}
        if name not in used and not any(self._functions()):
            raise Misused(f"no node of {self._workflow} uses a handler {name!r}{meant(name, used)}")

    def check_node(self, node_id: str) -> PlannedNode:
        """Return the node; raise Misused when there is none."""
        node = self._plan.nodes.get(node_id)
        if node is None:
            raise Misused(f"{self._workflow} has no node {node_id!r}{meant(node_id, self._plan.nodes)}")
        return node

    def check_complete(self) -> None:
        """Raise Unfaked with all that the workflow needs and nobody plays."""
        missing = [
            f'  handler {handler}, of node {node.id}: flow.fake("{handler}", returns=...), or handlers=[...]'
            for node, handler in self._tasks()
            if handler not in self._fakes and handler not in self._given and node.id not in self._node_fakes
        ]
        missing += [
            f"  durable function {name}, of node {node.id}: handlers=[...]"
            for node, name in self._functions()
            if name not in self.functions
        ]
        missing += [
            f'  node {node.id}, which is `{node.type.name}`: flow.fake_node("{node.id}", returns=...)'
            for node in self._plan.nodes.values()
            if node.type.execute is not None
            and node.type.handler(node.config) is None
            and node.id not in self._node_fakes
            and not node.id.endswith(NOTIFY)
        ]
        if missing:
            raise Unfaked("\n".join([f"{self._workflow} needs what is neither faked nor given:", *missing]))

    def node_types(
        self, types: Mapping[str, NodeType], time: VirtualTime, record: Record, check: Callable[[], None]
    ) -> Mapping[str, NodeType]:
        """Return the types with all that they execute played by this cast. `check` refuses those who are dead."""

        def played(node_type: NodeType) -> NodeType:
            async def execute(context: NodeContext, value: Any) -> object:
                what = f"{context.address}, attempt {context.attempt}"
                with time.work(what) as work, time.expecting_at(context.deadline):
                    check()
                    handler = node_type.handler(context.config)
                    record.calls.append(_call(context, handler, value))
                    record.inputs[context.idempotency_key] = record.calls[-1].input
                    output = await self._play(node_type, handler, context, value, work.nap)
                    check()
                    record.results[context.idempotency_key] = deepcopy(output)
                    return output

            return replace(node_type, execute=execute, remote=lambda _config: None)

        def whole(node_type: NodeType) -> NodeType:
            notifier, calls = node_type.notifier, {kind: whole(each) for kind, each in node_type.calls.items()}
            told = None if notifier is None else replace(notifier, type=played(notifier.type))
            pager = node_type.pager
            paged = None if pager is None else replace(pager, type=played(pager.type))
            node_type = replace(node_type, notifier=told, pager=paged, calls=calls)
            return played(node_type) if node_type.execute is not None else node_type

        return {name: whole(each) for name, each in types.items()}

    async def _play(
        self, node_type: NodeType, handler: str | None, context: NodeContext, value: Any, nap: Callable[[float], Any]
    ) -> object:
        """1. Take the time. 2. Fail. 3. Give the result, or what the function or the real handler gives."""
        node_id = node_of(context.address)
        fake, function, name = self._node_fakes.get(node_id), _function_of(node_id), f"node {node_id}"
        if fake is None and handler is not None:
            fake, function, name = self._fakes.get(handler), handler, handler
        if fake is None and node_id.endswith(NOTIFY):
            return {"told": value["notice"]["approver"]}  # a notice leaves the test: it is noted, and not sent
        if fake is None:
            if handler is None or node_type.execute is None:
                raise Unfaked(f"node {node_id} is not faked")
            if handler not in self._given:
                raise Unfaked(f'{handler} is neither faked nor given: flow.fake("{handler}", returns=...)')
            return await node_type.execute(context, value)
        if fake.takes:
            await nap(fake.takes.total_seconds())
        if (failure := fake.failure(context.attempt, name)) is not None:
            raise failure
        if fake.calls is not None:
            return await context.services.call(function, value, context)
        return deepcopy(fake.returns)

    @property
    def _workflow(self) -> str:
        return self._plan.definition.workflow

    def _functions(self) -> Iterator[tuple[PlannedNode, str]]:
        return ((node, node.config.name) for node in self._plan.nodes.values() if node.type.calls)

    def _tasks(self) -> Iterator[tuple[PlannedNode, str]]:
        for node in self._plan.nodes.values():
            if (handler := node.type.handler(node.config)) is not None:
                yield node, handler


def fake_of(how: How) -> Fake:
    """Return the fake that these arguments describe; raises Misused when they contradict, TypeError for others."""
    given: dict[str, Any] = {**how, "takes": duration(how.get("takes", 0))}
    fake = Fake(**given)
    if fake.calls is not None and fake.returns is not None:
        raise Misused("returns= or calls=, not both: what the function gives is the result")
    if not isinstance(fake.fails, str | Exception | None):
        raise Misused(f"fails= is an error's code, or an exception to raise, and is {fake.fails!r}")
    if fake.times is not None and fake.fails is None:
        raise Misused('times= says how many attempts fail: add fails="a_code"')
    if fake.times is not None and (isinstance(fake.times, bool) or fake.times < 1):
        raise Misused(f"times= counts attempts from 1, and is {fake.times!r}")
    if fake.fails is not None and fake.times is None and (fake.returns is not None or fake.calls is not None):
        raise Misused("it fails always, so it never gives a result: add times=, or leave the result out")
    try:
        to_json(fake.returns)
    except (TypeError, ValueError, OverflowError) as error:
        raise Misused(f"returns= has no JSON form: {error}") from None
    return fake


def meant(name: str, known: Iterable[str]) -> str:
    """Return a hint for a name that is not known: what was meant, or what there is."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are: {', '.join(names) or 'none'}"


def _handler(name: str, function: Callable[..., Any]) -> Handler:
    if not isroutine(function):
        raise Misused(f"calls= of {name} must be a function, and is {function!r}")
    try:
        signature = signature_of(function)
    except BadSignature as error:
        raise Misused(f"calls= of {name} cannot be a handler: {error}") from None
    runs_in: Literal["loop", "thread"] = "loop" if iscoroutinefunction(function) else "thread"
    return Handler(name=name, function=function, runs_in=runs_in, signature=signature, source="the test")


def _function_of(node_id: str) -> str:
    """Return the name under which the function of a node's fake is kept: no handler can have it."""
    return f"node {node_id}"


def _http_answer(node_id: str, returns: Any) -> dict[str, Any]:
    given = {} if returns is None else returns
    if not isinstance(given, dict) or not given.keys() <= HTTP_ANSWER.keys():
        raise Misused(f"node {node_id} is `http`: returns= has status, headers and body, and is {returns!r}")
    return {**HTTP_ANSWER, **given}


def _call(context: NodeContext, handler: str | None, value: Any) -> Call:
    return Call(
        handler=handler,
        node=node_of(context.address),
        address=context.address,
        attempt=context.attempt,
        input=deepcopy(value),
    )
