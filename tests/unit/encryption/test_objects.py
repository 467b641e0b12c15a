"""Sealed objects: streams and ranges come back, and nothing that was changed does."""

from __future__ import annotations

import io
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import assay.encryption.objects as module
from assay.core import DataKeyClass
from assay.encryption import (
    ExtendedObjectError,
    KeyClassError,
    ObjectError,
    ObjectRangeError,
    ObjectTooLargeError,
    SealedObject,
    TamperedObjectError,
    TruncatedObjectError,
    WrongObjectKeyError,
    object_key_id,
    open_object,
    seal_object,
)
from assay.keys import DataKey, Keyring, MemoryDataKeyTable, MemoryKeyService

PLACE = {"owner": "tenant-1", "bucket": "uploads", "key": "report.pdf"}
KEYRING = Keyring(MemoryKeyService(), MemoryDataKeyTable())
SMALL = 16


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> int:
    """Chunks of a few bytes, so that short objects have many."""
    monkeypatch.setattr(module, "CHUNK_BYTES", SMALL)
    monkeypatch.setattr(module, "_SEALED_CHUNK_BYTES", SMALL + 16)
    return SMALL


def seal(plain: bytes, **place: str) -> bytes:
    target = io.BytesIO()
    seal_object(KEYRING, io.BytesIO(plain), target, **{**PLACE, **place})
    return target.getvalue()


def unseal(sealed: bytes, **place: str) -> bytes:
    return b"".join(open_object(KEYRING, io.BytesIO(sealed), **{**PLACE, **place}))


