"""A page: what a handler gives to a loop whose items come page by page, `{items: […], next: …}`.

Comes from: `decide`, `paging`. Goes to: `evolve_pages`.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from daemon.core.address import PAGE
from daemon.core.step_error import StepError
from daemon.core.values import NULL, Json


class Page(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Some of the items, each still encoded, and where the next page begins; null when there is none."""

    items: tuple[Json, ...]
    next: Json = NULL


_decode = msgspec.json.Decoder(Page).decode


def read_page(output: Json) -> Page:
    """Read what the handler gave. Raises `msgspec.ValidationError` for what is no page."""
    return _decode(output)


def refused_page(node_id: str, output: Json, attempt: int) -> StepError | None:
    """Return why the answer of the node is no page; None when it is one, and for nodes that fetch none.

    Other keys than those of a page are refused, so that no misspelt `next` ends the loop early.
    """
    if not node_id.endswith(PAGE):
        return None
    try:
        read_page(output)
    except msgspec.ValidationError as error:
        message = f"the handler gave no page: {error}; a page is {{items: […], next: …}}"
        return StepError(message, "page", attempt=attempt)
    return None
