r"""What hides a value without changing it: deflate streams, and text broken into lines.

Deflate members (gzip of RFC 1952, zlib of RFC 1950) are opened wherever they begin, also when
they are cut off or damaged further on: what came out before that is searched. Line breaks are
taken out of a window, with a map from the places in the joined text back to the window.

Specification: ``spec/leak-test.md``, "Containers".

Example:
    >>> joined = JoinedLines(b"c2Vj\r\n  cmV0")
    >>> joined.text, joined.window_span(0, 8)
    (b'c2VjcmV0', (0, 12))
"""

from __future__ import annotations

import re
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress

GZIP_HEAD = rb"\x1f\x8b\x08[\x00-\x1f]"
"""Regular expression of 4 bytes (RFC 1952): magic, deflate, flags without the reserved bits."""

ZLIB_HEAD = (
    rb"\x78[\x01\x5e\x9c\xda]["
    + b"".join(b"\\x%02x" % byte for byte in range(256) if byte & 6 != 6)
    + b"]"
)
"""Regular expression of 3 bytes: the four headers of a 32 kB window (RFC 1950), then a first
block that is not of the reserved type (RFC 1951 section 3.2.3, bits 1 and 2 not both set)."""

HEAD_LENGTHS = {"gzip": 4, "zlib": 3}
"""Bytes of each head."""

_LINE_BREAK = re.compile(rb"=?(?:\r\n|\n|\r|\\r\\n|\\n|\\r)[ \t]*")
_GZIP_MAGIC = b"\x1f\x8b"
_LARGEST_OUTPUT = 1 << 20
_FIRST_SLICE = 16
_LARGEST_SLICE = 1 << 14


def member_kind(head: bytes | memoryview) -> str:
    """Which kind of member begins with these bytes: ``gzip`` or ``zlib``."""
    return "gzip" if bytes(head[:2]) == _GZIP_MAGIC else "zlib"


class JoinedLines:
    r"""A window with its line breaks taken out.

    Taken out are LF, CRLF and CR, the same as two or four escaped characters (``\n``), a soft
    line break's ``=`` before them (RFC 2045 section 6.7) and the indentation after them.

    Attributes:
        text: the window without line breaks.
    """

    def __init__(self, window: bytes) -> None:
        self._positions: list[int] = []  # in `text`, of each break
        self._shifts: list[int] = []  # bytes taken out up to and with that break
        pieces: list[bytes] = []
        end = shift = 0
        for match in _LINE_BREAK.finditer(window):
            pieces.append(window[end : match.start()])
            self._positions.append(match.start() - shift)
            end = match.end()
            shift += end - match.start()
            self._shifts.append(shift)
        pieces.append(window[end:])
        self.text = b"".join(pieces)

    def window_span(self, start: int, length: int) -> tuple[int, int]:
        """Where bytes of `text` stand in the window: offset of the first, offset after the last.

        Args:
            start: offset in `text`.
            length: number of bytes, at least 1.
        """
        return self._in_window(start), self._in_window(start + length - 1) + 1

    def _in_window(self, offset: int) -> int:
        breaks = bisect_right(self._positions, offset)
        return offset + (self._shifts[breaks - 1] if breaks else 0)


class Member:
    """One deflate member that is opened piece by piece.

    It is fed slices that begin small. When a slice breaks off, it is repeated byte by byte from
    a copy of the state before it, so that nothing which came out before the damage is lost.

    Args:
        kind: ``gzip`` or ``zlib``.

    Attributes:
        kind: as given.
        is_open: whether it takes more input.
        is_complete: whether it came to its end with the right checksum.
        produced_bytes: bytes that came out so far.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.is_open = True
        self.is_complete = False
        self.produced_bytes = 0
        self._state = zlib.decompressobj(31 if kind == "gzip" else 15)
        self._slice = _FIRST_SLICE

    @staticmethod
    def is_plausible(kind: str, head: memoryview) -> bool:
        """Whether the first few bytes open without an error.

        Most places that look like the head of a member are chance, and nearly all of those end
        here, at little cost.
        """
        try:
            zlib.decompressobj(31 if kind == "gzip" else 15).decompress(head[:_FIRST_SLICE])
        except zlib.error:
            return False
        return True

    def feed(self, data: memoryview) -> Iterator[bytes]:
        """Open more bytes; yields what comes out, in pieces of at most 1 MiB.

        Stop asking to stop opening: nothing is produced ahead.
        """
        position = 0
        while self.is_open and position < len(data):
            piece = data[position : position + self._slice]
            position += len(piece)
            before = self._state.copy()
            self._slice = min(self._slice * 4, _LARGEST_SLICE)
            produced = self.produced_bytes
            try:
                yield from self._open(piece)
            except zlib.error:
                self.is_open = False
                yield from self._salvage(before, piece, self.produced_bytes - produced)

    def _open(self, piece: memoryview) -> Iterator[bytes]:
        output = self._state.decompress(piece, _LARGEST_OUTPUT)
        while output:
            self.produced_bytes += len(output)
            yield output
            # Empty input still brings out what the limit held back.
            output = self._state.decompress(self._state.unconsumed_tail, _LARGEST_OUTPUT)
        if self._state.eof:
            self.is_open = False
            self.is_complete = True

    def _salvage(self, state: zlib._Decompress, piece: memoryview, seen: int) -> Iterator[bytes]:
        """Byte by byte up to the damage, without the ``seen`` bytes that came out before."""
        output = bytearray()
        with suppress(zlib.error):
            for position in range(len(piece)):
                output += state.decompress(piece[position : position + 1])
        fresh = bytes(output[seen:])
        if fresh:
            self.produced_bytes += len(fresh)
            yield fresh
