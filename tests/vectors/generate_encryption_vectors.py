"""Writes the vectors of the encryption formats, or checks that they are what it would write.

    python -m tests.vectors.generate_encryption_vectors            # write
    python -m tests.vectors.generate_encryption_vectors --check    # compare, exit 1 on a difference

Everything is deterministic: keys and nonces are SHAKE-128 streams of a label. The vectors of
XAES-256-GCM are those of https://c2sp.org/XAES-256-GCM; they are checked, not made.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from msgspec.msgpack import Ext
from tests.vectors.encryption_inputs import (
    OBJECT_ID,
    ROW,
    FixedKeys,
    from_typed,
    key_of,
    plaintext_of,
    stream,
    to_typed,
)
from tests.vectors.encryption_objects import object_vectors
from tests.vectors.encryption_refused import refused_rows, unwritable_rows

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
    wrap_file_key,
)
from assay.encryption.bucket_index import Buckets
from assay.encryption.index_kinds import prefix_of
from assay.encryption.ngram_index import Ngram
from assay.encryption.xaes import derive_key, seal_xaes
from assay.keys import DataKey


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


FOLDER = Path(__file__).parent
__all__ = ["FOLDER", "VECTORS", "FixedKeys", "from_typed", "key_of", "plaintext_of", "stream"]

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
    ("padded-without-fields", (ROW,), "default", True, {}),
    (
        "unknown-extensions",
        (1,),
        "default",
        False,
        {"new": Ext(8, b"\0\1"), "empty": Ext(127, b"")},
    ),
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
        "unwritable": unwritable_rows(),
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


def index_vectors() -> dict[str, Any]:
    """Blind indexes, and values that are refused."""
    key = key_of("tenant-1", DataKeyClass.INDEXES)
    inputs: list[tuple[str, Transform, int, Any]] = [
        ("casefold", casefold, 128, "Ada@Example.com"),
        ("casefold-same", casefold, 128, "ada@EXAMPLE.COM"),
        ("casefold-sharp-s", casefold, 128, "Straße"),
        ("casefold-composed", casefold, 128, "\u00c5ngstr\u00f6m"),
        ("casefold-decomposed", casefold, 128, "A\u030angstro\u0308m"),
        ("casefold-marks-composed", casefold, 128, "\u1fb4"),
        ("casefold-marks-in-another-order", casefold, 128, "\u03b1\u0345\u0301"),
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
        ("dates", Buckets(boundaries=(date(1900, 1, 1), date(2000, 1, 1))), date(1999, 12, 31)),
        (
            "moments",
            Buckets(boundaries=(datetime(2026, 1, 1, tzinfo=UTC),)),
            datetime(2025, 12, 31, 23, 30, tzinfo=timezone(-timedelta(minutes=30))),
        ),
        ("decimals", Buckets(boundaries=(Decimal("0.5"), Decimal(7))), Decimal("0.50")),
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
