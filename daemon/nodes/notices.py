"""Notices of approvals: how they are written, and how they are sent.

A notice is written when it is due, by templates that may read `approval`: `approver`, `prompt`, `kind` (`request`,
`reminder`, `escalation`, `delegation`), `due`. The link by which the approver can decide is added when it is sent, so
no event holds it. Each is sent at least once, with the step's idempotency key.
"""

from __future__ import annotations

import hmac
import time
from base64 import b64decode, b64encode
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
from msgspec import Struct

from daemon.core.events import StepError
from daemon.core.expressions import EvaluationError
from daemon.core.node import Fail, NodeType, Notice, Notifier, Run
from daemon.core.retry import RetryPolicy
from daemon.core.schema_parts import anything, either, list_of, mapping, mapping_of, ref, text
from daemon.core.scope import Extended
from daemon.core.templates import Template
from daemon.nodes.context import Mail, StepFailure
from daemon.nodes.outbound import HostRefused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from daemon.nodes.context import NodeContext
    from daemon.nodes.reading import Reader

RETRY = RetryPolicy(max_attempts=8, initial=timedelta(seconds=2), max=timedelta(minutes=10), jitter=0.2)
TIMEOUT = timedelta(seconds=30)
_MAY_PASS = frozenset({408, 425, 429})
_SUBJECTS = {
    "request": "Your approval is needed",
    "reminder": "Reminder: your approval is needed",
    "escalation": "Your approval is needed: nobody has decided in time",
    "delegation": "Your approval is needed: it was handed on to you",
}


class Channel(Struct, frozen=True):
    """One way to tell an approver."""

    kind: str
    """`webhook` | `smtp` | `slack` | `handler`."""
    settings: Template
    """Under the kind's name: the pointers of secrets are those of a notice's input."""
    handler: str | None = None


def read_channels(
    reader: Reader, given: Sequence[Mapping[str, Any]], path: tuple[str | int, ...]
) -> tuple[Channel, ...]:
    """Compile the channels of a definition."""
    channels = []
    for index, each in enumerate(given):
        [(kind, settings)] = ((kind, value) for kind, value in each.items() if kind != "with")
        if kind == "webhook" and isinstance(settings, str):
            settings = {"url": settings}
        if kind == "handler":
            settings = each.get("with", {})
        template = reader.template({kind: settings}, *path, index, allow_secrets=True)
        channels.append(Channel(kind, template, each["handler"] if kind == "handler" else None))
    return tuple(channels)


def write(config: Any, scope: Mapping[str, object], notice: Notice) -> tuple[Run | Fail, ...]:
    """Write one notice for each channel; one that cannot be written has failed, and the others are sent."""
    due = None if notice.due is None else notice.due.isoformat()
    known = {
        "approver": notice.approver,
        "prompt": notice.prompt,
        "kind": notice.kind,
        "due": due,
        "address": notice.address,
    }
    within = Extended(scope, {"approval": known})
    return tuple(_write(channel, within, {**known, "question": notice.question}) for channel in config.channels)


def _write(channel: Channel, scope: Mapping[str, object], known: Mapping[str, object]) -> Run | Fail:
    try:
        rendered = channel.settings.render(scope)
    except EvaluationError as error:
        return Fail(StepError(str(error), "expression"))
    more = {} if channel.handler is None else {"call": channel.handler}
    return Run({**rendered.value, **more, "notice": known}, rendered.secrets)


async def execute(context: NodeContext, value: Any) -> object:
    """Send one notice."""
    notice = value["notice"]
    due = None if notice["due"] is None else datetime.fromisoformat(notice["due"])
    link = context.services.approval_link(
        context.execution_id, notice["address"], int(notice["question"]), notice["approver"], due
    )
    told = {
        "kind": notice["kind"],
        "approver": notice["approver"],
        "prompt": notice["prompt"],
        "due": notice["due"],
        "workflow": context.workflow,
        "execution_id": context.execution_id,
        "address": notice["address"],
        "question": str(notice["question"]),
        "link": link,
    }
    match value:
        case {"webhook": settings}:
            return await _post_webhook(context, settings, told)
        case {"slack": settings}:
            return await _post(context, settings["webhook_url"], _slack(settings, told), {})
        case {"smtp": settings}:
            return await context.services.mail(_mail(context, settings, told))
        case _:
            given = {**value["handler"], "notice": told}
            await context.services.call(value["call"], given, context)
            return {"handler": value["call"]}


def _text_of(settings: Mapping[str, Any], told: Mapping[str, Any]) -> str:
    lines = [str(settings.get("text") or told["prompt"])]
    if told["due"] is not None:
        lines += ["", f"Until {told['due']}."]
    if told["link"] is not None:
        lines += ["", f"Decide here: {told['link']}"]
    else:
        lines += ["", f"Decide with: sagad approve {told['execution_id']} {told['address']}"]
    return "\n".join(lines)


def _mail(context: NodeContext, settings: Mapping[str, Any], told: Mapping[str, Any]) -> Mail:
    to = settings["to"]
    return Mail(
        to=tuple(str(each) for each in (to if isinstance(to, list) else [to])),
        subject=str(settings.get("subject") or f"{_SUBJECTS[told['kind']]} ({told['workflow']})"),
        text=_text_of(settings, told),
        key=context.idempotency_key,
    )


