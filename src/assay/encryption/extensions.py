"""MessagePack extensions 1 to 7: values that MessagePack itself has no type for.

Specification: the table in ``spec/row-envelope.md``, "Payload".

Example:
    >>> from datetime import date
    >>> encode_extension(date(1815, 12, 10))
    Ext(code=3, data=b'1815-12-10')
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time, timezone
from decimal import Decimal
from typing import TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec.msgpack import Ext

from assay.encryption.errors import UnsupportedValueError

UUID_CODE = 1
DECIMAL_CODE = 2
DATE_CODE = 3
TIME_CODE = 4
MOMENT_CODE = 5
ZONED_MOMENT_CODE = 6
INTEGER_CODE = 7

T = TypeVar("T")

_SMALLEST_NATIVE, _LARGEST_NATIVE = -(2**63), 2**64 - 1
_ZONED = re.compile(r"([^\[\]]+)(?:\[([A-Za-z0-9_+\-/]+)\])?")


def encode_extension(value: object) -> Ext:
    """The extension for a value of exactly one of the extended types.

    Raises:
        UnsupportedValueError: another type, or a time zone that has no name.
    """
    encode = _ENCODERS.get(type(value))
    if encode is None:
        raise UnsupportedValueError(
            f"expected a type that can be sealed, found {type(value).__name__}; convert it to "
            "text, numbers, bytes, dates, UUID, Decimal, or lists and dicts of these"
        )
    return encode(value)


def decode_extension(code: int, data: memoryview) -> object:
    """The value of an extension; an unknown one comes back as `Ext`, so that it survives.

    Raises:
        ValueError: the bytes have another form than specified.
    """
    decode = _DECODERS.get(code)
    return Ext(code, bytes(data)) if decode is None else decode(bytes(data))


def _encode_moment(value: datetime) -> Ext:
    zone = value.tzinfo
    if zone is None:
        return Ext(MOMENT_CODE, value.isoformat().encode())
    text = value.isoformat()
    if type(zone) is ZoneInfo and zone.key is not None:
        return Ext(ZONED_MOMENT_CODE, f"{text}[{zone.key}]".encode())
    _refuse_named_offset(zone)
    return Ext(ZONED_MOMENT_CODE, text.encode())


def _encode_time(value: time) -> Ext:
    if value.tzinfo is not None:
        _refuse_named_offset(value.tzinfo)
    return Ext(TIME_CODE, value.isoformat().encode())


def _refuse_named_offset(zone: object) -> None:
    if type(zone) is timezone:
        offset = zone.utcoffset(None)
        if zone.tzname(None) == timezone(offset).tzname(None):
            return
    raise UnsupportedValueError(
        f"expected a time zone of zoneinfo.ZoneInfo with a key, or an unnamed fixed offset, found "
        f"{type(zone).__name__}, whose name would be lost; convert with astimezone()"
    )


def _encode_integer(value: int) -> Ext:
    size_bytes = (value if value >= 0 else ~value).bit_length() // 8 + 1
    return Ext(INTEGER_CODE, value.to_bytes(size_bytes, "big", signed=True))


def _decode_uuid(data: bytes) -> UUID:
    return UUID(bytes=data)


def _decode_decimal(data: bytes) -> Decimal:
    text = data.decode("ascii")
    return _same(Decimal(text), str, text)


def _decode_date(data: bytes) -> date:
    text = data.decode("ascii")
    return _same(date.fromisoformat(text), date.isoformat, text)


def _decode_time(data: bytes) -> time:
    text = data.decode("ascii")
    return _same(time.fromisoformat(text), time.isoformat, text)


def _decode_moment(data: bytes) -> datetime:
    text = data.decode("ascii")
    value = _same(datetime.fromisoformat(text), datetime.isoformat, text)
    if value.tzinfo is not None:
        raise ValueError("expected a moment without zone")
    return value


def _decode_zoned_moment(data: bytes) -> datetime:
    match = _ZONED.fullmatch(data.decode("ascii"))
    if match is None:
        raise ValueError("expected a moment with a zone in brackets")
    text, key = match.groups()
    fixed = _same(datetime.fromisoformat(text), datetime.isoformat, text)
    if fixed.tzinfo is None:
        raise ValueError("expected a moment with an offset")
    if key is None:
        return fixed
    try:
        zone = ZoneInfo(key)
    except (ZoneInfoNotFoundError, OSError) as exc:
        raise ValueError(
            "expected a known time zone, found none of its name; install tzdata"
        ) from exc
    for fold in (0, 1):
        local = fixed.replace(tzinfo=zone, fold=fold)
        if local.utcoffset() == fixed.utcoffset():
            return local
    return fixed.astimezone(zone)  # the zone's rules have changed: keep the instant


def _decode_integer(data: bytes) -> int:
    value = int.from_bytes(data, "big", signed=True)
    if _SMALLEST_NATIVE <= value <= _LARGEST_NATIVE or _encode_integer(value).data != data:
        raise ValueError("expected a large integer in its shortest form")
    return value


def _same(value: T, write: Callable[[T], str], text: str) -> T:
    if write(value) != text:
        raise ValueError("expected the one spelling of the specification")
    return value


_ENCODERS: dict[type, Callable[..., Ext]] = {
    UUID: lambda value: Ext(UUID_CODE, value.bytes),
    Decimal: lambda value: Ext(DECIMAL_CODE, str(value).encode()),
    date: lambda value: Ext(DATE_CODE, value.isoformat().encode()),
    time: _encode_time,
    datetime: _encode_moment,
    int: _encode_integer,
}

_DECODERS: dict[int, Callable[[bytes], object]] = {
    UUID_CODE: _decode_uuid,
    DECIMAL_CODE: _decode_decimal,
    DATE_CODE: _decode_date,
    TIME_CODE: _decode_time,
    MOMENT_CODE: _decode_moment,
    ZONED_MOMENT_CODE: _decode_zoned_moment,
    INTEGER_CODE: _decode_integer,
}
