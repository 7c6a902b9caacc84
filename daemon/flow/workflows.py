"""`@workflow`: a function that wires steps, and the definition that it makes.

Comes from: the author. Goes to: daemon/runtime/python_files, which loads it as any other definition.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, Unpack, cast, get_type_hints

from msgspec import UNSET, Struct

from daemon.core.errors import Misconfigured
from daemon.core.problems import Path
from daemon.flow.connecting import connected
from daemon.flow.marks import Source, node_mark
from daemon.flow.mistakes import Place, mistake, place_of
from daemon.flow.options import StepOptions, make
from daemon.flow.reference import Ref
from daemon.flow.sharing import throttle_keys
from daemon.flow.steps import Step
from daemon.flow.values import duration, fixed, marked, template
from daemon.flow.wiring import OUT, Graph, Node, wiring_of
from daemon.runtime.signatures import schema_of

if TYPE_CHECKING:
    from daemon.flow.options import Duration
    from daemon.flow.sharing import Throttles
    from daemon.flow.triggers import Trigger
    from daemon.flow.undoing import Compensation

P = ParamSpec("P")
O = TypeVar("O")  # noqa: E741  the output


class Built(Struct, frozen=True):
    """What a workflow's function has made."""

    document: dict[str, Any]
    """The definition, in JSON types."""
    places: Mapping[Path, Place]
    """Where in the Python file each part of it was made."""
    steps: tuple[Step[..., Any], ...]
    """The steps that it calls."""


class SubflowOptions(StepOptions, total=False):
    """What can be said of a workflow that is called in another one."""

    id: str
    version: str
    """Beginning of its definition's hash; that which is current when the step begins, if not given."""
    result: object
    """The output instead, made of `child`."""
    on_close: Literal["cancel", "terminate", "abandon"]
    """What becomes of the child if the execution ends first."""
    compensate: Compensation[Any]


