"""Event structs to stored form and back: topic `NAME/VERSION`, state the JSON of the fields, compressed, encrypted.

An event type is a msgspec struct with the class attributes `NAME` and `VERSION`. Its top-level fields of type
`msgspec.Raw` (or `Raw | None`) may move out to `payloads`; everything else stays in the event.

Comes from: `log.Append`. Goes to: `memory`, `sqlite`, `postgres`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import msgspec
from eventsourcing.popo import POPOFactory
from eventsourcing.utils import Environment
from msgspec import Raw, Struct

from eventstore.at_rest import AtRest
from eventstore.errors import Undecodable, Unusable
from eventstore.log import Recorded, Verbatim
from eventstore.packing import unpacked
from eventstore.payloads import MARK, is_reference, put_back, refer, references_in
from eventstore.sealing import SEALED, Personal, filled, holes_in, key_of

if TYPE_CHECKING:
    from uuid import UUID

    from msgspec.structs import FieldInfo

    from eventstore.keyring import DataKey, Keyring
    from eventstore.sealing import Holes

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""Fields of one version to fields of the next; pure."""

NO_PAYLOADS: Mapping[str, bytes | None] = {}
NO_KEYS: Mapping[str, bytes | None] = {}
_decode_raws = msgspec.json.Decoder(dict[str, Raw]).decode


class Compressor(Protocol):
    """The part of `eventsourcing.persistence.Compressor` used here."""

    def compress(self, data: bytes) -> bytes:
        """Return the data compressed."""

    def decompress(self, data: bytes) -> bytes:
        """Return the data as it was."""


class Cipher(Protocol):
    """The part of `eventsourcing.persistence.Cipher` used here."""

    def encrypt(self, plaintext: bytes) -> bytes:
        """Return the text encrypted."""

    def decrypt(self, ciphertext: bytes) -> bytes:
        """Return the plain text; ValueError when it is damaged or the key is wrong."""


class Stored(NamedTuple):
    """One row of the log, before decoding."""

    execution_id: UUID
    version: int
    position: int
    topic: str
    state: bytes

    def __str__(self) -> str:
        return f"event {self.version} of execution {self.execution_id} (position {self.position}, topic {self.topic!r})"


class CodecSettings(NamedTuple):
    """How stored bytes are compressed and encrypted."""

    compressor: Compressor | None
    cipher: Cipher | None


class _Field(NamedTuple):
    name: str
    get: Callable[[Any], Raw | None]


class _Type(NamedTuple):
    topic: str
    fields: tuple[_Field, ...]
    decode: Callable[[bytes], Any]


def codec_settings_from(settings: Mapping[str, str]) -> CodecSettings:
    """Read `COMPRESSOR_TOPIC`, `CIPHER_TOPIC` and `CIPHER_KEY` as the eventsourcing library does.

    Raises Unusable for a topic that does not resolve or a key that does not fit.
    """
    try:
        factory = POPOFactory(Environment(env=dict(settings)))
        return CodecSettings(factory.compressor(), factory.cipher())
    except Exception as error:
        raise Unusable(f"COMPRESSOR_TOPIC, CIPHER_TOPIC or CIPHER_KEY: {error}") from error


