"""The codec of our events, as the settings want it.

Comes from: daemon/settings. Goes to: eventstore/store, by way of daemon/main and daemon/cli.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core.errors import Misconfigured
from daemon.core.events import EVENT_TYPES, UPCASTERS
from daemon.core.personal import COUNTED, PERSONAL_TEXTS
from daemon.core.problems import Problem
from eventstore.codec import Codec, codec_settings_from
from eventstore.sealing import Personal

if TYPE_CHECKING:
    from daemon.settings import Settings


def codec_of(settings: Settings) -> Codec:
    """Return the codec. Raises Misconfigured for compression or encryption that cannot work."""
    try:
        sealing = codec_settings_from(settings.store.codec_settings())
    except Exception as error:  # the eventsourcing library raises what it likes
        hint = "see compressor_topic, cipher_topic and cipher_key in [store]"
        raise Misconfigured(
            [Problem(message=f"[store] events cannot be encrypted or compressed: {error}", hint=hint)]
        ) from error
    return Codec(
        EVENT_TYPES,
        UPCASTERS,
        payload_threshold_bytes=settings.limits.payload_threshold_bytes,
        compressor=sealing.compressor,
        cipher=settings.encryption.at_rest or sealing.cipher,
        keyring=settings.encryption.keyring,
        personal=Personal(PERSONAL_TEXTS, COUNTED),
    )
