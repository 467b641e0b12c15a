"""What an append adds to a log: new tiles and a new root, computed without input or output.

Example:
    >>> growth = grow(0, {}, [], [b"one"])
    >>> [tile.path for tile, content in growth.tiles], growth.size
    (['tile/entries/000.p/1', 'tile/0/000.p/1'], 1)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from assay.ledger.merkle import HASH_SIZE, fold_roots, leaf_hash, roots_of_leaves
from assay.ledger.tile_tree import edge_root
from assay.ledger.tiles import TILE_WIDTH, Tile, encode_entries


@dataclass(frozen=True)
class Growth:
    """The files of an append and the head that they lead to.

    Attributes:
        tiles: new tiles and entry bundles with their content.
        size: of the new tree.
        root: of the new tree.
    """

    tiles: tuple[tuple[Tile, bytes], ...]
    size: int
    root: bytes


def grow(
    size: int, edge: Mapping[int, bytes], last_entries: Sequence[bytes], entries: Sequence[bytes]
) -> Growth:
    """Append entries to a tree of which only the right edge is known.

    Args:
        size: of the tree so far.
        edge: hashes of its partial tiles by level.
        last_entries: the entries of its partial entry bundle.
        entries: what is appended; at least one.

    Raises:
        EntryTooLargeError: an entry is longer than 65,535 bytes.
    """
    tiles: list[tuple[Tile, bytes]] = []
    index = size // TILE_WIDTH
    for number, group in enumerate(_groups([*last_entries, *entries])):
        tiles.append((Tile(None, index + number, len(group)), encode_entries(group)))
    grown = dict(edge)
    added = b"".join(leaf_hash(entry) for entry in entries)
    level = 0
    while added:
        row = grown.pop(level, b"") + added
        index = size >> 8 * (level + 1)
        added = b""
        for number, at in enumerate(range(0, len(row), TILE_WIDTH * HASH_SIZE)):
            hashes = row[at : at + TILE_WIDTH * HASH_SIZE]
            tile = Tile(level, index + number, len(hashes) // HASH_SIZE)
            tiles.append((tile, hashes))
            if tile.width == TILE_WIDTH:
                added += fold_roots(roots_of_leaves(hashes))
            else:
                grown[level] = hashes
        level += 1
    return Growth(tuple(tiles), size + len(entries), edge_root(grown))


def superseded(before: int, after: int) -> Iterator[Tile]:
    """Full-width names of tiles whose partial forms an append from one size to another ended.

    The tile left of the old edge is named too: a crash may have left its partial forms.
    """
    level = 0
    while after >> 8 * level:
        last = after >> 8 * (level + 1)
        for index in range(max(0, (before >> 8 * (level + 1)) - 1), last + 1):
            yield Tile(level, index)
        level += 1


def _groups(entries: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for at in range(0, len(entries), TILE_WIDTH):
        yield entries[at : at + TILE_WIDTH]