def _slack(settings: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message of blocks; a button that opens the page where it is decided."""
    heading, body = _SUBJECTS[told["kind"]], str(settings.get("text") or told["prompt"])
    blocks: list[dict[str, Any]] = [
        {"type": "section", "text": {"type": "mrkdwn", "text": f"*{heading}*\n{_escaped(body)}"[:3000]}}
    ]
    about = [f"{told['workflow']} · {told['approver']}", *([f"until {told['due']}"] if told["due"] else [])]
    blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": _escaped(" · ".join(about))}]})
    if told["link"] is not None:
        button = {"type": "button", "text": {"type": "plain_text", "text": "Decide"}, "url": told["link"]}
        blocks.append({"type": "actions", "elements": [button]})
    return {"text": f"{heading}: {body}", "blocks": blocks}


def _escaped(body: str) -> str:
    return body.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


async def _post_webhook(context: NodeContext, settings: Mapping[str, Any], told: Mapping[str, Any]) -> object:
    headers = {name.lower(): str(value) for name, value in settings.get("headers", {}).items()}
    body = {**told, **({"text": settings["text"]} if "text" in settings else {})}
    if secret := settings.get("secret"):
        headers |= _signed(str(secret), context.idempotency_key, msgspec.json.encode(body))
    return await _post(context, settings["url"], body, headers)


def _signed(secret: str, key: str, body: bytes) -> dict[str, str]:
    """Return the headers of Standard Webhooks (standardwebhooks.com); the id is the same at each attempt."""
    try:
        raw = b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        raise StepFailure("the secret of a webhook is `whsec_` and Base64", "notify", retryable=False) from None
    at = str(int(time.time()))
    mac = hmac.digest(raw, f"{key}.{at}.".encode() + body, "sha256")
    return {"webhook-id": key, "webhook-timestamp": at, "webhook-signature": f"v1,{b64encode(mac).decode()}"}


async def _post(context: NodeContext, url: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> object:
    """Send JSON; an answer that is not 2xx fails the attempt. The URL is not shown: it may be a secret itself."""
    known = {"content-type": "application/json", "idempotency-key": context.idempotency_key}
    if context.traceparent is not None:
        known["traceparent"] = context.traceparent
    where = "the address of the notice"
    try:
        where = httpx.URL(str(url)).host
        answer = await context.services.http.post(
            str(url), content=msgspec.json.encode(body), headers={**known, **headers}, timeout=TIMEOUT.total_seconds()
        )
    except HostRefused as error:
        raise StepFailure(str(error), "http_refused", retryable=False) from error
    except httpx.InvalidURL as error:
        raise StepFailure("the URL of the notice is none", "notify", retryable=False) from error
    except httpx.HTTPError as error:
        raise StepFailure(f"{where} cannot be reached: {type(error).__name__}", "http_unreachable") from error
    if not answer.is_success:
        status = answer.status_code
        again = status in _MAY_PASS or answer.is_server_error
        raise StepFailure(f"{where} answered {status}", f"http_{status}", retryable=again)
    return {"status": answer.status_code}


def _only_queued(_config: Any, _beginning: Any) -> Run:
    raise TypeError("a notice is queued with what it says, and never begins by itself")


_TEXT = ref("template", "What it says instead of the prompt; the link is added.")
CHANNEL = either(
    "One way to tell an approver.",
    mapping(
        "A webhook gets the notice as JSON; with `secret` it is signed as Standard Webhooks.",
        {
            "webhook": either(
                "A URL, or `{url: …}`.",
                ref("template", "Where it is sent."),
                mapping(
                    "A webhook.",
                    {
                        "url": ref("template", "Where it is sent."),
                        "secret": ref("template", "`whsec_` and Base64, to sign with: `{{ secret.NAME }}`."),
                        "headers": mapping_of("Headers by name.", ref("value", "The header's value.")),
                        "text": _TEXT,
                    },
                    "url",
                ),
            )
        },
        "webhook",
    ),
    mapping(
        "A mail, by the server of the settings.",
        {
            "smtp": mapping(
                "The mail.",
                {
                    "to": either(
                        "To whom.",
                        ref("template", "An address: `{{ approval.approver }}@example.com`."),
                        list_of("Several.", ref("template", "An address."), minItems=1),
                    ),
                    "subject": ref("template", "The subject."),
                    "text": _TEXT,
                },
                "to",
            )
        },
        "smtp",
    ),
    mapping(
        "A message by an incoming webhook of Slack, with a button that opens the page where it is decided.",
        {
            "slack": mapping(
                "The message.",
                {"webhook_url": ref("template", "The incoming webhook: `{{ secret.SLACK_URL }}`."), "text": _TEXT},
                "webhook_url",
            )
        },
        "slack",
    ),
    mapping(
        "A registered handler gets `with`, and the notice as `notice`.",
        {
            "handler": text("Name that the handler is registered under.", examples=["chat.tell"]),
            "with": mapping_of("More of its input.", anything("Any value.")),
        },
        "handler",
    ),
)

NOTIFIER = Notifier(
    type=NodeType(
        name="notice",
        summary="Tells an approver.",
        schema={},
        parse=lambda own: own,
        templates=lambda _config: (),
        begin=_only_queued,
        execute=execute,
    ),
    retry=RETRY,
    timeout=TIMEOUT,
    count=lambda config: len(config.channels),
    templates=lambda config: tuple(channel.settings for channel in config.channels),
    handlers=lambda config: tuple(channel.handler for channel in config.channels if channel.handler is not None),
    write=write,
)
