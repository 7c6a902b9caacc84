"""Plans for tests, from YAML."""

from __future__ import annotations

from textwrap import dedent
from typing import TYPE_CHECKING

from daemon.nodes import builtin_node_types
from daemon.runtime.definitions import Compiler

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.core.plan import Plan


ENV = {"HOME_TOWN": "Graz"}


def plan_of(text: str, *, env: Mapping[str, str] | None = None) -> Plan:
    """Return the plan of the one definition in `text`; its handlers need not exist."""
    compiler = Compiler(node_types=builtin_node_types(), handlers=None, env=ENV if env is None else env)
    (plan,) = compiler.load_text(dedent(text)).plans
    return plan
