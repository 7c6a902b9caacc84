"""`approval`: ask people, and go on by what they say.

    ask = approval("ask", f"Pay {bill.amount}?", ["ana", "group:finance"], rule="all", timeout="2d",
                   on_timeout=Escalate("cfo", timeout="1d", then="reject"),
                   notify=[Mail(f"{notice.approver}@example.com"), Tell(chat, {"to": notice.approver})])
    with ask.approved:
        pay(bill)
    with ask.rejected as said:
        refuse(bill, said["comment"])

Comes from: the author. Goes to: `options`, which makes the node.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypedDict, TypeVar, Unpack, cast, overload

from daemon.flow.branches import Branch, Way
from daemon.flow.options import NodeOptions, make
from daemon.flow.reference import Ref
from daemon.flow.values import duration
from daemon.flow.wiring import current
from daemon.runtime.signatures import schema_of

if TYPE_CHECKING:
    from daemon.flow.options import Duration
    from daemon.flow.steps import Step

T = TypeVar("T")
End: TypeAlias = Literal["approve", "reject", "fail"]

notice = cast("Any", Ref("approval"))
"""In `notify`: what the approver is told of; `notice.approver`, `prompt`, `kind`, `due`."""


class Said(TypedDict):
    """What one approver has said."""

    approver: str
    decision: str
    actor: str
    comment: str
    data: Any
    at: str


class Decision(TypedDict, Generic[T]):
    """What an approval gives."""

    decision: Literal["approved", "rejected"]
    reason: str
    """`decided` | `timeout`."""
    by: list[str]
    at: str
    comment: str
    """The last one."""
    data: T
    """What the last approver has handed over, which matches the form."""
    decisions: list[Said]
    escalated: bool


@dataclass(frozen=True)
class Escalate:
    """Ask others when nobody has decided in time."""

    to: str | Iterable[str]
    rule: Literal["any", "all"] | int | None = None
    timeout: Duration | None = None
    then: End | None = None


@dataclass(frozen=True)
class Mail:
    """Tell an approver by mail."""

    to: str | Iterable[str]
    subject: str | None = None
    text: str | None = None


@dataclass(frozen=True)
class Slack:
    """Tell approvers by an incoming webhook of Slack."""

    webhook_url: str
    text: str | None = None


@dataclass(frozen=True)
class Webhook:
    """Tell an approver by a webhook; with `secret` it is signed as Standard Webhooks."""

    url: str
    secret: str | None = None
    headers: Mapping[str, object] | None = None
    text: str | None = None


@dataclass(frozen=True)
class Tell:
    """Tell an approver by a step's handler, or one that is known by its name alone; it gets `notice` besides."""

    handler: Step[..., Any] | str
    input: Mapping[str, object] | None = None


class Asked(Branch, Generic[T]):
    """An approval, with a way for either decision."""

    @property
    def approved(self) -> Way[Decision[T]]:
        """The way when so many have approved as are needed."""
        return self["approved"]

    @property
    def rejected(self) -> Way[Decision[T]]:
        """The way when that cannot be any more."""
        return self["rejected"]


class ApprovalOptions(NodeOptions, total=False):
    """What can be said of an approval."""

    rule: Literal["any", "all"] | int
    """How many approvals are needed; a number is a quorum."""
    timeout: Duration
    on_timeout: End | Escalate
    reminder: Duration
    """Those who have not decided are told again after each such time."""
    comment: Literal["optional", "required", "on_reject"]
    notify: Iterable[Mail | Slack | Webhook | Tell]
    """How each approver is told; every notice is a step of its own."""


@overload
def approval(
    id: str, prompt: str, approvers: str | Iterable[str], *, form: type[T], **options: Unpack[ApprovalOptions]
) -> Asked[T]: ...
@overload
def approval(
    id: str,
    prompt: str,
    approvers: str | Iterable[str],
    *,
    form: Mapping[str, Any] | None = None,
    **options: Unpack[ApprovalOptions],
) -> Asked[Any]: ...
def approval(id: str, prompt: str, approvers: object, *, form: object = None, **options: Any) -> Asked[Any]:
    """Ask people, each with one voice; `form` is the type, or the JSON Schema, of what an approver hands over."""
    own: dict[str, Any] = {"prompt": prompt, "approvers": _listed(approvers)}
    for name in ("rule", "timeout", "on_timeout", "reminder", "comment", "notify"):
        if (value := options.pop(name, None)) is not None:
            own[name] = _key(name, value)
    if form is not None:
        own["form"] = dict(form) if isinstance(form, Mapping) else schema_of(form)
    return Asked(make(id, {"approval": own}, options).id, ("approved", "rejected"))


def _key(name: str, value: Any) -> Any:
    match name:
        case "rule":
            return _rule(value)
        case "on_timeout" if isinstance(value, Escalate):
            rule = None if value.rule is None else _rule(value.rule)
            then = _some(rule=rule, timeout=duration(value.timeout), then=value.then)
            return {"escalate": {"to": _listed(value.to), **then}}
        case "notify":
            return [_channel(each) for each in value]
        case _:
            return duration(value)


def _rule(rule: str | int) -> Any:
    return {"quorum": rule} if isinstance(rule, int) else rule


def _channel(channel: Mail | Slack | Webhook | Tell) -> dict[str, Any]:
    match channel:
        case Mail(to=to, subject=subject, text=text):
            return {"smtp": {"to": _listed(to), **_some(subject=subject, text=text)}}
        case Slack(webhook_url=url, text=text):
            return {"slack": {"webhook_url": url, **_some(text=text)}}
        case Webhook(url=url, secret=secret, headers=headers, text=text):
            return {"webhook": {"url": url, **_some(secret=secret, headers=headers, text=text)}}
        case Tell(handler=str() as name, input=value):
            return {"handler": name, **_some(**{"with": value})}
        case Tell(handler=step, input=value):
            current().steps.append(cast("Step[..., Any]", step))
            return {"handler": cast("Step[..., Any]", step).name, **_some(**{"with": value})}


def _listed(names: object) -> object:
    return names if isinstance(names, str | Ref) else list(cast("Iterable[object]", names))


def _some(**keys: object) -> dict[str, object]:
    return {key: value for key, value in keys.items() if value is not None}
