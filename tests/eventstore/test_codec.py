"""Events to bytes and back: round trips, upcasters, payloads, encryption."""

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

import msgspec
import pytest
from eventsourcing.cipher import AESCipher
from eventsourcing.compressor import ZlibCompressor
from eventsourcing.utils import Environment
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, Struct

from eventstore.codec import Codec, Stored, codec_settings_from
from eventstore.errors import Undecodable, Unusable
from eventstore.payloads import MARK

ONE = UUID(int=1)
KEY = AESCipher.create_key(16)


class Happened(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Every kind of field."""

    NAME: ClassVar[str] = "Happened"
    VERSION: ClassVar[int] = 3

    text: str = ""
    number: int = 0
    at: datetime | None = None
    tags: tuple[str, ...] = ()
    value: Raw
    maybe: Raw | None = None


class Explicit(Struct, frozen=True):
    """None is stored as null here, so null and None are the same."""

    NAME: ClassVar[str] = "Explicit"
    VERSION: ClassVar[int] = 1

    maybe: Raw | None
    other: Raw | None = None


def cipher() -> AESCipher:
    return AESCipher(Environment(env={"CIPHER_KEY": KEY}))


CODECS = {
    "plain": Codec([Happened, Explicit], payload_threshold_bytes=40),
    "compressed": Codec([Happened, Explicit], payload_threshold_bytes=40, compressor=ZlibCompressor()),
    "encrypted": Codec([Happened, Explicit], payload_threshold_bytes=40, cipher=cipher()),
    "both": Codec([Happened, Explicit], payload_threshold_bytes=40, compressor=ZlibCompressor(), cipher=cipher()),
}

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["$ref", "$deleted", "a", "bytes"]), inner)
    ),
    max_leaves=12,
)
RAW = JSON.map(lambda value: Raw(msgspec.json.encode(value)))
HAPPENED = st.builds(
    Happened,
    text=st.text(),
    number=st.integers(-(2**60), 2**60),
    at=st.none() | st.datetimes(timezones=st.just(UTC)),
    tags=st.lists(st.text(), max_size=3).map(tuple),
    value=RAW,
    maybe=st.none() | RAW,
)


def stored(topic: str, state: bytes) -> Stored:
    return Stored(ONE, 4, 99, topic, state)


def there_and_back(codec: Codec, event: Struct, *, payloads: dict[str, bytes] | None = None) -> Any:
    kept: dict[str, bytes] = {} if payloads is None else payloads
    opened = codec.open([stored(*codec.encode(event, kept))])
    assert set(opened.wanted) >= set(kept) or payloads is not None
    return opened.events({key: kept[key] for key in opened.wanted if key in kept})[0].event


@pytest.mark.parametrize("name", CODECS)
@given(event=HAPPENED)
def test_what_is_encoded_is_decoded(name: str, event: Happened) -> None:
    assert there_and_back(CODECS[name], event) == event


def test_the_stored_form_is_the_name_and_plain_json() -> None:
    event = Happened(text="a", value=Raw(b'{"x":1}'))
    assert CODECS["plain"].encode(event, {}) == ("Happened/3", b'{"text":"a","value":{"x":1}}')


def test_null_and_none_are_two_values_where_none_is_left_out() -> None:
    null = Happened(value=Raw(b"1"), maybe=Raw(b"null"))
    assert there_and_back(CODECS["plain"], null) == null
    assert there_and_back(CODECS["plain"], Happened(value=Raw(b"1"))).maybe is None


def test_null_and_none_are_one_value_where_none_is_stored() -> None:
    assert there_and_back(CODECS["plain"], Explicit(None)) == Explicit(None)
    assert there_and_back(CODECS["plain"], Explicit(Raw(b"[1]"), Raw(b"2"))) == Explicit(Raw(b"[1]"), Raw(b"2"))


def test_a_large_value_moves_out_and_leaves_a_preview() -> None:
    payloads: dict[str, bytes] = {}
    text = '"' + "ä" * 100 + '"'
    _, state = CODECS["plain"].encode(Happened(value=Raw(text), maybe=Raw(b"1")), payloads)
    fields = msgspec.json.decode(state)
    ((payload_hash, data),) = payloads.items()
    assert data == text.encode()
    assert fields == {"value": {"$ref": payload_hash, "bytes": 202, "preview": text[:80]}, "maybe": 1}


def test_a_value_at_the_threshold_stays() -> None:
    payloads: dict[str, bytes] = {}
    for size in (40, 41):
        CODECS["plain"].encode(Happened(value=Raw(b'"' + b"x" * (size - 2) + b'"')), payloads)
    assert [len(data) for data in payloads.values()] == [41]


@pytest.mark.parametrize(
    "text",
    ['{"$ref":1}', '{"$ref":"' + "0" * 64 + '","bytes":1,"preview":"x"}', '{"$refuse":1}', '{"$ref" : {"$ref":2}}'],
)
def test_a_users_value_that_looks_like_a_reference_is_kept_apart(text: str) -> None:
    payloads: dict[str, bytes] = {}
    for event in (Happened(value=Raw(text)), Happened(value=Raw(b"1"), maybe=Raw(text))):
        assert there_and_back(CODECS["plain"], event, payloads=payloads) == event
    assert text.startswith(MARK.decode()) == (text.encode() in payloads.values())


def test_a_reference_inside_a_value_is_the_users() -> None:
    event = Happened(text='{"$ref":"x"}', value=Raw(b'[{"$ref":"' + b"0" * 24 + b'"}]'))
    payloads: dict[str, bytes] = {}
    assert there_and_back(CODECS["plain"], event, payloads=payloads) == event
    assert payloads == {}


def test_a_deleted_payload_reads_as_a_tombstone() -> None:
    payloads: dict[str, bytes] = {}
    codec = CODECS["both"]
    opened = codec.open([stored(*codec.encode(Happened(value=Raw(b'"' + b"x" * 98 + b'"')), payloads))])
    (payload_hash,) = payloads
    event = opened.events({payload_hash: None})[0].event
    expected = {"$deleted": payload_hash, "bytes": 100, "preview": '"' + "x" * 79}
    assert msgspec.json.decode(event.value) == expected


def test_a_payload_that_is_not_there_is_an_error_that_says_where() -> None:
    codec = CODECS["plain"]
    opened = codec.open([stored(*codec.encode(Happened(value=Raw(b'"' + b"x" * 98 + b'"')), {}))])
    with pytest.raises(
        Undecodable, match=r"event 4 of execution .* \(position 99, topic 'Happened/3'\): payload [0-9a-f]{64}"
    ):
        opened.events({})


def test_secrets_are_not_readable_when_encrypted() -> None:
    payloads: dict[str, bytes] = {}
    _, state = CODECS["encrypted"].encode(Happened(text="secret", value=Raw(b'"secret' + b"x" * 100 + b'"')), payloads)
    assert b"secret" not in state
    assert all(b"secret" not in data for data in payloads.values())


def test_another_key_is_an_error_that_says_where() -> None:
    row = stored(*CODECS["encrypted"].encode(Happened(value=Raw(b"1")), {}))
    other = Codec([Happened], cipher=AESCipher(Environment(env={"CIPHER_KEY": AESCipher.create_key(16)})))
    with pytest.raises(Undecodable, match=r"position 99.*cannot decrypt"):
        other.open([row])


def renamed(fields: dict[str, Any]) -> dict[str, Any]:
    return {"value": fields.pop("result"), **fields}


def with_tags(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "tags": [fields["value"]["kind"]]}


UPCASTING = Codec([Happened], {("Happened", 1): renamed, ("Happened", 2): with_tags})


def test_upcasters_lead_in_a_chain_to_the_current_version() -> None:
    expected = Happened(text="a", value=Raw(b'{"kind":"k"}'), tags=("k",))
    for topic, state in (
        ("Happened/1", b'{"text":"a","result":{"kind":"k"}}'),
        ("Happened/2", b'{"text":"a","value":{"kind":"k"}}'),
    ):
        assert UPCASTING.open([stored(topic, state)]).events()[0].event == expected


def test_upcasters_see_through_payloads() -> None:
    state = b'{"result":{"$ref":"' + b"0" * 64 + b'","bytes":12,"preview":"\\"x"}}'
    opened = UPCASTING.open([stored("Happened/1", state)])
    assert opened.wanted == ["0" * 64]
    assert opened.events({"0" * 64: b'{"kind":"k"}'})[0].event.tags == ("k",)


@pytest.mark.parametrize(
    ("topic", "state", "message"),
    [
        ("Unheard/1", b"{}", "unknown event name"),
        ("nonsense", b"{}", "unknown event name"),
        ("Happened/x", b"{}", "unknown event name"),
        ("Happened/4", b"{}", "version 4 cannot be read, this program knows version 3"),
        ("Happened/0", b"{}", "version 0 cannot be read"),
        ("Happened/3", b"{}", "missing required field `value`"),
        ("Happened/3", b'{"value":', "truncated"),
        ("Happened/3", b'{"value":1,"number":"x"}', "Expected `int`"),
        ("Happened/2", b"[1]", "Expected `object`"),
        ("Happened/2", b'{"value":{}}', r"upcaster Happened/2 failed: KeyError\('kind'\)"),
    ],
)
def test_what_cannot_be_read_says_where_and_why(topic: str, state: bytes, message: str) -> None:
    with pytest.raises(Undecodable, match=rf"event 4 of execution {ONE} \(position 99, topic '{topic}'\): .*{message}"):
        UPCASTING.open([stored(topic, state)]).events()


def test_a_codec_refuses_what_cannot_work() -> None:
    class Other(Struct):
        """Has the name of another."""

        NAME: ClassVar[str] = "Happened"
        VERSION: ClassVar[int] = 1

    with pytest.raises(ValueError, match="same NAME"):
        Codec([Happened, Other])
    with pytest.raises(ValueError, match="upcaster Happened/3 leads to no"):
        Codec([Happened], {("Happened", 3): renamed})
    with pytest.raises(ValueError, match="upcaster Unheard/1 leads to no"):
        Codec([Happened], {("Unheard", 1): renamed})
    with pytest.raises(TypeError, match="Explicit is not an event type"):
        Codec([Happened]).encode(Explicit(None), {})


def test_settings_are_those_of_the_library() -> None:
    assert codec_settings_from({}) == (None, None)
    settings = codec_settings_from({"CIPHER_KEY": KEY, "COMPRESSOR_TOPIC": "eventsourcing.compressor:ZlibCompressor"})
    assert isinstance(settings.cipher, AESCipher)
    assert isinstance(settings.compressor, ZlibCompressor)
    by_module = codec_settings_from(
        {"CIPHER_TOPIC": "eventsourcing.cipher:AESCipher", "CIPHER_KEY": KEY, "COMPRESSOR_TOPIC": "zlib"}
    )
    codec = Codec([Happened], compressor=by_module.compressor, cipher=by_module.cipher)
    event = Happened(value=Raw(b"1"), at=datetime.now(UTC) - timedelta(days=1))
    assert there_and_back(codec, event) == event


@pytest.mark.parametrize(
    "settings",
    [
        {"CIPHER_TOPIC": "eventsourcing.cipher:AESCipher"},
        {"CIPHER_KEY": b64encode(b"short").decode()},
        {"COMPRESSOR_TOPIC": "no.such:Thing"},
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(Unusable, match="CIPHER_KEY"):
        codec_settings_from(settings)


def test_what_we_encode_the_library_can_decrypt() -> None:
    codec = CODECS["both"]
    _, state = codec.encode(Happened(text="a", value=Raw(b"1")), {})
    assert ZlibCompressor().decompress(cipher().decrypt(state)) == b'{"text":"a","value":1}'


def test_msgspec_takes_only_null_for_an_optional_raw() -> None:
    """Why the codec decodes through a twin type; when this fails, the twin can go."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"maybe":1}', type=Explicit)
