"""Whether every expression of a definition can be read where it stands, and who reads what.

Comes from: `compilation`. Goes to: `references`, `readers`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from daemon.core.places import in_body
from daemon.core.readers import Readers
from daemon.core.references import ROOTS, Visible, check_environment, check_references
from daemon.core.templates import Template, TemplateError, compile_template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from daemon.core.configured import Configured, ConfiguredCompensation
    from daemon.core.definition import Definition, NodeDefinition
    from daemon.core.places import Place
    from daemon.core.problems import Findings, Path


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
        self._variables = frozenset(definition.variables).union(*known)
        self.readers = Readers(definition.nodes)

    def node(self, node: NodeDefinition, read: Configured, place: Place) -> None:
        """Check a node's own expressions, each at its place."""
        self._check(read.node_type.templates(read.config), node.own, node.path, place)
        if (how := read.turns) is not None:
            self._check(_given(how.going, how.skip), node.own, node.path, in_body(place, ""))
            self._check(_given(how.again, how.stop), node.own, node.path, in_body(place, None))
            self._check(_given(how.aggregate), node.own, node.path, place, how.name)

    def compensation(self, undo: ConfiguredCompensation, place: Place) -> None:
        """Check the expressions of what undoes the node that reads at `place`: they are rendered when that succeeds."""
        self._check(undo.read.node_type.templates(undo.read.config), undo.node.own, undo.node.path, place, "step")

    def outputs(self, places: Mapping[str, Place], outermost: Place) -> Mapping[str, Template | None]:
        """Check and return the output of the workflow, and of each body by the id of the node that has it."""
        outputs = {"": self._output(self._definition.output, ("output",), outermost)}
        for node in self._definition.nodes.values():
            if node.body is not None:
                path, end = (*node.body.path, "output"), in_body(places[node.id], None)
                outputs[node.id] = self._output(node.body.output, path, end)
        return outputs

    def _output(self, written: object, path: Path, place: Place) -> Template | None:
        if written is UNSET:
            return None
        try:
            template = compile_template(written)
        except TemplateError as error:
            self._findings.template(error, path)
            return None
        self._check([template], written, path, place)
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
