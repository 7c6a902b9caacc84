"""`approval`: ask people, and go on by what they say.

    approval:
      prompt: "Pay {{ input.amount }} to {{ input.supplier }}?"
      approvers: [ana, group:finance]
      rule: all
      timeout: 2d
      on_timeout: {escalate: {to: [cfo], timeout: 1d, then: reject}}
      notify: [{smtp: {to: "{{ approval.approver }}@example.com"}}]

Each approver has one voice. `any` needs one approval, `all` needs all, `quorum: 2` two; once that cannot be reached any
more, it is rejected. Ports: `approved`, `rejected`; `error` when nobody decides in time and nothing is said for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from daemon.core.durations import DurationError, parse_duration
from daemon.core.events import StepError
from daemon.core.node import AskApproval, Begin, Beginning, Fail, NodeType
from daemon.core.people import GROUP, Escalation
from daemon.core.schema_parts import choice, either, list_of, mapping, ref, whole_number
from daemon.core.templates import Template
from daemon.nodes.notices import CHANNEL, NOTIFIER, Channel, read_channels
from daemon.nodes.reading import Reader, is_fixed

if TYPE_CHECKING:
    from datetime import timedelta

PORTS = ("approved", "rejected")


class Escalate(Struct, frozen=True):
    """Whom to ask when nobody has decided in time."""

    to: Template
    rule: str | int
    timeout: Template | None
    then: str


class Approval(Struct, frozen=True, kw_only=True):
    """Who is asked what, and how it ends."""

    prompt: Template
    approvers: Template
    rule: str | int
    """`any` | `all`, or how many approvals are needed."""
    timeout: Template | None
    on_timeout: str
    escalate: Escalate | None
    reminder: Template | None
    comment: str
    form: Mapping[str, Any] | None
    channels: tuple[Channel, ...]


class _BadApproval(Exception):
    """What the templates gave cannot be asked."""


def parse(own: Mapping[str, Any]) -> Approval:
    """Check what is fixed now: who is asked, how many are needed, how long it may take."""
    reader, given = Reader(), own["approval"]
    at = ("approval",)
    approvers = _approvers(reader, given["approvers"], given.get("rule", "any"), (*at, "approvers"), (*at, "rule"))
    on_timeout = given.get("on_timeout", "fail")
    escalate = None
    if isinstance(on_timeout, dict):
        place, ask, on_timeout = (*at, "on_timeout", "escalate"), on_timeout["escalate"], "escalate"
        rule = ask.get("rule", "any")
        escalate = Escalate(
            to=_approvers(reader, ask["to"], rule, (*place, "to"), (*place, "rule")),
            rule=_rule(rule),
            timeout=reader.duration(ask["timeout"], *place, "timeout") if "timeout" in ask else None,
            then=ask.get("then", "fail"),
        )
        if "then" in ask and "timeout" not in ask:
            reader.refuse("`then` is never used: there is no `timeout`", (*place, "then"), "say how long they have")
    if "on_timeout" in given and "timeout" not in given:
        reader.refuse("`on_timeout` is never used: there is no `timeout`", (*at, "on_timeout"), "add timeout: 2d")
    return reader.finish(
        Approval(
            prompt=reader.template(given["prompt"], *at, "prompt"),
            approvers=approvers,
            rule=_rule(given.get("rule", "any")),
            timeout=reader.duration(given["timeout"], *at, "timeout") if "timeout" in given else None,
            on_timeout=on_timeout,
            escalate=escalate,
            reminder=reader.duration(given["reminder"], *at, "reminder") if "reminder" in given else None,
            comment=given.get("comment", "optional"),
            form=given.get("form"),
            channels=read_channels(reader, given.get("notify", []), (*at, "notify")),
        )
    )


def _rule(rule: Any) -> str | int:
    found: str | int = rule["quorum"] if isinstance(rule, dict) else rule
    return found


def _approvers(
    reader: Reader, given: Any, rule: Any, path: tuple[str | int, ...], rule_path: tuple[str | int, ...]
) -> Template:
    template = reader.template(given, *path)
    if is_fixed(template):
        try:
            names = _names(given)
            _need(_rule(rule), len(names))
        except _BadApproval as error:
            at_fault = rule_path if isinstance(rule, dict) and "quorum" in str(error) else path
            reader.refuse(str(error), at_fault, None)
    return template


def _names(value: object) -> tuple[str, ...]:
    """Return who is asked, each once."""
    listed: list[Any] = value if isinstance(value, list) else [value]
    for name in listed:
        if not isinstance(name, str) or not name.strip() or name == GROUP:
            raise _BadApproval(f"an approver is a name, or group:name, and not {str(name)[:80]!r}")
    if not listed:
        raise _BadApproval("there is nobody to ask")
    return tuple(dict.fromkeys(name.strip() for name in listed))


def _need(rule: str | int, count: int) -> int:
    need = {"any": 1, "all": count}.get(rule, rule) if isinstance(rule, str) else rule
    if not isinstance(need, int) or need > count:
        raise _BadApproval(f"a quorum of {need} can never be reached: {count} approvers are asked")
    return need


def begin(config: Approval, beginning: Beginning) -> Begin:
    """Ask the approvers."""
    scope = beginning.scope
    prompt = config.prompt.render(scope).value
    try:
        names = _names(config.approvers.render(scope).value)
        escalation = None
        if config.escalate is not None:
            to = _names(config.escalate.to.render(scope).value)
            escalation = Escalation(
                to=to,
                need=_need(config.escalate.rule, len(to)),
                timeout=_length(config.escalate.timeout, scope),
                then=config.escalate.then,
            )
        return AskApproval(
            prompt=prompt if isinstance(prompt, str) else str(prompt),
            approvers=names,
            need=_need(config.rule, len(names)),
            comment=config.comment,
            form=config.form,
            timeout=_length(config.timeout, scope),
            on_timeout=config.on_timeout,
            escalation=escalation,
            reminder=_length(config.reminder, scope),
        )
    except (_BadApproval, DurationError) as error:
        return Fail(StepError(str(error), "approval"))


def _length(length: Template | None, scope: Mapping[str, object]) -> timedelta | None:
    if length is None:
        return None
    found = parse_duration(length.render(scope).value)
    if not found:
        raise _BadApproval("a time limit or a reminder after no time at all makes no sense")
    return found


def templates(config: Approval) -> tuple[Template, ...]:
    """Return what is read but for the notices."""
    found = [config.prompt, config.approvers, config.timeout, config.reminder]
    if config.escalate is not None:
        found += [config.escalate.to, config.escalate.timeout]
    return tuple(each for each in found if each is not None)


_APPROVERS = either(
    "Who is asked, each with one voice.",
    list_of(
        "Names, as in `Sagad-Actor` or `--as`; `group:finance` is any one member of a group of the settings.",
        ref("template", "A name, or group:name."),
        minItems=1,
    ),
    ref("template", "One name, or an expression that gives a list: `{{ input.approvers }}`."),
)
_RULE = either(
    "How many approvals are needed; when so many cannot be reached any more, it is rejected at once.",
    choice("One, or that of everybody.", "any", "all", default="any"),
    mapping("So many.", {"quorum": whole_number("How many approvals are enough.", minimum=1)}, "quorum"),
)
_END = ("approve", "reject", "fail")

_APPROVAL = mapping(
    "Who is asked what, and how it ends.",
    {
        "prompt": ref("template", "What people read before they decide."),
        "approvers": _APPROVERS,
        "rule": _RULE,
        "timeout": ref("duration_template", "How long they have: 2d."),
        "on_timeout": either(
            "What follows when it is not decided in time; `fail` (code `timeout`, the port `error`) if not given.",
            choice("Decide for them, or fail.", *_END, default="fail"),
            mapping(
                "Ask others instead.",
                {
                    "escalate": mapping(
                        "Who is asked then; what was decided before stays on record and does not count.",
                        {
                            "to": _APPROVERS,
                            "rule": _RULE,
                            "timeout": ref("duration_template", "How long they have."),
                            "then": choice("What follows after that.", *_END, default="fail"),
                        },
                        "to",
                    )
                },
                "escalate",
            ),
        ),
        "reminder": ref("duration_template", "Those who have not decided are told again after each such time: 4h."),
        "comment": choice(
            "Whether a decision needs a comment; `on_reject`: a rejection does.",
            "optional",
            "required",
            "on_reject",
            default="optional",
        ),
        "form": {
            "type": "object",
            "x-expected": "a JSON Schema",
            "description": "JSON Schema (2020-12) of what an approver hands over; it is `data` in the output.",
        },
        "notify": list_of("How each approver is told; every notice is a step of its own.", CHANNEL),
    },
    "prompt",
    "approvers",
)

NODE_TYPE = NodeType(
    name="approval",
    summary="Asks people and leaves by `approved` or `rejected`; its output says who has decided what, and why.",
    schema=_APPROVAL,
    parse=parse,
    templates=templates,
    ports=lambda _config: PORTS,
    begin=begin,
    notifier=NOTIFIER,
)
