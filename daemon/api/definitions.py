"""Definitions that come with a request: other ones, to be held against what there is.

Comes from: `shadows`, `gate`. Goes to: daemon/runtime/definitions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from daemon.api.errors import BadRequest
from daemon.core.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.core.plan import Plan
    from daemon.runtime.definitions import Compiler

FILE = "definition"
"""What places in the text are said to be in."""


def plans_in(compiler: Compiler, text: str) -> Mapping[str, Plan]:
    """Compile the text, YAML; handlers that this daemon does not have are taken to be there. Raises BadRequest."""
    try:
        loaded = replace(compiler, handlers=None, functions=None).load_text(text, FILE)
    except Misconfigured as error:
        raise BadRequest(f"the definition: {error}") from None
    if not loaded.plans:
        raise BadRequest("the body has no definition")
    return {plan.definition.workflow: plan for plan in loaded.plans}
