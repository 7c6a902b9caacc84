"""Whether every expression of a definition can be read where it stands, and who reads what.

Comes from: `compilation`. Goes to: `references`, `readers`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from daemon.core.places import in_body
from daemon.core.plan import PlannedUpdate
from daemon.core.readers import Readers
from daemon.core.references import ROOTS, Visible, check_environment, check_references
from daemon.core.templates import Template, TemplateError, compile_template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from daemon.core.configured import Configured, ConfiguredAction, ConfiguredCompensation
    from daemon.core.definition import Definition, NodeDefinition, UpdateDefinition
    from daemon.core.places import Place
    from daemon.core.plan import PlannedCache
    from daemon.core.problems import Findings, Path


UNDONE = "step"
"""What a compensation calls the step that it undoes."""
PAGE = "page"
"""What is known of the page to the step that fetches it."""


class Scoping:
    """The check of what all expressions of a definition read."""

    def __init__(
        self,
        definition: Definition,
        configured: Mapping[str, Configured],
        env: Mapping[str, str] | None,
        findings: Findings,
    ) -> None:
        """`env` None leaves the environment unchecked."""
        self._definition = definition
        self._configured = configured
        self._env = env
        self._findings = findings
        self._ids = frozenset(definition.nodes)
        known = (read.node_type.variables(read.config) for read in configured.values())
        by_updates = (update.variables for update in definition.updates.values())
        self._variables = frozenset(definition.variables).union(*known, *by_updates)
        self.readers = Readers(definition.nodes)

    def node(self, node: NodeDefinition, read: Configured, place: Place) -> None:
        """Check a node's own expressions, each at its place."""
        self._check(read.node_type.templates(read.config), node.own, node.path, place)
        if (notifier := read.node_type.notifier) is not None:
            self._check(notifier.templates(read.config), node.own, node.path, place, "approval")
        if read.pages is not None:
            node_type, pages = read.pages
            templates = node_type.templates(pages.config)
            self._check(templates, node.own, node.path, place, PAGE)
            self._warn_of_hiding(PAGE, "the page that is fetched", templates, node.path, place)
        if (how := read.turns) is not None:
            self._check(_given(how.going, how.skip), node.own, node.path, in_body(place, ""))
            self._check(_given(how.again, how.stop), node.own, node.path, in_body(place, None))
            self._check(_given(how.aggregate), node.own, node.path, place, how.name)

        if read.subflow is not None:
            self._check(_given(read.subflow.result), node.own, node.path, place, "child")

    def compensation(self, compensation: ConfiguredCompensation, place: Place) -> None:
        """Check the expressions of what undoes the node that reads at `place`: they are rendered when that succeeds.

        After a lookup they are rendered anew, whenever that is: what they read stays.
        """
        for action in compensation.actions:
            self._action(action, place)
        if compensation.lookup is not None:
            undo = compensation.undo.read
            self.readers.note_late(undo.node_type.templates(undo.config), place)

    def _action(self, undo: ConfiguredAction, place: Place) -> None:
        templates = undo.read.node_type.templates(undo.read.config)
        self._check(templates, undo.node.own, undo.node.path, place, UNDONE)
        self._warn_of_hiding(UNDONE, "the step that is undone", templates, undo.node.path, place)

    def _warn_of_hiding(self, name: str, what: str, templates: Iterable[Template], path: Path, place: Place) -> None:
        """Warn where a name that means something else here is that of a node too."""
        if name in self._ids and any(name in template.names for template in templates):
            message = f"`{name}` is {what} here, and not the node `{name}`"
            hint = f"read the node as `steps.{name}`, or give it another id"
            self._findings.warn(message, path, node=place.reader, hint=hint)

    def updates(self, outermost: Place) -> Mapping[str, PlannedUpdate]:
        """Check and return what each update does."""
        return {name: self._update(update, outermost) for name, update in self._definition.updates.items()}

    def queries(self, outermost: Place) -> Mapping[str, Template]:
        """Check and return what each query gives."""
        found = {
            name: self._output(query.result, (*query.path, "result"), outermost, "query")
            for name, query in self._definition.queries.items()
        }
        return {name: template for name, template in found.items() if template is not None}

    def _update(self, update: UpdateDefinition, place: Place) -> PlannedUpdate:
        path = update.path
        refusal = self._output(update.refusal, (*path, "refusal"), place, "update")
        values = (
            (name, self._output(value, (*path, "set", name), place, "update"))
            for name, value in update.variables.items()
        )
        return PlannedUpdate(
            accept=self._output(update.accept, (*path, "accept"), place, "update"),
            refusal=refusal if refusal is not None else compile_template(None),
            variables=tuple((name, template) for name, template in values if template is not None),
            signal=update.signal,
            result=self._output(update.result, (*path, "result"), place, "update"),
        )

    def cache(self, node: NodeDefinition, cache: PlannedCache, place: Place) -> None:
        """Check the key of a node's cache, which is rendered when a step begins."""
        written = node.cache["key"] if node.cache is not None else None
        self._check([cache.key], written, (*node.path, "cache", "key"), place)

    def outputs(self, places: Mapping[str, Place], outermost: Place) -> Mapping[str, Template | None]:
        """Check and return the output of the workflow, and of each body by the id of the node that has it."""
        outputs = {"": self._output(self._definition.output, ("output",), outermost)}
        for node in self._definition.nodes.values():
            if node.body is not None:
                path, end = (*node.body.path, "output"), in_body(places[node.id], None)
                outputs[node.id] = self._output(node.body.output, path, end)
        return outputs

    def _output(self, written: object, path: Path, place: Place, *more: str) -> Template | None:
        if written is UNSET:
            return None
        try:
            template = compile_template(written)
        except TemplateError as error:
            self._findings.template(error, path)
            return None
        self._check([template], written, path, place, *more)
        return template

    def _check(self, templates: Iterable[Template], written: object, path: Path, place: Place, *more: str) -> None:
        templates = tuple(templates)
        visible = Visible(
            roots=(*ROOTS, *self._turn_names(place), *more),
            nodes=self._ids,
            settled=place.settled,
            hidden=place.hidden,
            reader=place.reader or next(iter(place.around), None),
            moment=place.moment,
            variables=self._variables,
        )
        check_references(templates, written, path, visible, self._findings)
        self.readers.note(templates, place)
        if self._env is not None:
            check_environment(templates, written, path, self._env, self._findings, reader=place.reader)

    def checker(self, place: Place) -> Callable[[Template, object, Path], None]:
        """Return the check of a template that is read at a place."""
        return lambda template, written, path: self._check([template], written, path, place)

    def _turn_names(self, place: Place) -> set[str]:
        """Return what a turn around the place is called: `loop`, `parallel`; both where that is not known."""
        names: set[str] = set()
        for node_id in place.around:
            read = self._configured.get(node_id)
            names |= {"loop", "parallel"} if read is None or read.turns is None else {read.turns.name}
        return names - {"saga"}


def _given(*templates: Template | None) -> list[Template]:
    return [template for template in templates if template is not None]
