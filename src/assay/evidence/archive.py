"""The file form of a bundle: a ZIP file of which every byte is determined by its members.

The text is ``spec/bundle.md``, section File form; field names are those of PKWARE's APPNOTE
6.3.10, sections 4.3.7, 4.3.12, 4.3.14, 4.3.15 and 4.3.16.

Example:
    >>> with path.open("wb") as file:                                 # doctest: +SKIP
    ...     writer = ArchiveWriter(file)
    ...     writer.add("checkpoint", note)
    ...     writer.finish()
    >>> Archive.open(path).read("checkpoint") == note                 # doctest: +SKIP
    True
"""

from __future__ import annotations

import os
import struct
import weakref
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from assay.evidence.errors import (
    BundleFormError,
    BundleMemberMissingError,
    BundleReadError,
    BundleTooLargeError,
)

_LOCAL = struct.Struct("<4sHHHHHLLLHH")
_CENTRAL = struct.Struct("<4sBBHHHHHLLLHHHHHLL")
_END = struct.Struct("<4sHHHHLLH")
_LARGE_END = struct.Struct("<4sQBBHLLQQQQ")
_LOCATOR = struct.Struct("<4sLQL")

_VERSION, _LARGE_VERSION, _UNIX = 20, 45, 3
_DATE = 1 << 5 | 1  # 1980-01-01, the first day that the format knows
_ATTRIBUTES = 0o100644 << 16
_MANY = 0xFFFF
_LARGEST = 0xFFFFFFFE
_CHUNK = 1 << 20


class Member(NamedTuple):
    """Where a member is.

    Attributes:
        size: of its content.
        crc: CRC-32 of its content.
        offset: of its local header.
    """

    size: int
    crc: int
    offset: int


def _local_header(name: bytes, member: Member) -> bytes:
    fields = (_VERSION, 0, 0, 0, _DATE, member.crc, member.size, member.size, len(name), 0)
    return _LOCAL.pack(b"PK\x03\x04", *fields) + name


def _central_header(name: bytes, member: Member) -> bytes:
    same = (0, 0, 0, _DATE, member.crc, member.size, member.size, len(name), 0)
    rest = (0, 0, 0, _ATTRIBUTES, member.offset)
    return _CENTRAL.pack(b"PK\x01\x02", _VERSION, _UNIX, _VERSION, *same, *rest) + name


def _end_records(count: int, size: int, offset: int) -> bytes:
    """What follows a central directory of ``count`` members and ``size`` bytes at ``offset``."""
    large = b""
    if count >= _MANY:
        versions = (_LARGE_VERSION, 0, _LARGE_VERSION)
        large = _LARGE_END.pack(b"PK\x06\x06", 44, *versions, 0, 0, count, count, size, offset)
        large += _LOCATOR.pack(b"PK\x06\x07", 0, offset + size, 1)
    shown = min(count, _MANY)
    return large + _END.pack(b"PK\x05\x06", 0, 0, shown, shown, size, offset, 0)