@given(st.binary(max_size=100))
def test_streams_come_back(small_chunks: int, plain: bytes) -> None:
    sealed = seal(plain)

    assert unseal(sealed) == plain
    chunks = max(1, -(-len(plain) // small_chunks))
    assert len(sealed) == 42 + len(plain) + 16 * chunks


@given(st.binary(max_size=100), st.data())
def test_ranges_come_back(small_chunks: int, plain: bytes, data: Any) -> None:
    opened = SealedObject(KEYRING, io.BytesIO(seal(plain)), **PLACE)
    assert opened.size_bytes == len(plain)
    start = data.draw(st.integers(0, len(plain)))
    length = data.draw(st.integers(0, len(plain) - start))

    assert opened.read(start, length) == plain[start : start + length]


@pytest.mark.parametrize("length", [0, 1, SMALL - 1, SMALL, SMALL + 1, 3 * SMALL, 3 * SMALL + 5])
def test_every_flipped_bit_and_every_length_is_refused(small_chunks: int, length: int) -> None:
    sealed = seal(bytes(range(length)))
    for position in range(len(sealed)):
        for bit in range(8):
            changed = bytearray(sealed)
            changed[position] ^= 1 << bit
            with pytest.raises(ObjectError):
                unseal(bytes(changed))
    for shorter in range(len(sealed)):
        with pytest.raises((TruncatedObjectError, TamperedObjectError)):
            unseal(sealed[:shorter])
        with pytest.raises((TruncatedObjectError, TamperedObjectError)):
            SealedObject(KEYRING, io.BytesIO(sealed[:shorter]), **PLACE)
    for extra in (b"\0", bytes(16), bytes(SMALL + 16), sealed, sealed[42:]):
        with pytest.raises((ExtendedObjectError, TamperedObjectError)):
            unseal(sealed + extra)
        with pytest.raises(ObjectError):
            SealedObject(KEYRING, io.BytesIO(sealed + extra), **PLACE)


def test_cutting_and_extending_at_a_border_have_names_of_their_own(small_chunks: int) -> None:
    sealed = seal(bytes(3 * SMALL))
    border = 42 + 2 * (SMALL + 16)

    with pytest.raises(TruncatedObjectError, match="cut off"):
        unseal(sealed[:border])
    with pytest.raises(TruncatedObjectError, match="cut off"):
        SealedObject(KEYRING, io.BytesIO(sealed[:border]), **PLACE)
    with pytest.raises(ExtendedObjectError, match="behind"):
        unseal(sealed + sealed[42:])


def test_chunks_stay_in_their_place_and_in_their_object(small_chunks: int) -> None:
    size = SMALL + 16
    one, other = seal(bytes(4 * SMALL)), seal(bytes(4 * SMALL))
    chunks = [one[42 + n * size :][:size] for n in range(4)]
    foreign = other[42 : 42 + size]
    for wrong in (
        [chunks[1], chunks[0], *chunks[2:]],
        [chunks[0], chunks[0], *chunks[2:]],
        [*chunks[1:]],
        [foreign, *chunks[1:]],
    ):
        with pytest.raises(TamperedObjectError):
            unseal(one[:42] + b"".join(wrong))


def test_an_empty_last_chunk_behind_others_is_refused(small_chunks: int) -> None:
    """It would be authentic, but nobody who follows the specification writes it."""
    sealed = seal(bytes(SMALL))
    key = KEYRING.current("tenant-1", DataKeyClass.OBJECTS)
    chunks = module._Chunks(key, sealed[:42], module._associated_data(**PLACE))
    crafted = (
        sealed[:42] + chunks.seal(0, bytes(SMALL), last=False) + chunks.seal(1, b"", last=True)
    )
    with pytest.raises(TamperedObjectError):
        unseal(crafted)


@pytest.mark.parametrize("name", ["bucket", "key"])
def test_an_object_opens_at_its_own_place_only(name: str) -> None:
    sealed = seal(b"text")

    with pytest.raises(TamperedObjectError):
        unseal(sealed, **{name: "other"})
    with pytest.raises(TamperedObjectError):
        SealedObject(KEYRING, io.BytesIO(sealed), **{**PLACE, name: "other"})


def test_the_object_of_another_owner_is_refused() -> None:
    KEYRING.current("tenant-2", DataKeyClass.OBJECTS)
    with pytest.raises(WrongObjectKeyError, match="another owner"):
        unseal(seal(b"text"), owner="tenant-2")
    with pytest.raises(WrongObjectKeyError):
        SealedObject(KEYRING, io.BytesIO(seal(b"text")), **{**PLACE, "owner": "nobody"})


def test_errors_come_before_the_first_piece() -> None:
    """The header is judged when the stream is opened, not when its first piece is asked for."""
    with pytest.raises(TruncatedObjectError):
        open_object(KEYRING, io.BytesIO(b""), **PLACE)


def test_keys_of_another_class_are_refused() -> None:
    class Wrong:
        def current(self, owner: str, key_class: DataKeyClass) -> DataKey:
            return KEYRING.current(owner, DataKeyClass.ROWS)

        def by_id(self, owner: str, key_class: DataKeyClass, key_id: bytes) -> DataKey:
            return KEYRING.current(owner, DataKeyClass.ROWS)

    with pytest.raises(KeyClassError, match="class objects"):
        seal_object(Wrong(), io.BytesIO(b""), io.BytesIO(), **PLACE)
    with pytest.raises(KeyClassError, match="class objects"):
        open_object(Wrong(), io.BytesIO(seal(b"")), **PLACE)


def test_ranges_outside_of_the_object_are_refused() -> None:
    opened = SealedObject(KEYRING, io.BytesIO(seal(b"12345")), **PLACE)
    assert opened.read(5, 0) == b""
    for start, length in ((-1, 1), (0, 6), (6, 0), (5, 1), (2, -1)):
        with pytest.raises(ObjectRangeError, match="within 5 bytes"):
            opened.read(start, length)


def test_more_chunks_than_the_counter_has_are_refused(
    small_chunks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_CHUNKS", 3)
    seal(bytes(3 * SMALL))
    with pytest.raises(ObjectTooLargeError, match="split"):
        seal(bytes(3 * SMALL + 1))


class Boastful(io.BytesIO):
    """A source that says to be longer than any sealed object."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return 2**62 if whence == io.SEEK_END else super().seek(min(offset, 2**40))


def test_a_length_of_more_chunks_than_there_are_is_refused() -> None:
    with pytest.raises(ObjectTooLargeError):
        SealedObject(KEYRING, Boastful(seal(b"x")), **PLACE)


class Dribbling(io.RawIOBase):
    """A source that gives a few bytes at a time, as a socket does."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, 7) if size >= 0 else 7)


def test_sources_may_give_less_than_was_asked_for() -> None:
    plain, target = bytes(range(256)) * 5000, io.BytesIO()
    seal_object(KEYRING, Dribbling(plain), target, **PLACE)  # type: ignore[arg-type]  # a raw source

    sealed = target.getvalue()
    assert b"".join(open_object(KEYRING, Dribbling(sealed), **PLACE)) == plain  # type: ignore[arg-type]  # the same


def test_memory_stays_flat() -> None:
    class Zeros(io.RawIOBase):
        left = 40 * 2**20

        def read(self, size: int = -1) -> bytes:
            given = min(size, self.left)
            self.left -= given
            return bytes(given)

    class Nowhere(io.RawIOBase):
        def write(self, data: Any) -> int:
            return len(data)

    tracemalloc.start()
    try:
        seal_object(KEYRING, Zeros(), Nowhere(), **PLACE)  # type: ignore[arg-type]  # raw streams
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * 2**20


def test_no_two_objects_share_a_nonce_or_a_plaintext_byte() -> None:
    headers = {seal(b"Quartz & Obsidian")[:42] for _ in range(100)}

    assert len({header[18:37] for header in headers}) == 100
    assert b"Obsidian" not in seal(b"Quartz & Obsidian")
    assert {object_key_id(header) for header in headers} == {
        KEYRING.current("tenant-1", DataKeyClass.OBJECTS).key_id
    }
