"""What was derived from a data key goes with it, and what is sealed under it is counted."""

from __future__ import annotations

import gc
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core import DataKeyClass, KeyUses
from assay.encryption import (
    BlindIndex,
    EnvelopeOpener,
    EnvelopeSealer,
    RowAddress,
    casefold,
    encode_row_id,
    seal_object,
)
from assay.encryption.file_keys import FilePlace, wrap_file_key
from assay.encryption.generations import Generations
from assay.encryption.owner_keys import IndexKeys
from assay.keys import DataKey, Keyring, MemoryDataKeyTable, MemoryKeyService

ROWS = DataKeyClass.ROWS
ADDRESS = RowAddress("z", "documents", "default", encode_row_id(7))


class Seconds:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def held(owner: str) -> list[DataKey]:
    gc.collect()
    return [one for one in gc.get_objects() if isinstance(one, DataKey) and one.owner == owner]


def test_ciphers_and_index_keys_go_with_the_key_they_were_derived_from() -> None:
    seconds = Seconds()
    keyring = Keyring(
        MemoryKeyService(), MemoryDataKeyTable(), monotonic=seconds, watch_seconds=3600
    )
    sealer, opener, indexes = EnvelopeSealer(), EnvelopeOpener(), IndexKeys(keyring)
    index = BlindIndex("documents", "email", casefold)

    def use(owner: str) -> bytes:
        address = RowAddress(owner, "documents", "default", encode_row_id(7))
        envelope = sealer.seal(keyring.current(owner, ROWS), address, {"a": 1})
        key = keyring.by_id(owner, ROWS, envelope[2:18])
        assert opener.open(key, address, envelope) == {"a": 1}
        assert indexes.value(index, owner, "ada") is not None
        assert indexes.all(index, owner)
        return envelope

    envelope = use("z")
    seconds.now = 200.0
    use("other")
    assert len(held("z")) == 2
    seconds.now = 300.0
    keyring.tend()
    assert held("z") == []
    assert len(held("other")) == 2
    assert opener.open(keyring.by_id("z", ROWS, envelope[2:18]), ADDRESS, envelope) == {"a": 1}


def test_generations_forget_what_is_picked_in_both_of_them() -> None:
    cache: Generations[int, int] = Generations(4)
    for number in range(6):
        cache.put(number, number)
    cache.forget(lambda number: number % 2 == 0)
    assert [cache.get(number) for number in range(6)] == [None, 1, None, 3, None, 5]


@given(envelopes=st.lists(st.integers(1, 12), min_size=1, max_size=4), segment=st.integers(1, 5))
def test_envelopes_and_segments_are_counted(envelopes: list[int], segment: int) -> None:
    table = MemoryDataKeyTable()
    keyring = Keyring(MemoryKeyService(), table, watch_seconds=3600)
    segments = 0
    for count in envelopes:
        sealer = EnvelopeSealer(segment_envelopes=segment)
        key = keyring.current("a", ROWS)
        for _ in range(count):
            sealer.seal(key, ADDRESS, {"a": 1})
        segments += -(-count // segment)
        keyring.tend()
    assert table.uses() == {key.key_id: KeyUses(sum(envelopes), segments)}


def test_objects_and_file_keys_are_counted() -> None:
    table = MemoryDataKeyTable()
    keyring = Keyring(MemoryKeyService(), table, watch_seconds=3600)
    for _ in range(3):
        place = {"owner": "a", "bucket": "b", "key": "k"}
        seal_object(keyring, io.BytesIO(b"text"), io.BytesIO(), **place)
    files = keyring.current("a", DataKeyClass.FILES)
    wrap_file_key(files, bytes(32), FilePlace("a", "set"))
    keyring.close()
    objects = keyring.current("a", DataKeyClass.OBJECTS)
    assert table.uses() == {objects.key_id: KeyUses(3, 3), files.key_id: KeyUses(1, 1)}


def test_a_key_of_another_class_is_not_counted() -> None:
    keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable(), watch_seconds=3600)
    key = keyring.current("a", DataKeyClass.OBJECTS)
    with pytest.raises(Exception, match="class rows"):
        EnvelopeSealer().seal(key, ADDRESS, {"a": 1})
    assert key.uses.take() == KeyUses()
