"""Sealing and opening objects of any size as streams, and reading ranges of them.

Specification: ``spec/sealed-object.md``; its steps are repeated here.

Example:
    >>> place = {"owner": "tenant-1", "bucket": "uploads", "key": "2026/report.pdf"}
    >>> seal_object(keyring, source, target, **place)        # doctest: +SKIP
    >>> for piece in open_object(keyring, sealed, **place):  # doctest: +SKIP
    ...     answer.write(piece)
    >>> SealedObject(keyring, sealed, **place).read(0, 5)    # doctest: +SKIP
    b'%PDF-'
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator

from cryptography.exceptions import InvalidTag

from assay.core import DataKeyClass, pae
from assay.encryption.concealment import concealed, forget_variables
from assay.encryption.errors import (
    ExtendedObjectError,
    KeyClassError,
    ObjectNameError,
    ObjectRangeError,
    ObjectTooLargeError,
    ReplacedObjectError,
    TamperedObjectError,
    TruncatedObjectError,
    UnknownObjectSuiteError,
    UnknownObjectVersionError,
    WrongObjectKeyError,
)
from assay.encryption.owner_keys import OwnerKeys
from assay.encryption.streams import (
    ReadableSource,
    SeekableSource,
    WritableTarget,
    read_ahead,
    read_exactly,
)
from assay.encryption.xaes import TAG_BYTES, derive_cipher
from assay.keys import DataKey, UnknownDataKeyError

LABEL = b"assay object v1"
VERSION = 0x11
SUITE_XAES_256_GCM_STREAM = 0x01
HEADER_BYTES = 42
MINIMUM_BYTES = HEADER_BYTES + TAG_BYTES
CHUNK_BYTES = 2**20
MOST_CHUNKS = 2**32

_SEALED_CHUNK_BYTES = CHUNK_BYTES + TAG_BYTES
_ZERO = bytes(5)
_CHUNKS_AT_ONCE = 8

SEAL_ID_BYTES = 19
"""How long the object nonce is, which also names one sealing of an object."""


@concealed
def seal_object(  # noqa: PLR0913 - one object has these names
    keyring: OwnerKeys,
    source: ReadableSource,
    target: WritableTarget,
    *,
    owner: str,
    bucket: str,
    key: str,
    random: Callable[[int], bytes] = os.urandom,
) -> int:
    """Seal all that can be read from a source, in flat memory.

    Args:
        keyring: has or makes the owner's data key of class ``objects``.
        source: the plaintext, from where it stands to its end.
        target: receives the sealed object; discard what it has when this raises.
        owner: the tenant: whose data key seals the object.
        bucket: the stable name of the bucket in which it will stand.
        key: the name under which it will stand there.
        random: where random bytes come from.

    Returns:
        How many bytes were written to the target.

    Raises:
        ObjectTooLargeError: more than 2^32 chunks.
        ObjectNameError: a name is not valid Unicode text.
        assay.keys.KeysError: there is no data key to be had.
    """
    data_key = keyring.current(owner, DataKeyClass.OBJECTS)
    _refuse_other_class(data_key)  # step 1
    header = bytes([VERSION, SUITE_XAES_256_GCM_STREAM]) + data_key.key_id  # 2
    header += random(SEAL_ID_BYTES) + _ZERO
    data_key.uses.count()
    chunks = _Chunks(data_key, header, _associated_data(owner, bucket, key))
    target.write(header)
    written = len(header)
    for number, chunk, last in read_ahead(source, CHUNK_BYTES):  # 3
        sealed = chunks.seal(number, chunk, last=last)  # 4
        target.write(sealed)
        written += len(sealed)
    return written


def open_object(
    keyring: OwnerKeys, source: ReadableSource, *, owner: str, bucket: str, key: str
) -> Iterator[bytes]:
    """Open a sealed object as a stream, in flat memory.

    Args:
        keyring: has the owner's data keys.
        source: the sealed object, from its first to its last byte.
        owner: whose object it should be.
        bucket: where it was found.
        key: under which name it was found.

    Returns:
        The plaintext in pieces of up to 1 MiB. When a later piece raises, discard the earlier
        ones: each byte of them is authentic, but they are not the whole object.

    Raises:
        ObjectError: one of its leaves, see the specification; the header is judged at once.
        assay.keys.KeysError: the data key is not to be had.
    """
    header = read_exactly(source, HEADER_BYTES)
    chunks = _begin_reading(keyring, header, owner, bucket, key)
    return _open_all(chunks, source)


def _open_all(chunks: _Chunks, source: ReadableSource) -> Iterator[bytes]:
    plain = b""
    try:
        for number, chunk, last in read_ahead(source, _SEALED_CHUNK_BYTES):  # 7
            plain = chunks.open(number, chunk, last=last)
            if plain:
                yield plain
    except Exception as exc:
        forget_variables(exc)
        del plain
        raise


class SealedObject:
    """A sealed object whose ranges can be read. Its length is authenticated at once.

    Args:
        keyring: has the owner's data keys.
        source: the sealed object; must be able to seek. It is not closed here.
        owner: whose object it should be.
        bucket: where it was found.
        key: under which name it was found.
        seal_id: the sealing that it must be (`seal_id` of what was written), so that an older
            object under the same name, put back by somebody, is refused; None takes any.

    Raises:
        ObjectError: one of its leaves, see the specification.
        assay.keys.KeysError: the data key is not to be had.
    """

    def __init__(  # noqa: PLR0913 - one object has these names
        self,
        keyring: OwnerKeys,
        source: SeekableSource,
        *,
        owner: str,
        bucket: str,
        key: str,
        seal_id: bytes | None = None,
    ) -> None:
        self._source = source
        source.seek(0)
        header = read_exactly(source, HEADER_BYTES)
        self._chunks = _begin_reading(keyring, header, owner, bucket, key)  # 1
        length = source.seek(0, io.SEEK_END)
        if length < MINIMUM_BYTES:
            raise _truncated(length)
        self._last = (length - HEADER_BYTES - 1) // _SEALED_CHUNK_BYTES
        source.seek(HEADER_BYTES + self._last * _SEALED_CHUNK_BYTES)
        tail = read_exactly(source, _SEALED_CHUNK_BYTES)
        self._tail = self._chunks.open(self._last, tail, last=True)  # 2
        self._size_bytes = self._last * CHUNK_BYTES + len(self._tail)
        self.seal_id = header[18:37]
        if seal_id is not None and seal_id != self.seal_id:  # 3
            raise ReplacedObjectError(
                f"expected the sealing {seal_id.hex()} of this object, found the sealing "
                f"{self.seal_id.hex()}: it was written anew, or an older one was put back"
            )

    @property
    def size_bytes(self) -> int:
        """The length of the plaintext."""
        return self._size_bytes

    @concealed
    def read(self, start: int, length: int) -> bytes:
        """The bytes of a range.

        Args:
            start: the first byte, counting from 0.
            length: how many bytes.

        Raises:
            ObjectRangeError: the range does not lie within the object.
            TamperedObjectError: a chunk of the range was altered.
        """
        return b"".join(self.stream(start, length))

    def stream(self, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes of a range in pieces of up to 1 MiB, in flat memory.

        Args:
            start: the first byte, counting from 0.
            length: how many bytes; None for all that follow.

        Returns:
            Pieces, none of them empty. When a later piece raises, discard the earlier ones.

        Raises:
            ObjectRangeError: the range does not lie within the object; raised at once.
            TamperedObjectError: a chunk of the range was altered.
        """
        end = self._size_bytes if length is None else start + length
        if not 0 <= start <= end <= self._size_bytes:  # 4
            raise ObjectRangeError(
                f"expected a range within {self._size_bytes} bytes, found {start} to {end}"
            )
        return self._pieces(start, end) if start < end else iter(())

    def _pieces(self, start: int, end: int) -> Iterator[bytes]:
        first, final, plain = start // CHUNK_BYTES, (end - 1) // CHUNK_BYTES, b""
        try:
            for number, plain in self._open_chunks(first, final):
                begins = number * CHUNK_BYTES
                yield plain[max(start - begins, 0) : end - begins]
        except Exception as exc:
            forget_variables(exc)
            del plain
            raise

    def _open_chunks(self, first: int, final: int) -> Iterator[tuple[int, bytes]]:
        """Chunks by number, eight to each read of the source."""
        inner_end = min(final + 1, self._last)
        for start in range(first, inner_end, _CHUNKS_AT_ONCE):
            numbers = range(start, min(start + _CHUNKS_AT_ONCE, inner_end))
            self._source.seek(HEADER_BYTES + start * _SEALED_CHUNK_BYTES)
            sealed = memoryview(read_exactly(self._source, len(numbers) * _SEALED_CHUNK_BYTES))
            for number in numbers:
                chunk = sealed[(number - start) * _SEALED_CHUNK_BYTES :][:_SEALED_CHUNK_BYTES]
                yield number, self._chunks.open(number, chunk, last=False)  # 5
        if final == self._last:
            yield final, self._tail


