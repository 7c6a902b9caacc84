"""Who reads the output of each node, so that it can leave the state when none of them is left.

Comes from: `compilation`. Goes to: `plan`.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from daemon.core.definition import NodeDefinition
    from daemon.core.places import Place
    from daemon.core.templates import Template


class Readers:
    """Gathers what the expressions of a definition read while they are checked."""

    def __init__(self, nodes: Mapping[str, NodeDefinition]) -> None:
        self._nodes = nodes
        self._readers: defaultdict[str, set[str]] = defaultdict(set)
        self._read: defaultdict[str, set[str]] = defaultdict(set)
        self._kept: set[str] = set()

    def of(self, node_id: str) -> tuple[str, ...] | None:
        """Return the nodes beside it that read it, or in whose bodies it is read; None when its graph's end does."""
        return None if node_id in self._kept else tuple(sorted(self._readers[node_id]))

    def by(self, node_id: str) -> tuple[str, ...]:
        """Return the nodes beside it that it, or its body, reads, and that can be released."""
        return tuple(sorted(self._read[node_id] - self._kept))

    def note(self, templates: Iterable[Template], place: Place) -> None:
        """Note what the templates at the place read: each node that they name; all, where a name is computed."""
        for node_id in self._named(templates, place):
            self.read(node_id, place)

    def note_late(self, templates: Iterable[Template], place: Place) -> None:
        """Note what templates read that may be rendered after all around the place has settled: that stays."""
        self.keep(self._named(templates, place))

    def _named(self, templates: Iterable[Template], place: Place) -> Iterator[str]:
        for template in templates:
            steps = [path for path in template.paths if path[0] == "steps"]
            if "steps" in template.names and (not steps or any(len(path) == 1 for path in steps)):
                self.keep(node_id for node_id in self._nodes if place.hidden(node_id) is None)
            named = {*template.names, *(path[1] for path in steps if len(path) > 1)}
            yield from (named & self._nodes.keys()).difference(place.around)

    def read(self, node_id: str, place: Place) -> None:
        """Note that the node is read at the place."""
        reader = place.beside(node_id)
        if reader is None:
            self.keep([node_id])
        else:
            self._readers[node_id].add(reader)
            self._read[reader].add(node_id)

    def keep(self, node_ids: Iterable[str]) -> None:
        """Note that these are read at the end, or by whoever."""
        self._kept.update(node_ids)
