"""Writes the vectors of the encryption formats, or checks that they are what it would write.

    python tests/vectors/generate_encryption_vectors.py            # write
    python tests/vectors/generate_encryption_vectors.py --check    # compare, exit 1 on a difference

Everything is deterministic: keys and nonces are SHAKE-128 streams of a label. The vectors of
XAES-256-GCM are those of https://c2sp.org/XAES-256-GCM; they are checked, not made.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from assay.core import DataKeyClass
from assay.encryption import (
    BlindIndex,
    EnvelopeSealer,
    FilePlace,
    RowAddress,
    Transform,
    casefold,
    digits,
    encode_payload,
    encode_row_id,
    exact,
    seal_object,
    wrap_file_key,
)
from assay.encryption.bucket_index import Buckets
from assay.encryption.index_kinds import prefix_of
from assay.encryption.ngram_index import Ngram
from assay.encryption.xaes import derive_key, seal_xaes
from assay.keys import DataKey, UnknownDataKeyError, data_key_id

FOLDER = Path(__file__).parent
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
        "integer": int,
        "bytes": bytes.fromhex,
        "uuid": UUID,
        "decimal": Decimal,
        "date": date.fromisoformat,
        "time": time.fromisoformat,
    }
    return read.get(kind, lambda same: same)(value)


def xaes_vectors() -> dict[str, Any]:
    """The vectors of the C2SP specification."""
    nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX"
    published = [
        (
            "msb-0",
            "01" * 32,
            "c8612c9ed53fe43e8e005b828a1631a0bbcb6ab2f46514ec4f439fcfd0fa969b",
            b"",
            "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271",
        ),
        (
            "msb-1",
            "03" * 32,
            "e9c621d4cdd9b11b00a6427ad7e559aeedd66b3857646677748f8ca796cb3fd8",
            b"c2sp.org/XAES-256-GCM",
            "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d",
        ),
    ]
    cases = []
    for name, key, derived, associated, ciphertext in published:
        material = bytes.fromhex(key)
        if derive_key(material, nonce[:12]).hex() != derived:
            raise ValueError(f"expected the published derived key of {name}, found another")
        if seal_xaes(material, nonce, b"XAES-256-GCM", associated).hex() != ciphertext:
            raise ValueError(f"expected the published ciphertext of {name}, found another")
        cases.append(
            {
                "name": name,
                "key": key,
                "nonce": nonce.hex(),
                "derived_key": derived,
                "plaintext": b"XAES-256-GCM".hex(),
                "associated_data": associated.hex(),
                "ciphertext": ciphertext,
            }
        )
    return {
        "specification": "https://c2sp.org/XAES-256-GCM",
        "cases": cases,
        "accumulated": {
            "iterations": 10_000,
            "shake_128": "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939",
        },
    }


OBJECT_ID = bytes.fromhex("6745c0de8f3a4b5c6d7e8f90")

ROW_CASES: list[tuple[str, tuple[Any, ...], str, bool, dict[str, Any]]] = [
    ("text", (ROW,), "default", False, {"owner_email": "ada@example.com", "text": "Dear Ada"}),
    ("no-fields", (7,), "default", False, {}),
    ("null", (-7,), "default", False, {"text": None}),
    ("text-key", ("räksmörgås",), "content", False, {"text": ""}),
    ("composite-key", (ROW, 7, "7"), "default", False, {"text": "x"}),
    (
        "scalars",
        (2**63,),
        "default",
        False,
        {
            "yes": True,
            "no": False,
            "small": -1,
            "large": 2**64 - 1,
            "float": -0.5,
            "bin": b"\0\xff",
        },
    ),
    (
        "big-integers",
        (1,),
        "default",
        False,
        {"over": 2**64, "under": -(2**63) - 1, "far": -(2**200)},
    ),
    (
        "extensions",
        (1,),
        "default",
        False,
        {
            "uuid": ROW,
            "decimal": Decimal("-12.340E+5"),
            "date": date(1815, 12, 10),
            "time": time(23, 59, 59, 999999),
            "time-offset": time(1, 2, 3, tzinfo=timezone(timedelta(hours=-3, minutes=-30))),
            "moment": datetime(2026, 1, 2, 3, 4, 5),  # noqa: DTZ001 - a moment without zone is meant
            "moment-utc": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
            "moment-zone": datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin")),
            "moment-fold": datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
        },
    ),
    (
        "nested",
        (1,),
        "default",
        False,
        {"map": {"a": [1, {"b": None}], "c": {"d": date(2000, 1, 1)}}, "list": []},
    ),
    ("padded", (ROW,), "default", True, {"text": "x" * 300}),
    ("object-id-key", (OBJECT_ID,), "default", False, {"text": "x"}),
    ("object-id-in-a-composite-key", (OBJECT_ID, 7), "default", False, {"text": "x"}),
]


def row_vectors() -> dict[str, Any]:
    """Row envelopes, and inputs that are refused."""
    key = key_of("tenant-1", DataKeyClass.ROWS)
    sealer = EnvelopeSealer(random=stream("assay vectors segment"))
    cases = []
    for name, primary_key, group, padded, fields in ROW_CASES:
        address = RowAddress("tenant-1", "documents", group, encode_row_id(*primary_key))
        payload = encode_payload(fields, padded=padded)
        cases.append(
            {
                "name": name,
                "owner": "tenant-1",
                "table": "documents",
                "group": group,
                "primary_key": [to_typed(value) for value in primary_key],
                "row_id": address.row_id.hex(),
                "associated_data": address.associated_data().hex(),
                "fields": {field: to_typed(value) for field, value in fields.items()},
                "padded": padded,
                "payload": payload.hex(),
                "envelope": sealer.seal(key, address, fields, padded=padded).hex(),
            }
        )
    return {
        "specification": "spec/row-envelope.md",
        "keys": [
            {"owner": owner, "key_id": each.key_id.hex(), "material": each.material.hex()}
            for owner in ("tenant-1", "tenant-2")
            for each in [key_of(owner, DataKeyClass.ROWS)]
        ],
        "segment": stream("assay vectors segment")(12).hex(),
        "cases": cases,
        "refused": refused_rows(key, bytes.fromhex(cases[0]["envelope"])),
        "versioned": versioned_rows(key, cases[0]),
    }


def versioned_rows(key: DataKey, unversioned: dict[str, Any]) -> dict[str, Any]:
    """Envelopes of a row with versions, and what is refused of the last of them."""
    sealer = EnvelopeSealer(random=stream("assay vectors versioned"))
    cases = []
    for version, fields in ((1, {"text": "one"}), (2, {"text": "two"}), (2**63 - 1, {})):
        row_id = encode_row_id(ROW)
        address = RowAddress("tenant-1", "documents", "default", row_id, version)
        cases.append(
            {
                "version": version,
                "associated_data": address.associated_data().hex(),
                "fields": {field: to_typed(value) for field, value in fields.items()},
                "sealed_payload": (version.to_bytes(8, "big") + encode_payload(fields)).hex(),
                "envelope": sealer.seal(key, address, fields).hex(),
            }
        )
    one, two, last = (each["envelope"] for each in cases)
    place = address.associated_data()
    return {
        "segment": stream("assay vectors versioned")(12).hex(),
        "place": {name: unversioned[name] for name in ("owner", "table", "group", "primary_key")},
        "cases": cases,
        "refused": [
            {"name": "older", "version": 2, "envelope": one, "error": "RolledBackEnvelopeError"},
            {"name": "newer", "version": 1, "envelope": two, "error": "RolledBackEnvelopeError"},
            {"name": "last", "version": 1, "envelope": last, "error": "RolledBackEnvelopeError"},
            {
                "name": "from-before-there-were-versions",
                "version": 1,
                "envelope": unversioned["envelope"],
                "error": "RolledBackEnvelopeError",
            },
            {
                "name": "versioned-where-there-are-none",
                "version": None,
                "envelope": one,
                "error": "TamperedEnvelopeError",
            },
            {
                "name": "no-version-in-it",
                "version": 1,
                "envelope": sealer.seal_payload(key, place, bytes(7)).hex(),
                "error": "MalformedPayloadError",
            },
            {
                "name": "no-payload-behind-it",
                "version": 1,
                "envelope": sealer.seal_payload(key, place, (1).to_bytes(8, "big")).hex(),
                "error": "MalformedPayloadError",
            },
        ],
    }


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
    ]


def index_vectors() -> dict[str, Any]:
    """Blind indexes, and values that are refused."""
    key = key_of("tenant-1", DataKeyClass.INDEXES)
    inputs: list[tuple[str, Transform, int, Any]] = [
        ("casefold", casefold, 128, "Ada@Example.com"),
        ("casefold-same", casefold, 128, "ada@EXAMPLE.COM"),
        ("casefold-sharp-s", casefold, 128, "Straße"),
        ("casefold-composed", casefold, 128, "\u00c5ngstr\u00f6m"),
        ("casefold-decomposed", casefold, 128, "A\u030angstro\u0308m"),
        ("exact-text", exact, 128, "Ada@Example.com"),
        ("exact-composed", exact, 128, "\u00e5"),
        ("exact-decomposed", exact, 128, "a\u030a"),
        ("exact-bytes", exact, 128, b"\x00\xff"),
        ("exact-integer", exact, 128, -42),
        ("exact-uuid", exact, 128, ROW),
        ("exact-date", exact, 128, date(1815, 12, 10)),
        ("exact-true", exact, 128, True),
        ("exact-false", exact, 128, False),
        ("prefix", prefix_of(casefold, 3), 32, "Lovelace"),
        ("prefix-same", prefix_of(casefold, 3), 32, "LOVE"),
        ("prefix-folded", prefix_of(casefold, 3), 32, "Stra\u00dfe"),
        ("prefix-beyond-latin", prefix_of(exact, 2), 32, "\U0001f511\U0001f512\U0001f513"),
        ("prefix-of-short-text", prefix_of(casefold, 3), 32, "Lo"),
        ("digits", digits, 128, "+49 (30) 901820"),
        ("digits-arabic-indic", digits, 128, "\u0664\u0669-30-901820"),
        ("empty", casefold, 128, ""),
        ("1-bit", casefold, 1, "Ada@Example.com"),
        ("13-bits", casefold, 13, "Ada@Example.com"),
        ("256-bits", casefold, 256, "Ada@Example.com"),
        ("null", casefold, 128, None),
    ]
    cases = []
    for name, transform, bits, value in inputs:
        index = BlindIndex("documents", "owner_email", transform, bits)
        computed = index.compute(key, value)
        cases.append(
            {
                "name": name,
                "transform": transform.name,
                "bits": bits,
                "value": to_typed(value),
                "normalised": None if value is None else transform(value).hex(),
                "index": None if computed is None else computed.hex(),
            }
        )
    pieces = []
    for name, transform, size, bits, text in [
        ("report", casefold, 3, 16, "Annual Report"),
        ("one-gram", casefold, 3, 16, "abc"),
        ("shorter", casefold, 3, 16, "ab"),
        ("repeated", exact, 2, 8, "aaaaaa"),
        ("beyond-latin", exact, 2, 24, "\U0001f511\U0001f512\U0001f513"),
        ("null", casefold, 3, 16, None),
    ]:
        (ngrams,) = Ngram(transform, size, bits).columns("documents", "owner_email").values()
        computed = ngrams.compute(key, text)
        pieces.append(
            {
                "name": name,
                "transform": transform.name,
                "size": size,
                "bits": bits,
                "value": text,
                "index": None if computed is None else computed.hex(),
            }
        )
    ranges = []
    for name, kind, ranged in [
        ("below-all", Buckets(boundaries=(10, 100)), 9),
        ("on-a-boundary", Buckets(boundaries=(10, 100)), 10),
        ("negative-width", Buckets(width=10), -1),
        ("decimal", Buckets(width=Decimal("2.5")), Decimal("7.49")),
        ("date", Buckets(width=timedelta(days=30)), date(1815, 12, 10)),
        ("moment", Buckets(width=timedelta(hours=1)), datetime(1969, 12, 31, 23, 59, tzinfo=UTC)),
    ]:
        ((_, bucket),) = kind.columns("documents", "owner_email").items()
        computed = bucket.compute(key, ranged)
        ranges.append(
            {
                "name": name,
                "transform": bucket.transform.name,
                "bits": kind.bits,
                "value": to_typed(ranged),
                "bucket": kind.number(ranged),
                "index": None if computed is None else computed.hex(),
            }
        )
    return {
        "specification": "spec/blind-index.md",
        "owner": "tenant-1",
        "table": "documents",
        "field": "owner_email",
        "key": {"version": 1, "material": key.material.hex()},
        "cases": cases,
        "ngrams": pieces,
        "buckets": ranges,
        "refused": [
            {
                "name": name,
                "transform": transform.name,
                "bits": bits,
                "value": to_typed(value),
                "error": error,
            }
            for name, transform, bits, value, error in [
                ("number-folded", casefold, 128, 7, "UnsupportedValueError"),
                ("real-number", exact, 128, 1.5, "UnsupportedValueError"),
                ("prefix-of-bytes", prefix_of(exact, 3), 32, b"abc", "UnsupportedValueError"),
                ("no-bits", exact, 0, "x", "BlindIndexError"),
                ("257-bits", exact, 257, "x", "BlindIndexError"),
            ]
        ],
    }


def plaintext_of(size: int) -> bytes:
    """The plaintext of an object of a size: byte i is i mod 251."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def object_vectors() -> dict[str, Any]:
    """Sealed objects by size, and changes to them that are refused."""
    keys = FixedKeys()
    chunk, sealed_chunk = 2**20, 2**20 + 16
    random = stream("assay vectors objects")
    cases = []
    for size in (0, 5, chunk - 1, chunk, chunk + 1, 3 * chunk):
        target = io.BytesIO()
        place = {"owner": "tenant-1", "bucket": "uploads", "key": f"objects/{size}"}
        source = io.BytesIO(plaintext_of(size))
        seal_object(keys, source, target, **place, random=random)
        sealed = target.getvalue()
        case: dict[str, Any] = {
            "size": size,
            **place,
            "length": len(sealed),
            "header": sealed[:42].hex(),
            "sha256": hashlib.sha256(sealed).hexdigest(),
        }
        if size < 100:
            case["object"] = sealed.hex()
        cases.append(case)
    key = keys.current("tenant-1", DataKeyClass.OBJECTS)
    small, full, large = 5, chunk, 3 * chunk
    return {
        "specification": "spec/sealed-object.md",
        "key": {"owner": "tenant-1", "key_id": key.key_id.hex(), "material": key.material.hex()},
        "plaintext": "byte i is i mod 251",
        "random": "SHAKE-128 of 'assay vectors objects', 19 bytes for each object in turn",
        "cases": cases,
        "refused": [
            {"name": "empty", "of": small, "cut": 0, "error": "TruncatedObjectError"},
            {"name": "half-header", "of": small, "cut": 20, "error": "TruncatedObjectError"},
            {"name": "header-only", "of": small, "cut": 42, "error": "TruncatedObjectError"},
            {"name": "57-bytes", "of": small, "cut": 57, "error": "TruncatedObjectError"},
            {"name": "version", "of": small, "flip": 0, "error": "UnknownObjectVersionError"},
            {"name": "suite", "of": small, "flip": 1, "error": "UnknownObjectSuiteError"},
            {"name": "key-id", "of": small, "flip": 2, "error": "WrongObjectKeyError"},
            {"name": "nonce", "of": small, "flip": 18, "error": "TamperedObjectError"},
            {"name": "zero-bytes", "of": small, "flip": 41, "error": "TamperedObjectError"},
            {"name": "ciphertext", "of": small, "flip": 42, "error": "TamperedObjectError"},
            {"name": "tag", "of": small, "flip": 62, "error": "TamperedObjectError"},
            {"name": "byte-added", "of": small, "append": "00", "error": "TamperedObjectError"},
            {
                "name": "byte-added-behind-a-full-chunk",
                "of": full,
                "append": "00",
                "error": "ExtendedObjectError",
            },
            {
                "name": "cut-between-chunks",
                "of": large,
                "cut": 42 + 2 * sealed_chunk,
                "error": "TruncatedObjectError",
            },
            {
                "name": "cut-within-a-tag",
                "of": large,
                "cut": 42 + 2 * sealed_chunk + 15,
                "error": "TruncatedObjectError",
            },
            {
                "name": "cut-within-a-chunk",
                "of": large,
                "cut": 42 + 2 * sealed_chunk + 100,
                "error": "TamperedObjectError",
            },
            {"name": "chunks-swapped", "of": large, "swap": [0, 1], "error": "TamperedObjectError"},
            {"name": "chunk-repeated", "of": large, "repeat": 0, "error": "TamperedObjectError"},
            {"name": "chunk-left-out", "of": large, "drop": 0, "error": "TamperedObjectError"},
            {"name": "last-repeated", "of": large, "repeat": 2, "error": "ExtendedObjectError"},
            {"name": "other-name", "of": small, "key": "objects/6", "error": "TamperedObjectError"},
            {"name": "other-bucket", "of": small, "bucket": "logs", "error": "TamperedObjectError"},
            {
                "name": "other-owner",
                "of": small,
                "owner": "tenant-2",
                "error": "WrongObjectKeyError",
            },
        ],
    }


