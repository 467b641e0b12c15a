"""A Merkle tree in memory that knows everything from some entry on, and only hashes before it.

A verifier builds one from a bundle: the compact range of what lies before the bundle's first
entry, then a leaf hash per entry. It takes 64 bytes per entry.

Example:
    >>> tree = TailTree()
    >>> tree.add(leaf_hash(b"one")); tree.add(leaf_hash(b"two"))
    >>> verify_inclusion(leaf_hash(b"two"), 1, 2, tree.inclusion_proof(1), root=tree.root())
"""

from __future__ import annotations

from collections.abc import Sequence

from assay.ledger.errors import ConsistencyProofError, EntryIndexError
from assay.ledger.merkle import (
    HASH_SIZE,
    complete_subtrees,
    fold_roots,
    inclusion_proof,
    node_hash,
    range_root,
)


class TailTree:
    """Hashes of all complete subtrees that entries from `first` on take part in.

    Attributes:
        first: index of the first entry that can be proven.
        size: number of entries in the tree.
    """

    def __init__(self, first: int = 0, prefix: Sequence[bytes] = ()) -> None:
        """Start after a prefix.

        Args:
            first: number of entries in the prefix.
            prefix: its compact range, largest subtree first.

        Raises:
            ValueError: the range has not one hash for each binary digit 1 of first.
        """
        expected = list(complete_subtrees(0, first))
        if len(expected) != len(prefix) or any(len(root) != HASH_SIZE for root in prefix):
            raise ValueError(f"expected {len(expected)} hashes before entry {first}")
        self.first = self.size = first
        # Row by row: the index of the first known node (even), then all known nodes.
        self._starts = [first >> level & ~1 for level in range(first.bit_length())]
        self._rows = [bytearray() for _ in self._starts]
        for (level, _), root in zip(expected, prefix, strict=True):
            self._rows[level] += root

    def add(self, leaf: bytes) -> None:
        """Append the hash of the next entry."""
        index, level, found = self.size, 0, leaf
        self._push(level, found)
        while index & 1:
            found = node_hash(self.node(level, index - 1), found)
            index, level = index >> 1, level + 1
            self._push(level, found)
        self.size += 1

    def node(self, level: int, index: int) -> bytes:
        """The root of a complete subtree (`assay.ledger.merkle.NodeReader`)."""
        at = (index - self._starts[level]) * HASH_SIZE
        return bytes(self._rows[level][at : at + HASH_SIZE])

    def root(self) -> bytes:
        """The root of the whole tree."""
        return fold_roots([self.node(*place) for place in complete_subtrees(0, self.size)])

    def root_at(self, size: int) -> bytes:
        """The root that the tree had at an earlier size.

        Raises:
            ConsistencyProofError: the size is not between `first` and the present size.
        """
        if not self.first <= size <= self.size:
            raise ConsistencyProofError(
                f"expected a size from {self.first} to {self.size}, found {size}"
            )
        return range_root(0, size, self.node)

    def leaf(self, index: int) -> bytes:
        """The hash of an entry.

        Raises:
            EntryIndexError: the entry is before `first`, or not there.
        """
        if not self.first <= index < self.size:
            raise EntryIndexError(
                f"expected an index from {self.first} to {self.size - 1}, found {index}"
            )
        return self.node(0, index)

    def inclusion_proof(self, index: int) -> tuple[bytes, ...]:
        """The audit path of an entry, the leaf's sibling first.

        Raises:
            EntryIndexError: the entry is before `first`, or not there.
        """
        self.leaf(index)
        return inclusion_proof(index, self.size, self.node)

    def _push(self, level: int, found: bytes) -> None:
        if level == len(self._rows):
            self._rows.append(bytearray())
            self._starts.append(0)
        self._rows[level] += found
