"""`sql`: ask or change a database with one statement.

    open_bills = sql("open_bills", "books", "select id from bills where day = %(day)s", {"day": day}, type_=Bill)
    count = sql("count", "books", "select count(*) from bills", fetch="value", type_=int)

Comes from: the author. Goes to: `options`, which makes the node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, Unpack, overload

from daemon.flow.marks import Source, node_mark
from daemon.flow.options import RunOptions, make
from daemon.flow.reference import Ref
from daemon.flow.values import duration
from daemon.flow.wiring import OUT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.flow.options import Duration

T = TypeVar("T")


class Changed(TypedDict):
    """What `sql` gives with `fetch="none"`."""

    rows: int
    """How many were changed."""


class SqlOptions(RunOptions, total=False):
    """What can be said of a statement's node."""

    statement_timeout: Duration
    """When the database gives the statement up; that of the connection if not given."""
    read_only: bool
    """Whether the database refuses every change."""
    max_rows: int
    """More rows fail the step; nothing is changed then."""
    max_bytes: int
    """A longer result, as JSON, fails the step; nothing is changed then."""


@overload
def sql(
    id: str,
    connection: str,
    query: str,
    params: Mapping[str, object] | None = None,
    *,
    fetch: Literal["all"] | None = None,
    **options: Unpack[SqlOptions],
) -> list[dict[str, Any]]: ...
@overload
def sql(
    id: str,
    connection: str,
    query: str,
    params: Mapping[str, object] | None = None,
    *,
    fetch: Literal["all"] | None = None,
    type_: type[T],
    **options: Unpack[SqlOptions],
) -> list[T]: ...
@overload
def sql(
    id: str,
    connection: str,
    query: str,
    params: Mapping[str, object] | None = None,
    *,
    fetch: Literal["one", "value"],
    **options: Unpack[SqlOptions],
) -> Any: ...
@overload
def sql(
    id: str,
    connection: str,
    query: str,
    params: Mapping[str, object] | None = None,
    *,
    fetch: Literal["one", "value"],
    type_: type[T],
    **options: Unpack[SqlOptions],
) -> T: ...
@overload
def sql(
    id: str,
    connection: str,
    query: str,
    params: Mapping[str, object] | None = None,
    *,
    fetch: Literal["none"],
    **options: Unpack[SqlOptions],
) -> Changed: ...
def sql(
    id: str,
    connection: str,
    query: str,
    params: Mapping[str, object] | None = None,
    *,
    fetch: Literal["all", "one", "value", "none"] | None = None,
    type_: object = None,  # noqa: ARG001  for type checkers
    **options: Any,
) -> Any:
    """Run one statement, a transaction by itself; its values have places in it: `%(id)s`.

    It gives all rows, or by `fetch` the one row, the one row's only column (either is null where there is no row: read
    it with `default`), or how many were changed. `type_` is what a row, or the value, is taken for.
    """
    own = {"connection": connection, "query": query, "params": params, "fetch": fetch}
    own |= {name: options.pop(name, None) for name in ("read_only", "max_rows", "max_bytes")}
    own["timeout"] = duration(options.pop("statement_timeout", None))
    statement = {key: value for key, value in own.items() if value is not None}
    return Ref(node_mark(Source(make(id, {"sql": statement}, options).id, OUT)))
