"""The folder of a log: whole files, durable, and nothing half-written under its final name.

Example:
    >>> folder = LogFolder(Path("log"))
    >>> folder.write(Tile(0, 0, 1), hashes)                          # doctest: +SKIP
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from assay.core import flush_directory, write_atomically
from assay.ledger.errors import LogFlushError, LogReadError, LogWriteError, TileMissingError
from assay.ledger.tiles import TILE_WIDTH, Tile

_T = TypeVar("_T")


class LogFolder:
    """Reads and writes the files of ``spec/ledger.md``, section A log on disk.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._checkpoint = path / "checkpoint"

    @property
    def lock(self) -> Path:
        """The lock file."""
        return self.path / ".lock"

    def create(self) -> None:
        """Make the folder when it is missing.

        Raises:
            LogWriteError: it could not be made.
        """
        with _writing(self.path):
            _make_folders(self.path)

    def read_checkpoint(self) -> bytes | None:
        """The signed head; None when there is none.

        Raises:
            LogReadError: the disk could not be read.
        """
        return _read(self._checkpoint)

    def has_tiles(self) -> bool:
        """Whether anything was ever appended here.

        Raises:
            LogReadError: the disk could not be read.
        """
        return _reading(self.path, (self.path / "tile").exists)

    def read(self, tile: Tile) -> bytes:
        """The content of a tile or entry bundle.

        Raises:
            TileMissingError: there is no such file.
            LogReadError: the disk could not be read.
        """
        content = _read(self.path / tile.path)
        if content is None:
            raise TileMissingError(
                f"expected {self.path / tile.path}, found no such file: the log is damaged; "
                "restore it from a copy"
            )
        return content

    def write(self, tile: Tile, content: bytes) -> None:
        """Write a tile or entry bundle; it is durable before this returns.

        Raises:
            LogWriteError: it could not be written.
        """
        path = self.path / tile.path
        with _writing(path):
            _make_folders(path.parent)
            write_atomically(path, content)

    def commit(self, note: bytes) -> None:
        """Replace the checkpoint.

        Raises:
            LogFlushError: it was replaced, but may not survive a power cut.
            LogWriteError: it was not replaced.
        """
        try:
            write_atomically(self._checkpoint, note)
        except OSError as exc:
            with suppress(LogReadError):
                if self.read_checkpoint() == note:
                    raise LogFlushError(
                        f"expected to flush {self.path}: {exc.strerror}; the append is there but "
                        "may not survive a power cut; check the disk"
                    ) from exc
            raise _write_error(self._checkpoint, exc) from exc

    def drop_partial_forms(self, tile: Tile, keep: int) -> None:
        """Remove the partial forms of a tile, but for one width; failures are of no consequence.

        Args:
            tile: which tile.
            keep: the width to keep; 0 to remove all and their folder.
        """
        folder = self.path / f"{tile.full_path}.p"
        with suppress(OSError):
            if keep in (0, TILE_WIDTH):
                shutil.rmtree(folder)
                return
            for path in folder.iterdir():
                if path.name != str(keep):
                    path.unlink()

    def sweep(self, tiles: Iterator[Tile]) -> None:
        """Remove temporary files beside the checkpoint and beside the given tiles."""
        folders = {self.path, *((self.path / tile.full_path).parent for tile in tiles)}
        for folder in folders:
            with suppress(OSError):
                for path in folder.glob(".*.tmp"):
                    path.unlink()


def _read(path: Path) -> bytes | None:
    def content() -> bytes | None:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None

    return _reading(path, content)


def _reading(path: Path, work: Callable[[], _T]) -> _T:
    try:
        return work()
    except OSError as exc:
        raise LogReadError(f"expected to read {path}: {exc.strerror}") from exc


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise _write_error(path, exc) from exc


def _write_error(path: Path, exc: OSError) -> LogWriteError:
    return LogWriteError(
        f"expected to write {path}: {exc.strerror}; nothing was appended, the log is as before"
    )


def _make_folders(folder: Path) -> None:
    """Make a folder and those above it; each is durable in the one above."""
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    flush_directory(folder.parent)