class Codec:
    """Encodes and decodes the given event types. Stateless after construction; safe in threads."""

    def __init__(
        self,
        events: Sequence[type[Struct]],
        upcasters: Mapping[tuple[str, int], Upcaster] | None = None,
        *,
        payload_threshold_bytes: int = 65536,
        compressor: Compressor | None = None,
        cipher: Cipher | None = None,
        keyring: Keyring | None = None,
        personal: Personal = Personal(),  # noqa: B008  a constant
    ) -> None:
        """Raise ValueError for two types of one name, and for an upcaster that leads nowhere.

        `keyring` unwraps the keys of sealed events; without one these cannot be read.
        """
        self.keyring = keyring
        self.at_rest = cipher.ids if isinstance(cipher, AtRest) else ()
        """The ids of the keys by which the whole store is encrypted; the first encrypts."""
        self._encode = msgspec.json.Encoder().encode
        self._threshold = payload_threshold_bytes
        self._compressor = compressor
        self._cipher = cipher
        self._sealed = compressor is not None or cipher is not None
        self._types = {cls: _describe(cls) for cls in events}
        self._topics = {described.topic: described for described in self._types.values()}
        self._current = {
            cast("Any", cls).NAME: (cast("Any", cls).VERSION, described) for cls, described in self._types.items()
        }
        self._upcasters = dict(upcasters or {})
        self._holes: dict[type[Struct], Holes | None] = {}
        self._personal = personal
        if len(self._current) != len(self._types):
            raise ValueError("two event types have the same NAME")
        for name, version in self._upcasters:
            if name not in self._current or version >= self._current[name][0]:
                raise ValueError(f"upcaster {name}/{version} leads to no known event type")

    def encode(self, event: Struct, payloads: dict[str, bytes], uses: list[str] | None = None) -> tuple[str, bytes]:
        """Return topic and stored bytes; what moved out is added to `payloads`, ready to store.

        `uses` is given the hash of every payload that the event refers to.

        Raises TypeError for a type the codec was not given.
        """
        described = self._types.get(type(event))
        if described is None:
            return self._verbatim(event, payloads, uses)
        data = self._encode(event)
        if len(data) > self._threshold or MARK in data:
            data = self._encode(self._move_out(event, described, payloads, uses))
        return described.topic, self.seal(data) if self._sealed else data

    def encode_all(
        self, events: Iterable[Struct], payloads: dict[str, bytes], uses: list[tuple[int, str]] | None = None
    ) -> tuple[list[str], list[bytes]]:
        """Return the topics and the stored bytes of many events, as `encode` gives them one by one.

        `uses` is given the place of each event that refers to a payload, and that payload's hash.
        """
        types, encode, threshold, plain = self._types, self._encode, self._threshold, not self._sealed
        topics: list[str] = []
        states: list[bytes] = []
        for event in events:
            described = types.get(type(event))
            data = b"" if described is None else encode(event)
            if described is not None and plain and len(data) <= threshold and MARK not in data:
                topic = described.topic
            else:
                used: list[str] = []
                topic, data = self.encode(event, payloads, used)
                if uses is not None:
                    uses += [(len(topics), key) for key in used]
            topics.append(topic)
            states.append(data)
        return topics, states

    def encode_sealed(self, event: Struct, key: DataKey) -> Verbatim:
        """Return the event in its stored form, its values sealed with this key."""
        if isinstance(event, Verbatim):
            return event
        cls = type(event)
        if cls not in self._holes:
            self._holes[cls] = holes_in(cls, self._personal)
        holes, topic, text = self._holes[cls], self._types[cls].topic, self._encode(event)
        return Verbatim(topic, text, {}) if holes is None else Verbatim(topic, *holes.seal(text, key, self._threshold))

    def _verbatim(self, event: Struct, payloads: dict[str, bytes], uses: list[str] | None) -> tuple[str, bytes]:
        if not isinstance(event, Verbatim):
            raise TypeError(f"{type(event).__qualname__} is not an event type of this codec")
        payloads.update({key: self.seal(data) for key, data in event.payloads.items()})
        if uses is not None:
            uses += references_in(event.state)
        return event.topic, self.seal(event.state)

    def _move_out(self, event: Struct, described: _Type, payloads: dict[str, bytes], uses: list[str] | None) -> Struct:
        references: dict[str, Any] = {}
        for field in described.fields:
            value = field.get(event)
            if value is not None and (len(value) > self._threshold or _is_marked(value)):
                payload_hash, data, references[field.name] = refer(value)
                payloads[payload_hash] = self.seal(data)
                if uses is not None:
                    uses.append(payload_hash)
        return msgspec.structs.replace(event, **references)

    def seal(self, data: bytes) -> bytes:
        """Compress, then encrypt, as the settings say."""
        if self._compressor is not None:
            data = self._compressor.compress(data)
        return data if self._cipher is None else self._cipher.encrypt(data)

    def unseal(self, data: bytes) -> bytes:
        """Undo `seal`. Raises Undecodable when the bytes are damaged or the settings are others."""
        if not self._sealed:
            return data
        try:
            if self._cipher is not None:
                data = self._cipher.decrypt(data)
            return data if self._compressor is None else self._compressor.decompress(data)
        except Exception as error:
            raise Undecodable(f"cannot decrypt or decompress: {error}") from error

    def open(self, rows: Sequence[Stored]) -> Opened:
        """Take rows as read; `Opened` tells which payloads are wanted and gives the events."""
        return Opened(self, rows)

    def decode(
        self,
        row: Stored,
        data: bytes,
        payloads: Mapping[str, bytes | None],
        keys: Mapping[str, bytes | None] | None = NO_KEYS,
    ) -> Any:
        """Return the event of unsealed data. Raises Undecodable.

        `keys` are wrapped ones, by id; None for one that was destroyed, or in place of all: what is sealed reads as
        forgotten then.
        """
        described, marked = self._topics.get(row.topic), MARK in data
        try:
            if marked and data.startswith(SEALED):
                data = self._fill(data, payloads, keys)
                marked, payloads = False, NO_PAYLOADS
            if described is None:
                return self._upcast(row.topic, data, payloads)
            event = described.decode(data)
            if marked:
                return _restore(event, described, payloads)
        except (Undecodable, msgspec.MsgspecError) as error:
            raise Undecodable(f"{row}: {error}") from error
        return event

    def _fill(
        self, data: bytes, payloads: Mapping[str, bytes | None], keys: Mapping[str, bytes | None] | None
    ) -> bytes:
        key_id = key_of(data) or ""
        if keys is not None and key_id not in keys:
            raise Undecodable(f"the key {key_id} is not in the store")
        wrapped = None if keys is None else keys[key_id]
        key = None if wrapped is None else self._unwrap(key_id, wrapped)
        return filled(data, key_id, key, payloads)

    def _unwrap(self, key_id: str, wrapped: bytes) -> DataKey:
        if self.keyring is None:
            raise Undecodable(f"the key {key_id} is wrapped, and there are no [encryption] keys to unwrap it with")
        return self.keyring.unwrap(key_id, bytes(wrapped))

    def _upcast(self, topic: str, data: bytes, payloads: Mapping[str, bytes | None]) -> Any:
        name, _, number = topic.rpartition("/")
        if name not in self._current or not number.isdecimal():
            raise Undecodable("unknown event name")
        current, described = self._current[name]
        raws = _decode_raws(data)
        whole = {key: put_back(raw, payloads) if is_reference(bytes(raw)) else raw for key, raw in raws.items()}
        fields = {key: msgspec.json.decode(raw) for key, raw in whole.items()}
        for version in range(int(number), current):
            upcaster = self._upcasters.get((name, version))
            if upcaster is None:
                break
            try:
                fields = upcaster(fields)
            except Exception as error:
                raise Undecodable(f"upcaster {name}/{version} failed: {error!r}") from error
        else:
            if int(number) < current:
                return described.decode(msgspec.json.encode(fields))
        raise Undecodable(f"version {number} cannot be read, this program knows version {current}")


