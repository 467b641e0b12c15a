"""Destroying again what a restored backup brought back (``spec/destruction.md``, Ledger).

Example:
    >>> replay_destructions(platform).came_back                       # doctest: +SKIP
    3
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from assay.assemble.destroying import remember
from assay.assemble.destruction import KeyTablePlace, key_tables
from assay.assemble.destruction_folders import (
    OWNER,
    DestructionFolder,
    ledger_of,
    open_folders,
    root_of,
)
from assay.assemble.platform import Platform
from assay.core import owner_digest
from assay.evidence import LoggedDestruction, owner_commitment


@dataclass(frozen=True)
class Replayed:
    """What a replay did.

    Attributes:
        destructions: how many destructions the log has.
        keys: how many destroyed keys it names.
        tables: ids of the key tables.
        came_back: how many wrapped keys stood there again, and are gone.
        unknown_owners: ids of destructions whose owner could not be told: new keys could be made.
        unfinished: ids of destructions that were ordered and not completed.
    """

    destructions: int
    keys: int
    tables: tuple[str, ...]
    came_back: int
    unknown_owners: tuple[str, ...]
    unfinished: tuple[str, ...]


def replay_destructions(platform: Platform) -> Replayed:
    """Destroy every key of the log's ledger again, in every key table of the programme.

    Raises:
        AssayError: the log or a key table cannot be used.
    """
    ledger = ledger_of(platform)
    tables = key_tables(platform)
    came_back, unknown = 0, []
    for destruction, logged in ledger.destructions.items():
        digest = _kept_digest(root_of(platform) / destruction / OWNER, logged)
        if digest is None:
            digest = _digest_in_tables(logged, tables)
        if digest is None:
            unknown.append(destruction)
            digest = bytes.fromhex(logged.ordered.owner)
        came_back += remember(logged, digest, tables)
    return Replayed(
        destructions=len(ledger.destructions),
        keys=len(ledger.key_ids),
        tables=tuple(place.id for place in tables),
        came_back=came_back,
        unknown_owners=tuple(unknown),
        unfinished=ledger.unfinished,
    )


def pending(platform: Platform) -> Sequence[DestructionFolder]:
    """The destructions that were requested and have not ended.

    Raises:
        AssayError: the log or a request cannot be read.
    """
    ended = {
        name for name, one in ledger_of(platform).destructions.items() if one.completed is not None
    }
    return [folder for folder in open_folders(platform) if folder.id not in ended]


def _kept_digest(path: Path, logged: LoggedDestruction) -> bytes | None:
    """The owner digest beside the log; None when it is missing or of another owner."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(path.read_bytes())
        digest = bytes.fromhex(kept["owner_digest"])
        if owner_commitment(kept["salt"], digest) == logged.ordered.owner:
            return digest
    return None


def _digest_in_tables(logged: LoggedDestruction, tables: Sequence[KeyTablePlace]) -> bytes | None:
    """The owner of a destroyed key that stands, or is remembered, in a table."""
    ids = {bytes.fromhex(key_id) for each in logged.keys for key_id in each.ids}
    placeholder = bytes.fromhex(logged.ordered.owner)
    for place in tables:
        for key in place.table.each():
            if key.key_id in ids:
                return owner_digest(key.owner)
        for gone in place.table.destroyed():
            if gone.key_id in ids and gone.owner_digest != placeholder:
                return gone.owner_digest
    return None
