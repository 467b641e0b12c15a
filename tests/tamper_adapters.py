"""What each adapter cannot suffer of the tamper matrix, and why: its columns.

`tests.tamper_matrix` has the lines. ``tests/unit/encryption/test_tamper_matrix.py`` asserts that the
two fit together, and that ``docs/tamper-matrix.md`` shows what stands here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.tamper_layouts import ParquetFile, RowEnvelope, SealedObjectBytes

from assay.encryption import (
    EncryptionError,
    ExtendedObjectError,
    MissingEnvelopeError,
    MissingObjectError,
    PlaintextFileError,
    ReplacedFileError,
    ReplacedObjectError,
    RolledBackEnvelopeError,
    TamperedEnvelopeError,
    TamperedFileError,
    TamperedObjectError,
    TruncatedEnvelopeError,
    TruncatedObjectError,
    UnknownFileKeyVersionError,
    UnknownObjectSuiteError,
    UnknownObjectVersionError,
    UnknownSuiteError,
    UnknownVersionError,
    WrongFileKeyError,
    WrongKeyError,
    WrongObjectKeyError,
)

ROW_ERRORS: Mapping[str, type[EncryptionError]] = {
    "missing": MissingEnvelopeError,
    "truncated": TruncatedEnvelopeError,
    "version": UnknownVersionError,
    "suite": UnknownSuiteError,
    "key": WrongKeyError,
    "tampered": TamperedEnvelopeError,
    "rolled back": RolledBackEnvelopeError,
}
OBJECT_ERRORS: Mapping[str, type[EncryptionError]] = {
    "missing": MissingObjectError,
    "truncated": TruncatedObjectError,
    "extended": ExtendedObjectError,
    "version": UnknownObjectVersionError,
    "suite": UnknownObjectSuiteError,
    "key": WrongObjectKeyError,
    "tampered": TamperedObjectError,
    "rolled back": ReplacedObjectError,
}
FILE_ERRORS: Mapping[str, type[EncryptionError]] = {
    "clear": PlaintextFileError,
    "version": UnknownFileKeyVersionError,
    "key": WrongFileKeyError,
    "tampered": TamperedFileError,
    "rolled back": ReplacedFileError,
}
"""The errors of each format, by what they say."""

_ONE_MESSAGE = {
    "flip zero bytes": "an envelope has none",
    **dict.fromkeys(
        ("swap pieces", "repeat a piece", "drop a piece", "foreign piece"),
        "an envelope is one message, not several",
    ),
    "change the end": "an envelope says nothing at its end",
    "delete": "a row that is gone leaves nothing to open; see what the format does not do",
}
_NO_VERSIONS = {"roll back": "without versions, nothing tells the age of a row or a document"}
_NO_GROUPS = {"swap groups": "has no groups"}


@dataclass(frozen=True)
class Adapter:
    """One column of the matrix.

    Attributes:
        tests: the files in which its target stands.
        spared: attacks that this adapter cannot suffer, with the reason.
        layout: how its sealed bytes are laid out.
        errors: the error for each role.
    """

    tests: Sequence[str]
    spared: Mapping[str, str]
    layout: RowEnvelope = field(default_factory=RowEnvelope)
    errors: Mapping[str, type[EncryptionError]] = field(default_factory=lambda: ROW_ERRORS)


_UNIT, _INTEGRATION = "tests/unit/encryption", "tests/integration"
_TABLES = ("tests/sealed_table_vault.py",)
_OBJECTS = ("tests/sealed_object_vault.py",)
_DJANGO = (f"{_UNIT}/django/test_django_tampering.py",)
_NOT_NULL = {"null": "the column is NOT NULL"}
_NO_MISSING_FILE = "a missing file is the system's FileNotFoundError"

ADAPTERS: Mapping[str, Adapter] = {
    "envelope": Adapter(
        (f"{_UNIT}/test_tamper_matrix.py",),
        {**_ONE_MESSAGE, **_NO_VERSIONS, "null": "the signature asks for bytes"},
    ),
    "envelope, versioned": Adapter(
        (f"{_UNIT}/test_tamper_matrix.py",),
        {**_ONE_MESSAGE, "null": "the signature asks for bytes"},
    ),
    "SQLAlchemy": Adapter(_TABLES, {**_ONE_MESSAGE, **_NO_VERSIONS, **_NOT_NULL}),
    "SQLAlchemy, versioned": Adapter(_TABLES, {**_ONE_MESSAGE, **_NOT_NULL}),
    "Django": Adapter(_DJANGO, {**_ONE_MESSAGE, **_NO_VERSIONS}),
    "Django, versioned": Adapter(_DJANGO, _ONE_MESSAGE),
    "MongoDB": Adapter(
        (f"{_INTEGRATION}/mongodb/test_sealed_collection_safety.py",),
        {**_ONE_MESSAGE, **_NO_VERSIONS},
    ),
    "MongoDB, versioned": Adapter(
        (f"{_INTEGRATION}/mongodb/test_sealed_collection_safety.py",), _ONE_MESSAGE
    ),
    "Arrow": Adapter((f"{_UNIT}/test_batches.py",), {**_ONE_MESSAGE, **_NO_VERSIONS}),
    "Arrow, versioned": Adapter((f"{_UNIT}/test_batches.py",), _ONE_MESSAGE),
    "object stream": Adapter(
        _OBJECTS,
        {
            **_NO_GROUPS,
            "roll back": "a stream is read without knowing which sealing it must be",
            "change the end": "an object says nothing at its end",
            "null": "the signature asks for a source",
            "delete": "the signature asks for a source",
        },
        SealedObjectBytes(chunk_bytes=16, ranged=False),
        OBJECT_ERRORS,
    ),
    "bucket": Adapter(
        _OBJECTS,
        {
            **_NO_GROUPS,
            "change the end": "an object says nothing at its end",
            "null": "a store has no empty name; see delete",
        },
        SealedObjectBytes(chunk_bytes=16),
        OBJECT_ERRORS,
    ),
    "Parquet": Adapter(
        (f"{_UNIT}/test_parquet_tampering.py",),
        {
            **_NO_GROUPS,
            "flip zero bytes": "a token has none",
            "null": _NO_MISSING_FILE,
            "delete": _NO_MISSING_FILE,
        },
        ParquetFile(),
        FILE_ERRORS,
    ),
}
"""The columns, by the name that a target calls itself by."""