class Opened:
    """Rows on their way to events: unsealed, payloads still missing."""

    def __init__(self, codec: Codec, rows: Sequence[Stored]) -> None:
        self._codec = codec
        self._rows: list[tuple[Stored, bytes]] = []
        wanted: set[str] = set()
        keys: set[str] = set()
        for row in rows:
            try:
                data = codec.unseal(row.state)
            except Undecodable as error:
                raise Undecodable(f"{row}: {error}") from error
            if MARK in data:
                wanted.update(references_in(data))
                keys.update(filter(None, (key_of(data),)))
            self._rows.append((row, data))
        self.wanted: list[str] = sorted(wanted)
        """Hashes of the payloads to fetch, for the whole read at once."""
        self.keys: list[str] = sorted(keys)
        """Ids of the keys that sealed events need, likewise."""

    def events(
        self, payloads: Mapping[str, bytes | None] = NO_PAYLOADS, keys: Mapping[str, bytes | None] = NO_KEYS
    ) -> list[Recorded]:
        """Return the events; `payloads` has stored bytes by hash, None for a deleted one. Raises Undecodable.

        See `Codec.decode` for `keys`.
        """
        unseal, decode = self._codec.unseal, self._codec.decode
        plain = {key: None if data is None else unpacked(unseal(data)) for key, data in payloads.items()}
        return [
            Recorded(row.execution_id, row.version, row.position, decode(row, data, plain, keys))
            for row, data in self._rows
        ]


def _describe(cls: type[Struct]) -> _Type:
    named = cast("Any", cls)
    fields = msgspec.structs.fields(cls)
    moving = tuple(_Field(info.name, attrgetter(info.name)) for info in fields if info.type in (Raw, Raw | None))
    optional = [info for info in fields if info.type == Raw | None]
    decode = _decoder_with_optional(cls, optional) if optional else msgspec.json.Decoder(cls).decode
    return _Type(f"{named.NAME}/{named.VERSION}", moving, decode)


def _decoder_with_optional(cls: type[Struct], optional: Sequence[FieldInfo]) -> Callable[[bytes], Any]:
    """Decode a type with fields `Raw | None`, for which msgspec itself takes nothing but null.

    A twin of the type has plain `Raw` there. Where None is left out of the stored form, null is a value of its own.
    """
    config = cls.__struct_config__
    absent = {info.name: None if info.required else info.default for info in optional}
    null_is_none = {name for name, default in absent.items() if default is not None or not config.omit_defaults}
    twin = msgspec.defstruct(
        cls.__name__,
        [_twin_field(info, is_optional=info in optional) for info in msgspec.structs.fields(cls)],
        kw_only=True,
        tag=config.tag,
        tag_field=config.tag_field,
    )
    decode_twin = msgspec.json.Decoder(twin).decode

    def decode(data: bytes) -> Any:
        values = msgspec.structs.asdict(decode_twin(data))
        for name, default in absent.items():
            value = values[name]
            if not value:
                values[name] = default
            elif name in null_is_none and bytes(value) == b"null":
                values[name] = None
        return cls(**values)

    return decode


def _twin_field(info: FieldInfo, *, is_optional: bool) -> tuple[str, Any, Any]:
    if is_optional:
        return info.name, Raw, msgspec.field(name=info.encode_name, default=Raw(b""))
    if info.default is not msgspec.NODEFAULT:
        return info.name, info.type, msgspec.field(name=info.encode_name, default=info.default)
    if info.default_factory is not msgspec.NODEFAULT:
        return info.name, info.type, msgspec.field(name=info.encode_name, default_factory=info.default_factory)
    return info.name, info.type, msgspec.field(name=info.encode_name)


def _is_marked(value: Raw) -> bool:
    return memoryview(value)[: len(MARK)] == MARK


def _restore(event: Any, described: _Type, payloads: Mapping[str, bytes | None]) -> Any:
    values = ((field.name, field.get(event)) for field in described.fields)
    changes = {name: put_back(value, payloads) for name, value in values if value is not None and _is_marked(value)}
    return msgspec.structs.replace(event, **changes)
