"""Rows that are refused: envelopes that do not open, keys and versions that cannot be written."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tests.vectors.encryption_inputs import OBJECT_ID, ROW, key_of, stream, to_typed

from assay.core import DataKeyClass
from assay.encryption import EnvelopeSealer, RowAddress, encode_row_id
from assay.keys import DataKey


def refused_rows(key: DataKey, good: bytes) -> list[dict[str, Any]]:
    """Changes to the first case; what does not stand there is as it is in the case."""
    address = RowAddress("tenant-1", "documents", "default", encode_row_id(ROW))
    sealer = EnvelopeSealer(random=stream("assay vectors refused"))
    other = key_of("tenant-2", DataKeyClass.ROWS)

    def authentic(payload: bytes) -> str:
        return sealer.seal_payload(key, address.associated_data(), payload).hex()

    def flipped(position: int) -> str:
        return (good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :]).hex()

    return [
        {"name": "empty", "envelope": "", "error": "TruncatedEnvelopeError"},
        {"name": "header-only", "envelope": good[:42].hex(), "error": "TruncatedEnvelopeError"},
        {"name": "57-bytes", "envelope": good[:57].hex(), "error": "TruncatedEnvelopeError"},
        {"name": "version-0", "envelope": flipped(0), "error": "UnknownVersionError"},
        {"name": "suite-0", "envelope": flipped(1), "error": "UnknownSuiteError"},
        {"name": "other-key-id", "envelope": flipped(2), "error": "WrongKeyError"},
        {"name": "segment-bit", "envelope": flipped(18), "error": "TamperedEnvelopeError"},
        {"name": "message-bit", "envelope": flipped(41), "error": "TamperedEnvelopeError"},
        {"name": "ciphertext-bit", "envelope": flipped(42), "error": "TamperedEnvelopeError"},
        {"name": "tag-bit", "envelope": flipped(-1 % len(good)), "error": "TamperedEnvelopeError"},
        {"name": "cut-off", "envelope": good[:-1].hex(), "error": "TamperedEnvelopeError"},
        {"name": "extended", "envelope": good.hex() + "00", "error": "TamperedEnvelopeError"},
        {
            "name": "other-row",
            "primary_key": [to_typed(UUID(int=1))],
            "error": "TamperedEnvelopeError",
        },
        {"name": "other-kind", "primary_key": [to_typed(1)], "error": "TamperedEnvelopeError"},
        {
            "name": "short-object-id",
            "primary_key": [to_typed(OBJECT_ID[:-1])],
            "error": "RowIdError",
        },
        {"name": "other-table", "table": "uploads", "error": "TamperedEnvelopeError"},
        {"name": "other-group", "group": "content", "error": "TamperedEnvelopeError"},
        {"name": "other-owner", "owner": "tenant-2", "error": "WrongKeyError"},
        {
            "name": "other-owner's-envelope",
            "envelope": EnvelopeSealer(random=stream("assay vectors tenant-2"))
            .seal(other, address, {"text": "x"})
            .hex(),
            "error": "WrongKeyError",
        },
        {"name": "no-payload", "envelope": authentic(b""), "error": "MalformedPayloadError"},
        {"name": "no-map", "envelope": authentic(b"\x01"), "error": "MalformedPayloadError"},
        {
            "name": "trailing-bytes",
            "envelope": authentic(b"\x80\x00"),
            "error": "MalformedPayloadError",
        },
        {
            "name": "number-as-name",
            "envelope": authentic(b"\x81\x01\x01"),
            "error": "MalformedPayloadError",
        },
        {
            "name": "short-uuid",
            "envelope": authentic(b"\x81\xa1a\xd4\x01\x00"),
            "error": "MalformedPayloadError",
        },
        {
            "name": "date-in-another-spelling",
            "envelope": authentic(b"\x81\xa1a\xc7\x08\x03" + b"20000101"),
            "error": "MalformedPayloadError",
        },
        {
            "name": "small-integer-as-extension",
            "envelope": authentic(b"\x81\xa1a\xd4\x07\x01"),
            "error": "MalformedPayloadError",
        },
        *(
            {
                "name": name,
                "envelope": authentic(b"\x81\xa1a" + value),
                "error": "MalformedPayloadError",
            }
            for name, value in MALFORMED_VALUES
        ),
    ]


def _extension(number: int, data: bytes) -> bytes:
    return bytes([0xC7, len(data), number]) + data


MALFORMED_VALUES = (
    ("text-that-is-no-utf-8", b"\xa1\xff"),
    ("a-byte-that-means-nothing", b"\xc1"),
    ("value-cut-off", b"\xa5abc"),
    ("list-cut-off", b"\xdd\xff\xff\xff\xff"),
    ("long-uuid", _extension(1, bytes(17))),
    ("decimal-with-exponent-in-small-letters", _extension(2, b"1e5")),
    ("decimal-with-space", _extension(2, b" 1")),
    ("decimal-of-nothing", _extension(2, b"")),
    ("decimal-beyond-ascii", _extension(2, "\u0661".encode())),
    ("date-that-is-none", _extension(3, b"2026-02-29")),
    ("time-without-seconds", _extension(4, b"12:00")),
    ("time-with-superfluous-zeros", _extension(4, b"12:00:00.000000")),
    ("moment-with-zone-as-one-without", _extension(5, b"2026-01-02T03:04:05+00:00")),
    ("moment-with-space", _extension(5, b"2026-01-02 03:04:05")),
    ("moment-without-zone-as-one-with", _extension(6, b"2026-01-02T03:04:05")),
    ("utc-as-z", _extension(6, b"2026-01-02T03:04:05Z")),
    ("zone-that-is-none", _extension(6, b"2026-01-02T03:04:05+00:00[Nowhere/At-All]")),
    ("zone-that-does-not-end", _extension(6, b"2026-01-02T03:04:05+00:00[Europe/Berlin")),
    ("integer-of-nothing", _extension(7, b"")),
    ("integer-with-superfluous-bytes", _extension(7, bytes(1) + b"\x01" + bytes(9))),
)


def unwritable_rows() -> list[dict[str, Any]]:
    """Primary keys and versions under which nothing can be sealed."""
    refused: list[dict[str, Any]] = [
        {"name": name, "primary_key": [to_typed(each) for each in key], "error": "RowIdError"}
        for name, key in (
            ("no-column", ()),
            ("null", (None,)),
            ("truth-value", (True,)),
            ("real-number", (1.0,)),
            ("bytes-that-are-no-object-id", (bytes(16),)),
            ("null-in-a-composite-key", (7, None)),
        )
    ]
    versions = (("version-0", 0), ("version-below-0", -1), ("version-2-to-the-63", 2**63))
    return refused + [
        {"name": name, "version": version, "error": "RowVersionError"} for name, version in versions
    ]
