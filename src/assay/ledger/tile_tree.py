"""Tiles read from somewhere, each authenticated by a checkpoint before it is used.

The partial tiles at the right edge determine the root, so they are read first and compared with
it; every full tile is then compared with its hash in the tile above. What a `TileTree` hands out
is what was signed, wherever the bytes came from.

Example:
    >>> tree = TileTree(read, checkpoint.size, checkpoint.root)      # doctest: +SKIP
    >>> inclusion_proof(17, checkpoint.size, tree.node)              # doctest: +SKIP
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

from assay.ledger.errors import TileFormatError, TileMismatchError
from assay.ledger.merkle import HASH_SIZE, fold_roots, leaf_hash, roots_of_leaves
from assay.ledger.tiles import TILE_WIDTH, Tile, decode_entries, partial_tiles

_KEPT_TILES = 64


class TileTree:
    """The tree of one checkpoint, read tile by tile.

    Attributes:
        size: number of entries.
        edge: the partial tiles by level.
    """

    def __init__(self, read: Callable[[Tile], bytes], size: int, root: bytes) -> None:
        """Read and check the partial tiles.

        Args:
            read: gives the content of a tile or entry bundle.
            size: of the tree, from a verified checkpoint.
            root: of the tree, from a verified checkpoint.

        Raises:
            TileMismatchError: the tiles are not those of the checkpoint.
            LogError: what ``read`` raises.
        """
        self.size = size
        self._read = read
        self._full: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        edge = {tile.level: self._sized(tile) for tile in partial_tiles(size)}
        self.edge: Mapping[int, bytes] = {
            level: hashes for level, hashes in edge.items() if level is not None
        }
        if edge_root(self.edge) != root:
            raise TileMismatchError(
                f"expected the last tiles of a log of {size} entries to have the root of the "
                "checkpoint, they have another: a tile was altered; restore it from a copy"
            )

    def tile(self, level: int, index: int) -> bytes:
        """The hashes of one tile of this tree, one after the other.

        Raises:
            TileMismatchError: they are not those that were signed.
            LogError: it could not be read.
        """
        if index == self.size >> 8 * (level + 1):
            return self.edge[level]
        place = (level, index)
        if place in self._full:
            self._full.move_to_end(place)
            return self._full[place]
        above = self.tile(level + 1, index // TILE_WIDTH)
        at = index % TILE_WIDTH * HASH_SIZE
        hashes = self._sized(Tile(level, index))
        if fold_roots(roots_of_leaves(hashes)) != above[at : at + HASH_SIZE]:
            raise TileMismatchError(f"{Tile(level, index).path}: the tile was altered")
        self._full[place] = hashes
        if len(self._full) > _KEPT_TILES:
            self._full.popitem(last=False)
        return hashes

    def node(self, level: int, index: int) -> bytes:
        """The root of a complete subtree (`assay.ledger.merkle.NodeReader`).

        Raises:
            TileMismatchError: a tile is not the one that was signed.
            LogError: a tile could not be read.
        """
        tile_level, height = divmod(level, 8)
        first = index << height
        tile = self.tile(tile_level, first // TILE_WIDTH)
        at = first % TILE_WIDTH * HASH_SIZE
        return fold_roots(roots_of_leaves(tile[at : at + (HASH_SIZE << height)]))

    def entries(self, index: int) -> list[bytes]:
        """The entries of one bundle, compared with their leaf hashes.

        Raises:
            TileMismatchError: an entry is not the one that was signed.
            LogError: it could not be read.
        """
        hashes = self.tile(0, index)
        tile = Tile(None, index, len(hashes) // HASH_SIZE)
        content = self._read(tile)
        try:
            entries = decode_entries(content, tile.width)
        except TileFormatError as exc:
            raise TileMismatchError(f"{tile.path}: the bundle was altered: {exc}") from exc
        if b"".join(leaf_hash(entry) for entry in entries) != hashes:
            raise TileMismatchError(f"{tile.path}: an entry was altered")
        return entries

    def _sized(self, tile: Tile) -> bytes:
        hashes = self._read(tile)
        if len(hashes) != tile.width * HASH_SIZE:
            raise TileMismatchError(
                f"{tile.path}: expected {tile.width * HASH_SIZE} bytes, found {len(hashes)}"
            )
        return hashes


def edge_root(edge: Mapping[int, bytes]) -> bytes:
    """The root that partial tiles determine.

    Args:
        edge: hashes of the partial tiles by level.
    """
    roots: list[bytes] = []
    for level in sorted(edge, reverse=True):
        roots += roots_of_leaves(edge[level])
    return fold_roots(roots)
