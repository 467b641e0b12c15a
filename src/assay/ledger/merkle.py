"""The Merkle tree of RFC 6962 section 2.1: hashes, roots, proofs, compact ranges.

Functions that make proofs do not keep a tree. They ask a `NodeReader` for the roots of complete
subtrees, so the same code serves tiles on disk (`assay.ledger.tile_tree`) and a tree in memory
(`assay.ledger.tail_tree`). The text is ``spec/ledger.md``, section Tree.

Example:
    >>> one, two = leaf_hash(b"one"), leaf_hash(b"two")
    >>> verify_inclusion(two, 1, 2, [one], root=node_hash(one, two))
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

from assay.ledger.errors import ConsistencyProofError, InclusionProofError

HASH_SIZE = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()

NodeReader = Callable[[int, int], bytes]
"""Gives the root of the complete subtree ``D[index·2^level : (index + 1)·2^level]``.

Called with level and index.
"""


def leaf_hash(entry: bytes) -> bytes:
    """The hash of one entry: ``SHA-256(0x00 || entry)``."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node: ``SHA-256(0x01 || left || right)``."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def complete_subtrees(first: int, end: int) -> Iterator[tuple[int, int]]:
    """The complete subtrees that make up ``D[first:end]``, largest first, as (level, index).

    Args:
        first: 0, or a multiple of a power of two that is at least ``end - first``: the only
            ranges that occur in this tree.
        end: one past the last entry.
    """
    for level in reversed(range((end - first).bit_length())):
        if (end - first) >> level & 1:
            yield level, first >> level
            first += 1 << level


def fold_roots(roots: Sequence[bytes]) -> bytes:
    """The root over a compact range, largest subtree first; over none, the empty root."""
    if not roots:
        return EMPTY_ROOT
    folded = roots[-1]
    for root in reversed(roots[:-1]):
        folded = node_hash(root, folded)
    return folded


def compact_range(size: int, node: NodeReader) -> tuple[bytes, ...]:
    """The compact range of ``[0, size)``: one hash for each binary digit 1 of size."""
    return tuple(node(level, index) for level, index in complete_subtrees(0, size))


def range_root(first: int, end: int, node: NodeReader) -> bytes:
    """The root of ``D[first:end]``; for which ranges see `complete_subtrees`."""
    return fold_roots([node(level, index) for level, index in complete_subtrees(first, end)])


def roots_of_leaves(hashes: bytes) -> list[bytes]:
    """The compact range of a run of leaves, or of the hashes of a tile, given as one string.

    Args:
        hashes: any number of hashes of 32 bytes each, one after the other.
    """
    row = [hashes[at : at + HASH_SIZE] for at in range(0, len(hashes), HASH_SIZE)]
    roots = []
    while row:
        if len(row) & 1:
            roots.append(row.pop())
        row = [node_hash(row[at], row[at + 1]) for at in range(0, len(row), 2)]
    return roots[::-1]


def inclusion_proof(index: int, size: int, node: NodeReader) -> tuple[bytes, ...]:
    """The audit path of RFC 6962 section 2.1.1, the leaf's sibling first.

    Args:
        index: of the entry; less than size.
        size: of the tree.
        node: see `NodeReader`.

    Raises:
        InclusionProofError: there is no such entry in a tree of this size.
    """
    if not 0 <= index < size:
        raise InclusionProofError(f"expected an index below the size {size}, found {index}")
    first, end, siblings = 0, size, []
    while end - first > 1:
        middle = first + _split(end - first)
        if index < middle:
            siblings.append((middle, end))
            end = middle
        else:
            siblings.append((first, middle))
            first = middle
    return tuple(range_root(left, right, node) for left, right in reversed(siblings))


def consistency_proof(old: int, new: int, node: NodeReader) -> tuple[bytes, ...]:
    """The consistency proof of RFC 6962 section 2.1.2; empty when old is 0 or equals new.

    Args:
        old: size of the older tree; at most new.
        new: size of the newer tree.
        node: see `NodeReader`; of the newer tree.

    Raises:
        ConsistencyProofError: the sizes are out of order.
    """
    if not 0 <= old <= new:
        raise ConsistencyProofError(f"expected 0 <= older size <= newer, found {old} and {new}")
    if old == 0:
        return ()
    first, end, whole, ranges = 0, new, True, []
    while old != end:
        middle = first + _split(end - first)
        if old <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((first, middle))
            first, whole = middle, False
    if not whole:
        ranges.append((first, end))
    return tuple(range_root(left, right, node) for left, right in reversed(ranges))


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], *, root: bytes
) -> None:
    """Check an audit path (RFC 9162 section 2.1.3.2).

    Args:
        leaf: hash of the entry.
        index: its index.
        size: of the tree.
        proof: the hashes, the leaf's sibling first.
        root: of the tree, from a verified checkpoint.

    Raises:
        InclusionProofError: the proof does not lead from the leaf to the root.
    """
    if not 0 <= index < size:
        raise InclusionProofError(f"expected an index below the size {size}, found {index}")
    position, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise InclusionProofError("expected a shorter inclusion proof for this index and size")
        if position & 1 or position == last:
            found = node_hash(sibling, found)
            position, last = _climb(position, last)
        else:
            found = node_hash(found, sibling)
        position, last = position >> 1, last >> 1
    if last != 0:
        raise InclusionProofError("expected a longer inclusion proof for this index and size")
    if found != root:
        raise InclusionProofError(
            f"expected entry {index} to lead to the root of the checkpoint, it leads elsewhere: "
            "it is not the entry that was logged"
        )


def verify_consistency(
    old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that a tree extends an older one (RFC 9162 section 2.1.4.2).

    Args:
        old: size of the older tree.
        old_root: its root.
        new: size of the newer tree.
        new_root: its root.
        proof: what `consistency_proof` made.

    Raises:
        ConsistencyProofError: the proof does not show that.
    """
    if not 0 <= old <= new:
        raise ConsistencyProofError(f"expected 0 <= older size <= newer, found {old} and {new}")
    if old in (0, new):
        expected = EMPTY_ROOT if old == 0 else new_root
        if proof or old_root != expected:
            raise ConsistencyProofError(f"expected the tree of size {old} to have another root")
        return
    path = list(proof)
    if old & (old - 1) == 0:  # the older tree is a complete subtree of the newer: RFC step 2
        path.insert(0, old_root)
    if not path:
        raise ConsistencyProofError("expected a consistency proof, found none")
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old_found = new_found = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ConsistencyProofError("expected a shorter consistency proof for these sizes")
        if position & 1 or position == last:
            old_found = node_hash(sibling, old_found)
            new_found = node_hash(sibling, new_found)
            position, last = _climb(position, last)
        else:
            new_found = node_hash(new_found, sibling)
        position, last = position >> 1, last >> 1
    if last != 0 or old_found != old_root or new_found != new_root:
        raise ConsistencyProofError(
            f"expected the tree of size {new} to extend the one of size {old}, it does not: "
            "the log was rewritten"
        )


def _split(size: int) -> int:
    """The largest power of two below a size of at least 2."""
    return 1 << (size - 1).bit_length() - 1


def _climb(position: int, last: int) -> tuple[int, int]:
    """Skip the levels at which the node is the last of its row and has no sibling."""
    while position and not position & 1:
        position, last = position >> 1, last >> 1
    return position, last
