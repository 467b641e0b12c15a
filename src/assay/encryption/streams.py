"""What a sealed object is read from and written to, and reading in pieces of a fixed length.

Example:
    >>> import io
    >>> list(read_ahead(io.BytesIO(b"abcde"), 2))
    [(0, b'ab', False), (1, b'cd', False), (2, b'e', True)]
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class ReadableSource(Protocol):
    """What is read from front to back."""

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes, or none at the end."""
        ...


class SeekableSource(ReadableSource, Protocol):
    """What is read in ranges."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move to an offset, or with ``io.SEEK_END`` from the end; returns the position."""
        ...


class WritableTarget(Protocol):
    """What takes bytes, all of them or an error."""

    def write(self, data: bytes, /) -> object:
        """Take the bytes."""
        ...


def read_ahead(source: ReadableSource, size: int) -> Iterator[tuple[int, bytes, bool]]:
    """Number, bytes, and whether it is the last, of each piece; at least one, maybe empty."""
    number, piece = 0, read_exactly(source, size)
    while True:
        following = read_exactly(source, size) if len(piece) == size else b""
        yield number, piece, not following
        if not following:
            return
        number, piece = number + 1, following


def read_exactly(source: ReadableSource, size: int) -> bytes:
    """Up to ``size`` bytes; fewer only at the end, though a raw source may give less at once."""
    pieces = []
    missing = size
    while missing:
        piece = source.read(missing)
        if not piece:
            break
        pieces.append(piece)
        missing -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
