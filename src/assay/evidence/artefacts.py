"""Artefacts: files named by their SHA-256, kept beside the log (``spec/evidence.md``).

Example:
    >>> store = ArtefactStore(Path(".assay/artefacts"))
    >>> store.read(store.put(b"facts"))                               # doctest: +SKIP
    b'facts'
"""

from __future__ import annotations

from pathlib import Path

from assay.core import flush_directory, is_sha256_hex, sha256_hex, write_atomically
from assay.evidence.errors import ArtefactDigestError, ArtefactMissingError, ArtefactStoreError


class ArtefactStore:
    """A folder of files, each at ``DIGEST[0:2]/DIGEST[2:64]``.

    Attributes:
        directory: the folder; made when the first artefact is put.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def put(self, data: bytes) -> str:
        """Store bytes, durably; again and again changes nothing.

        Returns:
            Their digest, 64 hexadecimal digits.

        Raises:
            ArtefactStoreError: the disk could not be written.
        """
        digest = sha256_hex(data)
        path = self._path(digest)
        try:
            if path.is_file() and path.read_bytes() == data:
                return digest
            _make_folders(path.parent)
            write_atomically(path, data)
        except OSError as exc:
            raise ArtefactStoreError(
                f"expected to write the artefact {path}: {exc.strerror}; nothing was recorded"
            ) from exc
        return digest

    def read(self, digest: str) -> bytes:
        """The bytes with a digest, compared with it.

        Raises:
            ArtefactMissingError: there are none.
            ArtefactDigestError: the file has other bytes.
            ArtefactStoreError: the disk could not be read.
        """
        path = self._path(digest)
        try:
            data = path.read_bytes()
        except FileNotFoundError as exc:
            raise ArtefactMissingError(
                f"expected the artefact {path}, found no such file; restore it from a copy"
            ) from exc
        except OSError as exc:
            raise ArtefactStoreError(
                f"expected to read the artefact {path}: {exc.strerror}"
            ) from exc
        if sha256_hex(data) != digest:
            raise ArtefactDigestError(
                f"expected the artefact {path} to have the digest of its name, it has another: "
                "it was altered; restore it from a copy"
            )
        return data

    def __contains__(self, digest: str) -> bool:
        """Whether there is an artefact with this digest."""
        return self._path(digest).is_file()

    def _path(self, digest: str) -> Path:
        if not is_sha256_hex(digest):
            raise ArtefactMissingError("expected a digest of 64 hexadecimal digits, found none")
        return self.directory / digest[:2] / digest[2:]


def _make_folders(folder: Path) -> None:
    """Make a folder and those above it; each is durable in the one above."""
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    flush_directory(folder.parent)
