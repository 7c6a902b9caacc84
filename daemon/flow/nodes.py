"""Nodes that are no steps: `http`, `publish`, `transform`, `assign`, `wait`, `signal`, `join`, `fail`; and any other.

Each takes its id first, then what stands under its type in a definition, then the options of every node.

Comes from: the author. Goes to: `options`, which makes the node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, Unpack, cast, overload

from msgspec import UNSET

from daemon.flow.marks import Source, node_mark
from daemon.flow.mistakes import mistake
from daemon.flow.options import AnyOf, NodeOptions, RunOptions, make
from daemon.flow.reference import Ref
from daemon.flow.values import duration
from daemon.flow.wiring import OUT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from daemon.flow.options import Duration

T = TypeVar("T")


class HttpResponse(TypedDict):
    """What `http` gives."""

    status: int
    headers: dict[str, str]
    body: Any


class Sent(TypedDict):
    """What `publish` gives."""

    sent_to: str


@overload
def node(id: str, own: Mapping[str, Any], **options: Unpack[RunOptions]) -> Any: ...
@overload
def node(id: str, own: Mapping[str, Any], type_: type[T], **options: Unpack[RunOptions]) -> T: ...
def node(id: str, own: Mapping[str, Any], type_: object = None, **options: Any) -> Any:  # noqa: ARG001  for type checkers
    """Make a node of any type, of its keys as a definition has them: `node("weigh", {"weigh": parcel})`.

    `group` does so for a type with a body.
    """
    return _made(id, own, options)


@overload
def task(id: str, handler: str, input: object = None, **options: Unpack[RunOptions]) -> Any: ...
@overload
def task(id: str, handler: str, input: object, type_: type[T], **options: Unpack[RunOptions]) -> T: ...
def task(id: str, handler: str, input: object = None, type_: object = None, **options: Any) -> Any:  # noqa: ARG001  for type checkers
    """Run a handler that is known by its name alone: one of another module, or of a worker elsewhere."""
    return _made(id, {"task": handler, "with": UNSET if input is None else input}, options)


@overload
def subflow(id: str, workflow: str, input: object = None, **options: Unpack[RunOptions]) -> Any: ...
@overload
def subflow(id: str, workflow: str, input: object, type_: type[T], **options: Unpack[RunOptions]) -> T: ...
def subflow(id: str, workflow: str, input: object = None, type_: object = None, **options: Any) -> Any:  # noqa: ARG001  for type checkers
    """Start an execution of a workflow that is known by its name alone; one of this process is just called."""
    return _made(id, {"subflow": workflow, "with": UNSET if input is None else input}, options)


def http(
    id: str,
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"],
    url: str,
    *,
    headers: Mapping[str, object] | None = None,
    query: Mapping[str, object] | None = None,
    json: object = None,
    form: Mapping[str, object] | None = None,
    body: str | None = None,
    expect: int | str | Sequence[int | str] | None = None,
    follow_redirects: bool | None = None,
    max_response_bytes: int | None = None,
    **options: Unpack[RunOptions],
) -> HttpResponse:
    """Call a service; `expect` are the statuses that are good, 2xx if not given."""
    request = _given(
        method=method,
        url=url,
        headers=headers,
        query=query,
        json=json,
        form=form,
        body=body,
        expect=expect,
        follow_redirects=follow_redirects,
        max_response_bytes=max_response_bytes,
    )
    return cast("HttpResponse", _made(id, {"http": request}, options))


def publish(
    id: str,
    value: object,
    *,
    kafka: Mapping[str, object] | str | None = None,
    rabbitmq: Mapping[str, object] | str | None = None,
    memory: Mapping[str, object] | str | None = None,
    headers: Mapping[str, object] | None = None,
    content_type: str | None = None,
    cloudevent: Mapping[str, object] | None = None,
    **options: Unpack[RunOptions],
) -> Sent:
    """Send a message to one of the brokers: a topic, a queue, or a mapping that says more (`key`, `exchange`, …)."""
    places = {
        "kafka": {"topic": kafka} if isinstance(kafka, str | Ref) else kafka,
        "rabbitmq": {"routing_key": rabbitmq} if isinstance(rabbitmq, str | Ref) else rabbitmq,
        "memory": {"topic": memory} if isinstance(memory, str | Ref) else memory,
    }
    sent = {
        **_given(**places),
        "value": value,
        **_given(headers=headers, content_type=content_type, cloudevent=cloudevent),
    }
    return cast("Sent", _made(id, {"publish": sent}, options))


def transform(id: str, value: T, **options: Unpack[NodeOptions]) -> T:
    """Compute a value once, to be read by its own name."""
    return cast("T", _made(id, {"transform": value}, options))


def assign(id: str, values: Mapping[str, object], **options: Unpack[NodeOptions]) -> Any:
    """Set variables of the execution, which are read as `variables.name`."""
    return _made(id, {"set": values}, options)


def wait(
    id: str,
    length: Duration | None = None,
    *,
    until: datetime | str | None = None,
    **options: Unpack[NodeOptions],
) -> str:
    """Sleep durably, for a length of time or until a time with its offset; gives the time it was due."""
    if (length is None) == (until is None):
        raise mistake(f"`{id}` waits either for a length of time or `until` a time")
    return cast("str", _made(id, {"wait": duration(length) if until is None else {"until": until}}, options))


@overload
def signal(id: str, name: str, *, timeout: Duration | None = None, **options: Unpack[NodeOptions]) -> Any: ...
@overload
def signal(
    id: str, name: str, type_: type[T], *, timeout: Duration | None = None, **options: Unpack[NodeOptions]
) -> T: ...
def signal(id: str, name: str, type_: object = None, *, timeout: Duration | None = None, **options: Any) -> Any:  # noqa: ARG001  for type checkers
    """Wait for a named signal, whose data it gives; after `timeout` it fails with the code `timeout`."""
    given = name if timeout is None else {"name": name, "timeout": duration(timeout)}
    return _made(id, {"signal": given}, options)


def join(
    id: str, *values: object, wait_for: Literal["all", "any"] = "all", **options: Unpack[NodeOptions]
) -> dict[str, Any]:
    """Bring several ways together; gives what they bring, by node id."""
    after = AnyOf(values) if wait_for == "any" else values
    made = make(id, {"join": wait_for}, {**options, "after": after})
    made.keys.pop("after", None)  # the type itself says so
    return cast("dict[str, Any]", Ref(node_mark(Source(made.id, OUT))))


def fail(
    id: str,
    message: str,
    *,
    code: str | None = None,
    details: object = None,
    **options: Unpack[NodeOptions],
) -> Any:
    """Fail with an error of one's own, which an `error` way or the error policy takes."""
    error = message if code is None and details is None else _given(message=message, code=code, details=details)
    return _made(id, {"fail": error}, options)


def _made(node_id: str, keys: Mapping[str, Any], options: Mapping[str, Any]) -> Ref:
    return Ref(node_mark(Source(make(node_id, keys, options).id, OUT)))


def _given(**keys: object) -> dict[str, object]:
    return {key: value for key, value in keys.items() if value is not None}