def file_key_vectors() -> dict[str, Any]:
    """Wrapped file keys, and changes to the first one that are refused."""
    random, file_key = stream("assay vectors file keys"), stream("assay vectors file key")(32)
    cases = []
    for name, owner, dataset, file in (
        ("not-bound-to-a-name", "tenant-1", "documents", ""),
        ("bound-to-a-name", "tenant-1", "documents", "2026/7.parquet"),
        ("beyond-ascii", "tenant-2", "räksmörgås", "ö"),
    ):
        key, place = key_of(owner, DataKeyClass.FILES), FilePlace(owner, dataset, file)
        cases.append(
            {
                "name": name,
                "owner": owner,
                "dataset": dataset,
                "file": file,
                "master_key_id": key.key_id.hex(),
                "associated_data": place.associated_data().hex(),
                "file_key": file_key.hex(),
                "token": wrap_file_key(key, file_key, place, random=random),
            }
        )
    raw = base64.b64decode(cases[0]["token"])

    def changed(position: int) -> str:
        flipped = bytearray(raw)
        flipped[position] ^= 1
        return base64.b64encode(flipped).decode()

    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = letters[letters.index(cases[0]["token"][-2]) ^ 1]
    other_spelling = f"{cases[0]['token'][:-2]}{last}="  # an unused bit is set
    wrong, tampered = {"error": "WrongFileKeyError"}, {"error": "TamperedFileError"}
    unknown = {"error": "UnknownFileKeyVersionError"}
    return {
        "specification": "spec/parquet.md",
        "keys": [
            {"owner": owner, "key_id": each.key_id.hex(), "material": each.material.hex()}
            for owner in ("tenant-1", "tenant-2")
            for each in [key_of(owner, DataKeyClass.FILES)]
        ],
        "cases": cases,
        "refused": [
            {"name": "empty", "token": "", **tampered},
            {"name": "not-base64", "token": "=" + cases[0]["token"], **tampered},
            {"name": "another-spelling", "token": other_spelling, **tampered},
            {"name": "version", "token": changed(0), **unknown},
            {"name": "suite", "token": changed(1), **unknown},
            {"name": "nonce", "token": changed(2), **tampered},
            {"name": "ciphertext", "token": changed(26), **tampered},
            {"name": "tag", "token": changed(73), **tampered},
            {"name": "cut-off", "token": base64.b64encode(raw[:-1]).decode(), **tampered},
            {"name": "extended", "token": base64.b64encode(raw + b"\0").decode(), **tampered},
            {"name": "other-dataset", "dataset": "letters", **tampered},
            {"name": "other-file", "file": "2026/8.parquet", **tampered},
            {"name": "other-owner", "owner": "tenant-2", **wrong},
            {"name": "other-key", "master_key_id": cases[2]["master_key_id"], **wrong},
            {"name": "upper-case-key-id", "master_key_id": "AB" * 16, **tampered},
            {"name": "no-key-id", "master_key_id": "kek", **tampered},
        ],
    }


VECTORS: dict[str, Callable[[], dict[str, Any]]] = {
    "xaes-256-gcm.json": xaes_vectors,
    "row-envelope.json": row_vectors,
    "blind-index.json": index_vectors,
    "sealed-object.json": object_vectors,
    "file-key.json": file_key_vectors,
}


def render(name: str) -> str:
    """The text of one file of vectors."""
    return json.dumps(VECTORS[name](), indent=1, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Write the files, or compare them."""
    wrong = 0
    for name in VECTORS:
        path = FOLDER / name
        if "--check" not in arguments:
            path.write_text(render(name), encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != render(name):
            sys.stderr.write(f"{name}: expected what the generator writes, found something else\n")
            wrong = 1
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
