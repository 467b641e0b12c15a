"""``spec/row-envelope.md``: row ids, associated data, sealing and opening."""

from __future__ import annotations

from typing import Any

from tests.reference.notation import Refused, key_id, pae, text, xaes_open, xaes_seal
from tests.reference.payload import MALFORMED, Typed, decode, encode

Place = tuple[str, str, str, bytes]
"""Tenant, table, group, row id."""


def row_id(columns: list[Typed]) -> bytes:
    """The row id of a primary key."""
    encoded = [_column(each["type"], each.get("value")) for each in columns]
    if not encoded:
        raise Refused("RowIdError")
    return encoded[0] if len(encoded) == 1 else pae(encoded)


def _column(kind: str, value: Any) -> bytes:
    if kind == "uuid":
        return bytes.fromhex(value.replace("-", ""))
    if kind == "integer":
        return value.encode()
    if kind == "text":
        return text(value, "RowIdError")
    if kind == "bytes" and len(value) == 24:
        return bytes.fromhex(value)
    raise Refused("RowIdError")


def associated_data(place: Place, *, versioned: bool) -> bytes:
    """Which row it is, and whether its table has versions."""
    label = b"assay versioned row v1" if versioned else b"assay row v1"
    names = [text(name, "RowIdError") for name in place[:3]]
    return pae([label, *names, place[3]])


def seal(
    key: bytes,
    place: Place,
    fields: dict[str, Typed],
    nonce: bytes,
    *,
    padded: bool = False,
    version: int | None = None,
) -> bytes:
    """Sealing, with the nonce that step 4 gave."""
    payload = encode(fields, padded=padded)
    if version is not None:
        if not 1 <= version < 2**63:
            raise Refused("RowVersionError")
        payload = version.to_bytes(8, "big") + payload
    associated = associated_data(place, versioned=version is not None)
    return b"\x01\x01" + key_id(key) + nonce + xaes_seal(key, nonce, payload, associated)


def open_envelope(
    key: bytes, place: Place, envelope: bytes, *, version: object = None, versioned: bool = False
) -> dict[str, Typed]:
    """Opening; `versioned` says whether the table has versions."""
    if len(envelope) < 58:  # 1
        raise Refused("TruncatedEnvelopeError")
    if envelope[0] != 0x01:  # 2
        raise Refused("UnknownVersionError")
    if envelope[1] != 0x01:  # 3
        raise Refused("UnknownSuiteError")
    if envelope[2:18] != key_id(key):  # 4
        raise Refused("WrongKeyError")
    nonce, sealed = envelope[18:42], envelope[42:]
    payload = xaes_open(key, nonce, sealed, associated_data(place, versioned=versioned))
    if payload is None:  # 7
        unversioned = associated_data(place, versioned=False)
        if versioned and xaes_open(key, nonce, sealed, unversioned) is not None:
            raise Refused("RolledBackEnvelopeError")
        raise Refused("TamperedEnvelopeError")
    if versioned:  # 8
        if len(payload) < 8:
            raise Refused(MALFORMED)
        if int.from_bytes(payload[:8], "big") != version:
            raise Refused("RolledBackEnvelopeError")
        payload = payload[8:]
    return decode(payload)  # 9
