"""Definitions from files and from the store, made into plans; every problem of all files at once.

Comes from: `documents`, eventstore. Goes to: daemon/core/parsing, daemon/core/compilation, `plans`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from daemon.core.compilation import compile_plan
from daemon.core.durations import parse_duration
from daemon.core.errors import Misconfigured
from daemon.core.node import NodeType
from daemon.core.parsing import parse
from daemon.core.plan import Plan
from daemon.core.problems import Findings, Problem, did_you_mean, in_order
from daemon.core.schema import definition_schema
from daemon.core.throttle import SharedLimit
from daemon.core.trigger_schemas import KINDS
from daemon.runtime.collection import collector_paused
from daemon.runtime.documents import Document, read_documents
from daemon.runtime.handler_registry import PYTHON, split_name
from daemon.runtime.json_schema import BadSchema, InputSchema, check
from daemon.runtime.python_files import read_python
from triggers.schedule import ScheduleSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from daemon.core.definition import Definition, TriggerDefinition

__all__ = ["Compiler", "InputSchemas", "Loaded", "definition_schema"]

FUNCTION = "function"
"""The node type that runs durable functions."""
SUFFIXES = (".yaml", ".yml", ".json")


class Loaded(Struct, frozen=True):
    """The plans of some files, and the doubts about them."""

    plans: tuple[Plan, ...]
    warnings: tuple[Problem, ...]


class Compiler(Struct, frozen=True, kw_only=True):
    """Makes plans with what this daemon has."""

    node_types: Mapping[str, NodeType]
    handlers: Collection[str] | None
    """Names of the registered handlers; None does not check that they are there."""
    env: Mapping[str, str]
    """The environment variables that workflows may read."""
    shared: Mapping[str, SharedLimit] | None = None
    """The limits of the settings, by name; None does not check that they are there."""
    connections: Collection[str] | None = None
    """Names of the database connections; None does not check that they are there."""
    functions: Collection[str] | None = None
    """Names of the registered durable functions; None does not check that they are there."""

    @collector_paused()
    def load_files(self, paths: Iterable[str | Path]) -> Loaded:
        """Read files, and folders of them (`*.yaml`, `*.yml`, `*.json`, at any depth), with any number of documents.

        A Python file that is named is imported (see `python_files`). Raises `Misconfigured` with every problem of all.
        """
        documents: list[Document] = []
        problems: list[Problem] = []
        for path in _files(paths, problems):
            if split_name(path)[0].suffix == PYTHON:
                found, mistakes = read_python(path)
                documents += found
                problems += mistakes
                continue
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                problems.append(Problem(message=f"cannot be read: {error}", file=str(path)))
                continue
            found, mistakes = read_documents(text, str(path))
            documents += found
            problems += mistakes
        return self._load(documents, problems)

    @collector_paused()
    def load_text(self, text: str, file: str = "<text>") -> Loaded:
        """Read one text as if it stood in `file`; raise `Misconfigured`."""
        documents, problems = read_documents(text, file)
        return self._load(documents, problems)

    @collector_paused()
    def compile_stored(self, document: bytes) -> Plan:
        """Make the plan of a document that was accepted before (`Definition.document`); raise `Misconfigured`.

        What it needs of this daemon is not checked again: a step that misses its handler fails when it runs.
        """
        try:
            decoded = msgspec.json.decode(document)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Misconfigured([Problem(message=f"the stored definition is damaged: {error}")]) from error
        parsed = parse(decoded, self.node_types, check=check)
        if parsed.definition is None:
            raise Misconfigured(parsed.problems)
        compiled = compile_plan(
            parsed.definition,
            node_types=self.node_types,
            handlers=None,
            env=self.env,
            shared=self.shared,
            accepted=True,
            opaque=parsed.opaque,
            found=parsed.problems,
        )
        return _with_checks(compiled.plan)

    def _load(self, documents: Sequence[Document], problems: list[Problem]) -> Loaded:
        plans: list[Plan] = []
        known: list[tuple[Document, Definition]] = []
        warnings: list[Problem] = []
        for document in documents:
            definition, plan = self._compile(document, problems, warnings)
            if definition is not None:
                known.append((document, definition))
            if plan is not None:
                plans.append(plan)
        problems += _between(known)
        warnings += _unknown_subflows(known)
        if problems:
            raise Misconfigured(in_order(problems))
        return Loaded(tuple(plans), in_order(warnings))

    def _compile(
        self, document: Document, problems: list[Problem], warnings: list[Problem]
    ) -> tuple[Definition | None, Plan | None]:
        parsed = parse(document.value, self.node_types, check=check, locate=document.locate)
        found = Findings(document.locate, parsed.problems)
        plan = None
        if parsed.definition is None:
            problems += _in_file(found.errors, document.file)
            return None, None
        _check_by_adapters(parsed.definition, found)
        if self.functions is not None:
            _check_functions(parsed.definition, self.functions, found)
        try:
            compiled = compile_plan(
                parsed.definition,
                node_types=self.node_types,
                handlers=self.handlers,
                env=self.env,
                shared=self.shared,
                connections=self.connections,
                locate=document.locate,
                opaque=parsed.opaque,
                found=found.problems,
            )
        except Misconfigured as error:
            problems += _in_file(error.problems, document.file)
        else:
            plan = _with_checks(compiled.plan)
            warnings += _in_file(compiled.warnings, document.file)
        return parsed.definition, plan


class InputSchemas:
    """Checks inputs of executions; each schema is compiled once."""

    def __init__(self) -> None:
        self._by_hash: dict[str, InputSchema] = {}

    def check(self, plan: Plan, value: object) -> None:
        """Raise `InvalidInput` that names each wrong place."""
        if plan.definition.input_schema is None:
            return
        if plan.hash not in self._by_hash:
            self._by_hash[plan.hash] = InputSchema(plan.definition.input_schema)
        self._by_hash[plan.hash].check(value)


def _files(paths: Iterable[str | Path], problems: list[Problem]) -> list[Path]:
    files: dict[Path, None] = {}
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(each for each in path.rglob("*") if each.suffix in SUFFIXES and each.is_file())
            if not inside:
                problems.append(Problem(message=f"no {', '.join(SUFFIXES)} in this folder", file=str(path)))
            files |= dict.fromkeys(inside)
        elif split_name(path)[0].exists():
            files[path] = None
        else:
            problems.append(Problem(message="there is no such file", file=str(path)))
    return list(files)


def _in_file(problems: Iterable[Problem], file: str) -> list[Problem]:
    return [replace(problem, file=file) for problem in problems]


def _with_checks(plan: Plan) -> Plan:
    """Lend the plan what checks the data of signals, updates and queries."""
    checks = {(kind, name): InputSchema(schema).check for kind, name, schema, _ in _message_schemas(plan.definition)}
    return replace(plan, checks=checks) if checks else plan


def _message_schemas(definition: Definition) -> Iterator[tuple[str, str, Mapping[str, Any], str]]:
    """Give the kind of each message whose data has a schema, its name, the schema, and the key it stands under."""
    kinds = (("signal", definition.signals), ("update", definition.updates), ("query", definition.queries))
    for kind, messages in kinds:
        for name, message in messages.items():
            if message.data is not None:
                yield kind, name, message.data, "queries" if kind == "query" else f"{kind}s"


def _check_by_adapters(definition: Definition, findings: Findings) -> None:
    """Check what only the libraries of the shell can tell: JSON Schemas, cron expressions, time zones."""
    if definition.input_schema is not None:
        try:
            InputSchema(definition.input_schema)
        except BadSchema as error:
            findings.error(f"not a JSON Schema: {error}", ("input", *error.path))
    for node in definition.nodes.values():
        form = given.get("form") if isinstance(given := node.own.get("approval"), dict) else None
        try:
            if isinstance(form, dict):
                InputSchema(form)
        except BadSchema as error:
            path = (*node.path, "approval", "form", *error.path)
            findings.error(f"not a JSON Schema: {error}", path, node=node.id)
    for _, name, schema, key in _message_schemas(definition):
        try:
            InputSchema(schema)
        except BadSchema as error:
            findings.error(f"not a JSON Schema: {error}", (key, name, "data", *error.path))
    for trigger in definition.triggers:
        if trigger.kind == "schedule" and "{{" not in str(trigger.settings):
            settings = {key: _read_every(key, value) for key, value in trigger.settings.items()}
            try:
                msgspec.convert(settings, ScheduleSettings)
            except msgspec.ValidationError as error:
                findings.error(str(error), ("triggers", trigger.index, "schedule"))


def _check_functions(definition: Definition, functions: Collection[str], findings: Findings) -> None:
    """Report nodes whose durable function is not registered."""
    for node in definition.nodes.values():
        if node.type == FUNCTION and (name := node.own[FUNCTION]) not in functions:
            message = f"no durable function is registered as {name!r}"
            findings.error(message, (*node.path, FUNCTION), node=node.id, hint=did_you_mean(name, functions))


def _read_every(key: str, value: object) -> object:
    return parse_duration(value) if key == "every" else value


def _between(known: Iterable[tuple[Document, Definition]]) -> list[Problem]:
    """Check what no two workflows may share: names, and triggers that would take each other's messages."""
    problems: list[Problem] = []
    names: dict[str, Document] = {}
    taken: dict[tuple[Any, ...], str] = {}
    for document, definition in known:
        findings = Findings(document.locate)
        if (first := names.setdefault(definition.workflow, document)) is not document:
            place = ":".join(str(part) for part in (first.file, *(first.locate(("workflow",)) or ())))
            findings.error(
                f"there are two workflows {definition.workflow!r}", ("workflow",), hint=f"the other: {place}"
            )
        for trigger in definition.triggers:
            name = f"{definition.workflow}/{trigger.name}"
            claim = _claim(trigger, name)
            if claim is not None and (other := taken.setdefault(claim, name)) != name:
                what = " and ".join(str(each) for each in claim[1:])
                message = f"{trigger.kind} {what} is taken by the trigger {other}: each message would reach only one"
                findings.error(
                    message, ("triggers", trigger.index, trigger.kind), hint="share one trigger, or use another"
                )
        problems += _in_file(findings.errors, document.file)
    return problems


def _unknown_subflows(known: Sequence[tuple[Document, Definition]]) -> list[Problem]:
    """Doubt the names of subflows that are not among the workflows that were read with them."""
    names = {definition.workflow for _, definition in known}
    doubts: list[Problem] = []
    for document, definition in known:
        findings = Findings(document.locate)
        for node in definition.nodes.values():
            name = node.own.get("subflow") if node.type == "subflow" else None
            if isinstance(name, str) and "{{" not in name and name not in names:
                hint = f"read its file too; {did_you_mean(name, names)}"
                findings.warn(f"there is no workflow {name!r}", (*node.path, "subflow"), node=node.id, hint=hint)
        doubts += _in_file(findings.warnings, document.file)
    return doubts


def _claim(trigger: TriggerDefinition, name: str) -> tuple[Any, ...] | None:
    """Return what the trigger takes for itself alone; a group that is not given is its own."""
    keys = KINDS[trigger.kind].exclusive
    return (trigger.kind, *(trigger.settings.get(key, name) for key in keys)) if keys else None
