"""``spec/blind-index.md``: the hash, its transforms, and the further kinds."""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Any

from tests.reference.notation import Refused, pae, text
from tests.reference.payload import Typed

UNSUPPORTED = "UnsupportedValueError"
Place = tuple[str, str, str]
"""Tenant, table, field."""


def normalised(transform: str, value: Typed) -> bytes:
    """The value as the transform has it."""
    kind, inner = value["type"], value.get("value")
    if transform.startswith("prefix/"):
        _, length, further = transform.split("/", 2)
        if kind != "text":
            raise Refused(UNSUPPORTED)
        return normalised(further, value).decode()[: int(length)].encode()
    if transform in ("casefold", "digits"):
        if kind != "text":
            raise Refused(UNSUPPORTED)
        text(inner, UNSUPPORTED)
        if transform == "casefold":
            folded = unicodedata.normalize("NFD", inner).casefold()
            return unicodedata.normalize("NFC", folded).encode()
        return "".join(
            str(unicodedata.decimal(each)) for each in inner if each.isdecimal()
        ).encode()
    return _exact(kind, inner)


def _exact(kind: str, inner: Any) -> bytes:
    if kind in ("bytes", "uuid"):
        return bytes.fromhex(inner.replace("-", ""))
    if kind == "bool":
        return b"true" if inner else b"false"
    if kind in ("text", "integer", "date"):
        return text(inner, UNSUPPORTED)
    raise Refused(UNSUPPORTED)


def compute(
    key: bytes, key_version: int, place: Place, value: Typed, kind: tuple[str, int]
) -> bytes | None:
    """The index of a value by transform and bits: what stands in the column."""
    transform, bits = kind
    if not 1 <= bits <= 256 or not 1 <= key_version <= 65535:
        raise Refused("BlindIndexError")
    if value["type"] == "null":
        return None
    value_bytes = normalised(transform, value)
    return _head(key_version) + truncated(key, place, transform, bits, value_bytes)


def ngrams(
    key: bytes, key_version: int, place: Place, value: str | None, kind: tuple[str, int, int]
) -> bytes | None:
    """The index of the n-grams of a text by transform, size and bits."""
    transform, size, bits = kind
    if value is None:
        return None
    whole = normalised(transform, {"type": "text", "value": value}).decode()
    pieces = {whole[at : at + size].encode() for at in range(len(whole) - size + 1)}
    name = f"ngram/{size}/{transform}"
    hashes = sorted({truncated(key, place, name, bits, piece) for piece in pieces})
    return _head(key_version) + b"".join(hashes)


def bucket(transform: str, value: Typed) -> int:
    """The number of the bucket in which a value lies, from the name of the transform."""
    _, scheme, rule = transform.split("/", 2)
    kind, position = value["type"], _position(value["type"], value["value"])
    if scheme == "boundaries":
        return sum(_position(kind, each) <= position for each in rule.split(","))
    return position // (int(rule[:-2]) if rule.endswith("us") else Fraction(rule))


def truncated(key: bytes, place: Place, transform: str, bits: int, value: bytes) -> bytes:
    """Steps 4 and 5."""
    names = [text(name, "BlindIndexError") for name in (*place, transform)]
    digest = hmac.new(key, pae([b"assay index v1", *names, value]), hashlib.sha256).digest()
    kept = bytearray(digest[: -(-bits // 8)])
    if bits % 8:
        kept[-1] &= 0xFF << (8 - bits % 8) & 0xFF
    return bytes(kept)


def _head(key_version: int) -> bytes:
    return b"\x01" + key_version.to_bytes(2, "big")


def _position(kind: str, spelled: str) -> Fraction:
    """Numbers as they are; a date and a moment in microseconds since what they count from."""
    if kind == "date":
        return Fraction(date.fromisoformat(spelled).toordinal() * 86_400 * 10**6)
    if kind == "moment":
        moment = datetime.fromisoformat(spelled)
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        since = aware - datetime(1970, 1, 1, tzinfo=UTC)
        return Fraction((since.days * 86_400 + since.seconds) * 10**6 + since.microseconds)
    return Fraction(spelled)