class Workflow(Generic[P, O]):
    """A workflow that a function makes."""

    def __init__(self, function: Callable[P, O], keys: Mapping[str, Any], triggers: Sequence[Trigger]) -> None:
        self.function = function
        self.name = str(keys["workflow"])
        self._keys = keys
        self._triggers = triggers

    @cached_property
    def built(self) -> Built:
        """What the function makes; it is run once. Raises Misconfigured with the place of a mistake."""
        code = self.function.__code__
        with wiring_of(code.co_filename) as wiring:
            try:
                output = cast("Callable[..., O]", self.function)(*_arguments(self.function))
                if output is not None:
                    wiring.give(wiring.graph, output)
                edges = connected(wiring)
            except Misconfigured:
                raise
            except Exception as error:
                where = _last_place(error, code.co_filename) or place_of(code)
                raise mistake(f"the workflow cannot be built: {type(error).__name__}: {error}", place=where) from error
        writing = _Writing(edges, place_of(code))
        return writing.built(self._keys, self._triggers, wiring.graph, tuple(wiring.steps))

    @property
    def document(self) -> dict[str, Any]:
        """The definition, in JSON types: what a YAML file would have."""
        return self.built.document

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> O:
        """In another workflow's function: start an execution of this one, wait for its end, and give its output."""
        return self.options()(*args, **kwargs)

    def options(self, **options: Unpack[SubflowOptions]) -> Callable[P, O]:
        """Return the same call with options; `id` names its node, which is the function's name if not given."""

        def call(*args: P.args, **kwargs: P.kwargs) -> O:
            given: dict[str, Any] = dict(options)
            own = {key: given.pop(key, UNSET) for key in ("version", "result", "on_close")}
            node_id = given.pop("id", self.function.__name__)
            keys = {"subflow": self.name, "with": self._input(args, kwargs), **own}
            return cast("O", Ref(node_mark(Source(make(node_id, keys, given).id, OUT))))

        return call

    def _input(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> object:
        signature = inspect.signature(self.function)
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise mistake(f"{self.name}: {error}") from None
        return next(iter(given.values()), UNSET) if len(signature.parameters) == 1 else dict(given) or UNSET

    def __repr__(self) -> str:
        return f"<Workflow {self.name}>"


def workflow(
    name: str,
    *,
    triggers: Sequence[Trigger] = (),
    description: str | None = None,
    input: Mapping[str, Any] | Literal["typed"] | None = "typed",
    vars: Mapping[str, object] | None = None,
    signals: Mapping[str, Mapping[str, object]] | None = None,
    updates: Mapping[str, Mapping[str, object]] | None = None,
    queries: Mapping[str, Mapping[str, object]] | None = None,
    concurrency: int | None = None,
    timeout: Duration | None = None,
    on_error: Literal["stop", "continue"] | None = None,
    undo: Literal["automatic", "manual", "confirm_each", "none"] | None = None,
    limits: Mapping[str, int] | None = None,
    throttle: Callable[..., Throttles] | Throttles | None = None,
    priority: Callable[..., object] | int | None = None,
    snapshot_every: int | None = None,
    snapshot_interval: Duration | None = None,
    snapshot_keep: int | None = None,
    checkpoint_every: int | None = None,
    keys: Mapping[str, Any] | None = None,
) -> Callable[[Callable[P, O]], Workflow[P, O]]:
    """Make a workflow of a function that calls steps: what it returns is the output.

    A function of one parameter gets the input, one of several gets its fields by name. `input` is the JSON Schema of
    the input, made of the annotations if not given; None is for none. `signals`, `updates` and `queries` are what a
    definition has under these words, with `update.data` and `query.data` in them. `throttle` limits executions; it and
    `priority` may be functions of the same parameters, to read the input. `keys` are further keys.
    """

    def decorate(function: Callable[P, O]) -> Workflow[P, O]:
        if not inspect.isfunction(function) or inspect.iscoroutinefunction(function):
            raise mistake("a workflow is a plain function: it is run once, to be wired, and waits for nothing")
        schema = _input_schema(function) if input == "typed" else input
        words = {
            "workflow": name,
            "description": description or (inspect.getdoc(function) or "").partition("\n\n")[0] or None,
            "input": schema,
            "triggers": [dict(each.document) for each in triggers] or None,
            "vars": None if vars is None else fixed(vars, "the first value of a variable"),
            "signals": _template(signals),
            "updates": _template(updates),
            "queries": _template(queries),
            "concurrency": concurrency,
            "timeout": duration(timeout),
            "on_error": on_error,
            "undo": undo,
            "limits": None if limits is None else dict(limits),
            "throttle": _limits(throttle, function),
            "priority": _template(_of_input(priority, function)),
            "snapshot_every": snapshot_every,
            "snapshot_interval": duration(snapshot_interval),
            "snapshot_keep": snapshot_keep,
            "checkpoint_every": checkpoint_every,
            **(keys or {}),
        }
        return Workflow(function, {key: value for key, value in words.items() if value is not None}, triggers)

    return decorate


def _template(given: object) -> Any:
    return None if given is None else template(marked(given), str)


def _limits(given: Any, function: Callable[..., Any]) -> Any:
    found = _of_input(given, function)
    return None if found is None else _template(throttle_keys(found))


def _of_input(given: Any, function: Callable[..., Any]) -> Any:
    return given(*_arguments(function)) if inspect.isroutine(given) else given


def _arguments(function: Callable[..., Any]) -> list[Ref]:
    names = list(inspect.signature(function).parameters)
    return [Ref("input")] if len(names) == 1 else [Ref("input")[name] for name in names]


def _input_schema(function: Callable[..., Any]) -> dict[str, Any] | None:
    """Return the JSON Schema of the input; None where nothing is said of it."""
    parameters = list(inspect.signature(function).parameters.values())
    place = place_of(function.__code__)
    try:
        hints = get_type_hints(function, include_extras=True)
        annotated = [(each, hints[each.name]) for each in parameters if hints.get(each.name, Any) is not Any]
        schemas = {each.name: schema_of(hint) for each, hint in annotated}
    except (NameError, TypeError, AttributeError) as error:
        raise mistake(f"the type of the input has no JSON Schema: {error}", place=place) from error
    if len(parameters) <= 1:
        return next(iter(schemas.values()), None)
    definitions = {key: each for schema in schemas.values() for key, each in schema.pop("$defs", {}).items()}
    required = [each.name for each in parameters if each.default is each.empty]
    properties = {each.name: schemas.get(each.name, {}) for each in parameters}
    schema: dict[str, Any] = {"type": "object", "required": required, "properties": properties}
    return schema | ({"$defs": definitions} if definitions else {})


class _Writing:
    """A definition being written, with the place of each part."""

    def __init__(self, edges: Mapping[str, Sequence[Source]], place: Place) -> None:
        self._edges = edges
        self._places: dict[Path, Place] = {(): place}

    def built(
        self, keys: Mapping[str, Any], triggers: Sequence[Trigger], graph: Graph, steps: tuple[Step[..., Any], ...]
    ) -> Built:
        for index, trigger in enumerate(triggers):
            if trigger.place.file == self._places[()].file:
                self._places["triggers", index] = trigger.place
        return Built({**keys, **self._graph(graph, ())}, self._places, steps)

    def _graph(self, graph: Graph, path: Path) -> dict[str, Any]:
        written: dict[str, Any] = {
            "nodes": {node.id: self._node(node, (*path, "nodes", node.id)) for node in graph.nodes}
        }
        edges: list[str] = []
        for node in graph.nodes:
            for source in self._edges[node.id]:
                self._places[*path, "edges", len(edges)] = node.place
                edges.append(f"{source.node}{'' if source.port == OUT else f'.{source.port}'} -> {node.id}")
        if edges:
            written["edges"] = edges
        if graph.output is not UNSET:
            written["output"] = graph.output
        return written

    def _node(self, node: Node, path: Path) -> dict[str, Any]:
        self._places[path] = node.place
        body = {} if node.body is None else {"do": self._graph(node.body, (*path, "do"))}
        return {**node.keys, **body}


def _last_place(error: Exception, file: str) -> Place | None:
    """Return where in the file the error came up, nearest to its cause."""
    place, traceback = None, error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == file:
            place = Place(file, traceback.tb_lineno, 1)
        traceback = traceback.tb_next
    return place
