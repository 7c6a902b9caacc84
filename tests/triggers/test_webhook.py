"""Genuine deliveries become messages, others are refused. The vectors are from the senders' documentation."""

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers.errors import Refused
from triggers.message import Inbound
from triggers.signatures import GitHub, Hmac, Scheme, Slack, StandardWebhooks, Stripe, Unsigned, verify
from triggers.webhook import WebhookSettings, accept

SVIX_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SVIX_BODY = b'{"test": 2432232314}'
SVIX_HEADERS = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
SVIX_TIME = datetime.fromtimestamp(1614265330, UTC)
GITHUB_SECRET = "It's a Secret to Everybody"
GITHUB_BODY = b"Hello, World!"
GITHUB_HEADERS = {"x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}
SLACK_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
SLACK_BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar"
    b"&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack"
    b".com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0"
    b"bc887a14d10d2c447fce8b6703c"
)
SLACK_HEADERS = {
    "x-slack-request-timestamp": "1531420618",
    "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
}
SLACK_TIME = datetime.fromtimestamp(1531420618, UTC)
STRIPE_BODY = b'{"id": "evt_1", "object": "event"}'
STRIPE_TIME = datetime.fromtimestamp(1492774577, UTC)


def stripe_headers(secret: str, *more: str) -> dict[str, str]:
    signature = hmac.new(secret.encode(), b"1492774577." + STRIPE_BODY, hashlib.sha256).hexdigest()
    return {"stripe-signature": ",".join(["t=1492774577", *more, f"v1={signature}", "v0=6ffbb59b2300aae63f27"])}


GENUINE = [
    pytest.param(StandardWebhooks(secret=SVIX_SECRET), SVIX_HEADERS, SVIX_BODY, SVIX_TIME, id="standard-webhooks"),
    pytest.param(GitHub(secret=GITHUB_SECRET), GITHUB_HEADERS, GITHUB_BODY, SVIX_TIME, id="github"),
    pytest.param(Slack(secret=SLACK_SECRET), SLACK_HEADERS, SLACK_BODY, SLACK_TIME, id="slack"),
    pytest.param(Stripe(secret="whsec_s"), stripe_headers("whsec_s"), STRIPE_BODY, STRIPE_TIME, id="stripe"),
    pytest.param(
        Hmac(secret="key", header="X-Signature"),
        {"x-signature": "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8"},
        b"The quick brown fox jumps over the lazy dog",
        SVIX_TIME,
        id="hmac",
    ),
]
TIMED = [case for case in GENUINE if case.id in ("standard-webhooks", "slack", "stripe")]


def with_secret(scheme: Scheme, *secrets: str) -> Scheme:
    return msgspec.structs.replace(scheme, secret=list(secrets))


