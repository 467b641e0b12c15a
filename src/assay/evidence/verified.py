"""A bundle that was verified: the only thing that a trust page is built from.

Example:
    >>> bundle = verify_bundle(path, key, judge)                      # doctest: +SKIP
    >>> bundle.runs[-1].results["tls-floor", "api"].result.status     # doctest: +SKIP
    <Status.PASS: 'pass'>
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import InitVar, dataclass
from pathlib import Path
from typing import NamedTuple, final

from assay.core import Result, sha256_hex
from assay.evidence.archive import Archive
from assay.evidence.books import Books, Place, RunBook
from assay.evidence.bundle import artefact_name
from assay.evidence.dsse import Envelope
from assay.evidence.errors import ArtefactDigestError, BundleRootError
from assay.evidence.predicates import (
    DrillRecorded,
    Predicate,
    ResultRecorded,
    RunFinished,
    RunStarted,
)
from assay.evidence.statement import Statement
from assay.ledger import (
    TILE_WIDTH,
    Checkpoint,
    ConsistencyProofError,
    TailTree,
    Tile,
    TileFormatError,
    TlogProof,
    VerifierKey,
    decode_entries,
    leaf_hash,
)

VERIFIED = object()
"""What `verify_bundle` shows to make a `VerifiedBundle`; not exported from the room."""


class Gap(NamedTuple):
    """A finished run planned this and did not record it.

    Attributes:
        run: id of the run.
        check: id of the check.
        asset: id of the asset.
    """

    run: str
    check: str
    asset: str


@dataclass(frozen=True)
class ResultView:
    """A verified result.

    Attributes:
        index: of its statement in the log.
        statement: what was recorded.
    """

    index: int
    statement: ResultRecorded

    @property
    def result(self) -> Result:
        """The result itself, which was judged again."""
        return self.statement.result.to_result()


class ResultViews(Mapping[Place, ResultView]):
    """The results of a run by check and asset, each read when it is asked for."""

    def __init__(self, bundle: VerifiedBundle, book: RunBook) -> None:
        self._bundle = bundle
        self._indexes = book.results

    def __getitem__(self, place: Place) -> ResultView:
        """The result of a check on an asset."""
        index = self._indexes[place]
        statement = self._bundle.statement(index)
        assert isinstance(statement, ResultRecorded)  # noqa: S101 - the books say so
        return ResultView(index, statement)

    def __iter__(self) -> Iterator[Place]:
        """The places, in the order in which they were recorded."""
        return iter(self._indexes)

    def __len__(self) -> int:
        """How many results there are."""
        return len(self._indexes)


@dataclass(frozen=True)
class RunView:
    """A verified run.

    Attributes:
        id: of the run.
        scope: digest of its scope artefact.
        started_index: index of the statement that it started.
        finished_index: index of the statement that it finished; None when it did not.
        results: by id of check and id of asset.
        gaps: what a finished run planned and did not record.
    """

    id: str
    scope: str
    started_index: int
    finished_index: int | None
    results: Mapping[Place, ResultView]
    gaps: tuple[Gap, ...]
    _bundle: VerifiedBundle

    @property
    def started(self) -> RunStarted:
        """The statement that it started."""
        statement = self._bundle.statement(self.started_index)
        assert isinstance(statement, RunStarted)  # noqa: S101 - the books say so
        return statement

    @property
    def finished(self) -> RunFinished | None:
        """The statement that it finished; None when it did not."""
        if self.finished_index is None:
            return None
        statement = self._bundle.statement(self.finished_index)
        assert isinstance(statement, RunFinished)  # noqa: S101 - the books say so
        return statement

    def scope_bytes(self) -> bytes:
        """The scope artefact."""
        return self._bundle.artefact(self.scope)


class EntryReader:
    """Reads entries from a bundle's file; keeps the last entry bundle, since most come in order."""

    def __init__(self, archive: Archive, size: int) -> None:
        self._archive = archive
        self._size = size
        self._kept: tuple[int, list[bytes]] = (-1, [])

    def read(self, index: int) -> bytes:
        """The entry with an index; whoever asked compares it with its hash.

        Raises:
            TileFormatError: the file was changed since it was verified.
        """
        bundle, at = divmod(index, TILE_WIDTH)
        number, entries = self._kept
        if number != bundle:
            tile = Tile(None, bundle, min(TILE_WIDTH, self._size - bundle * TILE_WIDTH))
            entries = decode_entries(self._archive.read(tile.path), tile.width)
            self._kept = (bundle, entries)
        return entries[at]


