"""Reading from a store of objects as from a file, and pieces of bytes as a source.

Example:
    >>> from assay.encryption.object_store import MemoryObjectStore
    >>> store = MemoryObjectStore()
    >>> store.put("a", b"12345")
    >>> StoreReader(store, "a").read(2)
    b'12'
"""

from __future__ import annotations

import io
from collections.abc import Iterator

from assay.encryption.errors import BucketServiceError, ChangedObjectError
from assay.encryption.object_store import ObjectStore


class StoreReader:
    """One object of a store as a source that can seek; each read is one request."""

    def __init__(self, store: ObjectStore, key: str) -> None:
        self._store = store
        self._key = key
        self._position = 0
        self._stored_bytes: int | None = None
        self._entity_tag = ""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to an offset, from the beginning or from the end that the first answer told."""
        end = (self._stored_bytes or 0) if whence == io.SEEK_END else 0
        self._position = end + offset
        return self._position

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes.

        Raises:
            ChangedObjectError: the object was overwritten since the first answer.
            assay.encryption.BucketError: the store refuses or fails.
        """
        if self._stored_bytes is not None:
            size = min(size, self._stored_bytes - self._position)
            if size <= 0:
                return b""
        found = self._store.read_range(self._key, self._position, size)
        if len(found.data) > size:
            raise BucketServiceError(
                f"expected at most {size} bytes of the object, found {len(found.data)}; the "
                "server, or a proxy before it, must know ranges"
            )
        if self._stored_bytes is None:
            self._stored_bytes, self._entity_tag = found.stored_bytes, found.entity_tag
        elif (found.stored_bytes, found.entity_tag) != (self._stored_bytes, self._entity_tag):
            raise changed_object()
        self._position += len(found.data)
        return found.data


class PieceReader:
    """Pieces of bytes as a source."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes."""
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b""))
        piece, self._rest = self._rest[:size], self._rest[size:]
        return bytes(piece)


def changed_object() -> ChangedObjectError:
    """The error for an object that is not the one that was opened."""
    return ChangedObjectError(
        "expected the object that was opened, found another one in its place: it was overwritten "
        "meanwhile; begin again"
    )
