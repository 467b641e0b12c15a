"""Names and shapes of tiles and entry bundles (https://c2sp.org/tlog-tiles); no input or output.

The text is ``spec/ledger.md``, section Tiles and entry bundles.

Example:
    >>> Tile(0, 1234067, 256).path, Tile(1, 0, 17).path
    ('tile/0/x001/x234/067', 'tile/1/000.p/17')
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from assay.ledger.errors import EntryTooLargeError, TileFormatError

TILE_WIDTH = 256
LARGEST_ENTRY = 65535

_LENGTH = struct.Struct(">H")


@dataclass(frozen=True, slots=True)
class Tile:
    """Where a tile is in the tree.

    Attributes:
        level: 0 holds leaf hashes; each next one the roots of full tiles below. None: an entry
            bundle.
        index: from the left, within the level.
        width: number of hashes, 1 to 256; 256 is a full tile.
    """

    level: int | None
    index: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """The path below the log's folder."""
        return f"{self.full_path}.p/{self.width}" if self.width < TILE_WIDTH else self.full_path

    @property
    def full_path(self) -> str:
        """The path that the tile has when it is full."""
        groups = [f"{self.index % 1000:03}"]
        rest = self.index // 1000
        while rest:
            groups.append(f"x{rest % 1000:03}")
            rest //= 1000
        row = "entries" if self.level is None else self.level
        return f"tile/{row}/{'/'.join(reversed(groups))}"

    @property
    def entries(self) -> Tile:
        """The entry bundle that belongs to a tile of level 0."""
        return replace(self, level=None)


def partial_tiles(size: int) -> list[Tile]:
    """The partial tiles of a tree, lowest level first; levels that need none are left out."""
    found, level = [], 0
    while size >> 8 * level:
        width = (size >> 8 * level) % TILE_WIDTH
        if width:
            found.append(Tile(level, size >> 8 * (level + 1), width))
        level += 1
    return found


def entry_tiles(first: int, size: int) -> Iterator[Tile]:
    """The entry bundles that hold ``D[first:size]``, in order."""
    for index in range(first // TILE_WIDTH, -(-size // TILE_WIDTH)):
        yield Tile(None, index, min(TILE_WIDTH, size - index * TILE_WIDTH))


def check_entry(entry: bytes) -> None:
    """Refuse an entry that no bundle can hold.

    Raises:
        EntryTooLargeError: it is longer than 65,535 bytes.
    """
    if len(entry) > LARGEST_ENTRY:
        raise EntryTooLargeError(
            f"expected an entry of at most {LARGEST_ENTRY} bytes, found {len(entry)}"
        )


def encode_entries(entries: Sequence[bytes]) -> bytes:
    """An entry bundle: each entry after its length, 16 bit, big endian.

    Raises:
        EntryTooLargeError: an entry is longer than 65,535 bytes.
    """
    parts: list[bytes] = []
    for entry in entries:
        check_entry(entry)
        parts += (_LENGTH.pack(len(entry)), entry)
    return b"".join(parts)


def decode_entries(data: bytes, count: int) -> list[bytes]:
    """The entries of a bundle.

    Args:
        data: what `encode_entries` wrote.
        count: how many entries it must hold.

    Raises:
        TileFormatError: it holds fewer or more.
    """
    entries, at = [], 0
    for _ in range(count):
        start = at + _LENGTH.size
        if start > len(data):
            raise TileFormatError(f"expected {count} entries in a bundle, found fewer")
        at = start + _LENGTH.unpack_from(data, start - _LENGTH.size)[0]
        entries.append(data[start:at])
    if at != len(data):
        raise TileFormatError(f"expected {count} entries in a bundle, found more or fewer bytes")
    return entries