@final
@dataclass(frozen=True, eq=False)
class VerifiedBundle:
    """A bundle that passed every step of ``spec/bundle.md``; made by `verify_bundle` only.

    What it reads from the file later is compared with what was verified.

    Attributes:
        path: the file.
        verifier_key: the key under which everything verified.
        first: index of its first statement.
        checkpoint: the log's head.
        signed_checkpoint: the same, as the signed note.
        drills: index and content of each drill's statement.
    """

    seal: InitVar[object]
    path: Path
    verifier_key: VerifierKey
    first: int
    checkpoint: Checkpoint
    signed_checkpoint: bytes
    drills: tuple[tuple[int, DrillRecorded], ...]
    _archive: Archive
    _entries: EntryReader
    _tree: TailTree
    _books: Books

    def __post_init__(self, seal: object) -> None:
        """Refuse to be made by anyone who verified nothing."""
        if seal is not VERIFIED:
            raise TypeError("a VerifiedBundle is made by verify_bundle only")

    @property
    def origin(self) -> str:
        """The log's name."""
        return self.checkpoint.origin

    @property
    def size(self) -> int:
        """Number of statements in the log; the bundle holds those from `first` on."""
        return self.checkpoint.size

    @property
    def runs(self) -> tuple[RunView, ...]:
        """The runs that started in the bundle, oldest first."""
        return tuple(self._view(book) for book in self._books.runs.values())

    @property
    def unfinished_runs(self) -> tuple[str, ...]:
        """Ids of runs that started and did not finish."""
        return tuple(book.id for book in self._books.runs.values() if book.finished_index is None)

    @property
    def unfinished_destructions(self) -> tuple[str, ...]:
        """Ids of destructions that were ordered and not completed."""
        return self._books.unfinished_destructions

    @property
    def cut_runs(self) -> tuple[str, ...]:
        """Ids of runs that started before `first`: verified in part, offered not at all."""
        return tuple(self._books.cut)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """What finished runs planned and did not record."""
        return tuple(gap for book in self._books.runs.values() for gap in _gaps(book))

    def statements(self) -> Iterator[tuple[int, Predicate]]:
        """Every statement with its index, in order.

        Raises:
            BundleRootError: the file was changed since.
        """
        for index in range(self.first, self.size):
            yield index, self.statement(index)

    def statement(self, index: int) -> Predicate:
        """What the entry with an index says.

        Raises:
            EntryIndexError: there is no such entry in the bundle.
            BundleRootError: the file was changed since.
        """
        return Statement.from_bytes(Envelope.from_bytes(self.entry(index)).payload).read()

    def entry(self, index: int) -> bytes:
        """The entry with an index: a signed envelope.

        Raises:
            EntryIndexError: there is no such entry in the bundle.
            BundleRootError: the file was changed since.
        """
        leaf = self._tree.leaf(index)
        try:
            entry = self._entries.read(index)
        except TileFormatError as exc:
            raise _changed(self.path) from exc
        if leaf_hash(entry) != leaf:
            raise _changed(self.path)
        return entry

    def artefact(self, digest: str) -> bytes:
        """The artefact with a digest.

        Raises:
            BundleMemberMissingError: no statement of the bundle names it.
            ArtefactDigestError: the file was changed since.
        """
        data = self._archive.read(artefact_name(digest))
        if sha256_hex(data) != digest:
            raise ArtefactDigestError(
                f"expected the artefact {digest} in {self.path} as it was verified, it was "
                "changed since; verify the bundle again"
            )
        return data

    def proof(self, index: int) -> str:
        """The tlog-proof of one statement, for `verify_claim`.

        Raises:
            EntryIndexError: there is no such entry in the bundle.
        """
        hashes = self._tree.inclusion_proof(index)
        return TlogProof(index, hashes, self.signed_checkpoint).text

    def require_extends(self, older: Checkpoint) -> None:
        """Make sure that this log is the one of an older checkpoint, with nothing rewritten.

        Args:
            older: a checkpoint of this log that was verified before.

        Raises:
            ConsistencyProofError: it is another history, or the bundle begins after it.
        """
        if older.origin != self.origin or self._tree.root_at(older.size) != older.root:
            raise ConsistencyProofError(
                f"expected the log {older.origin} to extend its checkpoint of {older.size} "
                "entries, it does not: its history was rewritten"
            )

    def _view(self, book: RunBook) -> RunView:
        return RunView(
            book.id,
            book.scope,
            book.started_index,
            book.finished_index,
            ResultViews(self, book),
            _gaps(book),
            self,
        )


def _gaps(book: RunBook) -> tuple[Gap, ...]:
    if book.finished_index is None:
        return ()
    return tuple(Gap(book.id, check, asset) for check, asset in book.missing)


def _changed(path: Path) -> BundleRootError:
    return BundleRootError(
        f"expected {path} as it was verified, it was changed since; verify the bundle again"
    )
