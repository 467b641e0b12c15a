"""Verification of a bundle and of a single claim: offline, without keys, database or network.

The numbered steps are those of ``spec/bundle.md``, section Verification.

Example:
    >>> key = load_verifier_key("log.vkey")                           # doctest: +SKIP
    >>> bundle = verify_bundle(Path("metal.assay"), key, judge)       # doctest: +SKIP
    >>> bundle.unfinished_runs                                        # doctest: +SKIP
    ()
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from assay.core import (
    AssayError,
    Progress,
    Result,
    SilentProgress,
    result_to_json,
    sha256_hex,
)
from assay.evidence.archive import Archive
from assay.evidence.books import Books
from assay.evidence.bundle import CHECKPOINT, HEADER, BundleHeader, artefact_name
from assay.evidence.dsse import open_envelope
from assay.evidence.errors import (
    ArtefactDigestError,
    ArtefactMissingError,
    BundleCheckpointError,
    BundleMemberMissingError,
    BundleMemberUnknownError,
    BundleRootError,
    EvidenceError,
    JudgementError,
    StatementError,
    StatementTimeError,
)
from assay.evidence.observation import require_observation
from assay.evidence.predicates import (
    DrillRecorded,
    Predicate,
    ResultRecorded,
    named_artefacts,
)
from assay.evidence.statement import Statement
from assay.evidence.verified import VERIFIED, EntryReader, VerifiedBundle
from assay.ledger import (
    TILE_WIDTH,
    Checkpoint,
    Note,
    TailTree,
    TileFormatError,
    TlogProof,
    VerifierKey,
    decode_entries,
    entry_tiles,
    leaf_hash,
)

_ARTEFACTS = artefact_name("")


class Judge(Protocol):
    """Makes the result out of an observation: the same function that made it first."""

    def __call__(
        self, check: str, check_version: int, observation: bytes, asset_kind: str, /
    ) -> Result:
        """Judge.

        Args:
            check: the check's id.
            check_version: its version.
            observation: the artefact.
            asset_kind: the kind of asset.

        Raises:
            UnknownCheckError: the check, or this version of it, is not known here.
            AssayError: the observation is malformed.
        """
        ...


@dataclass(frozen=True)
class VerifiedClaim:
    """One statement that is proven to be in a log.

    Attributes:
        index: of its entry.
        checkpoint: the head that the proof leads to.
        predicate: what it says.
    """

    index: int
    checkpoint: Checkpoint
    predicate: Predicate


def verify_bundle(
    path: Path, key: VerifierKey, judge: Judge, *, progress: Progress | None = None
) -> VerifiedBundle:
    """Verify a bundle: every byte of it is accounted for when this returns.

    Args:
        path: the file.
        key: the log's verifier key; its name is the origin.
        judge: judges each observation again.
        progress: told of each statement.

    Raises:
        EvidenceError, LedgerError: the bundle is not what it says; nothing in it counts. Which
            step refused it follows from the class (``spec/bundle.md``).
    """
    archive = Archive.open(path)  # step 1
    header = BundleHeader.from_bytes(archive.read(HEADER))  # step 2
    artefacts = _require_members(archive, header)  # step 3
    note = archive.read(CHECKPOINT)
    checkpoint = _verify_checkpoint(note, key, header)  # step 4
    tree = _verify_root(archive, header, checkpoint)  # step 5
    reading = _Reading(archive, tree, key, judge, header, progress or SilentProgress())
    reading.verify_entries()  # steps 6 to 11
    unnamed = artefacts - reading.named
    if unnamed:  # step 9, the other way round
        raise BundleMemberUnknownError(
            f"expected only artefacts that a statement names, found {min(unnamed)}"
        )
    return VerifiedBundle(
        VERIFIED,
        path,
        key,
        header.first,
        checkpoint,
        note,
        tuple(reading.drills),
        archive,
        EntryReader(archive, header.size),
        tree,
        reading.books,
    )


def verify_claim(proof: str, entry: bytes, key: VerifierKey) -> VerifiedClaim:
    """Verify a single statement (``spec/bundle.md``, Verification of one claim).

    Args:
        proof: the text of a tlog-proof.
        entry: the entry: a signed envelope.
        key: the log's verifier key.

    Raises:
        LedgerError: the log does not hold the entry.
        EvidenceError: the entry is no signed statement.
    """
    parsed = TlogProof.parse(proof)
    checkpoint = parsed.verify(entry, key)  # step 1
    predicate = Statement.from_bytes(open_envelope(entry, key)).read()  # step 2
    return VerifiedClaim(parsed.index, checkpoint, predicate)


def verify_result_claim(
    proof: str, entry: bytes, observation: bytes, key: VerifierKey, judge: Judge
) -> VerifiedClaim:
    """Verify a single result down to its observation.

    Args:
        proof: the text of a tlog-proof.
        entry: the entry: a signed envelope.
        observation: what the result rests on.
        key: the log's verifier key.
        judge: judges the observation again.

    Raises:
        LedgerError: the log does not hold the entry.
        EvidenceError: the entry is no signed result, or does not follow from the observation.
    """
    claim = verify_claim(proof, entry, key)  # steps 1 and 2
    recorded = claim.predicate
    if not isinstance(recorded, ResultRecorded):
        raise StatementError("expected a statement about a result, found another statement")
    if sha256_hex(observation) != recorded.observation:  # step 3
        raise ArtefactDigestError("expected the observation that the result names, found another")
    _verify_result(recorded, observation, None, judge)  # steps 4 and 5
    return claim


def _require_members(archive: Archive, header: BundleHeader) -> set[str]:
    """Step 3: nothing missing but artefacts, nothing unknown.

    Returns:
        The digests of the artefacts.
    """
    last = (header.size - 1) // TILE_WIDTH
    if last - header.first // TILE_WIDTH >= len(archive.members):  # before anything is listed
        raise BundleMemberMissingError(f"expected entries up to {header.size}, found fewer")
    demanded = {HEADER, CHECKPOINT}
    demanded.update(tile.path for tile in entry_tiles(header.first, header.size))
    artefacts = set()
    for name in archive.members:
        if name.startswith(_ARTEFACTS):
            artefacts.add(name.removeprefix(_ARTEFACTS))
        elif name not in demanded:
            raise BundleMemberUnknownError(f"expected only members of a bundle, found {name}")
    for name in demanded:
        if name not in archive.members:
            raise BundleMemberMissingError(f"expected {name} in the bundle, found none")
    return artefacts


def _verify_checkpoint(note: bytes, key: VerifierKey, header: BundleHeader) -> Checkpoint:
    """Step 4."""
    checkpoint = Checkpoint.verify(note, key)
    if len(Note.parse(note).signatures) != 1:
        raise BundleCheckpointError("expected one signature on the checkpoint, found more")
    if (checkpoint.origin, checkpoint.size) != (header.origin, header.size):
        raise BundleCheckpointError(
            f"expected the checkpoint of {header.origin} at size {header.size}, found that of "
            f"{checkpoint.origin} at size {checkpoint.size}"
        )
    return checkpoint


def _verify_root(archive: Archive, header: BundleHeader, checkpoint: Checkpoint) -> TailTree:
    """Step 5."""
    tree = TailTree(header.first, header.prefix)
    for _, entry in _entries(archive, header):
        tree.add(leaf_hash(entry))
    if tree.root() != checkpoint.root:
        raise BundleRootError(
            "expected the entries that the checkpoint signed, found others: one was changed, "
            "added or removed"
        )
    return tree


def _entries(archive: Archive, header: BundleHeader) -> Iterator[tuple[int, bytes]]:
    index = header.first
    for tile in entry_tiles(header.first, header.size):
        try:
            entries = decode_entries(archive.read(tile.path), tile.width)
        except TileFormatError as exc:
            raise BundleRootError(f"{tile.path}: {exc}") from exc
        for entry in entries:
            yield index, entry
            index += 1


@dataclass
class _Reading:
    """Steps 6 to 11, entry by entry; holds one entry and one artefact at a time."""

    archive: Archive
    tree: TailTree
    key: VerifierKey
    judge: Judge
    header: BundleHeader
    progress: Progress
    named: set[str] = field(default_factory=set)
    drills: list[tuple[int, DrillRecorded]] = field(default_factory=list)
    last_at: str = ""

    def __post_init__(self) -> None:
        self.books = Books(cut_allowed=self.header.first > 0)

    def verify_entries(self) -> None:
        total = self.header.size - self.header.first
        for index, entry in _entries(self.archive, self.header):
            done = index - self.header.first
            if done % 64 == 0:
                self.progress.advance(done, total, "statements")
            if leaf_hash(entry) != self.tree.leaf(index):
                raise BundleRootError("expected the bundle to stay as it is, it was changed")
            try:
                self._verify_entry(index, entry)
            except EvidenceError as exc:
                raise type(exc)(f"statement {index}: {exc}") from exc
        self.progress.advance(total, total, "statements")

    def _verify_entry(self, index: int, entry: bytes) -> None:
        payload = open_envelope(entry, self.key)  # step 6
        predicate = Statement.from_bytes(payload).read()  # step 7
        if predicate.at < self.last_at:
            raise StatementTimeError(
                f"expected a time not before {self.last_at}, found {predicate.at}"
            )
        self.last_at = predicate.at
        self.books.enter(index, predicate)  # step 8
        for digest in named_artefacts(predicate):
            artefact = self._verify_artefact(digest)  # step 9
            if isinstance(predicate, ResultRecorded):
                book = self.books.runs.get(predicate.run)
                started_at = book.started_at if book else None
                _verify_result(predicate, artefact, started_at, self.judge)
        if isinstance(predicate, DrillRecorded):
            self.drills.append((index, predicate))

    def _verify_artefact(self, digest: str) -> bytes:
        try:
            artefact = self.archive.read(artefact_name(digest))
        except BundleMemberMissingError as exc:
            raise ArtefactMissingError(
                f"expected the artefact {digest}, which the statement names, found none"
            ) from exc
        if sha256_hex(artefact) != digest:
            raise ArtefactDigestError(f"expected other bytes under the digest {digest}")
        self.named.add(digest)
        return artefact


def _verify_result(
    recorded: ResultRecorded, observation: bytes, started_at: str | None, judge: Judge
) -> None:
    require_observation(observation, recorded, started_at)  # step 10
    judged = _judge_again(recorded, observation, judge)  # step 11
    if judged != result_to_json(recorded.result.to_result()):
        raise JudgementError(
            f"expected {recorded.check} version {recorded.check_version} to judge "
            f"{recorded.asset} as recorded ({recorded.result.status.value}), it says "
            f"{judged['status']}: the result does not follow from the observation"
        )


def _judge_again(recorded: ResultRecorded, observation: bytes, judge: Judge) -> dict[str, object]:
    check, version = recorded.check, recorded.check_version
    try:
        return result_to_json(judge(check, version, observation, recorded.asset_kind))
    except EvidenceError:
        raise
    except AssayError as exc:
        raise JudgementError(f"{check} version {version} cannot be judged: {exc}") from exc
    except Exception as exc:
        raise JudgementError(
            f"{check} version {version} cannot be judged: unexpected {type(exc).__name__}"
        ) from exc
