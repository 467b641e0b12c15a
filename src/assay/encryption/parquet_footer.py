"""What a Parquet file says about how it is encrypted, checked before it is believed.

Engines decide by these bytes which pages they decrypt and verify, and the standard authenticates
some of them not at all. They are Thrift structures in the compact protocol
(<https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>), of which
only the few fields are looked at that matter here; whatever could be read in two ways is refused.

Specification: ``spec/parquet.md``, "Reading a file".

Example:
    >>> read_struct(bytes.fromhex("1c1c000000"))      # an algorithm, {1: AES_GCM_V1 {}}
    {1: {1: {}}}
"""

from __future__ import annotations

from collections.abc import Iterator

from assay.encryption.errors import PlaintextFileError, TamperedFileError

MAGIC_BYTES = 4
TAIL_BYTES = 8
"""The length of the footer, then the magic bytes."""
MOST_CRYPTO_BYTES = 2**16
"""How long crypto metadata may be: it holds a few hundred bytes of key metadata."""

_DEEPEST = 24
_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 12
_INTEGERS = (4, 5, 6)

# Fields of parquet.thrift: FileCryptoMetaData, EncryptionAlgorithm and AesGcmV1, FileMetaData,
# RowGroup, ColumnChunk.
_ALGORITHM, _KEY_METADATA = 1, 2
_AES_GCM_V1, _AAD_FILE_UNIQUE, _SUPPLY_AAD_PREFIX = 1, 2, 3
_ROW_GROUPS, _COLUMNS, _METADATA, _CRYPTO_METADATA = 4, 1, 3, 8
_OFFSET_INDEX, _COLUMN_INDEX, _BLOOM_FILTER = (4, 5), (6, 7), (14, 15)

Value = bool | int | bytes | list["Value"] | dict[int, "Value"] | None
"""A value of a structure: by number of field; floating point numbers are passed over."""


def footer_length(tail: bytes) -> int:
    """How many bytes stand before the last eight, with crypto metadata first: steps 1 and 2.

    Args:
        tail: the last eight bytes of a file, or fewer.

    Raises:
        PlaintextFileError: a file, or a footer, in the clear.
        TamperedFileError: no Parquet file.
    """
    if tail[-MAGIC_BYTES:] == b"PAR1":
        raise PlaintextFileError(
            "expected a sealed Parquet file, found one in the clear, or with its footer in the "
            "clear; somebody else wrote it: write it anew by SealedParquet"
        )
    if len(tail) != TAIL_BYTES or tail[-MAGIC_BYTES:] != b"PARE":
        raise tampered_file("not the end of a sealed Parquet file")
    return int.from_bytes(tail[:4], "little")


def refuse_other_algorithm(footer: bytes) -> None:
    """Refuse crypto metadata that names something else than AES_GCM_V1: step 2.

    Args:
        footer: what stands before the last eight bytes, or its beginning.

    Raises:
        TamperedFileError: it does, or can be read in two ways.
    """
    found = read_struct(footer[:MOST_CRYPTO_BYTES])
    algorithm = found.get(_ALGORITHM)
    gcm = algorithm.get(_AES_GCM_V1) if isinstance(algorithm, dict) else None
    if (
        set(found) != {_ALGORITHM, _KEY_METADATA}
        or not isinstance(found[_KEY_METADATA], bytes)
        or not isinstance(algorithm, dict)
        or set(algorithm) != {_AES_GCM_V1}
        or not isinstance(gcm, dict)
        or not set(gcm) <= {_AAD_FILE_UNIQUE, _SUPPLY_AAD_PREFIX}
        or not isinstance(gcm.get(_AAD_FILE_UNIQUE), bytes)
        or gcm.get(_SUPPLY_AAD_PREFIX, False) is not False
    ):
        raise tampered_file("another algorithm than AES_GCM_V1 without AAD prefix")


def refuse_clear_columns(metadata: bytes) -> None:
    """Refuse a footer that names a column whose pages are not encrypted: step 5.

    Args:
        metadata: the decrypted and verified footer, a ``FileMetaData``.

    Raises:
        PlaintextFileError: it does.
        TamperedFileError: it is no footer.
    """
    for column in _columns(metadata):
        if not isinstance(column.get(_CRYPTO_METADATA), dict):
            raise PlaintextFileError(
                "expected a Parquet file whose columns are all encrypted, found one in the clear; "
                "somebody else wrote it: write it anew by SealedParquet"
            )


