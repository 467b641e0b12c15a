"""Sealed buckets over a store in memory: what comes back, what is refused, what is left behind."""

from __future__ import annotations

import io
import stat
import threading
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import assay.encryption.objects as objects_module
from assay.core import AssayError
from assay.encryption import (
    BucketServiceError,
    ChangedObjectError,
    EncryptionError,
    ExtendedObjectError,
    MemoryObjectStore,
    MissingObjectError,
    ObjectExistsError,
    ObjectNameError,
    ObjectRangeError,
    ObjectTooLargeError,
    ReplacedObjectError,
    SealedBucket,
    TamperedObjectError,
    UnsupportedConditionError,
    WrongObjectKeyError,
    plain_size_bytes,
    sealed_size_bytes,
)
from assay.encryption.store_reader import StoreReader
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

KEYRING = Keyring(MemoryKeyService(), MemoryDataKeyTable())
CHUNK, SEALED = 16, 32
TEXT = bytes(range(200))
OWNER = "tenant-1"


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of a few bytes, so that short objects have many."""
    monkeypatch.setattr(objects_module, "CHUNK_BYTES", CHUNK)
    monkeypatch.setattr(objects_module, "_SEALED_CHUNK_BYTES", SEALED)


def bucket_of(store: Any, **options: Any) -> SealedBucket:
    given = {"name": "uploads", "part_bytes": 50, **options}
    return SealedBucket(store, KEYRING, **given)


@pytest.fixture
def store() -> MemoryObjectStore:
    return MemoryObjectStore(smallest_part_bytes=50)


@pytest.fixture
def bucket(store: MemoryObjectStore) -> SealedBucket:
    return bucket_of(store)


@given(st.binary(max_size=300), st.integers(50, 120), st.integers(1, 4), st.data())
def test_what_was_put_comes_back(plain: bytes, part_bytes: int, parallel: int, data: Any) -> None:
    store = MemoryObjectStore(smallest_part_bytes=50)
    bucket = bucket_of(store, part_bytes=part_bytes, parallel=parallel)
    told: list[int] = []

    receipt = bucket.put("a/b", io.BytesIO(plain), owner=OWNER, progress=told.append)

    stored = store.objects["a/b"]
    assert receipt.size_bytes == len(plain)
    assert receipt.stored_bytes == len(stored) == sealed_size_bytes(len(plain)) == told[-1]
    assert told == sorted(told)
    assert store.uploads == {}
    sent = [size for name, size in store.requests if name != "read_range"]
    assert sorted(sent, reverse=True)[:-1] == [part_bytes] * (len(sent) - 1)
    assert sum(sent) == len(stored)
    assert b"".join(bucket.get("a/b", owner=OWNER)) == plain
    assert b"".join(bucket.get("a/b", owner=OWNER, seal_id=receipt.seal_id)) == plain
    start = data.draw(st.integers(0, len(plain)))
    length = data.draw(st.integers(0, len(plain) - start))
    assert bucket.read("a/b", start, length, owner=OWNER) == plain[start : start + length]
    head = bucket.head("a/b")
    assert (head.size_bytes, head.stored_bytes) == (len(plain), len(stored))
    assert list(bucket.list_objects()) == [head]


@given(st.integers(0, 10_000))
def test_lengths_there_and_back(size: int) -> None:
    assert plain_size_bytes(sealed_size_bytes(size)) == size


def test_no_other_length_is_one_of_a_sealed_object() -> None:
    lengths = {sealed_size_bytes(size) for size in range(100)}
    for length in range(sealed_size_bytes(99)):
        assert (plain_size_bytes(length) is not None) == (length in lengths), length


def test_a_range_fetches_only_its_chunks(store: MemoryObjectStore, bucket: SealedBucket) -> None:
    bucket.put("a", TEXT, owner=OWNER)
    store.requests.clear()

    opened = bucket.open("a", owner=OWNER)
    assert store.requests == [("read_range", 42), ("read_range", 200 % CHUNK + 16)]
    assert opened.read(17, 3) == TEXT[17:20]
    assert opened.read(30, 4) == TEXT[30:34]
    assert store.requests[2:] == [("read_range", SEALED), ("read_range", 2 * SEALED)]
    assert opened.read(198, 2) == TEXT[198:]  # the last chunk is there already
    assert len(store.requests) == 4
    assert b"".join(opened.stream()) == TEXT
    assert store.requests[4:] == [("read_range", 8 * SEALED), ("read_range", 4 * SEALED)]


def test_ranges_outside_are_refused_at_once(bucket: SealedBucket) -> None:
    bucket.put("a", TEXT, owner=OWNER)
    opened = bucket.open("a", owner=OWNER)
    for start, length in ((-1, 2), (0, 201), (201, 0), (200, 1), (5, -1)):
        with pytest.raises(ObjectRangeError):
            opened.stream(start, length)
        with pytest.raises(ObjectRangeError):
            bucket.read("a", start, length, owner=OWNER)


def test_something_behind_a_full_last_chunk(store: MemoryObjectStore, bucket: SealedBucket) -> None:
    bucket.put("a", bytes(2 * CHUNK), owner=OWNER)
    good = store.objects["a"]
    store.objects["a"] = good + good[-SEALED:]
    with pytest.raises((ExtendedObjectError, TamperedObjectError)):
        bucket.open("a", owner=OWNER)


def test_an_older_object_under_the_same_name_is_refused_when_asked(
    store: MemoryObjectStore, bucket: SealedBucket
) -> None:
    bucket.put("a", b"old", owner=OWNER)
    old = store.objects["a"]
    receipt = bucket.put("a", b"new", owner=OWNER)
    assert b"".join(bucket.get("a", owner=OWNER, seal_id=receipt.seal_id)) == b"new"
    store.objects["a"] = old

    assert b"".join(bucket.get("a", owner=OWNER)) == b"old"  # authentic: nothing tells it apart
    with pytest.raises(ReplacedObjectError, match=receipt.seal_id.hex()):
        bucket.get("a", owner=OWNER, seal_id=receipt.seal_id)


def test_an_object_that_is_overwritten_while_it_is_read_is_refused(
    store: MemoryObjectStore, bucket: SealedBucket
) -> None:
    bucket.put("a", TEXT, owner=OWNER)
    opened = bucket.open("a", owner=OWNER)
    pieces = bucket.get("a", owner=OWNER)
    next(pieces)
    bucket.put("a", TEXT, owner=OWNER)

    with pytest.raises(ChangedObjectError, match="meanwhile"):
        opened.read(0, 1)
    with pytest.raises(ChangedObjectError):
        list(pieces)
    bucket.delete("a")
    with pytest.raises(MissingObjectError):
        bucket.open("a", owner=OWNER)


def test_get_to_file(bucket: SealedBucket, tmp_path: Any) -> None:
    bucket.put("a", TEXT, owner=OWNER)
    target = tmp_path / "plain"

    assert bucket.get_to_file("a", target, owner=OWNER) == 200

    assert target.read_bytes() == TEXT
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [target]


def test_a_copy_is_sealed_anew(store: MemoryObjectStore, bucket: SealedBucket) -> None:
    bucket.put("a", TEXT, owner=OWNER)
    logs = bucket_of(MemoryObjectStore(smallest_part_bytes=50), name="logs")
    store.objects["server-side"] = store.objects["a"]
    with pytest.raises(TamperedObjectError):
        bucket.open("server-side", owner=OWNER)

    bucket.copy("a", "b", owner=OWNER)
    bucket.copy("a", "b", owner=OWNER, target=logs)
    bucket.copy("a", "c", owner=OWNER, new_owner="tenant-2")
    before = store.objects["a"]
    bucket.copy("a", "a", owner=OWNER)

    assert store.objects["a"] != before
    for where, key, owner in (
        (bucket, "a", OWNER),
        (bucket, "b", OWNER),
        (logs, "b", OWNER),
        (bucket, "c", "tenant-2"),
    ):
        assert b"".join(where.get(key, owner=owner)) == TEXT
    with pytest.raises(WrongObjectKeyError):
        bucket.open("c", owner=OWNER)


def test_move(store: MemoryObjectStore, bucket: SealedBucket) -> None:
    bucket.put("a", TEXT, owner=OWNER)
    with pytest.raises(ObjectNameError, match="use copy"):
        bucket.move("a", "a", owner=OWNER, new_owner="tenant-2")
    bucket.put("taken", b"", owner=OWNER)
    with pytest.raises(ObjectExistsError):
        bucket.move("a", "taken", owner=OWNER, if_absent=True)

    receipt = bucket.move("a", "b", owner=OWNER)

    assert b"".join(bucket.get("b", owner=OWNER, seal_id=receipt.seal_id)) == TEXT
    assert sorted(store.objects) == ["b", "taken"]


def test_move_keeps_an_original_that_changed_meanwhile() -> None:
    class Racing(MemoryObjectStore):
        def complete_upload(self, key: str, *rest: Any, **options: Any) -> None:
            super().complete_upload(key, *rest, **options)
            if key == "b":
                SealedBucket(self, KEYRING, name="uploads", part_bytes=50).put(
                    "a", b"newer", owner=OWNER
                )

    store = Racing(smallest_part_bytes=50)
    bucket = bucket_of(store)
    bucket.put("a", TEXT, owner=OWNER)
    with pytest.raises(ChangedObjectError):
        bucket.move("a", "b", owner=OWNER)
    assert b"".join(bucket.get("a", owner=OWNER)) == b"newer"
    assert b"".join(bucket.get("b", owner=OWNER)) == TEXT


def test_conditional_put(store: MemoryObjectStore, bucket: SealedBucket) -> None:
    for plain in (b"short", TEXT):
        bucket.put(f"{len(plain)}", plain, owner=OWNER, if_absent=True)
        with pytest.raises(ObjectExistsError, match="left as it is"):
            bucket.put(f"{len(plain)}", b"other" * 40, owner=OWNER, if_absent=True)
        assert b"".join(bucket.get(f"{len(plain)}", owner=OWNER)) == plain
    assert store.uploads == {}


def test_a_server_that_would_overwrite_is_not_trusted_with_a_condition() -> None:
    class Careless(MemoryObjectStore):
        def honours_conditions(self) -> bool:
            return False

    store = Careless(smallest_part_bytes=50)
    with pytest.raises(UnsupportedConditionError, match="If-None-Match"):
        bucket_of(store).put("a", TEXT, owner=OWNER, if_absent=True)
    assert store.objects == {}
    assert store.requests == []


class Source(io.RawIOBase):
    """Gives some bytes, then fails."""

    def __init__(self, good_bytes: int, error: BaseException) -> None:
        self.left, self.error = good_bytes, error

    def read(self, size: int = -1) -> bytes:
        if not self.left:
            raise self.error
        given = min(size, self.left)
        self.left -= given
        return bytes(given)


class StopError(Exception):
    pass


class Failing(MemoryObjectStore):
    """A store that fails at one part, or at the end."""

    def __init__(self, part: int = 0, **options: Any) -> None:
        super().__init__(smallest_part_bytes=50, **options)
        self.part = part

    def put_part(self, key: str, upload_id: str, number: int, data: bytes) -> str:
        if number == self.part:
            raise BucketServiceError("no")
        return super().put_part(key, upload_id, number, data)

    def complete_upload(self, *rest: Any, **options: Any) -> None:
        if not self.part:
            raise BucketServiceError("no")
        super().complete_upload(*rest, **options)


def _stop(_: int) -> None:
    raise StopError


@pytest.mark.parametrize(
    ("source", "store", "progress", "error"),
    [
        (Source(300, OSError("gone")), MemoryObjectStore(smallest_part_bytes=50), None, OSError),
        (Source(0, OSError("gone")), MemoryObjectStore(smallest_part_bytes=50), None, OSError),
        (Source(300, KeyboardInterrupt()), MemoryObjectStore(smallest_part_bytes=50), None, KeyboardInterrupt),
        (TEXT, Failing(1), None, BucketServiceError),
        (TEXT, Failing(3), None, BucketServiceError),
        (TEXT, Failing(), None, BucketServiceError),
        (TEXT, MemoryObjectStore(smallest_part_bytes=50), _stop, StopError),
        (bytes(2000), MemoryObjectStore(smallest_part_bytes=50, most_parts=5), None, ObjectTooLargeError),
        (bytes(112), MemoryObjectStore(smallest_part_bytes=50, most_parts=5), None, ObjectTooLargeError),
    ],
)  # fmt: skip
def test_a_failure_leaves_nothing_half(
    source: Any, store: MemoryObjectStore, progress: Any, error: type[BaseException]
) -> None:
    store.put("a", b"what was there")
    threads = threading.active_count()
    with pytest.raises(error):
        bucket_of(store).put("a", source, owner=OWNER, progress=progress)
    assert store.objects == {"a": b"what was there"}
    assert store.uploads == {}
    assert threading.active_count() == threads


def test_an_abort_that_fails_is_told_beside_the_reason() -> None:
    class Stuck(Failing):
        def abort_upload(self, key: str, upload_id: str) -> None:
            raise BucketServiceError("not now")

    with pytest.raises(BucketServiceError, match="no") as raised:
        bucket_of(Stuck(2)).put("a", TEXT, owner=OWNER)
    assert any("abort it: not now" in note for note in raised.value.__notes__)


def test_parts_are_under_way_together_but_not_too_many() -> None:
    class Slow(MemoryObjectStore):
        def __init__(self) -> None:
            super().__init__(smallest_part_bytes=50)
            self.now, self.most, self.guard = 0, 0, threading.Lock()
            self.meet = threading.Barrier(3, timeout=10)

        def put_part(self, key: str, upload_id: str, number: int, data: bytes) -> str:
            with self.guard:
                self.now += 1
                self.most = max(self.most, self.now)
            if number <= 3:
                self.meet.wait()  # three must be here at once, or this fails
            try:
                return super().put_part(key, upload_id, number, data)
            finally:
                with self.guard:
                    self.now -= 1

    store = Slow()
    bucket_of(store, parallel=3).put("a", bytes(1000), owner=OWNER)
    assert store.most == 3


def test_no_more_is_read_than_there_is_room_for() -> None:
    class Stalled(MemoryObjectStore):
        arrived, go_on = threading.Semaphore(0), threading.Event()

        def put_part(self, key: str, upload_id: str, number: int, data: bytes) -> str:
            self.arrived.release()
            assert self.go_on.wait(10)
            return super().put_part(key, upload_id, number, data)

    store, source = Stalled(smallest_part_bytes=50), io.BytesIO(bytes(10_000))
    writer = threading.Thread(
        target=bucket_of(store, parallel=2).put, args=("a", source), kwargs={"owner": OWNER}
    )
    writer.start()
    try:
        assert all(store.arrived.acquire(timeout=10) for _ in range(2))
        writer.join(0.2)  # long enough to read all of it, if nothing stopped that
        assert source.tell() < 4 * 50
    finally:
        store.go_on.set()
        writer.join()
    assert source.tell() == 10_000


def test_another_length_is_another_object(store: MemoryObjectStore) -> None:
    """Also when a server gives both the same entity tag."""
    store.put("a", TEXT)
    whole = store.read_range("a", 0, 2)
    reader = StoreReader(store, "a")
    assert reader.read(2) == TEXT[:2]
    store.read_range = lambda *_: replace(whole, stored_bytes=201)  # type: ignore[method-assign]  # as a server would
    with pytest.raises(ChangedObjectError):
        reader.read(2)


def test_names() -> None:
    store = MemoryObjectStore(smallest_part_bytes=50)
    bucket = bucket_of(store)
    for name in ("", "\ud800", "ä" * 513):
        for call in (
            lambda name=name: bucket.put(name, b"", owner=OWNER),
            lambda name=name: bucket.open(name, owner=OWNER),
            lambda name=name: bucket.head(name),
            lambda name=name: bucket.delete(name),
        ):
            with pytest.raises(ObjectNameError):
                call()
    with pytest.raises(AssayError):  # refused already by the keyring
        bucket.put("a", b"", owner="\ud800")
    with pytest.raises(ObjectNameError):
        bucket_of(store, name="")
    with pytest.raises(ValueError, match="at least 50 bytes"):
        bucket_of(store, part_bytes=49)
    with pytest.raises(ValueError, match="at least one part"):
        bucket_of(store, parallel=0)
    assert store.objects == {}


def test_listing_tells_what_no_sealed_object_can_be(
    store: MemoryObjectStore, bucket: SealedBucket
) -> None:
    bucket.put("x/a", TEXT, owner=OWNER)
    store.put("x/foreign", b"short")
    bucket.put("y", b"", owner=OWNER)

    found = {entry.key: entry.size_bytes for entry in bucket.list_objects("x/")}

    assert found == {"x/a": 200, "x/foreign": None}


def test_errors_hold_neither_names_nor_contents(store: MemoryObjectStore) -> None:
    bucket = bucket_of(store)
    bucket.put("ada-lovelace.txt", b"Dear Ada Lovelace", owner="ada-lovelace")
    raised = []
    for failing in (
        lambda: bucket.open("grace-hopper.txt", owner="grace-hopper"),
        lambda: bucket.open("ada-lovelace.txt", owner="grace-hopper"),
        lambda: bucket.put("ada-lovelace.txt", b"", owner="ada-lovelace", if_absent=True),
        lambda: bucket.read("ada-lovelace.txt", 100, 1, owner="ada-lovelace"),
    ):
        with pytest.raises(EncryptionError) as error:
            failing()
        raised.append(str(error.value).lower())
    assert not any("lovelace" in text or "hopper" in text for text in raised)
