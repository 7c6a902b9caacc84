"""The handlers of a daemon: what is decorated in the modules that its settings name.

Comes from: daemon/main, the settings. Goes to: `plans` (which names there are), `step_services` (which runs them).
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from daemon.core.errors import Misconfigured
from daemon.core.problems import Problem
from daemon.durable import durable_spec_of
from daemon.flow.steps import Step
from daemon.flow.workflows import Workflow
from daemon.handlers import LOADED_AS, Collect, Count, spec_of
from daemon.runtime.signatures import BadSignature, Signature, signature_of

if TYPE_CHECKING:
    from types import ModuleType

    from daemon.settings import Settings

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*", re.ASCII)
PYTHON = ".py"


class Handler(Struct, frozen=True, kw_only=True):
    """One handler, ready to be called."""

    name: str
    function: Callable[..., Any]
    runs_in: Literal["loop", "thread", "process"]
    signature: Signature
    streams: bool = False
    """Whether it is a generator."""
    collect: Collect = "list"
    count: Count | None = None
    source: str
    """What it was loaded from: a module's name or a file's path, as the settings have it."""

    @property
    def summary(self) -> str:
        """First line of the function's docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]


class DurableFunction(Struct, frozen=True, kw_only=True):
    """One durable function, ready to be run."""

    name: str
    function: Callable[..., Any]
    signature: Signature
    source: str
    """As `Handler.source`."""


class HandlerRegistry(Mapping[str, Handler]):
    """Handlers by name, and the durable functions beside them."""

    def __init__(self, handlers: Iterable[Handler] = (), functions: Iterable[DurableFunction] = ()) -> None:
        self._handlers = {handler.name: handler for handler in handlers}
        self.functions: Mapping[str, DurableFunction] = {function.name: function for function in functions}

    def __getitem__(self, name: str) -> Handler:
        return self._handlers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._handlers)

    def __len__(self) -> int:
        return len(self._handlers)


def handlers_of(settings: Settings) -> HandlerRegistry:
    """Return the handlers that the settings name; modules are looked for beside the settings' file first."""
    folder = [] if settings.file is None else [settings.file.parent]
    flows = python_files(settings.workflows.paths)
    sources = [*settings.workflows.handlers, *(str(file) for file in flows)]
    return load_handlers(sources, search=[*folder, *(file.parent for file in flows)])


def load_handlers(sources: Iterable[str], *, search: Iterable[Path] = ()) -> HandlerRegistry:
    """Import modules (`shop.handlers`) and files (`handlers.py`), and collect what `@handler` marks in them.

    `search` folders go to the front of the import path, for good. A handler that several modules show is one handler.
    Raises `Misconfigured` with every problem: what cannot be imported, names that are taken, signatures that do not do.
    """
    to_import_path(search)
    loading = _Loading()
    for source in sources:
        loading.load(source)
    if loading.problems:
        raise Misconfigured(loading.problems)
    return HandlerRegistry(loading.found.values(), loading.functions.values())


