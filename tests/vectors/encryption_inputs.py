"""What the vectors of the encryption formats are made from: keys, randomness, values with types."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from msgspec.msgpack import Ext

from assay.core import DataKeyClass
from assay.keys import DataKey, UnknownDataKeyError, data_key_id

OBJECT_ID = bytes.fromhex("6745c0de8f3a4b5c6d7e8f90")
ROW = UUID("018f4e5a-7d2c-7b61-9c41-2f3a4b5c6d7e")


def stream(label: str) -> Callable[[int], bytes]:
    """Bytes that depend on the label alone, as a source of randomness."""
    position = 0

    def take(count: int) -> bytes:
        nonlocal position
        position += count
        return hashlib.shake_128(label.encode()).digest(position)[-count:]

    return take


def key_of(owner: str, key_class: DataKeyClass, version: int = 1) -> DataKey:
    """The data key of an owner in all vectors."""
    material = stream(f"assay vectors {owner} {key_class.value} {version}")(32)
    return DataKey(owner, key_class, version, data_key_id(material), material)


class FixedKeys:
    """A keyring with the data keys of the vectors."""

    def current(self, owner: str, key_class: DataKeyClass) -> DataKey:
        """The only data key."""
        return key_of(owner, key_class)

    def by_id(self, owner: str, key_class: DataKeyClass, key_id: bytes) -> DataKey:
        """The only data key, when it is the wanted one."""
        key = key_of(owner, key_class)
        if key.key_id != key_id:
            raise UnknownDataKeyError("expected another id")
        return key


def _moment(value: datetime) -> str:
    zone = value.tzinfo
    return f"{value.isoformat()}[{zone.key}]" if isinstance(zone, ZoneInfo) else value.isoformat()


_TYPED: dict[type, tuple[str, Callable[[Any], Any]]] = {
    bool: ("bool", bool),
    int: ("integer", str),
    float: ("float", float),
    str: ("text", str),
    bytes: ("bytes", bytes.hex),
    UUID: ("uuid", str),
    Decimal: ("decimal", str),
    datetime: ("moment", _moment),
    date: ("date", date.isoformat),
    time: ("time", time.isoformat),
    list: ("list", lambda items: [to_typed(item) for item in items]),
    Ext: ("extension", lambda ext: [ext.code, bytes(ext.data).hex()]),
    dict: ("map", lambda items: {name: to_typed(item) for name, item in items.items()}),
}


def to_typed(value: Any) -> dict[str, Any]:
    """A value as JSON that keeps its type."""
    if value is None:
        return {"type": "null"}
    name, write = _TYPED[type(value)]
    return {"type": name, "value": write(value)}


def from_typed(typed: dict[str, Any]) -> Any:
    """What `to_typed` wrote."""
    value = typed.get("value")
    kind = typed["type"]
    if kind == "list":
        return [from_typed(item) for item in value]
    if kind == "map":
        return {name: from_typed(item) for name, item in value.items()}
    if kind == "moment":
        text, _, zone = value.partition("[")
        moment = datetime.fromisoformat(text)
        return moment.astimezone(ZoneInfo(zone[:-1])) if zone else moment
    read: dict[str, Callable[[Any], Any]] = {
        "null": lambda _: None,
        "extension": lambda said: Ext(said[0], bytes.fromhex(said[1])),
        "integer": int,
        "bytes": bytes.fromhex,
        "uuid": UUID,
        "decimal": Decimal,
        "date": date.fromisoformat,
        "time": time.fromisoformat,
    }
    return read.get(kind, lambda same: same)(value)


def plaintext_of(size: int) -> bytes:
    """The plaintext of an object of a size: byte i is i mod 251."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]
