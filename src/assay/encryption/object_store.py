"""Where sealed objects stand: the protocol of a store, and one in memory.

A store moves bytes and knows nothing of keys. Clients: ``boto3.py`` (S3), `MemoryObjectStore`.

Example:
    >>> store = MemoryObjectStore()
    >>> store.put("a", b"12345")
    >>> store.read_range("a", 1, 2).data
    b'23'
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from assay.core import Clock, SystemClock
from assay.encryption.errors import BucketServiceError, MissingObjectError, ObjectExistsError

SMALLEST_PART_BYTES = 5 * 2**20
MOST_PARTS = 10_000


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What a store says of an object; none of it is authenticated.

    Attributes:
        key: its name.
        stored_bytes: its length as it is stored.
        entity_tag: changes when it is overwritten.
        modified_at: when it was written.
    """

    key: str
    stored_bytes: int
    entity_tag: str
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class StoredRange:
    """A piece of an object.

    Attributes:
        data: its bytes; fewer than asked for where the object ends.
        stored_bytes: how long the whole object is.
        entity_tag: which object it is a piece of.
    """

    data: bytes
    stored_bytes: int
    entity_tag: str


class ObjectStore(Protocol):
    """What a sealed bucket needs of a store. Safe to call from several threads.

    Each method raises `BucketAccessError` when the store refuses us and `BucketServiceError` when
    it fails, besides what is named.

    Attributes:
        smallest_part_bytes: how long a part of an upload must be, but for the last.
        most_parts: how many parts an upload may have.
    """

    smallest_part_bytes: int
    most_parts: int

    def read_range(self, key: str, start: int, length: int) -> StoredRange:
        """The bytes of a range; none of them when it begins at the end or behind it.

        Raises:
            MissingObjectError: there is no such object.
        """
        ...

    def head(self, key: str) -> StoredObject:
        """What the store says of an object.

        Raises:
            MissingObjectError: there is no such object.
        """
        ...

    def list_objects(self, prefix: str) -> Iterator[StoredObject]:
        """All objects whose names begin with a prefix, by name."""
        ...

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Store an object, whole or not at all.

        Raises:
            ObjectExistsError: ``if_absent``, and there is one.
        """
        ...

    def delete(self, key: str) -> None:
        """Delete an object; it may be missing already."""
        ...

    def honours_conditions(self) -> bool:
        """Whether ``if_absent`` is obeyed; found out by trying, once."""
        ...

    def begin_upload(self, key: str) -> str:
        """Begin a multipart upload; returns its id."""
        ...

    def put_part(self, key: str, upload_id: str, number: int, data: bytes) -> str:
        """Store a part, numbered from 1; returns its entity tag."""
        ...

    def complete_upload(
        self, key: str, upload_id: str, entity_tags: Sequence[str], *, if_absent: bool = False
    ) -> None:
        """Give the parts, in order, their name.

        Raises:
            ObjectExistsError: ``if_absent``, and there is an object of this name.
        """
        ...

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Drop an upload and all of its parts."""
        ...


class MemoryObjectStore:
    """A store in memory, for tests and examples.

    Args:
        clock: for the moment at which an object was written.
        smallest_part_bytes: as S3 has it.
        most_parts: as S3 has it.

    Attributes:
        objects: name to bytes.
        uploads: name and upload id to the parts of uploads under way.
        requests: each call as its name and the bytes it moved.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        smallest_part_bytes: int = SMALLEST_PART_BYTES,
        most_parts: int = MOST_PARTS,
    ) -> None:
        self.smallest_part_bytes = smallest_part_bytes
        self.most_parts = most_parts
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[tuple[str, str], dict[int, bytes]] = {}
        self.requests: list[tuple[str, int]] = []
        self._clock = clock or SystemClock()
        self._modified: dict[str, datetime] = {}
        self._lock = threading.Lock()
        self._begun = 0

    def read_range(self, key: str, start: int, length: int) -> StoredRange:
        """The bytes of a range."""
        with self._lock:
            whole = self._find(key)
            data = whole[start : start + length]
            self.requests.append(("read_range", len(data)))
            return StoredRange(data, len(whole), _entity_tag(whole))

    def head(self, key: str) -> StoredObject:
        """Length, entity tag and moment."""
        with self._lock:
            whole = self._find(key)
            return StoredObject(key, len(whole), _entity_tag(whole), self._modified[key])

    def list_objects(self, prefix: str) -> Iterator[StoredObject]:
        """All objects whose names begin with a prefix, by name."""
        with self._lock:
            names = sorted(name for name in self.objects if name.startswith(prefix))
        return (self.head(name) for name in names)

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Store an object."""
        with self._lock:
            self._store(key, data, if_absent=if_absent)
            self.requests.append(("put", len(data)))

    def delete(self, key: str) -> None:
        """Delete an object."""
        with self._lock:
            self.objects.pop(key, None)

    def honours_conditions(self) -> bool:
        """Always."""
        return True

    def begin_upload(self, key: str) -> str:
        """Begin a multipart upload."""
        with self._lock:
            self._begun += 1
            upload_id = f"{self._begun}"
            self.uploads[key, upload_id] = {}
            return upload_id

    def put_part(self, key: str, upload_id: str, number: int, data: bytes) -> str:
        """Store a part."""
        with self._lock:
            self.requests.append(("put_part", len(data)))
            if not 1 <= number <= self.most_parts:
                raise BucketServiceError(f"expected a part up to {self.most_parts}, found {number}")
            self.uploads[key, upload_id][number] = data
            return _entity_tag(data)

    def complete_upload(
        self, key: str, upload_id: str, entity_tags: Sequence[str], *, if_absent: bool = False
    ) -> None:
        """Give the parts their name."""
        with self._lock:
            stored = self.uploads[key, upload_id]
            parts = [stored[number] for number in range(1, len(entity_tags) + 1)]
            if [_entity_tag(part) for part in parts] != list(entity_tags):
                raise BucketServiceError("expected the entity tags of the parts, found others")
            if any(len(part) < self.smallest_part_bytes for part in parts[:-1]):
                raise BucketServiceError(
                    f"expected parts of at least {self.smallest_part_bytes} bytes, found a shorter"
                )
            self._store(key, b"".join(parts), if_absent=if_absent)
            del self.uploads[key, upload_id]

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Drop an upload."""
        with self._lock:
            self.uploads.pop((key, upload_id), None)

    def _store(self, key: str, data: bytes, *, if_absent: bool) -> None:
        if if_absent and key in self.objects:
            raise object_exists()
        self.objects[key] = data
        self._modified[key] = self._clock.now()

    def _find(self, key: str) -> bytes:
        if key not in self.objects:
            raise missing_object()
        return self.objects[key]


def missing_object() -> MissingObjectError:
    """The error for a name under which nothing stands; it does not repeat the name."""
    return MissingObjectError(
        "expected an object under this name, found none; it was deleted, or never written here"
    )


def object_exists() -> ObjectExistsError:
    """The error for a name that is taken; it does not repeat the name."""
    return ObjectExistsError(
        "expected no object under this name, found one, which was left as it is; take another "
        "name, or overwrite it on purpose"
    )


def _entity_tag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