@pytest.mark.parametrize(("scheme", "headers", "body", "now"), GENUINE)
def test_a_genuine_delivery(scheme: Scheme, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
    verify(scheme, headers, body, now)


@pytest.mark.parametrize(("scheme", "headers", "body", "now"), GENUINE)
def test_a_changed_body(scheme: Scheme, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
    with pytest.raises(Refused, match="signature does not match") as caught:
        verify(scheme, headers, body + b" ", now)
    assert caught.value.status == 401


@pytest.mark.parametrize(("scheme", "headers", "body", "now"), GENUINE)
def test_without_any_one_header(scheme: Scheme, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
    for name in headers:
        rest = {other: value for other, value in headers.items() if other != name}
        with pytest.raises(Refused, match=f"header {name} is missing"):
            verify(scheme, rest, body, now)


@pytest.mark.parametrize(("scheme", "headers", "body", "now"), TIMED)
@pytest.mark.parametrize("seconds", [-301, 301])
def test_a_delivery_too_far_from_now(
    scheme: Scheme, headers: Mapping[str, str], body: bytes, now: datetime, seconds: int
) -> None:
    verify(scheme, headers, body, now + timedelta(seconds=seconds * 300 / 301))
    with pytest.raises(Refused, match="too old or too new"):
        verify(scheme, headers, body, now + timedelta(seconds=seconds))


@pytest.mark.parametrize(("scheme", "headers", "body", "now"), GENUINE)
def test_while_a_secret_is_being_changed_both_work(
    scheme: Any, headers: Mapping[str, str], body: bytes, now: datetime
) -> None:
    other = "whsec_" + b64encode(b"another secret").decode()
    verify(with_secret(scheme, other, scheme.secret), headers, body, now)
    with pytest.raises(Refused, match="signature does not match"):
        verify(with_secret(scheme, other), headers, body, now)


@pytest.mark.parametrize("timestamp", ["", "now", "-1", "1e9", "9" * 40, "١٦١٤٢٦٥٣٣٠", "253402300800000"])
def test_a_timestamp_that_is_none(timestamp: str) -> None:
    with pytest.raises(Refused, match="timestamp"):
        verify(
            StandardWebhooks(secret=SVIX_SECRET), {**SVIX_HEADERS, "webhook-timestamp": timestamp}, SVIX_BODY, SVIX_TIME
        )


def test_one_of_several_signatures_is_enough() -> None:
    several = "v1,AAAA v2,xyz " + SVIX_HEADERS["webhook-signature"]
    verify(StandardWebhooks(secret=SVIX_SECRET), {**SVIX_HEADERS, "webhook-signature": several}, SVIX_BODY, SVIX_TIME)
    verify(Stripe(secret="whsec_s"), stripe_headers("whsec_s", "v1=00"), STRIPE_BODY, STRIPE_TIME)


def test_only_version_one_of_a_signature_counts() -> None:
    signature = SVIX_HEADERS["webhook-signature"].removeprefix("v1,")
    for other in (f"v2,{signature}", signature):
        with pytest.raises(Refused, match="does not match"):
            verify(
                StandardWebhooks(secret=SVIX_SECRET), {**SVIX_HEADERS, "webhook-signature": other}, SVIX_BODY, SVIX_TIME
            )


@pytest.mark.parametrize(("algorithm", "encoding"), [("sha1", "hex"), ("sha384", "base64"), ("sha512", "base64")])
def test_plain_hmac_in_its_variants(algorithm: Any, encoding: Any) -> None:
    digest = hmac.new(b"key", b"body", algorithm).digest()
    given = digest.hex() if encoding == "hex" else b64encode(digest).decode()
    scheme = Hmac(secret="key", header="X-Sig", algorithm=algorithm, encoding=encoding, prefix="sig=")
    verify(scheme, {"x-sig": f"sig={given}"}, b"body", SVIX_TIME)
    with pytest.raises(Refused):
        verify(scheme, {"x-sig": given}, b"body", SVIX_TIME)


@given(st.sampled_from(GENUINE), st.text(), st.binary())
def test_no_signature_made_up_is_accepted(case: Any, text: str, body: bytes) -> None:
    scheme, headers, _, now = case.values
    made_up = {name: value if "id" in name or "timestamp" in name else text for name, value in headers.items()}
    with pytest.raises(Refused):
        verify(scheme, made_up, body, now)


@pytest.mark.parametrize(
    "settings",
    [
        {"scheme": "github", "secret": ""},
        {"scheme": "github", "secret": []},
        {"scheme": "github", "secret": ["a", ""]},
        {"scheme": "standard-webhooks", "secret": "whsec_not base64"},
        {"scheme": "gitlab", "secret": "a"},
        {"scheme": "github", "secret": "a", "tolerance": 3},
        {},
    ],
)
def test_settings_that_would_let_anybody_in_or_nobody(settings: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"path": "orders", "verify": settings}, WebhookSettings)


def test_settings_show_no_secret() -> None:
    settings = msgspec.convert({"path": "orders", "verify": {"scheme": "github", "secret": "hush"}}, WebhookSettings)
    assert "hush" not in repr(settings)


DELIVERY = UUID("00000000-0000-4000-8000-000000000001")


def accepted(scheme: Scheme, headers: dict[str, str], body: bytes, now: datetime, **settings: Any) -> Inbound:
    return accept(
        "shop/hook",
        WebhookSettings(path="orders", verify=scheme, **settings),
        headers=headers,
        body=body,
        now=now,
        delivery_id=DELIVERY,
    )


def test_a_delivery_becomes_a_message() -> None:
    headers = {**{name.title(): value for name, value in SVIX_HEADERS.items()}, "Content-Type": "application/json"}
    message = accepted(StandardWebhooks(secret=SVIX_SECRET), headers, SVIX_BODY, SVIX_TIME)
    assert message == Inbound(
        trigger="shop/hook",
        source="webhook:orders",
        identity="msg_p5jXN8AQM9LWM0D4loKWxJek",
        body=SVIX_BODY,
        headers={**SVIX_HEADERS, "content-type": "application/json"},
        content_type="application/json",
        received_at=SVIX_TIME,
    )


@pytest.mark.parametrize(
    ("scheme", "headers", "body", "settings", "identity"),
    [
        (GitHub(secret=GITHUB_SECRET), {**GITHUB_HEADERS, "X-GitHub-Delivery": "d1"}, GITHUB_BODY, {}, "d1"),
        (Stripe(secret="s", tolerance_s=9e9), stripe_headers("s"), STRIPE_BODY, {}, "evt_1"),
        (Unsigned(), {"Idempotency-Key": "i1"}, b"{}", {}, "i1"),
        (Unsigned(), {"X-Id": "x1", "Idempotency-Key": "i1"}, b"{}", {"identity": "X-Id"}, "x1"),
        (Unsigned(), {}, b"{}", {}, str(DELIVERY)),
        (Unsigned(), {}, b"{}", {"identity": "X-Id"}, str(DELIVERY)),
    ],
)
def test_what_identifies_a_delivery(
    scheme: Scheme, headers: dict[str, str], body: bytes, settings: dict[str, Any], identity: str
) -> None:
    assert accepted(scheme, headers, body, SVIX_TIME, **settings).identity == identity


def test_a_slack_event_is_identified_by_its_event_id() -> None:
    body = b'{"event_id": "Ev1"}'
    signature = hmac.new(b"s", b"v0:1614265330:" + body, hashlib.sha256).hexdigest()
    headers = {"x-slack-request-timestamp": "1614265330", "x-slack-signature": f"v0={signature}"}
    assert accepted(Slack(secret="s"), headers, body, SVIX_TIME).identity == "Ev1"


def test_a_body_over_the_limit_is_refused_before_anything_else() -> None:
    with pytest.raises(Refused, match="larger than 4 bytes") as caught:
        accepted(GitHub(secret="s"), {}, b"12345", SVIX_TIME, max_body_bytes=4)
    assert caught.value.status == 413
