"""Events whose values only one key makes readable: what happened stays in the clear, what was said does not.

A sealed event is its JSON with a hole in the place of each value, and all values encrypted beside it:
`{"$sealed":{"$ref":"key:ID","data":…},"address":"charge","output":{"$ref":0},…}`. Once the key is gone each hole reads
as `{"$forgotten": ID}`, a list of which the length counts as so many of these, and a text as `$forgotten:` with a name
that is the same for equal texts. So what is left still folds to the same structure.

Which fields hold values is known by their types: `msgspec.Raw`, and the texts and lists that `Personal` names.

Comes from: `codec`. Goes to: `keyring`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import msgspec.inspect as types
from msgspec import Raw

from eventstore.errors import Undecodable
from eventstore.payloads import REFERENCE, put_back, refer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from eventstore.keyring import DataKey

SEALED = b'{"$sealed":{"$ref":"key:'
"""How every sealed event begins."""
FORGOTTEN = "$forgotten"
_ALONE = b'{"$ref":"key:'
_HEAD = re.compile(rb'(?:\{"\$sealed":)?\{"\$ref":"key:([0-9a-f]{32})","data":"([A-Za-z0-9+/=]*)"\}')
_HOLE = re.compile(
    rb'\{"\$ref":(?:(?P<value>0)|\[(?P<count>\d+)\](?:,"of":(?P<many>' + REFERENCE + rb'))?|"~(?P<text>[0-9a-f]+)")\}'
    rb"|(?P<one>" + REFERENCE + rb")",
    re.DOTALL,
)
_NULL = Raw(b"null")
_EMPTY = Raw(b'""')

_encode = msgspec.json.Encoder().encode
_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode
_items_of = msgspec.json.Decoder(list[Raw]).decode


class Personal(NamedTuple):
    """Fields that hold values besides those of type Raw, as (class, field)."""

    texts: frozenset[tuple[str, str]] = frozenset()
    counted: frozenset[tuple[str, str]] = frozenset()
    """Values whose length, when they are lists, is part of what happened."""


class Holes:
    """Where the values are in events of one type; None for one that has none."""

    def __init__(self, take: Callable[[Raw, _Taking], Raw]) -> None:
        self._take = take

    def seal(self, text: bytes, key: DataKey, threshold: int) -> tuple[bytes, dict[str, bytes]]:
        """Return the event's JSON sealed, and the payloads that have moved out of it, sealed too.

        Text in which there is no value stays as it is.
        """
        taking = _Taking(key, threshold)
        rest = bytes(self._take(Raw(text), taking))
        if rest == text:
            return text, {}
        return b'{"$sealed":' + sealed(_encode(taking.values), key) + b"," + rest[1:], taking.payloads


class _Taking:
    """The values that were taken out of one event."""

    def __init__(self, key: DataKey, threshold: int) -> None:
        self._key = key
        self._threshold = threshold
        self.values: list[Raw] = []
        self.payloads: dict[str, bytes] = {}

    def value(self, value: Raw) -> Raw:
        if value == _NULL:
            return value
        return self._moved(value) or self._hole(value, b'{"$ref":0}')

    def counted(self, value: Raw) -> Raw:
        if not bytes(value).startswith(b"["):
            return self.value(value)
        count = b'{"$ref":[%d]' % len(_items_of(value))
        moved = self._moved(value)
        return self._hole(value, count + b"}") if moved is None else Raw(count + b',"of":' + bytes(moved) + b"}")

    def text(self, value: Raw) -> Raw:
        if value in (_NULL, _EMPTY):
            return value
        name = self._key.name(msgspec.json.decode(value, type=str))
        return self._hole(value, b'{"$ref":"~' + name.encode() + b'"}')

    def _moved(self, value: Raw) -> Raw | None:
        if len(value) <= self._threshold:
            return None
        payload_hash, data, reference = refer(Raw(sealed(bytes(value), self._key)))
        self.payloads[payload_hash] = data
        return reference

    def _hole(self, value: Raw, hole: bytes) -> Raw:
        self.values.append(value)
        return Raw(hole)


def sealed(plain: bytes, key: DataKey) -> bytes:
    """Return the text sealed, as JSON that names its key."""
    return _ALONE + key.id.encode() + b'","data":"' + key.seal(plain) + b'"}'


def is_sealed(data: bytes) -> bool:
    """Tell whether this is what `sealed` returns."""
    return data.startswith(_ALONE)


def key_of(data: bytes) -> str | None:
    """Return the id of the key that a sealed event, or text, needs; None for one that needs none."""
    found = _HEAD.match(data) if data.startswith((SEALED, _ALONE)) else None
    return None if found is None else found[1].decode()


def opened(data: bytes, key: DataKey) -> bytes:
    """Undo `sealed`. Raises Undecodable when it is damaged, or of another key."""
    found = _HEAD.fullmatch(data)
    if found is None:
        raise Undecodable("what was sealed is damaged")
    return key.open(found[2])


def filled(data: bytes, key_id: str, key: DataKey | None, payloads: Mapping[str, bytes | None]) -> bytes:
    """Return a sealed event's JSON with its values back in their places; without a key, with what stands for them.

    Raises Undecodable when it is damaged.
    """
    head = _HEAD.match(data)
    if head is None:
        raise Undecodable("what was sealed is damaged")
    values = iter(()) if key is None else iter(_items_of(key.open(head[2])))
    forgotten = b'{"%b":"%b"}' % (FORGOTTEN.encode(), key_id.encode())

    def fill(hole: re.Match[bytes]) -> bytes:
        reference = hole["one"] or hole["many"]
        if key is None:
            if hole["text"] is not None:
                return b'"%b:%b"' % (FORGOTTEN.encode(), hole["text"])
            return forgotten if hole["count"] is None else b"[" + b",".join([forgotten] * int(hole["count"])) + b"]"
        if reference is None:
            return _next(values)
        found = bytes(put_back(Raw(reference), payloads))
        return opened(found, key) if is_sealed(found) else found

    return b"{" + _HOLE.sub(fill, data[head.end() + 1 :])


def _next(values: Iterator[Raw]) -> bytes:
    value = next(values, None)
    if value is None:
        raise Undecodable("a value is missing of what was sealed")
    return bytes(value)


def holes_in(cls: type[msgspec.Struct], personal: Personal) -> Holes | None:
    """Return where events of this type have values; None when they have none."""
    take = _take_of(types.type_info(cls), personal)
    return None if take is None else Holes(take)


def _take_of(kind: types.Type, personal: Personal) -> Callable[[Raw, _Taking], Raw] | None:
    """Return what takes the values out of JSON of this type; None for a type that has none."""
    match kind:
        case types.RawType() | types.AnyType():
            return lambda value, taking: taking.value(value)
        case types.StructType(cls=cls, fields=fields):
            inside = {field.encode_name: _take_field(cls.__name__, field, personal) for field in fields}
            return _take_inside({name: take for name, take in inside.items() if take is not None})
        case types.UnionType(types=several):
            takes = [take for each in several if (take := _take_of(each, personal)) is not None]
            if len(takes) > 1:
                raise TypeError(f"{several}: one of them at most may have values")
            return takes[0] if takes else None
        case types.VarTupleType(item_type=item) | types.ListType(item_type=item):
            return _take_items(_take_of(item, personal))
        case types.DictType(value_type=item):
            return _take_values(_take_of(item, personal))
    return None


def _take_field(owner: str, field: types.Field, personal: Personal) -> Callable[[Raw, _Taking], Raw] | None:
    if (owner, field.name) in personal.texts:
        if isinstance(field.type, types.VarTupleType):
            return _take_items(lambda item, taking: taking.text(item) if bytes(item).startswith(b'"') else item)
        return lambda value, taking: taking.text(value)
    if (owner, field.name) in personal.counted:
        return lambda value, taking: taking.counted(value)
    return _take_of(field.type, personal)


def _take_inside(inside: Mapping[str, Callable[[Raw, _Taking], Raw]]) -> Callable[[Raw, _Taking], Raw] | None:
    def take(value: Raw, taking: _Taking) -> Raw:
        if value == _NULL:
            return value
        fields = _fields_of(value)
        return Raw(
            _encode({name: inside[name](each, taking) if name in inside else each for name, each in fields.items()})
        )

    return take if inside else None


def _take_items(item: Callable[[Raw, _Taking], Raw] | None) -> Callable[[Raw, _Taking], Raw] | None:
    if item is None:
        return None
    return lambda value, taking: (
        value if value == _NULL else Raw(_encode([item(each, taking) for each in _items_of(value)]))
    )


def _take_values(item: Callable[[Raw, _Taking], Raw] | None) -> Callable[[Raw, _Taking], Raw] | None:
    if item is None:
        return None
    return lambda value, taking: (
        value
        if value == _NULL
        else Raw(_encode({name: item(each, taking) for name, each in _fields_of(value).items()}))
    )
