"""Tile names and shapes, entry bundles, and growth against the definition of a tile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.ledger import EntryTooLargeError, TailTree, decode_entries, encode_entries, leaf_hash
from assay.ledger.errors import TileMismatchError, TileMissingError
from assay.ledger.growth import grow, superseded
from assay.ledger.tile_tree import TileTree
from assay.ledger.tiles import Tile, entry_tiles, partial_tiles


def test_paths_are_those_of_the_vectors(vectors):
    for case in vectors("merkle.json")["tile_paths"]:
        assert Tile(case["level"], case["index"], case["width"]).path == case["path"]


def test_partial_tiles_are_those_of_the_vectors(vectors):
    for case in vectors("merkle.json")["partial_tiles"]:
        assert [tile.path for tile in partial_tiles(case["size"])] == case["tiles"]


def test_entry_bundles_are_those_of_the_vectors(vectors, refused):
    data = vectors("merkle.json")
    for case in data["entry_bundles"]:
        entries = [bytes.fromhex(entry) for entry in case["entries"]]
        assert encode_entries(entries).hex() == case["bundle"]
        assert decode_entries(bytes.fromhex(case["bundle"]), len(entries)) == entries
    for case in data["refused_entry_bundles"]:
        refused(
            case, lambda case=case: decode_entries(bytes.fromhex(case["bundle"]), case["count"])
        )


@given(st.lists(st.binary(max_size=300), max_size=256))
def test_entry_bundles_read_as_they_were_written(entries):
    assert decode_entries(encode_entries(entries), len(entries)) == entries


def test_the_longest_entry_and_one_byte_more():
    assert decode_entries(encode_entries([bytes(65535)]), 1) == [bytes(65535)]
    with pytest.raises(EntryTooLargeError, match="at most 65535 bytes, found 65536"):
        encode_entries([bytes(65536)])


def test_entry_tiles_cover_a_range():
    def paths(first, size):
        return [tile.path for tile in entry_tiles(first, size)]

    assert paths(0, 0) == []
    assert paths(0, 1) == ["tile/entries/000.p/1"]
    assert paths(256, 256) == []
    assert paths(0, 513) == ["tile/entries/000", "tile/entries/001", "tile/entries/002.p/1"]
    assert paths(300, 513) == ["tile/entries/001", "tile/entries/002.p/1"]


class Disk(dict):
    """Tiles in memory, by path."""

    def read(self, tile: Tile) -> bytes:
        if tile.path not in self:
            raise TileMissingError(tile.path)
        return self[tile.path]


def grown(steps: list[int]) -> tuple[Disk, int, bytes, TailTree]:
    """Append in steps of these sizes, as a log does."""
    disk, size, root, reference = Disk(), 0, TailTree().root(), TailTree()
    for step in steps:
        entries = [b"entry %d" % (size + number) for number in range(step)]
        tree = TileTree(disk.read, size, root)
        tail = tree.entries(size // 256) if size % 256 else []
        growth = grow(size, tree.edge, tail, entries)
        disk.update({tile.path: content for tile, content in growth.tiles})
        for entry in entries:
            reference.add(leaf_hash(entry))
        size, root = growth.size, growth.root
    return disk, size, root, reference


# Beyond 65,536 entries there is a third level; hashes of 70,000 entries take a second.
@pytest.mark.parametrize(
    "steps", [[1], [255, 1], [1] * 520, [256], [100, 300, 700], [256, 256], [65000, 600, 70, 4330]]
)
def test_a_log_that_grows_in_steps_has_the_tiles_that_its_size_defines(steps):
    disk, size, root, reference = grown(steps)
    assert root == reference.root()
    for tile in partial_tiles(size):
        level, width = tile.level, tile.width
        expected = b"".join(
            reference.node(8 * level, tile.index * 256 + number) for number in range(width)
        )
        assert disk[tile.path] == expected
    tree = TileTree(disk.read, size, root)
    for index in {0, size // 2, size - 1}:
        assert tree.entries(index // 256)[index % 256] == b"entry %d" % index
    for level in range(size.bit_length()):
        for index in {0, (size >> level) - 1} if size >> level else ():
            assert tree.node(level, index) == reference.node(level, index)


def test_every_altered_tile_is_noticed():
    disk, size, root, _ = grown([600])
    needed = [path for path in disk if TileTree(disk.read, size, root)]
    for path in needed:
        for content in (
            disk[path][:-1],
            disk[path] + b"\0",
            bytes([disk[path][0] ^ 1]) + disk[path][1:],
        ):
            altered = Disk(disk) | {path: content}
            with pytest.raises(TileMismatchError):
                read_all(Disk(altered), size, root)
        missing = Disk(disk)
        del missing[path]
        with pytest.raises(TileMissingError):
            read_all(missing, size, root)


def read_all(disk: Disk, size: int, root: bytes) -> None:
    tree = TileTree(disk.read, size, root)
    for tile in entry_tiles(0, size):
        tree.entries(tile.index)


def test_what_an_append_supersedes():
    assert [tile.path for tile in superseded(0, 1)] == ["tile/0/000"]
    assert [tile.path for tile in superseded(255, 257)] == [
        "tile/0/000",
        "tile/0/001",
        "tile/1/000",
    ]
    assert [tile.path for tile in superseded(600, 601)][:2] == ["tile/0/001", "tile/0/002"]
