"""A webhook delivery becomes a message. No server here: the HTTP route calls `accept` and answers after the commit.

**Identity**, so that a delivery repeated by its sender starts nothing twice: the header named by `identity`; else what
the scheme's sender promises (`webhook-id`, `X-GitHub-Delivery`, the `id` of a Stripe event, the `event_id` of a Slack
event); else `Idempotency-Key`. A CloudEvent's source and id go before all of these (see `routing`), and `dedupe` before
everything. Where none is there each delivery is a message of its own, and a sender that repeats one after a lost answer
starts a second execution: such a webhook should have a `dedupe`.

Comes from: the HTTP route `/hooks/{path}`. Goes to: `routing`, by way of daemon/runtime/intake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from triggers.content import decode
from triggers.errors import Refused
from triggers.message import Inbound
from triggers.signatures import GitHub, Scheme, Slack, StandardWebhooks, Stripe, verify

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

TOO_LARGE = 413


class WebhookSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a definition says under `webhook:`; `secret` values are resolved before this is built."""

    path: str
    """The last part of the address: `/hooks/{path}`."""
    verify: Scheme
    """`{scheme: standard-webhooks | github | stripe | slack | hmac | none, secret: …}`."""
    identity: str | None = None
    """The header that identifies a delivery, where it is not the scheme's own."""
    max_body_bytes: int = 1024 * 1024


def accept(
    trigger: str,
    settings: WebhookSettings,
    *,
    headers: Mapping[str, str],
    body: bytes,
    now: datetime,
    delivery_id: UUID,
) -> Inbound:
    """Check a delivery and return it as a message. Header names may be in any case.

    `delivery_id` is a fresh random id, used when the delivery has none of its own. Raises `Refused`: 413 when it is too
    large (the server should stop reading at `max_body_bytes` + 1), 401 when it is not genuine.
    """
    if len(body) > settings.max_body_bytes:
        raise Refused(f"the body is larger than {settings.max_body_bytes} bytes", TOO_LARGE)
    lowered = {name.lower(): value for name, value in headers.items()}
    verify(settings.verify, lowered, body, now)
    content_type = lowered.get("content-type")
    return Inbound(
        trigger=trigger,
        source=f"webhook:{settings.path}",
        identity=_identity(settings, lowered, body, content_type) or str(delivery_id),
        body=body,
        headers=lowered,
        content_type=content_type,
        received_at=now,
    )


def _identity(
    settings: WebhookSettings, headers: Mapping[str, str], body: bytes, content_type: str | None
) -> str | None:
    if settings.identity is not None:
        return headers.get(settings.identity.lower())
    match settings.verify:
        case StandardWebhooks():
            own = headers.get("webhook-id")
        case GitHub():
            own = headers.get("x-github-delivery")
        case Stripe():
            own = _field(body, content_type, "id")
        case Slack():
            own = _field(body, content_type, "event_id")
        case _:
            own = None
    return own or headers.get("idempotency-key")


def _field(body: bytes, content_type: str | None, name: str) -> str | None:
    try:
        value: Any = decode(body, content_type).value
    except ValueError:
        return None
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, str) else None