class ArchiveWriter:
    """Writes members in the order of their names."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._directory = bytearray()
        self._offset = self._count = 0
        self._last = b""

    def add(self, name: str, content: bytes) -> None:
        """Write one member.

        Args:
            name: ASCII; after the name before it.
            content: its bytes.

        Raises:
            BundleTooLargeError: the file would be longer than the form allows.
            ValueError: the name is out of order.
            OSError: the disk.
        """
        encoded = name.encode("ascii")
        if encoded <= self._last:
            raise ValueError(f"expected names in ascending order, found {name}")
        member = Member(len(content), zlib.crc32(content), self._offset)
        central = _central_header(encoded, member) if len(content) <= _LARGEST else b""
        local_size = _LOCAL.size + len(encoded) + len(content)
        whole = self._offset + local_size + len(self._directory) + len(central) + 98
        if whole > _LARGEST:
            raise BundleTooLargeError(
                "expected a bundle shorter than 4 GiB, this one would be longer; bundle fewer "
                "statements with a later first one"
            )
        self._file.write(_local_header(encoded, member))
        self._file.write(content)
        self._directory += central
        self._offset += local_size
        self._count += 1
        self._last = encoded

    def finish(self) -> None:
        """Write the directory and the end.

        Raises:
            OSError: the disk.
        """
        self._file.write(self._directory)
        self._file.write(_end_records(self._count, len(self._directory), self._offset))


@dataclass(frozen=True)
class Archive:
    """A file whose form was verified; its members are read when they are asked for.

    Attributes:
        members: by name, in the order of the file.
    """

    members: Mapping[str, Member]
    _descriptor: int

    @classmethod
    def open(cls, path: Path) -> Archive:
        """Verify the form of a file: every byte of it is computed and compared.

        Raises:
            BundleFormError: a byte is another one than the members determine.
            BundleReadError: the disk could not be read.
        """
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, ValueError) as exc:
            why = exc.strerror if isinstance(exc, OSError) else exc
            raise BundleReadError(f"expected to read the bundle {path}: {why}") from exc
        members: dict[str, Member] = {}
        archive = cls(members, descriptor)
        weakref.finalize(archive, os.close, descriptor)
        members.update(archive._read_directory())
        for name, member in members.items():
            archive._check_member(name.encode(), member)
        return archive

    def read(self, name: str) -> bytes:
        """The content of a member, as it is now: whoever asked compares it with a hash.

        Raises:
            BundleMemberMissingError: there is no such member.
            BundleReadError: the disk could not be read.
        """
        member = self.members.get(name)
        if member is None:
            raise BundleMemberMissingError(f"expected {name} in the bundle, found none")
        return self._at(member.offset + _LOCAL.size + len(name), member.size)

    def _read_directory(self) -> dict[str, Member]:
        """All members, from a directory that is the one that they determine."""
        try:
            size = os.fstat(self._descriptor).st_size
        except OSError as exc:
            raise BundleReadError(f"expected to read the bundle: {exc.strerror}") from exc
        if not _END.size <= size <= _LARGEST:
            raise BundleFormError(
                f"expected a bundle, a ZIP file shorter than 4 GiB, found {size} bytes"
            )
        count, length, offset = self._read_end(size)
        directory = self._at(offset, length)
        members: dict[str, Member] = {}
        at = reached = 0
        last = b""
        for _ in range(count):
            name, member = _parse_central(directory, at)
            if name <= last or member.offset != reached:
                raise BundleFormError("expected members sorted by name and without gaps")
            members[name.decode("ascii")] = member
            at += _CENTRAL.size + len(name)
            reached += _LOCAL.size + len(name) + member.size
            last = name
        if at != length or reached != offset:
            raise BundleFormError("expected nothing between members, directory and end")
        return members

    def _read_end(self, size: int) -> tuple[int, int, int]:
        """Number of members, length and offset of the directory."""
        *_, count, length, offset, _ = _END.unpack(self._at(size - _END.size, _END.size))
        if count == _MANY:
            start = size - _END.size - _LOCATOR.size - _LARGE_END.size
            if start < 0:
                raise BundleFormError("expected a ZIP64 end record")
            *_, count, length, offset = _LARGE_END.unpack(self._at(start, _LARGE_END.size))
        if offset + length > size or count * _CENTRAL.size > length:
            raise BundleFormError(
                "expected a bundle, a ZIP file with its directory at the end, found another end: "
                "it was cut short or is another kind of file; ask for it again"
            )
        end = _end_records(count, length, offset)
        if offset + length + len(end) != size or self._at(offset + length, len(end)) != end:
            raise BundleFormError("expected the end record that the members determine")
        return count, length, offset

    def _check_member(self, name: bytes, member: Member) -> None:
        header = _local_header(name, member)
        if self._at(member.offset, len(header)) != header:
            raise BundleFormError(
                f"{name.decode()}: expected the header that the member determines"
            )
        crc, at = 0, member.offset + len(header)
        end = at + member.size
        while at < end:
            chunk = self._at(at, min(_CHUNK, end - at))
            crc = zlib.crc32(chunk, crc)
            at += len(chunk)
        if crc != member.crc:
            raise BundleFormError(f"{name.decode()}: the content was altered")

    def _at(self, offset: int, size: int) -> bytes:
        parts = []
        while size:
            try:
                part = os.pread(self._descriptor, min(size, 1 << 30), offset)
            except OSError as exc:
                raise BundleReadError(f"expected to read the bundle: {exc.strerror}") from exc
            if not part:
                raise BundleFormError("expected a bundle, found that it ends too early")
            parts.append(part)
            offset, size = offset + len(part), size - len(part)
        return b"".join(parts)


def _parse_central(directory: bytes, at: int) -> tuple[bytes, Member]:
    if at + _CENTRAL.size > len(directory):
        raise BundleFormError("expected more members in the directory")
    fields = _CENTRAL.unpack_from(directory, at)
    crc, size, name_size, offset = fields[8], fields[9], fields[11], fields[-1]
    start = at + _CENTRAL.size
    name = directory[start : start + name_size]
    member = Member(size, crc, offset)
    if not name.isascii() or directory[at : start + name_size] != _central_header(name, member):
        raise BundleFormError("expected the directory entry that the member determines")
    return name, member
