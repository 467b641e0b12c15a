"""``spec/parquet.md`` and Parquet's own ``Encryption.md``: what a sealed file says, and its modules.

A module is one AES-GCM message: a length of 4 bytes, a nonce of 12, ciphertext, a tag of 16. What it
is and where it stands is its associated data: the file's unique bytes, its type, and the numbers of
row group, column and page.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.reference.data_key import FilePlace, unwrap_file_key
from tests.reference.notation import Refused

TAMPERED, CLEAR = "TamperedFileError", "PlaintextFileError"
FOOTER, PAGE, DICTIONARY, PAGE_HEADER, DICTIONARY_HEADER = 0, 2, 3, 4, 5


@dataclass(frozen=True)
class OpenedFile:
    """What the modules of a file hold.

    Attributes:
        file_key: 32 bytes.
        seal_id: 24 bytes.
        footer: the bytes of the footer.
        pages: of each row group and column, a dictionary page and one data page.
    """

    file_key: bytes
    seal_id: bytes
    footer: bytes
    pages: list[bytes]


def open_file(
    key: bytes, data: bytes, place: FilePlace, groups: int, columns: int, *, seal_id: bytes | None = None
) -> OpenedFile:  # fmt: skip
    """Reading a file whose columns have a dictionary page and one data page in each row group."""
    if data[-4:] == b"PAR1":  # 1
        raise Refused(CLEAR)
    if len(data) < 12 or data[:4] != b"PARE" or data[-4:] != b"PARE":
        raise Refused(TAMPERED)
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    if start < 4:
        raise Refused(TAMPERED)
    unique, said, footer_at = _crypto_metadata(data[start:-8])  # 2
    file_key = unwrap_file_key(key, said["masterKeyID"], said["wrappedDEK"], place)
    modules = _Modules(data[:-8], file_key, unique)
    modules.at = start + footer_at
    footer = modules.take(bytes([FOOTER]))  # 3
    if modules.at != len(data) - 8:
        raise Refused(TAMPERED)
    found = _seal_id(said["wrappedDEK"])
    if seal_id is not None and found != seal_id:  # 4
        raise Refused("ReplacedFileError")
    modules.at = 4
    pages = [modules.take(part) for part in _parts(groups, columns)]
    if modules.at != start:  # 6
        raise Refused(TAMPERED)
    return OpenedFile(file_key, found, footer, pages[1::2])


def _parts(groups: int, columns: int) -> Iterator[bytes]:
    """The associated data of the pages and their headers, without the file's unique bytes."""
    for group in range(groups):
        for column in range(columns):
            place = group.to_bytes(2, "little") + column.to_bytes(2, "little")
            yield bytes([DICTIONARY_HEADER]) + place
            yield bytes([DICTIONARY]) + place
            yield bytes([PAGE_HEADER]) + place + bytes(2)
            yield bytes([PAGE]) + place + bytes(2)


class _Modules:
    def __init__(self, data: bytes, key: bytes, unique: bytes) -> None:
        self.data, self.cipher, self.unique, self.at = data, AESGCM(key), unique, 0

    def take(self, part: bytes) -> bytes:
        length = int.from_bytes(self.data[self.at : self.at + 4], "little")
        module = self.data[self.at + 4 : self.at + 4 + length]
        self.at += 4 + length
        try:
            return self.cipher.decrypt(module[:12], module[12:], self.unique + part)
        except (InvalidTag, ValueError):
            raise Refused(TAMPERED) from None


def _seal_id(token: str) -> bytes:
    import base64

    return base64.b64decode(token)[2:26]


def _crypto_metadata(data: bytes) -> tuple[bytes, dict[str, Any], int]:
    """The file's unique bytes, what the key metadata say, and how long all of it is.

    A structure {1: {1: {2: unique bytes, 3: false}}, 2: key metadata} in Thrift's compact protocol.
    """
    reader = _Compact(data)
    try:
        reader.expect(0x1C, 0x1C)  # field 1, a structure; in it field 1, a structure: AES_GCM_V1
        reader.expect(0x28)  # in it field 2, bytes: no AAD prefix stands before it
        unique = reader.bytes()
        reader.expect(0x12, 0, 0)  # field 3, false; the ends of two structures
        reader.expect(0x18)  # field 2, bytes
        said = json.loads(reader.bytes())
        reader.expect(0)
    except (IndexError, ValueError):
        raise Refused(TAMPERED) from None
    wanted = {"masterKeyID", "wrappedDEK"}
    if not isinstance(said, dict) or not wanted <= set(said):
        raise Refused(TAMPERED)
    return unique, said, reader.at


class _Compact:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def expect(self, *wanted: int) -> None:
        for byte in wanted:
            if self.data[self.at] != byte:
                raise ValueError(byte)
            self.at += 1

    def bytes(self) -> bytes:
        length = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        self.at += length
        if self.at > len(self.data):
            raise IndexError
        return self.data[self.at - length : self.at]
