"""The tamper matrix over sealed objects, and stores that lie from one answer to the next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sealed_object_vault import KEY, PLAIN, READS, BucketVault, StreamVault, small_chunks
from tests.tamper_matrix import ATTACKS, Attack

from assay.encryption import (
    BucketServiceError,
    EncryptionError,
    MemoryObjectStore,
    ReplacedObjectError,
    SealedBucket,
)
from assay.encryption.object_store import StoredRange

pytestmark = pytest.mark.usefixtures(small_chunks.__name__)
__all__ = ["small_chunks"]


def memory_vault(tmp_path: Path, read: str = "get") -> BucketVault:
    stores = [MemoryObjectStore(smallest_part_bytes=50) for _ in range(2)]
    return BucketVault(stores, stores[0].objects, READS[read], tmp_path, part_bytes=50)


@pytest.mark.parametrize("plain", [PLAIN, (PLAIN * 2)[:48]], ids=["rest", "full"])
def test_streams(attack: Attack, plain: bytes) -> None:
    attack.run(StreamVault(plain).target())


@pytest.mark.parametrize("read", READS)
def test_buckets_in_memory(attack: Attack, read: str, tmp_path: Path) -> None:
    attack.run(memory_vault(tmp_path, read).target())


def test_a_range_of_an_altered_object_is_authentic_or_refused(tmp_path: Path) -> None:
    """A reader of a range sees one part of an object; that part is its own, or is not given."""
    vault = memory_vault(tmp_path)
    target, passed, refused = vault.target(step=3), 0, 0
    for attack in ATTACKS:
        if attack.forge is None or attack.name in target.of.spared:
            continue
        for forgery in attack.forge(target):
            target.put(forgery.value)
            for start, length in ((0, 5), (14, 4), (16, 16), (30, 4), (0, len(PLAIN))):
                try:
                    found = vault.bucket.read(KEY, start, length, owner="north")
                except EncryptionError:
                    refused += 1
                    continue
                assert found == PLAIN[start : start + length], forgery.what
                passed += 1
    assert passed > 30, "nothing was read of objects whose other chunks were altered"
    assert refused > 1000


class LyingStore(MemoryObjectStore):
    """Answers each request for a range from the object that ``choose`` names; all look alike."""

    def __init__(self, choose: Callable[[], bytes]) -> None:
        super().__init__(smallest_part_bytes=50)
        self.choose = choose

    def read_range(self, key: str, start: int, length: int) -> StoredRange:
        whole = self.choose()
        return StoredRange(whole[start : start + length], len(whole), "always the same")


@given(st.lists(st.integers(0, 5), max_size=12))
def test_a_store_that_mixes_objects_is_refused(small_chunks: None, choices: list[int]) -> None:
    """Whatever each answer is taken from: all of one authentic object, or a named error."""
    vault = StreamVault()
    bytes_of = [
        vault.stored,
        vault.seal(),
        vault.seal(key="2026/other.txt"),
        vault.stored[: 42 + 2 * 32],
        vault.stored + vault.stored[42:74],
        vault.stored[:42],
    ]
    answers = iter(choices)
    store = LyingStore(lambda: bytes_of[next(answers, choices[-1] if choices else 0)])
    bucket = SealedBucket(store, vault.keyring, name="uploads", part_bytes=50)
    try:
        opened = bucket.open(KEY, owner="north")
        found = b"".join(opened.read(at, min(5, opened.size_bytes - at)) for at in range(0, opened.size_bytes, 5))  # fmt: skip
    except EncryptionError:
        assert len(set(choices)) > 1 or choices[-1] >= 2
    else:
        assert found == PLAIN


class GenerousStore(MemoryObjectStore):
    """Answers with more than was asked for."""

    def read_range(self, key: str, start: int, length: int) -> StoredRange:
        return super().read_range(key, start, length + 1)


def test_a_store_that_gives_more_than_was_asked_for_is_refused(tmp_path: Path) -> None:
    store = GenerousStore(smallest_part_bytes=50)
    vault = BucketVault([store, store], store.objects, READS["get"], tmp_path, part_bytes=50)
    with pytest.raises(BucketServiceError, match="at most 42 bytes"):
        vault.read()


def test_a_copy_does_not_make_an_older_object_new(tmp_path: Path) -> None:
    """Without the seal id a copy would get a new one, and nobody could tell any more."""
    vault = memory_vault(tmp_path)
    vault.put(vault.older)
    for copy in (vault.bucket.copy, vault.bucket.move):
        with pytest.raises(ReplacedObjectError):
            copy(KEY, "b", owner="north", seal_id=vault.seal_id)
    with pytest.raises(ReplacedObjectError):
        vault.bucket.read(KEY, 0, 1, owner="north", seal_id=vault.seal_id)
    assert set(vault.objects) == {KEY}
