"""Sealed objects, ranges of them, and what is refused."""

from __future__ import annotations

import hashlib
import io
from typing import Any

from tests.vectors.encryption_inputs import FixedKeys, plaintext_of, stream

from assay.core import DataKeyClass
from assay.encryption import seal_object


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
        "ranges": [
            {
                "of": of,
                "start": start,
                "length": length,
                "sha256": hashlib.sha256(plaintext_of(of)[start : start + length]).hexdigest(),
            }
            for of, start, length in (
                (0, 0, 0),
                (5, 0, 5),
                (5, 5, 0),
                (5, 1, 3),
                (chunk, chunk - 1, 1),
                (chunk + 1, chunk - 1, 2),
                (large, chunk - 7, chunk + 14),
                (large, 0, large),
            )
        ],
        "refused_ranges": refused_ranges(small, large, sealed_chunk),
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
            {
                "name": "an-empty-chunk-behind-others",
                "of": full,
                "resealed": [{"of": full, "last": False}, {"of": 0, "last": True}],
                "error": "TamperedObjectError",
            },
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


def refused_ranges(small: int, large: int, sealed_chunk: int) -> list[dict[str, Any]]:
    """Reads of ranges that are refused; the changes to an object are as in ``refused``."""
    whole = {"start": 0, "length": 1}
    other = bytes(19).hex()
    third = 42 + 2 * sealed_chunk
    return [
        {"name": name, "error": error, **change}
        for name, error, change in (
            ("behind-the-end", "ObjectRangeError", {"of": small, "start": 6, "length": 0}),
            ("beyond-the-end", "ObjectRangeError", {"of": small, "start": 5, "length": 1}),
            ("before-the-start", "ObjectRangeError", {"of": small, "start": -1, "length": 1}),
            ("negative-length", "ObjectRangeError", {"of": small, "start": 2, "length": -1}),
            ("other-sealing", "ReplacedObjectError", {"of": small, **whole, "seal_id": other}),
            ("cut-between-chunks", "TruncatedObjectError", {"of": large, **whole, "cut": third}),
            (
                "cut-within-a-tag",
                "TruncatedObjectError",
                {"of": large, **whole, "cut": third + 15},
            ),
            (
                "cut-within-a-chunk",
                "TamperedObjectError",
                {"of": large, **whole, "cut": third + 100},
            ),
            ("last-repeated", "TamperedObjectError", {"of": large, **whole, "repeat": 2}),
            ("added-behind-it", "TruncatedObjectError", {"of": large, **whole, "append": "00"}),
            ("chunks-swapped", "TamperedObjectError", {"of": large, **whole, "swap": [0, 1]}),
            ("chunk-flipped", "TamperedObjectError", {"of": large, **whole, "flip": 42}),
            ("other-name", "TamperedObjectError", {"of": small, **whole, "key": "objects/6"}),
            ("other-owner", "WrongObjectKeyError", {"of": small, **whole, "owner": "tenant-2"}),
        )
    ]