def refuse_added_bytes(metadata: bytes, pages_end: int, footer_starts: int) -> None:
    """Refuse a file with bytes before its footer that belong to nothing: step 6.

    Args:
        metadata: the decrypted and verified footer, a ``FileMetaData``.
        pages_end: where the last page ends; the footer does not say it of columns that have keys of
            their own.
        footer_starts: where the crypto metadata stand in the file.

    Raises:
        TamperedFileError: there are such bytes, or it is no footer.
    """
    ends = {pages_end}
    for column in _columns(metadata):
        inner = column.get(_METADATA)
        filters = inner if isinstance(inner, dict) else {}
        for fields, (start, length) in (
            (column, _OFFSET_INDEX),
            (column, _COLUMN_INDEX),
            (filters, _BLOOM_FILTER),
        ):
            if start in fields:
                ends.add(_end(fields[start], fields.get(length)))
    if max(ends) != footer_starts:
        raise tampered_file("bytes between its last page and its footer")


def _end(start: Value, length: Value) -> int:
    if type(start) is not int or type(length) is not int:
        raise tampered_file("an index of which it does not say where it ends")
    return start + length


def _columns(metadata: bytes) -> Iterator[dict[int, Value]]:
    for row_group in _items(read_struct(metadata).get(_ROW_GROUPS)):
        yield from _items(row_group.get(_COLUMNS))


def read_struct(data: bytes) -> dict[int, Value]:
    """The structure at the beginning of some bytes.

    Raises:
        TamperedFileError: there is none, or a field stands twice in it.
    """
    try:
        return _Reader(data).struct(0)
    except IndexError:
        pass  # the bytes end before the structure does
    raise tampered_file("a structure that does not end")


def tampered_file(found: str) -> TamperedFileError:
    """The error of a file that is not as it was written."""
    return TamperedFileError(
        f"expected the sealed Parquet file as it was written, found {found}: it was altered or cut "
        "off, or is none; restore the file"
    )


def _items(value: Value) -> list[dict[int, Value]]:
    if not isinstance(value, list):
        raise tampered_file("a footer of another form")
    items = [each for each in value if isinstance(each, dict)]
    if len(items) != len(value):
        raise tampered_file("a footer of another form")
    return items


class _Reader:
    """Reads the compact protocol from left to right; IndexError at the end of the bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def struct(self, depth: int) -> dict[int, Value]:
        """The fields up to the stop byte, by number."""
        if depth > _DEEPEST:
            raise tampered_file("a structure of too many levels")
        fields: dict[int, Value] = {}
        number = 0
        while (head := self._byte()) != _STOP:
            number = number + (head >> 4) if head >> 4 else self._signed()
            if number in fields:
                raise tampered_file("a structure with a field twice")
            kind = head & 15
            fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Value:
        if kind in _INTEGERS:
            return self._signed()
        if kind == _BINARY:
            return self._bytes(self._unsigned())
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_LIST, _SET):
            return self._list(depth + 1)
        if kind in (_BYTE, _TRUE, _FALSE):  # in a list, a truth value is a byte
            return self._byte()
        if kind == _DOUBLE:
            self._bytes(8)
            return None
        raise tampered_file("a structure with a value of an unknown type")

    def _list(self, depth: int) -> list[Value]:
        if depth > _DEEPEST:
            raise tampered_file("a structure of too many levels")
        head = self._byte()
        count = head >> 4 if head >> 4 != 15 else self._unsigned()
        if count > len(self._data) - self._at:  # each item has a byte at least
            raise IndexError
        return [self._value(head & 15, depth) for _ in range(count)]

    def _byte(self) -> int:
        byte = self._data[self._at]
        self._at += 1
        return byte

    def _bytes(self, length: int) -> bytes:
        end = self._at + length
        if end > len(self._data):
            raise IndexError
        found, self._at = self._data[self._at : end], end
        return found

    def _unsigned(self) -> int:
        number = shift = 0
        while True:
            byte = self._byte()
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number
            if shift > 63:
                raise tampered_file("a number of more than 64 bits")

    def _signed(self) -> int:
        number = self._unsigned()
        return (number >> 1) ^ -(number & 1)
