"""Notes of rehearsals: when custodians last showed that their shares open a store.

Specification: ``spec/embedded-key-store.md``, "Rehearsals". The notes lie beside the store; whoever
may write them can forge them.

Example:
    >>> read_rehearsals(b'{"format":"assay recovery rehearsals","rehearsals":[],'
    ...                 b'"store":"AAAAAAAAAAAAAAAAAAAAAA==","version":1}', bytes(16))
    ()
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from assay.core import AssayError, from_rfc3339, to_canonical_json, to_rfc3339
from assay.keys.embedded_format import NAME, decode_base64, decode_json, encode_base64
from assay.keys.embedded_slots import LARGEST_SPLIT, MOST_CUSTODIANS, STORE_ID_BYTES
from assay.keys.errors import KeyStoreFormatError, RehearsalFormatError

OPENED = "opened"
MOST_REHEARSALS = 100
LARGEST_NOTES_BYTES = 262_144
_FORMAT = "assay recovery rehearsals"
_OUTCOME = re.compile(r"opened|[A-Z][A-Za-z]{1,62}Error", re.ASCII)


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """One rehearsal.

    Attributes:
        at: when, UTC.
        split: the store's split at that time.
        custodians: whose shares were given.
        outcome: "opened", or the name of the error.
    """

    at: datetime
    split: int
    custodians: tuple[str, ...]
    outcome: str


class _Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    at: str
    split: int
    custodians: list[str]
    outcome: str


class _Notes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    version: int
    store: str
    rehearsals: list[_Note]


def write_rehearsals(store: bytes, rehearsals: Sequence[Rehearsal]) -> bytes:
    """The bytes of the notes; the last 100 are kept."""
    return to_canonical_json(
        {
            "format": _FORMAT,
            "version": 1,
            "store": encode_base64(store),
            "rehearsals": [
                {
                    "at": to_rfc3339(one.at),
                    "split": one.split,
                    "custodians": list(one.custodians),
                    "outcome": one.outcome,
                }
                for one in rehearsals[-MOST_REHEARSALS:]
            ],
        }
    )


def read_rehearsals(data: bytes, store: bytes) -> tuple[Rehearsal, ...]:
    """The rehearsals of a store, the oldest first.

    Raises:
        RehearsalFormatError: another form, or another store's.
    """
    try:
        if len(data) > LARGEST_NOTES_BYTES:
            raise KeyStoreFormatError("too large")
        notes = decode_json(data, _Notes, "notes of rehearsals")
        of_store = decode_base64(notes.store, "store", STORE_ID_BYTES)
        found = tuple(_read(note) for note in notes.rehearsals)
    except AssayError:
        notes = None
    if notes is None or notes.format != _FORMAT or notes.version != 1:
        raise RehearsalFormatError(
            "expected notes of rehearsals as in spec/embedded-key-store.md, found another form; "
            "move the file away"
        )
    if of_store != store or len(found) > MOST_REHEARSALS:
        raise RehearsalFormatError(
            f"expected at most {MOST_REHEARSALS} rehearsals of this store, found others; move "
            "the file away"
        )
    return found


def _read(note: _Note) -> Rehearsal:
    if (
        not 0 <= note.split <= LARGEST_SPLIT
        or not _OUTCOME.fullmatch(note.outcome)
        or len(note.custodians) > MOST_CUSTODIANS
        or not all(NAME.fullmatch(name) for name in note.custodians)
    ):
        raise KeyStoreFormatError("expected a rehearsal, found another form")
    return Rehearsal(from_rfc3339(note.at), note.split, tuple(note.custodians), note.outcome)
