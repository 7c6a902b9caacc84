"""What `publish` signs, triggers/signatures accepts, for every scheme."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from daemon.cli.signing import signed_headers
from triggers.errors import Refused
from triggers.signatures import Scheme, verify

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SCHEMES: list[dict[str, str]] = [
    {"scheme": "standard-webhooks", "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
    {"scheme": "github", "secret": "s1"},
    {"scheme": "stripe", "secret": "s2"},
    {"scheme": "slack", "secret": "s3"},
    {"scheme": "hmac", "secret": "s4", "header": "X-Signature", "algorithm": "sha512", "prefix": "sig="},
    {"scheme": "hmac", "secret": "s5", "header": "X-Signature", "encoding": "base64"},
    {"scheme": "none"},
]


@pytest.mark.parametrize("settings", SCHEMES, ids=lambda settings: settings["scheme"])
def test_a_signed_delivery_is_genuine_and_a_changed_one_is_not(settings: dict[str, str]) -> None:
    scheme = msgspec.convert(settings, Scheme)
    headers = signed_headers(scheme, b'{"a":1}', now=NOW, delivery_id="d-1")
    verify(scheme, headers, b'{"a":1}', NOW)
    if settings["scheme"] != "none":
        with pytest.raises(Refused):
            verify(scheme, headers, b'{"a":2}', NOW)
