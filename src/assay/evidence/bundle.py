"""Bundles: what an auditor receives, in one file (``spec/bundle.md``, Members).

Example:
    >>> write_bundle(log, artefacts, Path("metal.assay"))             # doctest: +SKIP
    27
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import msgspec

from assay.core import AssayError, flush_directory, from_canonical_json, to_canonical_json
from assay.evidence.archive import ArchiveWriter
from assay.evidence.artefacts import ArtefactStore
from assay.evidence.dsse import Envelope
from assay.evidence.errors import (
    BundleEmptyError,
    BundleHeaderError,
    BundleRootError,
    BundleWriteError,
)
from assay.evidence.predicates import named_artefacts
from assay.evidence.statement import Statement
from assay.ledger import (
    HASH_SIZE,
    TILE_WIDTH,
    Checkpoint,
    FileLog,
    TailTree,
    complete_subtrees,
    decode_base64,
    encode_base64,
    encode_entries,
    entry_tiles,
    leaf_hash,
)

FORMAT = "assay bundle v1"
HEADER, CHECKPOINT = "bundle.json", "checkpoint"

_Number = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]


class _Wire(msgspec.Struct, forbid_unknown_fields=True):
    """``bundle.json`` as JSON has it."""

    format: Literal["assay bundle v1"]
    origin: str
    first: _Number
    size: _Number
    prefix: list[str]


@dataclass(frozen=True)
class BundleHeader:
    """Which part of which log a bundle holds.

    Attributes:
        origin: the log's name.
        first: index of the first entry, a multiple of 256.
        size: number of entries in the log; the bundle holds ``D[first:size]``.
        prefix: compact range of ``[0, first)``.
    """

    origin: str
    first: int
    size: int
    prefix: tuple[bytes, ...]

    def to_bytes(self) -> bytes:
        """The content of ``bundle.json``."""
        return to_canonical_json(
            {
                "format": FORMAT,
                "origin": self.origin,
                "first": self.first,
                "size": self.size,
                "prefix": [encode_base64(root) for root in self.prefix],
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> BundleHeader:
        """Read ``bundle.json`` (step 2).

        Raises:
            BundleHeaderError: it has another form, or its numbers contradict each other.
        """
        try:
            wire = msgspec.convert(from_canonical_json(data), _Wire)
            prefix = tuple(decode_base64(root) for root in wire.prefix)
        except (AssayError, ValueError, RecursionError) as exc:
            raise BundleHeaderError(f"expected the header of a bundle: {exc}") from exc
        roots = sum(1 for _ in complete_subtrees(0, wire.first))
        if len(prefix) != roots or any(len(root) != HASH_SIZE for root in prefix):
            raise BundleHeaderError(f"expected {roots} hashes before entry {wire.first}")
        if wire.first % TILE_WIDTH or wire.first >= wire.size:
            raise BundleHeaderError(
                f"expected a first entry at a multiple of {TILE_WIDTH} below the size, found "
                f"{wire.first} of {wire.size}"
            )
        return cls(wire.origin, wire.first, wire.size, prefix)


def artefact_name(digest: str) -> str:
    """The member that holds an artefact."""
    return f"artefacts/{digest}"


def write_bundle(
    log: FileLog, artefacts: ArtefactStore, path: Path, *, first: int | None = None
) -> int:
    """Write a bundle of a log as it is now; a file that is there is replaced by a whole one.

    Args:
        log: whose statements.
        artefacts: what they rest on.
        path: the file.
        first: the first statement that is wanted, all by default; the bundle begins at the tile
            that holds it.

    Returns:
        How many statements the bundle holds.

    Raises:
        BundleEmptyError: there are no such statements.
        BundleTooLargeError: it would be longer than 4 GiB.
        BundleWriteError: the disk could not be written.
        EvidenceError, LedgerError: log or artefacts are damaged; nothing was written.
    """
    note = log.signed_head()
    head = Checkpoint.verify(note, log.verifier_key)
    wanted = first or 0
    if not 0 <= wanted < head.size:
        raise BundleEmptyError(
            f"expected a first statement within the {head.size} of the log, found {wanted}: the "
            "bundle would prove nothing"
        )
    start = wanted - wanted % TILE_WIDTH
    header = BundleHeader(head.origin, start, head.size, log.compact_range(start))
    digests = _named_digests(log, header, head)
    names = {tile.path: tile.index * TILE_WIDTH for tile in entry_tiles(start, head.size)}
    with _replacing(path) as file:
        writer = ArchiveWriter(file)
        for digest in sorted(digests):
            writer.add(artefact_name(digest), artefacts.read(digest))
        writer.add(HEADER, header.to_bytes())
        writer.add(CHECKPOINT, note)
        for name, at in sorted(names.items()):
            entries = log.entries(at, min(at + TILE_WIDTH, head.size))
            writer.add(name, encode_entries(list(entries)))
        writer.finish()
    return head.size - start


def _named_digests(log: FileLog, header: BundleHeader, head: Checkpoint) -> set[str]:
    """The artefacts that the entries name; refuses a log that is not the one of the head."""
    tree = TailTree(header.first, header.prefix)
    digests: set[str] = set()
    for entry in log.entries(header.first, header.size):
        tree.add(leaf_hash(entry))
        payload = Envelope.from_bytes(entry).payload
        digests.update(named_artefacts(Statement.from_bytes(payload).read()))
    if tree.root() != head.root:
        raise BundleRootError("expected the entries of the checkpoint, found others")
    return digests


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of another when the block ends well, durably."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        flush_directory(path.parent)
    except OSError as exc:
        raise BundleWriteError(f"expected to write the bundle {path}: {exc.strerror}") from exc
    finally:
        with suppress(OSError):
            temporary.unlink()
