"""A bucket whose objects are sealed: streams, ranges, listing, copying, in flat memory.

Specification: ``spec/sealed-object.md``, "In a bucket".

Nothing is whole before its last byte was verified. The length of an object is authenticated when it
is opened, and each byte that `SealedBucket.get` yields is authentic, but a later piece may still
turn out to be altered: then discard what came before. `SealedBucket.get_to_file` does that for you.

Whoever writes to the bucket can delete an object, or put back an older one under its own name. Keep
the ``seal_id`` of what was put, best in a sealed row, and ask for it when you open the object.

Example:
    >>> from assay.encryption import MemoryObjectStore, SealedBucket
    >>> from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService
    >>> keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())
    >>> bucket = SealedBucket(MemoryObjectStore(), keyring, name="uploads")
    >>> receipt = bucket.put("report.txt", b"Dear Ada", owner="tenant-1")
    >>> bucket.read("report.txt", 5, 3, owner="tenant-1")
    b'Ada'
    >>> bucket.head("report.txt").size_bytes
    8
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from assay.core import atomic_file
from assay.encryption.concealment import concealed
from assay.encryption.errors import (
    ObjectNameError,
    UnsupportedConditionError,
)
from assay.encryption.object_store import ObjectStore, StoredObject
from assay.encryption.objects import (
    SEAL_ID_BYTES,
    SealedObject,
    plain_size_bytes,
    seal_object,
)
from assay.encryption.owner_keys import OwnerKeys
from assay.encryption.store_reader import PieceReader, StoreReader, changed_object
from assay.encryption.streams import ReadableSource
from assay.encryption.uploads import Upload

PART_BYTES = 8 * 2**20

_MOST_NAME_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was put.

    Attributes:
        key: the name of the object.
        stored_bytes: its length as it is stored.
        size_bytes: the length of the plaintext.
        seal_id: 19 bytes that name this sealing; not secret. Ask for it when you open the object,
            and no older one passes.
    """

    key: str
    stored_bytes: int
    size_bytes: int
    seal_id: bytes


@dataclass(frozen=True, slots=True)
class SealedEntry:
    """What the store says of an object; none of it is authenticated.

    Attributes:
        key: its name.
        size_bytes: the length of the plaintext as the stored length gives it; None when no sealed
            object has that length. `SealedObject.size_bytes` is authenticated.
        stored_bytes: its length as it is stored.
        entity_tag: changes when it is overwritten.
        modified_at: when it was written.
    """

    key: str
    size_bytes: int | None
    stored_bytes: int
    entity_tag: str
    modified_at: datetime


