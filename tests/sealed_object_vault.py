"""Sealed objects as targets of the tamper matrix: bare streams, and buckets in whichever store.

Chunks have to be 16 bytes long while a vault is used (``small_chunks``), so that a short object has
several and each of its bits can be flipped.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from tests.tamper_matrix import CANARY, Target

import assay.encryption.objects as objects_module
from assay.core import DataKeyClass
from assay.encryption import SealedBucket, open_object, seal_object
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

CHUNK_BYTES = 16
KEY = "2026/report.txt"
PLAIN = CANARY.encode() * 2
"""34 bytes: two whole chunks and a rest."""


class RawStore(Protocol):
    """A store of objects past the sealing."""

    objects: Any
    """What stands in it, by name; can be read, assigned and deleted."""


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Chunks of a few bytes, so that short objects have many."""
    with monkeypatch.context() as patch:
        patch.setattr(objects_module, "CHUNK_BYTES", CHUNK_BYTES)
        patch.setattr(objects_module, "_SEALED_CHUNK_BYTES", CHUNK_BYTES + 16)
        yield


class StreamVault:
    """One sealed object in a variable, read as a stream."""

    def __init__(self, plain: bytes = PLAIN) -> None:
        self.plain = plain
        self.keyring = self.reading = Keyring(MemoryKeyService(), MemoryDataKeyTable())
        self.owner = "north"
        self.stored = self.seal()

    def seal(self, owner: str = "north", bucket: str = "uploads", key: str = KEY) -> bytes:
        target = io.BytesIO()
        place = {"owner": owner, "bucket": bucket, "key": key}
        seal_object(self.keyring, io.BytesIO(self.plain), target, **place)
        return target.getvalue()

    def put(self, value: bytes | None) -> None:
        assert value is not None
        self.stored = value

    def read(self) -> object:
        place = {"owner": self.owner, "bucket": "uploads", "key": KEY}
        return b"".join(open_object(self.reading, io.BytesIO(self.stored), **place))

    def give_away(self) -> Callable[[], None]:
        self.owner = "south"
        return lambda: setattr(self, "owner", "north")

    def use_other_keys(self) -> Callable[[], None]:
        self.reading = Keyring(MemoryKeyService(), MemoryDataKeyTable())
        return lambda: setattr(self, "reading", self.keyring)

    def target(self) -> Target:
        return Target(
            adapter="object stream",
            own=self.stored,
            put=self.put,
            read=self.read,
            plain=self.plain,
            others={
                "row": self.seal(key="2026/other.txt"),
                "table": self.seal(bucket="logs"),
                "owner": self.seal("south"),
                "everything": self.seal("south", "logs", "2026/other.txt"),
            },
            acts={"give away": self.give_away, "other keys": self.use_other_keys},
        )


Read = Callable[["BucketVault"], object]


class BucketVault:
    """One object of a bucket, whose seal id its reader knows.

    Args:
        stores: two stores of sealed buckets.
        objects: the objects of the first past the sealing, by name.
        read: how the object is read; see `READS`.
        folder: for what is read into files.
        options: of the buckets.
    """

    def __init__(
        self, stores: list[Any], objects: Any, read: Read, folder: Path, **options: Any
    ) -> None:
        self.objects, self.folder, self._read, self._options = objects, folder, read, options
        self.keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())
        self.keyring.current("south", DataKeyClass.OBJECTS)
        self.store, self.other_store = stores
        self.owner = "north"
        self.bucket = self.open_bucket(self.keyring)
        self.bucket.put(KEY, PLAIN, owner="north")
        self.older = bytes(self.objects[KEY])
        self.seal_id = self.bucket.put(KEY, PLAIN, owner="north").seal_id

    def open_bucket(self, keyring: Keyring, name: str = "uploads") -> SealedBucket:
        return SealedBucket(self.store, keyring, name=name, **self._options)

    def put(self, value: bytes | None) -> None:
        assert value is not None
        self.objects[KEY] = value

    def seal(self, owner: str = "north", bucket: str = "uploads", key: str = KEY) -> bytes:
        """What another object of this store would be; the victim is put back."""
        before = self.objects[KEY]
        self.open_bucket(self.keyring, bucket).put(key, PLAIN, owner=owner)
        sealed = bytes(self.objects[key])
        self.objects[KEY] = before
        return sealed

    def read(self) -> object:
        return self._read(self)

    def give_away(self) -> Callable[[], None]:
        self.owner = "south"
        return lambda: setattr(self, "owner", "north")

    def use_other_keys(self) -> Callable[[], None]:
        own, self.bucket = self.bucket, self.open_bucket(Keyring(MemoryKeyService(), MemoryDataKeyTable()))  # fmt: skip
        return lambda: setattr(self, "bucket", own)

    def delete(self) -> Callable[[], None]:
        before = bytes(self.objects[KEY])
        del self.objects[KEY]
        return lambda: self.put(before)

    def target(self, step: int = 1) -> Target:
        return Target(
            adapter="bucket",
            own=bytes(self.objects[KEY]),
            put=self.put,
            read=self.read,
            plain=PLAIN,
            others={
                "row": self.seal(key="2026/other.txt"),
                "table": self.seal(bucket="logs"),
                "owner": self.seal("south"),
                "everything": self.seal("south", "logs", "2026/other.txt"),
                "older": self.older,
            },
            acts={
                "give away": self.give_away,
                "other keys": self.use_other_keys,
                "delete": self.delete,
            },
            step=step,
        )


def _whole(vault: BucketVault) -> object:
    return b"".join(vault.bucket.get(KEY, owner=vault.owner, seal_id=vault.seal_id))


def _ranges(vault: BucketVault) -> object:
    """Piece by piece, from the end: no order of reading may be more lenient."""
    opened = vault.bucket.open(KEY, owner=vault.owner, seal_id=vault.seal_id)
    pieces = [opened.read(at, min(7, opened.size_bytes - at)) for at in range(0, opened.size_bytes, 7)]  # fmt: skip
    return b"".join(pieces)


def _to_file(vault: BucketVault) -> object:
    path = vault.folder / "read"
    path.write_bytes(b"what was there")
    try:
        vault.bucket.get_to_file(KEY, path, owner=vault.owner, seal_id=vault.seal_id)
    except Exception:
        assert path.read_bytes() == b"what was there"
        assert [each.name for each in vault.folder.iterdir()] == ["read"]
        raise
    return path.read_bytes()


def _copy(vault: BucketVault) -> object:
    """A copy into another store, which gets nothing when the object is refused."""
    return _carry(vault, vault.bucket.copy)


def _move(vault: BucketVault) -> object:
    """A move likewise, and what is refused is not deleted."""
    before = bytes(vault.objects[KEY]) if KEY in vault.objects else None
    try:
        return _carry(vault, vault.bucket.move)
    finally:
        assert KEY not in vault.objects or bytes(vault.objects[KEY]) == before
        if before is not None:
            vault.put(before)


def _carry(vault: BucketVault, carry: Callable[..., object]) -> object:
    other = SealedBucket(vault.other_store, vault.keyring, name="copies", **vault._options)
    try:
        carry(
            KEY, "copy", owner=vault.owner, new_owner="north", target=other, seal_id=vault.seal_id
        )
    except Exception:
        assert list(other.list_objects()) == []
        raise
    found = b"".join(other.get("copy", owner="north"))
    other.delete("copy")
    return found


READS: dict[str, Read] = {
    "get": _whole,
    "ranges": _ranges,
    "to file": _to_file,
    "copy": _copy,
    "move": _move,
}
"""The ways in which an object of a bucket is read."""