def sealed_size_bytes(size_bytes: int) -> int:
    """How long an object is once it is sealed.

    Args:
        size_bytes: the length of the plaintext.
    """
    return HEADER_BYTES + size_bytes + TAG_BYTES * max(1, -(-size_bytes // CHUNK_BYTES))


def plain_size_bytes(stored_bytes: int) -> int | None:
    """How much a sealed object of this length holds; None when no sealed object has this length.

    Nothing is authenticated by this; `SealedObject.size_bytes` is.
    """
    chunks = -(-(stored_bytes - HEADER_BYTES) // _SEALED_CHUNK_BYTES)
    size_bytes = stored_bytes - HEADER_BYTES - TAG_BYTES * max(1, chunks)
    fits = size_bytes >= 0 and sealed_size_bytes(size_bytes) == stored_bytes
    return size_bytes if fits else None


def object_key_id(header: bytes) -> bytes:
    """The id of the data key that a sealed object names: 16 bytes. Steps 1 to 3 of opening.

    Args:
        header: the object's first 42 bytes, or more.

    Raises:
        TruncatedObjectError: shorter than 42 bytes.
        UnknownObjectVersionError: another version.
        UnknownObjectSuiteError: another suite.
    """
    if len(header) < HEADER_BYTES:  # 1
        raise _truncated(len(header))
    if header[0] != VERSION:  # 2
        raise UnknownObjectVersionError(
            f"expected object version {VERSION}, found {header[0]}; a newer release may know it, "
            "or it is not a sealed object"
        )
    if header[1] != SUITE_XAES_256_GCM_STREAM:  # 3
        raise UnknownObjectSuiteError(
            f"expected suite {SUITE_XAES_256_GCM_STREAM} (XAES-256-GCM, STREAM), found {header[1]}"
        )
    return header[2:18]


class _Chunks:
    """The cipher of one object."""

    def __init__(self, data_key: DataKey, header: bytes, associated_data: bytes) -> None:
        self._cipher = derive_cipher(data_key.material, header[18:30])
        self._nonce_prefix = header[30:37]
        self._associated_data = associated_data

    def seal(self, number: int, chunk: bytes, *, last: bool) -> bytes:
        return self._cipher.encrypt(self._nonce(number, last=last), chunk, self._associated_data)

    def open(self, number: int, chunk: bytes | memoryview, *, last: bool) -> bytes:
        plain = self._try(number, chunk, last=last)
        if plain is None or (last and number and not plain):
            raise self._reason(number, chunk, last=last)
        return plain

    def _reason(self, number: int, chunk: bytes | memoryview, *, last: bool) -> Exception:
        if len(chunk) < TAG_BYTES:
            return _truncated(HEADER_BYTES + number * _SEALED_CHUNK_BYTES + len(chunk))
        if self._try(number, chunk, last=not last) is not None:
            if last:
                return TruncatedObjectError(
                    f"expected the last chunk, found the inner chunk {number} at the end: the "
                    "object was cut off; restore it"
                )
            return ExtendedObjectError(
                f"expected chunk {number} to be an inner one, found the last one: something was "
                "added behind the object; restore it"
            )
        return TamperedObjectError(
            f"expected chunk {number} of this object, found one that was altered or moved, or "
            "that belongs to another object; restore it"
        )

    def _try(self, number: int, chunk: bytes | memoryview, *, last: bool) -> bytes | None:
        try:
            return self._cipher.decrypt(
                self._nonce(number, last=last), chunk, self._associated_data
            )
        except InvalidTag:
            return None

    def _nonce(self, number: int, *, last: bool) -> bytes:
        # Also of a reader: a store may say any length of an object.
        if number >= MOST_CHUNKS:
            raise ObjectTooLargeError(
                f"expected at most {MOST_CHUNKS} chunks of 1 MiB, found more; split the object"
            )
        return self._nonce_prefix + number.to_bytes(4, "big") + bytes([last])


def _begin_reading(keyring: OwnerKeys, header: bytes, owner: str, bucket: str, key: str) -> _Chunks:
    key_id = object_key_id(header)  # 1 to 3
    try:
        data_key = keyring.by_id(owner, DataKeyClass.OBJECTS, key_id)
    except UnknownDataKeyError as exc:  # 4
        raise WrongObjectKeyError(
            f"expected an object under a data key of its owner, found one under {key_id.hex()}: "
            "it belongs to another owner, or its key was destroyed"
        ) from exc
    _refuse_other_class(data_key)
    if header[37:42] != _ZERO:  # 5
        raise TamperedObjectError("expected five zero bytes at the end of the header, found others")
    return _Chunks(data_key, header, _associated_data(owner, bucket, key))  # 6


def _associated_data(owner: str, bucket: str, key: str) -> bytes:
    try:
        return pae([LABEL, owner.encode(), bucket.encode(), key.encode()])
    except UnicodeEncodeError:
        pass  # raised below, so that no chained error carries a name
    raise ObjectNameError("expected names of valid Unicode text, found a lone surrogate")


def _refuse_other_class(key: DataKey) -> None:
    if key.key_class is not DataKeyClass.OBJECTS:
        raise KeyClassError(
            f"expected a data key of class objects, found one of class {key.key_class.value}"
        )


def _truncated(found_bytes: int) -> TruncatedObjectError:
    return TruncatedObjectError(
        f"expected at least {MINIMUM_BYTES} bytes and a whole last chunk, found {found_bytes} "
        "bytes; restore the object"
    )
