"""Webhook deliveries signed as their senders would: the other side of triggers/signatures. Pure."""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

from triggers.signatures import GitHub, Hmac, Slack, StandardWebhooks, Stripe, Unsigned

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from triggers.signatures import Scheme


def signed_headers(scheme: Scheme, body: bytes, *, now: datetime, delivery_id: str) -> Mapping[str, str]:
    """Return the headers that make a delivery genuine: signature, time and id. Names are in lower case."""
    time = str(int(now.timestamp()))
    match scheme:
        case StandardWebhooks():
            key = b64decode(scheme.secrets[0].removeprefix("whsec_"))
            signature = b64encode(_mac(key, f"{delivery_id}.{time}.".encode() + body)).decode()
            return {"webhook-id": delivery_id, "webhook-timestamp": time, "webhook-signature": f"v1,{signature}"}
        case GitHub():
            signature = _mac(scheme.secrets[0].encode(), body).hex()
            return {"x-github-delivery": delivery_id, "x-hub-signature-256": f"sha256={signature}"}
        case Stripe():
            signature = _mac(scheme.secrets[0].encode(), f"{time}.".encode() + body).hex()
            return {"stripe-signature": f"t={time},v1={signature}"}
        case Slack():
            signature = _mac(scheme.secrets[0].encode(), f"v0:{time}:".encode() + body).hex()
            return {"x-slack-request-timestamp": time, "x-slack-signature": f"v0={signature}"}
        case Hmac():
            mac = _mac(scheme.secrets[0].encode(), body, scheme.algorithm)
            signature = b64encode(mac).decode() if scheme.encoding == "base64" else mac.hex()
            return {"idempotency-key": delivery_id, scheme.header.lower(): scheme.prefix + signature}
        case Unsigned():
            return {"idempotency-key": delivery_id}


def _mac(key: bytes, signed: bytes, algorithm: str = "sha256") -> bytes:
    return hmac.digest(key, signed, algorithm)