class SealedBucket:
    """Sealed objects in a store. Safe to share between threads.

    Every method raises `BucketError` leaves when the store refuses or fails, `ObjectError` leaves
    when an object does not open, and `assay.keys.KeysError` when a data key is not to be had.

    Args:
        store: the client of the bucket; see `assay.encryption.boto3`.
        keyring: has or makes the owners' data keys of class ``objects``.
        name: the bucket's stable name, which is bound to each object; may differ from the server's.
        part_bytes: how long a part of an upload is; an object of more than 10,000 parts needs
            longer ones.
        parallel: how many parts of one upload are under way, and in memory, at most.
        random: where random bytes come from.
    """

    def __init__(  # noqa: PLR0913 - three parts, and options that all have a name and a default
        self,
        store: ObjectStore,
        keyring: OwnerKeys,
        *,
        name: str,
        part_bytes: int = PART_BYTES,
        parallel: int = 4,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if not name:
            raise ObjectNameError("expected a stable name of the bucket, found none; give it one")
        if part_bytes < store.smallest_part_bytes:
            raise ValueError(
                f"expected parts of at least {store.smallest_part_bytes} bytes, found {part_bytes}"
            )
        if parallel < 1:
            raise ValueError(f"expected at least one part under way, found {parallel}")
        self.name = name
        self._store = store
        self._keyring = keyring
        self._part_bytes = part_bytes
        self._parallel = parallel
        self._random = random

    @concealed
    def put(
        self,
        key: str,
        source: ReadableSource | bytes,
        *,
        owner: str,
        if_absent: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> Receipt:
        """Seal and store all that can be read from a source; overwrites what is there.

        The object gets its name when all of it is stored. Whatever fails, here, in the source or in
        ``progress``, what stood there before stays, and parts that were stored are dropped. Only
        when the connection breaks while the last request is answered, nobody can know which of the
        two stands there; it is whole in either case.

        Args:
            key: the name of the object.
            source: the plaintext, from where it stands to its end.
            owner: whose data key seals it.
            if_absent: refuse to overwrite.
            progress: told in this thread how many sealed bytes were stored so far.

        Raises:
            ObjectExistsError: ``if_absent``, and there is one.
            UnsupportedConditionError: ``if_absent``, and the server would overwrite all the same.
            ObjectNameError: an empty name, or one of more than 1,024 bytes.
            ObjectTooLargeError: more parts or chunks than can be numbered.
        """
        _refuse_name(key)
        if if_absent and not self._store.honours_conditions():
            raise UnsupportedConditionError(
                "expected a server that obeys If-None-Match, found one that overwrites; use names "
                "that are never used twice, such as a UUID, or another server"
            )
        seal_id = self._random(SEAL_ID_BYTES)
        with Upload(
            self._store,
            key,
            part_bytes=self._part_bytes,
            parallel=self._parallel,
            if_absent=if_absent,
            progress=progress,
        ) as upload:
            stored_bytes = seal_object(
                self._keyring,
                io.BytesIO(source) if isinstance(source, bytes) else source,
                upload,
                owner=owner,
                bucket=self.name,
                key=key,
                random=lambda _: seal_id,
            )
            upload.finish()
        size_bytes = plain_size_bytes(stored_bytes)
        assert size_bytes is not None  # noqa: S101 - what was just sealed has a sealed length
        return Receipt(key, stored_bytes, size_bytes, seal_id)

    def open(self, key: str, *, owner: str, seal_id: bytes | None = None) -> SealedObject:
        """Open an object for reading ranges; only the chunks that are read are fetched.

        Args:
            key: the name of the object.
            owner: whose it should be.
            seal_id: the sealing that it must be, see `Receipt`; None takes any.

        Raises:
            MissingObjectError: there is no such object.
            ReplacedObjectError: it is of another sealing.
            ObjectError: it does not open. A read raises `ChangedObjectError` when the object was
                overwritten meanwhile.
        """
        _refuse_name(key)
        return SealedObject(
            self._keyring,
            StoreReader(self._store, key),
            owner=owner,
            bucket=self.name,
            key=key,
            seal_id=seal_id,
        )

    def get(self, key: str, *, owner: str, seal_id: bytes | None = None) -> Iterator[bytes]:
        """The plaintext in pieces of up to 1 MiB, in flat memory.

        Its length is authenticated before the first piece. When a later piece raises, discard the
        earlier ones: they are authentic, but not the whole object.

        Raises:
            MissingObjectError: there is no such object; as all that `open` raises, at once.
        """
        return self.open(key, owner=owner, seal_id=seal_id).stream()

    @concealed
    def get_to_file(
        self, key: str, path: Path, *, owner: str, seal_id: bytes | None = None, mode: int = 0o600
    ) -> int:
        """Write the plaintext to a file, which gets its name only when it is whole.

        Args:
            key: the name of the object.
            path: where the file shall be; an existing one is replaced.
            owner: whose it should be.
            seal_id: the sealing that it must be.
            mode: permission bits of the file.

        Returns:
            The length of the plaintext.

        Raises:
            OSError: the file cannot be written. Whatever fails, the path is as it was.
        """
        opened = self.open(key, owner=owner, seal_id=seal_id)
        with atomic_file(path, mode=mode) as file:
            for piece in opened.stream():
                file.write(piece)
        return opened.size_bytes

    @concealed
    def read(
        self, key: str, start: int, length: int, *, owner: str, seal_id: bytes | None = None
    ) -> bytes:
        """The bytes of a range of the plaintext; use `open` to read several.

        Args:
            key: the name of the object.
            start: the first byte, counting from 0.
            length: how many bytes.
            owner: whose it should be.
            seal_id: the sealing that it must be, see `Receipt`; None takes any.

        Raises:
            ObjectRangeError: the range does not lie within the object.
        """
        return self.open(key, owner=owner, seal_id=seal_id).read(start, length)

    def head(self, key: str) -> SealedEntry:
        """What the store says of an object; needs no data key and authenticates nothing.

        Raises:
            MissingObjectError: there is no such object.
        """
        _refuse_name(key)
        return _entry(self._store.head(key))

    def list_objects(self, prefix: str = "") -> Iterator[SealedEntry]:
        """What the store says of all objects whose names begin with a prefix."""
        return map(_entry, self._store.list_objects(prefix))

    def delete(self, key: str) -> None:
        """Delete an object; it may be missing already."""
        _refuse_name(key)
        self._store.delete(key)

    @concealed
    def copy(  # noqa: PLR0913 - from where, to where, and whose
        self,
        key: str,
        new_key: str,
        *,
        owner: str,
        new_owner: str | None = None,
        target: SealedBucket | None = None,
        if_absent: bool = False,
        seal_id: bytes | None = None,
    ) -> Receipt:
        """Open an object and seal it under another name, owner or bucket: all three are bound.

        A copy onto itself seals the object under its owner's newest data key.

        Args:
            key: the name of the object.
            new_key: the name of the copy.
            owner: whose it should be.
            new_owner: whose the copy shall be; None for the same.
            target: the bucket of the copy; None for this one.
            if_absent: refuse to overwrite.
            seal_id: the sealing that it must be; None takes any, and an older one that somebody put
                back would be copied under a new seal id.
        """
        opened = self.open(key, owner=owner, seal_id=seal_id)
        return (target or self).put(
            new_key,
            PieceReader(opened.stream()),
            owner=owner if new_owner is None else new_owner,
            if_absent=if_absent,
        )

    @concealed
    def move(  # noqa: PLR0913 - from where, to where, and whose
        self,
        key: str,
        new_key: str,
        *,
        owner: str,
        new_owner: str | None = None,
        target: SealedBucket | None = None,
        if_absent: bool = False,
        seal_id: bytes | None = None,
    ) -> Receipt:
        """Copy an object, then delete the original. When it is interrupted, both may be there.

        Args:
            key: the name of the object.
            new_key: its new name.
            owner: whose it should be.
            new_owner: whose it shall be; None for the same.
            target: its new bucket; None for this one.
            if_absent: refuse to overwrite.
            seal_id: the sealing that it must be, as in `copy`.

        Raises:
            ChangedObjectError: the original was overwritten meanwhile; nothing was deleted, and the
                copy holds what stood there when the move began.
            ObjectNameError: the object would be moved onto itself.
        """
        if new_key == key and (target is None or target.name == self.name):
            raise ObjectNameError("expected another name to move to, found the same; use copy")
        before = self.head(key)
        receipt = self.copy(
            key,
            new_key,
            owner=owner,
            new_owner=new_owner,
            target=target,
            if_absent=if_absent,
            seal_id=seal_id,
        )
        if self.head(key).entity_tag != before.entity_tag:
            raise changed_object()
        self.delete(key)
        return receipt


def _entry(stored: StoredObject) -> SealedEntry:
    return SealedEntry(
        stored.key,
        plain_size_bytes(stored.stored_bytes),
        stored.stored_bytes,
        stored.entity_tag,
        stored.modified_at,
    )


def _refuse_name(key: str) -> None:
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        length = 0
    if not 1 <= length <= _MOST_NAME_BYTES:
        raise ObjectNameError(
            f"expected a name of 1 to {_MOST_NAME_BYTES} bytes of UTF-8, found another"
        )
