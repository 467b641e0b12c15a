"""RFC 6962 trees against vectors and against the recursive definitions of the RFC."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.ledger import (
    ConsistencyProofError,
    EntryIndexError,
    InclusionProofError,
    TailTree,
    compact_range,
    consistency_proof,
    fold_roots,
    inclusion_proof,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)
from assay.ledger.merkle import roots_of_leaves


def root_by_definition(entries: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    half = 1
    while half * 2 < len(entries):
        half *= 2
    left, right = root_by_definition(entries[:half]), root_by_definition(entries[half:])
    return hashlib.sha256(b"\x01" + left + right).digest()


def tree_of(entries: list[bytes]) -> TailTree:
    tree = TailTree()
    for entry in entries:
        tree.add(leaf_hash(entry))
    return tree


def unhex(texts):
    return [bytes.fromhex(text) for text in texts]


def test_roots_and_compact_ranges_are_those_of_the_vectors(vectors):
    data = vectors("merkle.json")
    leaves, roots = unhex(data["leaves"]), unhex(data["roots"])
    for size in range(len(leaves) + 1):
        tree = tree_of(leaves[:size])
        assert tree.root() == roots[size]
        found = compact_range(size, tree.node)
        assert list(found) == unhex(data["compact_ranges"][size])
        assert fold_roots(found) == roots[size]
        hashes = b"".join(leaf_hash(entry) for entry in leaves[:size])
        assert tuple(roots_of_leaves(hashes)) == found


def test_proofs_are_those_of_the_vectors(vectors):
    data = vectors("merkle.json")
    leaves, roots = unhex(data["leaves"]), unhex(data["roots"])
    for case in data["inclusion"]:
        index, size, proof = case["index"], case["size"], unhex(case["proof"])
        assert list(inclusion_proof(index, size, tree_of(leaves[:size]).node)) == proof
        verify_inclusion(leaf_hash(leaves[index]), index, size, proof, root=roots[size])
    for case in data["consistency"]:
        old, new, proof = case["old"], case["new"], unhex(case["proof"])
        assert list(consistency_proof(old, new, tree_of(leaves[:new]).node)) == proof
        verify_consistency(old, roots[old], new, roots[new], proof)


def test_refused_inclusion_proofs(vectors, refused):
    for case in vectors("merkle.json")["refused_inclusion"]:
        refused(
            case,
            lambda case=case: verify_inclusion(
                bytes.fromhex(case["leaf"]),
                case["index"],
                case["size"],
                unhex(case["proof"]),
                root=bytes.fromhex(case["root"]),
            ),
        )


def test_refused_consistency_proofs(vectors, refused):
    for case in vectors("merkle.json")["refused_consistency"]:
        refused(
            case,
            lambda case=case: verify_consistency(
                case["old"],
                bytes.fromhex(case["old_root"]),
                case["new"],
                bytes.fromhex(case["new_root"]),
                unhex(case["proof"]),
            ),
        )


def test_every_proof_of_every_small_tree_holds_and_no_neighbour_of_it():
    entries = [bytes([number]) for number in range(20)]
    tree = TailTree()
    roots = [tree.root()]
    for size in range(1, 21):
        tree.add(leaf_hash(entries[size - 1]))
        roots.append(tree.root())
        assert roots[size] == root_by_definition(entries[:size])
        for index in range(size):
            proof = tree.inclusion_proof(index)
            verify_inclusion(leaf_hash(entries[index]), index, size, proof, root=roots[size])
            for other in set(range(size + 1)) - {index}:
                with pytest.raises(InclusionProofError):
                    verify_inclusion(
                        leaf_hash(entries[index]), other, size, proof, root=roots[size]
                    )
        for old in range(size + 1):
            proof = consistency_proof(old, size, tree.node)
            verify_consistency(old, roots[old], size, roots[size], proof)
            if 0 < old < size:
                with pytest.raises(ConsistencyProofError):
                    verify_consistency(old, node_hash(roots[old], b""), size, roots[size], proof)
                with pytest.raises(ConsistencyProofError):
                    verify_consistency(old, roots[old], size, roots[old], proof)


@given(st.lists(st.binary(max_size=3), min_size=1, max_size=70), st.data())
def test_a_tail_knows_what_the_whole_tree_knows(entries, data):
    whole = tree_of(entries)
    first = data.draw(st.integers(0, len(entries) - 1))
    tail = TailTree(first, compact_range(first, whole.node))
    for entry in entries[first:]:
        tail.add(leaf_hash(entry))
    assert tail.root() == whole.root() == root_by_definition(entries)
    for index in range(first, len(entries)):
        assert tail.inclusion_proof(index) == whole.inclusion_proof(index)
    for size in range(first, len(entries) + 1):
        assert tail.root_at(size) == root_by_definition(entries[:size])


def test_a_tail_refuses_what_it_does_not_know():
    whole = tree_of([b"%d" % number for number in range(5)])
    tail = TailTree(4, compact_range(4, whole.node))
    tail.add(whole.leaf(4))
    for index in (-1, 3, 5):
        with pytest.raises(EntryIndexError):
            tail.leaf(index)
        with pytest.raises(EntryIndexError):
            tail.inclusion_proof(index)
    for size in (3, 6):
        with pytest.raises(ConsistencyProofError):
            tail.root_at(size)
    with pytest.raises(ValueError, match="expected 1 hashes"):
        TailTree(4, ())
    with pytest.raises(ValueError, match="expected 1 hashes"):
        TailTree(4, (b"short",))


def test_proofs_are_made_only_for_what_is_there():
    tree = tree_of([b"a", b"b"])
    for index in (-1, 2):
        with pytest.raises(InclusionProofError):
            inclusion_proof(index, 2, tree.node)
    for old, new in ((-1, 2), (3, 2)):
        with pytest.raises(ConsistencyProofError):
            consistency_proof(old, new, tree.node)
