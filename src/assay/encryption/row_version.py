"""Versions of rows: an older envelope of the same row that is put back is noticed.

Specification: ``spec/row-envelope.md``, "Versioned rows".

Example:
    >>> take_version(7, put_version(7, b"payload"))
    b'payload'
"""

from __future__ import annotations

from assay.encryption.errors import (
    MalformedPayloadError,
    RolledBackEnvelopeError,
    RowVersionError,
)

FIRST_VERSION = 1
VERSION_BYTES = 8
_LAST_VERSION = 2**63 - 1


def put_version(version: int, payload: bytes) -> bytes:
    """A payload behind its row's version. Sealing, step 2.

    Raises:
        RowVersionError: no row can have this version.
    """
    if type(version) is not int or not FIRST_VERSION <= version <= _LAST_VERSION:
        raise RowVersionError(
            "expected the version of a row as an integer from 1 to 2^63-1, found "
            f"{version if type(version) is int else type(version).__name__}"
        )
    return version.to_bytes(VERSION_BYTES, "big") + payload


def take_version(version: object, stamped: bytes) -> bytes:
    """The payload that was sealed for a version of a row. Opening, step 8.

    Args:
        version: what stands beside the envelope.
        stamped: as `put_version` made it.

    Raises:
        MalformedPayloadError: there is no version before the payload.
        RolledBackEnvelopeError: it is another version.
    """
    if len(stamped) < VERSION_BYTES:
        raise MalformedPayloadError(
            f"expected a version of {VERSION_BYTES} bytes before the payload, found {len(stamped)}"
        )
    sealed = int.from_bytes(stamped[:VERSION_BYTES], "big")
    if type(version) is not int or sealed != version:
        raise RolledBackEnvelopeError(
            f"expected the envelope of version {_shown(version)} of this row, found that of "
            f"version {sealed}: the envelope, or the version beside it, was put back; restore both "
            "from a backup"
        )
    return stamped[VERSION_BYTES:]


def _shown(version: object) -> str:
    return str(version) if type(version) is int else f"({type(version).__name__})"


def without_version() -> RolledBackEnvelopeError:
    """The error for an envelope of this row that was sealed when rows had no versions."""
    return RolledBackEnvelopeError(
        "expected the envelope of a version of this row, found one from before its table had "
        "versions; restore the row from a backup, or seal it anew"
    )