class _Loading:
    """Goes on after a problem, to find them all."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.found: dict[int, Handler] = {}
        self.functions: dict[int, DurableFunction] = {}

    def load(self, source: str) -> None:
        try:
            module, prefix = import_source(source)
        except (Exception, SystemExit) as error:  # noqa: BLE001  an import runs the user's code, which may raise anything
            self._refuse(f"cannot be imported: {type(error).__name__}: {error}", source, error)
            return
        marked = list(_marked(module))
        durable = [value for value in vars(module).values() if durable_spec_of(value) is not None]
        for function in durable:
            if id(function) not in self.functions:
                self._take_durable(function, source, prefix)
        if not marked and not durable and not workflows_of(module):
            hint = "decorate a function with @handler or @durable, or take the module out of the settings"
            self.problems.append(Problem(message="there is no handler in it", path=(source,), hint=hint))
        for function in marked:
            if id(function) not in self.found:
                self._take(function, source, prefix)

    def _take(self, function: Callable[..., Any], source: str, prefix: str | None) -> None:
        try:
            handler = handler_of(function, source=source, prefix=prefix)
        except BadSignature as error:
            self._refuse(str(error), source, None, function)
            return
        twin = next((other for other in self.found.values() if other.name == handler.name), None)
        if twin is not None:
            where = f"{twin.function.__module__}.{twin.function.__qualname__}"
            self._refuse(f"the name {handler.name!r} is taken by {where}", source, None, function)
        self.found[id(function)] = handler

    def _take_durable(self, function: Callable[..., Any], source: str, prefix: str | None) -> None:
        try:
            durable = durable_of(function, source=source, prefix=prefix)
        except BadSignature as error:
            self._refuse(str(error), source, None, function)
            return
        twin = next((other for other in self.functions.values() if other.name == durable.name), None)
        if twin is not None:
            where = f"{twin.function.__module__}.{twin.function.__qualname__}"
            self._refuse(f"the name {durable.name!r} is taken by {where}", source, None, function)
        self.functions[id(function)] = durable

    def _refuse(
        self, message: str, source: str, error: BaseException | None, function: Callable[..., Any] | None = None
    ) -> None:
        file, line = place_in_code(error, function)
        kind = "handler" if durable_spec_of(function) is None else "durable function"
        subject = "" if function is None else f"{kind} {getattr(function, '__qualname__', function)}: "
        self.problems.append(Problem(message=subject + message, file=file, line=line, path=(source,)))


def handler_of(function: Callable[..., Any], *, source: str = "", prefix: str | None = None) -> Handler:
    """Return the handler that a decorated function is. Raises `BadSignature`.

    `prefix` stands for the module in the name of a function that was given none.
    """
    spec = spec_of(function)
    if spec is None or not inspect.isroutine(function):
        raise BadSignature("@handler is for functions")
    plain = inspect.unwrap(function)
    name = spec.name or f"{prefix or function.__module__}.{function.__qualname__}"
    if not _NAME.fullmatch(name):
        raise BadSignature(f"the name {name!r} must be words joined by dots, such as inventory.reserve")
    streams = inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain)
    if spec.collect not in ("list", "text", "last") and not callable(spec.collect):
        raise BadSignature(f"collect={spec.collect!r}: it is list, text, last, or a function of two arguments")
    if spec.collect != "list" and not streams:
        raise BadSignature("collect is for generators: the output of any other handler is what it returns")
    in_loop = inspect.iscoroutinefunction(plain) or inspect.isasyncgenfunction(plain)
    if in_loop and spec.cpu:
        raise BadSignature("cpu=True is for `def`, not for `async def`")
    return Handler(
        name=name,
        function=function,
        runs_in="loop" if in_loop else "process" if spec.cpu else "thread",
        signature=signature_of(function),
        streams=streams,
        collect=spec.collect,
        count=spec.count,
        source=source,
    )


def durable_of(function: Callable[..., Any], *, source: str = "", prefix: str | None = None) -> DurableFunction:
    """Return the durable function that a decorated function is; see `handler_of`. Raises `BadSignature`."""
    spec = durable_spec_of(function)
    if spec is None or not inspect.iscoroutinefunction(inspect.unwrap(function)):
        raise BadSignature("@durable is for `async def`")
    name = spec.name or f"{prefix or function.__module__}.{function.__qualname__}"
    if not _NAME.fullmatch(name):
        raise BadSignature(f"the name {name!r} must be words joined by dots, such as orders.fulfil")
    first = next(iter(inspect.signature(function).parameters), None)
    if first is None:
        raise BadSignature("it takes no context: its first parameter is `ctx`")
    return DurableFunction(name=name, function=function, signature=signature_of(function, context=first), source=source)


def naming_of(handlers: Mapping[str, Handler]) -> Callable[[Callable[..., Any]], str]:
    """Return what gives the name of a handler's function; it raises TypeError for a function that is no handler."""

    def name_of(function: Callable[..., Any]) -> str:
        spec = spec_of(function)
        if spec is None:
            raise TypeError(f"{getattr(function, '__qualname__', function)} is no handler: decorate it with @handler")
        known = (name for name, handler in handlers.items() if handler.function is function)
        return spec.name or next(known, f"{function.__module__}.{function.__qualname__}")

    return name_of


def python_files(paths: Iterable[Path]) -> list[Path]:
    """Return those of the definition files that are Python: `flow.py`, or `flow.py:name` for one workflow in it."""
    return list(dict.fromkeys(file for file, _ in map(split_name, paths) if file.suffix == PYTHON))


def split_name(path: Path) -> tuple[Path, str | None]:
    """Return the file and the workflow that `flow.py:name` names; any other path as it is."""
    head, colon, name = path.name.rpartition(":")
    return (path.with_name(head), name) if colon and head.endswith(PYTHON) else (path, None)


def workflows_of(module: ModuleType) -> dict[str, Workflow[..., Any]]:
    """Return the workflows that a module makes, by their names in it; those that it imports if it makes none."""
    found = {name: value for name, value in vars(module).items() if isinstance(value, Workflow)}
    own = {name: value for name, value in found.items() if value.function.__module__ == module.__name__}
    return own or found


def _marked(module: ModuleType) -> Iterator[Callable[..., Any]]:
    """Return the handlers of a module, and those that its workflows call, wherever they are from."""
    for value in vars(module).values():
        if isinstance(value, Step):
            yield value.function
        elif spec_of(value) is not None:
            yield value
    for workflow in workflows_of(module).values():
        with suppress(Misconfigured):  # which is told when the definitions are loaded
            yield from (step.function for step in workflow.built.steps)


def to_import_path(folders: Iterable[Path]) -> None:
    """Put folders to the front of the import path, for good."""
    for folder in reversed([str(each) for each in folders]):
        if folder not in sys.path:
            sys.path.insert(0, folder)


def import_source(source: str) -> tuple[ModuleType, str | None]:
    """Import a module or a `.py` file, once in a process.

    Returns the module, and what its handlers' names begin with instead of the module's own name.
    """
    if not source.endswith(".py"):
        return importlib.import_module(source), None
    path = Path(source).resolve()
    name = f"{LOADED_AS}{path.stem}_{sha256(bytes(path)).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name], path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not Python source")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module, path.stem


def place_in_code(error: BaseException | None, function: Callable[..., Any] | None) -> tuple[str | None, int | None]:
    """Return where the user's own code went wrong, or stands."""
    if isinstance(error, SyntaxError):
        return error.filename, error.lineno
    if function is not None and (code := getattr(inspect.unwrap(function), "__code__", None)):
        return code.co_filename, code.co_firstlineno
    trace = error.__traceback__ if error is not None else None
    place: tuple[str | None, int | None] = (None, None)
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith("<frozen") and file not in (__file__, importlib.__file__):
            place = (file, trace.tb_lineno)
        trace = trace.tb_next
    return place
