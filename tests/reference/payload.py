"""``spec/row-envelope.md``, "Payload": MessagePack, its extensions, and padding."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from tests.reference.notation import Refused

Typed = dict[str, Any]
MALFORMED = "MalformedPayloadError"

_ZONE = r"[A-Za-z0-9+_-]+(?:/[A-Za-z0-9+_-]+)*"
_CLOCK = r"\d\d:\d\d:\d\d(?:\.\d{6})?"
_OFFSET = r"[+-]\d\d:\d\d(?::\d\d(?:\.\d{6})?)?"
_FORMS: dict[int, tuple[str, str]] = {
    2: ("decimal", r"-?(?:\d+(?:\.\d+)?(?:E[+-]\d+)?|s?NaN\d*|Infinity)"),
    3: ("date", r"\d{4}-\d\d-\d\d"),
    4: ("time", rf"{_CLOCK}(?:{_OFFSET})?"),
    5: ("moment", rf"\d{{4}}-\d\d-\d\dT{_CLOCK}"),
    6: ("moment", rf"\d{{4}}-\d\d-\d\dT{_CLOCK}{_OFFSET}(?:\[{_ZONE}\])?"),
}
"""Extensions whose bytes are text."""
_WRITTEN: dict[str, Callable[[str], str]] = {
    "decimal": lambda value: str(Decimal(value)),
    "date": lambda value: date.fromisoformat(value).isoformat(),
    "time": lambda value: time.fromisoformat(value).isoformat(),
    "moment": lambda value: datetime.fromisoformat(value.partition("[")[0]).isoformat(),
}
"""How a value of the form is spelled, which is its only spelling."""


def encode(fields: dict[str, Typed], *, padded: bool) -> bytes:
    """The payload of some fields, as short as MessagePack can be."""
    plain = _map({name: _write(value) for name, value in fields.items()})
    if not padded:
        return plain
    wanted = _padme(len(_with_filler(fields, 0)))
    while True:
        for header in (2, 3, 5):  # of bin 8, bin 16 and bin 32
            filler = wanted - len(_with_filler(fields, 0)) + 2 - header
            whole = _with_filler(fields, filler) if filler >= 0 else b""
            if len(whole) == wanted:
                return whole
        wanted = _padme(wanted + 1)


def decode(payload: bytes) -> dict[str, Typed]:
    """The fields of a payload, without padding."""
    reader = _Reader(payload)
    try:
        found = reader.value()
    except (IndexError, UnicodeDecodeError, struct.error, RecursionError):
        raise Refused(MALFORMED) from None
    if found["type"] != "map" or reader.at != len(payload):
        raise Refused(MALFORMED)
    fields: dict[str, Typed] = found["value"]
    fields.pop("", None)
    return fields


def _with_filler(fields: dict[str, Typed], length: int) -> bytes:
    entries = {name: _write(value) for name, value in fields.items()}
    return _map({**entries, "": _write({"type": "bytes", "value": bytes(length).hex()})})


def _padme(length: int) -> int:
    exponent = length.bit_length() - 1
    unit = 2 ** (exponent - (exponent.bit_length() - 1) - 1)
    return -(-length // unit) * unit


def _map(entries: dict[str, bytes]) -> bytes:
    head = _head(len(entries), fixed=(0x80, 15), wider=((0xDE, 2), (0xDF, 4)))
    return head + b"".join(_write({"type": "text", "value": n}) + e for n, e in entries.items())


def _write(typed: Typed) -> bytes:
    kind, value = typed["type"], typed.get("value")
    return _WRITERS[kind](value) if kind in _WRITERS else _write_extension(kind, value)


def _write_text(value: str) -> bytes:
    raw = value.encode()
    return _head(len(raw), (0xA0, 31), ((0xD9, 1), (0xDA, 2), (0xDB, 4))) + raw


def _write_bytes(value: str) -> bytes:
    raw = bytes.fromhex(value)
    return _head(len(raw), None, ((0xC4, 1), (0xC5, 2), (0xC6, 4))) + raw


def _write_list(value: list[Typed]) -> bytes:
    return _head(len(value), (0x90, 15), ((0xDC, 2), (0xDD, 4))) + b"".join(map(_write, value))


_WRITERS: dict[str, Callable[[Any], bytes]] = {
    "null": lambda _: b"\xc0",
    "bool": lambda value: b"\xc3" if value else b"\xc2",
    "integer": lambda value: _write_integer(int(value)),
    "float": lambda value: b"\xcb" + struct.pack(">d", value),
    "text": _write_text,
    "bytes": _write_bytes,
    "list": _write_list,
    "map": lambda value: _map({name: _write(item) for name, item in value.items()}),
}


def _write_extension(kind: str, value: Any) -> bytes:
    if kind == "uuid":
        return _extension(1, bytes.fromhex(value.replace("-", "")))
    if kind == "extension":
        return _extension(value[0], bytes.fromhex(value[1]))
    if kind == "moment":
        return _extension(6 if re.search(r"T.*[+-]", value) else 5, value.encode())
    return _extension({"decimal": 2, "date": 3, "time": 4}[kind], value.encode())


def _write_integer(value: int) -> bytes:
    if 0 <= value < 128 or -32 <= value < 0:
        return struct.pack(">b", value) if value < 0 else bytes([value])
    for head, form in ((0xCC, ">B"), (0xCD, ">H"), (0xCE, ">I"), (0xCF, ">Q")):
        if 0 <= value < 256 ** struct.calcsize(form):
            return bytes([head]) + struct.pack(form, value)
    for head, form in ((0xD0, ">b"), (0xD1, ">h"), (0xD2, ">i"), (0xD3, ">q")):
        half = 256 ** struct.calcsize(form) // 2
        if -half <= value < half:
            return bytes([head]) + struct.pack(form, value)
    return _extension(7, _twos_complement(value))


def _twos_complement(value: int) -> bytes:
    length = 1
    while not -(256**length // 2) <= value < 256**length // 2:
        length += 1
    return value.to_bytes(length, "big", signed=True)


def _extension(number: int, data: bytes) -> bytes:
    fixed = {1: 0xD4, 2: 0xD5, 4: 0xD6, 8: 0xD7, 16: 0xD8}.get(len(data))
    head = bytes([fixed]) if fixed else _head(len(data), None, ((0xC7, 1), (0xC8, 2), (0xC9, 4)))
    return head + struct.pack(">b", number) + data


def _head(length: int, fixed: tuple[int, int] | None, wider: tuple[tuple[int, int], ...]) -> bytes:
    if fixed and length <= fixed[1]:
        return bytes([fixed[0] | length])
    for head, size in wider:
        if length < 256**size:
            return bytes([head]) + length.to_bytes(size, "big")
    raise ValueError("longer than MessagePack has it")


_SIZED = {
    0xC4: ("bytes", 1),
    0xC5: ("bytes", 2),
    0xC6: ("bytes", 4),
    0xD9: ("text", 1),
    0xDA: ("text", 2),
    0xDB: ("text", 4),
}
_NUMBERS = {
    0xCA: ("float", ">f"),
    0xCB: ("float", ">d"),
    **{
        head: ("integer", form)
        for head, form in zip(range(0xCC, 0xD0), (">B", ">H", ">I", ">Q"), strict=True)
    },
    **{
        head: ("integer", form)
        for head, form in zip(range(0xD0, 0xD4), (">b", ">h", ">i", ">q"), strict=True)
    },
}


class _Reader:
    """MessagePack, from left to right."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, length: int) -> bytes:
        if self.at + length > len(self.data):
            raise IndexError
        self.at += length
        return self.data[self.at - length : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def value(self) -> Typed:
        head = self.take(1)[0]
        if head < 0x80 or head >= 0xE0:
            return _typed("integer", str(head if head < 0x80 else head - 256))
        if head < 0x90:
            return self.map(head & 15)
        if head < 0xA0:
            return self.list(head & 15)
        if head < 0xC0:
            return _typed("text", self.take(head & 31).decode())
        return self.wider(head)

    def wider(self, head: int) -> Typed:
        if head == 0xC0:
            return {"type": "null"}
        if head in (0xC2, 0xC3):
            return _typed("bool", head == 0xC3)
        if head in _SIZED:
            kind, size = _SIZED[head]
            raw = self.take(self.number(size))
            return _typed(kind, raw.hex() if kind == "bytes" else raw.decode())
        if head in _NUMBERS:
            kind, form = _NUMBERS[head]
            (number,) = struct.unpack(form, self.take(struct.calcsize(form)))
            return _typed(kind, str(number) if kind == "integer" else number)
        return self.compound(head)

    def compound(self, head: int) -> Typed:
        if head in (0xDC, 0xDD):
            return self.list(self.number(2 if head == 0xDC else 4))
        if head in (0xDE, 0xDF):
            return self.map(self.number(2 if head == 0xDE else 4))
        length = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}.get(head)
        if length is None:
            if head not in (0xC7, 0xC8, 0xC9):  # 0xC1 is nothing
                raise Refused(MALFORMED)
            length = self.number({0xC7: 1, 0xC8: 2, 0xC9: 4}[head])
        (number,) = struct.unpack(">b", self.take(1))
        return _read_extension(number, self.take(length))

    def list(self, count: int) -> Typed:
        if count > len(self.data):
            raise IndexError
        return _typed("list", [self.value() for _ in range(count)])

    def map(self, count: int) -> Typed:
        if count > len(self.data):
            raise IndexError
        pairs = [(self.value(), self.value()) for _ in range(count)]
        if any(name["type"] != "text" for name, _ in pairs):
            return _typed("map of other keys", pairs)
        return _typed("map", {name["value"]: value for name, value in pairs})


def _read_extension(number: int, data: bytes) -> Typed:
    if number == 1 and len(data) == 16:
        raw = data.hex()
        return _typed("uuid", "-".join((raw[:8], raw[8:12], raw[12:16], raw[16:20], raw[20:])))
    if number == 7:
        value = int.from_bytes(data, "big", signed=True)
        if not -(2**63) <= value < 2**64 and _twos_complement(value) == data:
            return _typed("integer", str(value))
        raise Refused(MALFORMED)
    if number not in range(1, 8):
        return _typed("extension", [number, data.hex()])
    if number in _FORMS and data.isascii():
        kind, form = _FORMS[number]
        spelled = data.decode()
        if re.fullmatch(form, spelled) and _spelled_as_written(kind, spelled):
            return _typed(kind, spelled)
    raise Refused(MALFORMED)


def _spelled_as_written(kind: str, spelled: str) -> bool:
    clock, _, zone = spelled.partition("[")
    try:
        if zone:
            ZoneInfo(zone[:-1])
        return _WRITTEN[kind](spelled) == clock
    except (ValueError, ArithmeticError, LookupError, OSError):
        return False


def _typed(kind: str, value: Any) -> Typed:
    return {"type": kind, "value": value}
