"""A log on disk: entries in, a signed head and proofs out, whatever kills the process.

The steps are those of ``spec/ledger.md``, section A log on disk; the folder is a tiled log
(https://c2sp.org/tlog-tiles) that a web server may serve as it is.

Example:
    >>> log = FileLog.open(Path(".assay/log"), "metal.example/log", signer)  # doctest: +SKIP
    >>> log.append([b"first entry"]), log.head().size                         # doctest: +SKIP
    (range(0, 1), 1)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from assay.core import AssayError, Signer, exclusive_lock
from assay.ledger.checkpoint import Checkpoint
from assay.ledger.errors import (
    CheckpointMissingError,
    CheckpointOriginError,
    EntryIndexError,
    LogCheckpointError,
    LogKeyMismatchError,
    LogOriginError,
    LogRollbackError,
    LogWriteError,
    TileMissingError,
    UnknownNoteKeyError,
)
from assay.ledger.growth import grow, superseded
from assay.ledger.merkle import (
    EMPTY_ROOT,
    compact_range,
    consistency_proof,
    inclusion_proof,
    range_root,
)
from assay.ledger.note import Note, VerifierKey
from assay.ledger.proof import TlogProof
from assay.ledger.storage import LogFolder
from assay.ledger.tile_tree import TileTree
from assay.ledger.tiles import TILE_WIDTH, check_entry, entry_tiles, partial_tiles

_T = TypeVar("_T")


@dataclass(frozen=True)
class _View:
    """What the log was at one checkpoint."""

    note: bytes
    head: Checkpoint
    tree: TileTree


class FileLog:
    """An append-only log in a folder, for any number of processes on one machine.

    Attributes:
        directory: the folder.
        verifier_key: the key under which its checkpoints verify; its name is the origin.
    """

    def __init__(self, directory: Path, origin: str, signer: Signer) -> None:
        """Name a log; nothing is read or written yet.

        Args:
            directory: the folder.
            origin: the log's name, without white space and ``+``.
            signer: the key that signs its checkpoints.

        Raises:
            VerifierKeyError: no such name can be.
        """
        self.directory = directory
        self.verifier_key = VerifierKey(origin, signer.public_key())
        self._signer = signer
        self._folder = LogFolder(directory)
        self._thread = threading.RLock()
        self._holds_lock = False
        self._seen: _View | None = None

    @classmethod
    def open(cls, directory: Path, origin: str, signer: Signer) -> Self:
        """Create the log when there is none, verify its head and its tail, clean up.

        Args:
            directory: the folder; made when missing.
            origin: the log's name, without white space and ``+``.
            signer: the key that signs its checkpoints.

        Raises:
            LogError: it cannot be used; the leaves say why.
            AssayError: the signer could not sign the head of a new log.
        """
        log = cls(directory, origin, signer)
        log._folder.create()
        with log.exclusive():  # step 1
            log._create_when_new()  # step 2
            view = log._view_for_append()  # steps 3 to 5
            edge = partial_tiles(view.head.size)
            log._folder.sweep(tile for own in edge for tile in (own, own.entries))  # step 6
        return log

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Be the only one who appends, over several calls; may be nested.

        Raises:
            LogWriteError: the lock could not be taken.
        """
        with self._thread:
            if self._holds_lock:
                yield
                return
            if not self.directory.is_dir():
                raise self._missing("no such folder")
            lock = exclusive_lock(self._folder.lock, f"the log {self.directory}", wait=True)
            try:
                lock.__enter__()
            except OSError as exc:
                raise LogWriteError(
                    f"expected to lock {self._folder.lock}: {exc.strerror}; nothing was appended"
                ) from exc
            self._holds_lock = True
            try:
                yield
            finally:
                self._holds_lock = False
                lock.__exit__(None, None, None)

    def append(self, entries: Sequence[bytes]) -> range:
        """Append entries: all of them, durably and under a newly signed head, or none.

        Args:
            entries: each at most 65,535 bytes; none at all changes nothing.

        Returns:
            The indexes of the entries.

        Raises:
            EntryTooLargeError: an entry is too long.
            LogError: the log cannot be used or written; it is as before, but see `LogFlushError`.
            AssayError: the signer could not sign; the log is as before.
        """
        for entry in entries:  # step 1
            check_entry(entry)
        with self.exclusive():
            view = self._view_for_append()  # step 2
            before = view.head.size
            if not entries:
                return range(before, before)
            tail = view.tree.entries(before // TILE_WIDTH) if before % TILE_WIDTH else []
            growth = grow(before, view.tree.edge, tail, entries)  # step 3
            for tile, content in growth.tiles:  # step 4
                self._folder.write(tile, content)
            head = Checkpoint(self.verifier_key.name, growth.size, growth.root)
            note = head.sign(self._signer)  # step 5
            self._folder.commit(note)  # step 6
            self._drop_superseded(before, growth.size)  # step 7
            return range(before, growth.size)

    def head(self) -> Checkpoint:
        """The verified head.

        Raises:
            LogError: the log cannot be used.
        """
        return self._verified(self.signed_head())

    def signed_head(self) -> bytes:
        """The head as a signed note; verify it before you trust it.

        Raises:
            LogError: there is none.
        """
        note = self._folder.read_checkpoint()
        if note is None:
            raise self._missing("no checkpoint")
        return note

    def entry(self, index: int) -> bytes:
        """One entry, compared with what was signed.

        Raises:
            EntryIndexError: there is no such entry.
            LogError: the log cannot be used.
        """

        def read(view: _View) -> bytes:
            self._require(0 <= index < view.head.size, index, view.head.size)
            return view.tree.entries(index // TILE_WIDTH)[index % TILE_WIDTH]

        return self._on_view(read)

    def entries(self, first: int = 0, last: int | None = None) -> Iterator[bytes]:
        """The entries ``D[first:last]``, compared with what was signed; up to the head by default.

        Raises:
            EntryIndexError: there are not so many.
            LogError: the log cannot be used.
        """
        size = self._on_view(lambda view: view.head.size)
        end = size if last is None else last
        self._require(0 <= first <= end <= size, first if first < 0 or first > end else end, size)
        return self._entries(first, end)

    def inclusion_proof(self, index: int) -> tuple[bytes, ...]:
        """The audit path of an entry in the tree of the present head.

        Raises:
            EntryIndexError: there is no such entry.
            LogError: the log cannot be used.
        """
        return self.prove(index).hashes

    def prove(self, index: int) -> TlogProof:
        """The proof that an entry is in the log, with the head that it leads to.

        Raises:
            EntryIndexError: there is no such entry.
            LogError: the log cannot be used.
        """

        def make(view: _View) -> TlogProof:
            size = view.head.size
            self._require(0 <= index < size, index, size)
            return TlogProof(index, inclusion_proof(index, size, view.tree.node), view.note)

        return self._on_view(make)

    def consistency_proof(self, old: int, new: int) -> tuple[bytes, ...]:
        """The proof that the tree of one size extends the one of a smaller size.

        Raises:
            EntryIndexError: the log is shorter.
            ConsistencyProofError: the sizes are out of order.
            LogError: the log cannot be used.
        """

        def make(view: _View) -> tuple[bytes, ...]:
            self._require(new <= view.head.size, new, view.head.size)
            return consistency_proof(old, new, view.tree.node)

        return self._on_view(make)

    def compact_range(self, size: int) -> tuple[bytes, ...]:
        """The compact range of the first entries: what a verifier needs to know of them.

        Raises:
            EntryIndexError: the log is shorter.
            LogError: the log cannot be used.
        """

        def make(view: _View) -> tuple[bytes, ...]:
            self._require(0 <= size <= view.head.size, size, view.head.size)
            return compact_range(size, view.tree.node)

        return self._on_view(make)

    def verify_storage(self) -> Checkpoint:
        """Read the whole log and compare every tile and entry with the head.

        Returns:
            The head.

        Raises:
            LogError: something is missing or was altered.
        """
        head = self._on_view(lambda view: view.head)
        for _ in self._entries(0, head.size):
            pass
        return head

    def _create_when_new(self) -> None:
        if self._folder.read_checkpoint() is not None:
            return
        if self._folder.has_tiles():
            raise self._missing(
                "tiles without a checkpoint: the log is damaged; restore it from a copy"
            )
        empty = Checkpoint(self.verifier_key.name, 0, EMPTY_ROOT)
        self._folder.commit(empty.sign(self._signer))

    def _entries(self, first: int, end: int) -> Iterator[bytes]:
        for tile in entry_tiles(first, end):
            start = tile.index * TILE_WIDTH
            bundle = self._on_view(lambda view, index=tile.index: view.tree.entries(index))  # type: ignore[misc]  # a default binds the loop variable
            yield from bundle[max(0, first - start) : end - start]

    def _drop_superseded(self, before: int, after: int) -> None:
        kept = {(tile.level, tile.index): tile.width for tile in partial_tiles(after)}
        for tile in superseded(before, after):
            width = kept.get((tile.level, tile.index), 0)
            self._folder.drop_partial_forms(tile, width)
            if tile.level == 0:
                self._folder.drop_partial_forms(tile.entries, width)

    def _on_view(self, work: Callable[[_View], _T]) -> _T:
        """Read without the lock: again when an append came between head and tiles.

        Then a superseded tile is gone, or another thread of this process has seen a newer head.
        """
        while True:
            note = self.signed_head()
            try:
                if self._seen is None or self._seen.note != note:
                    self._seen = self._checked_view(note)
                return work(self._seen)
            except (TileMissingError, LogRollbackError):
                if self.signed_head() == note:
                    raise

    def _view_for_append(self) -> _View:
        """Read head and tail from disk anew; the caller holds the lock."""
        view = self._seen = self._checked_view(self.signed_head())
        if view.head.size % TILE_WIDTH:
            view.tree.entries(view.head.size // TILE_WIDTH)
        return view

    def _checked_view(self, note: bytes) -> _View:
        head = self._verified(note)
        view = _View(note, head, TileTree(self._folder.read, head.size, head.root))
        if self._seen is not None:
            seen = self._seen.head
            extends = seen.size <= head.size and (
                range_root(0, seen.size, view.tree.node) == seen.root
            )
            if not extends:
                raise LogRollbackError(
                    f"expected the log {self.directory} to extend its earlier head of "
                    f"{seen.size} entries, found a head of {head.size} that does not; "
                    "was the folder replaced?"
                )
        return view

    def _verified(self, note: bytes) -> Checkpoint:
        try:
            return Checkpoint.verify(note, self.verifier_key)
        except UnknownNoteKeyError as exc:
            names = {one.name for one in Note.parse(note).signatures}
            if self.verifier_key.name not in names:
                raise LogOriginError(f"{self.directory}: another log: {exc}") from exc
            raise LogKeyMismatchError(
                f"{self.directory}: the log was signed by another key: {exc}; open it with the "
                "key that it was made with"
            ) from exc
        except CheckpointOriginError as exc:
            raise LogOriginError(f"{self.directory}: {exc}") from exc
        except AssayError as exc:
            raise LogCheckpointError(f"{self.directory}/checkpoint: {exc}") from exc

    def _missing(self, found: str) -> CheckpointMissingError:
        return CheckpointMissingError(f"expected a log in {self.directory}, found {found}")

    @staticmethod
    def _require(condition: bool, index: int, size: int) -> None:
        if not condition:
            raise EntryIndexError(f"expected an index within the {size} entries, found {index}")
