"""Parquet files, sealed as the standard has it, with a key that the owner's data key wraps.

Specification: ``spec/parquet.md``; its steps are repeated here.

Example:
    >>> files = SealedParquet(keyring, owner="tenant-1", dataset="documents")  # doctest: +SKIP
    >>> files.write(table, Path("documents.parquet"))                          # doctest: +SKIP
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe

from assay.core import atomic_file
from assay.encryption.concealment import concealed, forget_variables
from assay.encryption.errors import (
    PlaintextFileError,
    ReplacedFileError,
    SealedFileError,
    UnsupportedFileError,
)
from assay.encryption.file_keys import FileKeys, FilePlace
from assay.encryption.owner_keys import OwnerKeys
from assay.encryption.parquet_footer import (
    refuse_added_bytes,
    refuse_clear_columns,
    tampered_file,
)
from assay.encryption.pyarrow.file_ends import footer_of, open_input, pages_end, refuse_ends

T = TypeVar("T")


class SealedParquet:
    """The Parquet files of one owner and data set.

    Args:
        keyring: has or makes the owner's data keys of class ``files``.
        owner: whose the files are.
        dataset: the stable name of the data set, which each file is bound to.
        file: the name of one file, to bind it as well; empty for files that may be renamed.

    Example:
        >>> files = SealedParquet(keyring, owner="tenant-1", dataset="documents")  # doctest: +SKIP
        >>> files.write(table, Path("documents.parquet"))                          # doctest: +SKIP
        >>> files.read(Path("documents.parquet"), columns=["id"])                  # doctest: +SKIP
    """

    def __init__(self, keyring: OwnerKeys, *, owner: str, dataset: str, file: str = "") -> None:
        self._keyring = keyring
        self._place = FilePlace(owner, dataset, file)

    @concealed
    def write(
        self,
        table: pa.Table,
        target: Path | BinaryIO,
        *,
        compression: str = "zstd",
        row_group_rows: int = 2**20,
    ) -> bytes:
        """Write a table.

        Args:
            table: what to write.
            target: a path, where the file appears when it is whole; or a file to write to, which
                never holds a whole one when this raises.
            compression: ``none``, ``snappy``, ``zstd``, ``lz4``, ``gzip`` or ``brotli``.
            row_group_rows: how many rows a row group has at most.

        Returns:
            The seal id, 24 bytes: which sealing of the file it is.

        Raises:
            UnsupportedFileError: Parquet would not give the table back as it is.
            assay.keys.KeysError: a data key is not to be had.
            OSError: for example a full disk.
        """
        options: dict[str, Any] = {"compression": compression, "row_group_rows": row_group_rows}
        with self.writer(table.schema, target, **options) as writer:
            writer.write(table)
        return writer.seal_id

    @contextmanager
    def writer(
        self,
        schema: pa.Schema,
        target: Path | BinaryIO,
        *,
        compression: str = "zstd",
        row_group_rows: int = 2**20,
    ) -> Iterator[SealedParquetWriter]:
        """Write a table piece by piece, in flat memory; the file is whole when the block ends.

        Args:
            schema: of the table.
            target: as in `write`.
            compression: as in `write`.
            row_group_rows: as in `write`.

        Raises:
            UnsupportedFileError: Parquet would not give such a table back as it is.
            assay.keys.KeysError: a data key is not to be had.
            OSError: for example a full disk.
        """
        _refuse_schema(schema)  # writing, step 1
        keys = FileKeys(self._keyring, self._place)
        with ExitStack() as stack:
            if isinstance(target, Path):
                target = stack.enter_context(atomic_file(target, mode=0o600))
            sink = _Sink(target)
            properties = _key_tools(keys).file_encryption_properties(  # 2
                pe.KmsConnectionConfig(),
                pe.EncryptionConfiguration(
                    footer_key=keys.master_key_id(),
                    uniform_encryption=True,
                    plaintext_footer=False,
                    double_wrapping=False,
                    internal_key_material=True,
                    data_key_length_bits=256,
                    encryption_algorithm="AES_GCM_V1",
                ),
            )
            file = _named(
                _unsupported,
                lambda: pq.ParquetWriter(
                    sink, schema, encryption_properties=properties, compression=compression
                ),
            )
            try:
                yield SealedParquetWriter(file, keys.seal_id or b"", row_group_rows)
                _named(_unsupported, file.close)
            except BaseException:
                sink.cut = True  # 3: or closing it would write a footer
                file.close()
                raise

    @concealed
    def read(
        self,
        source: Path | BinaryIO | bytes,
        *,
        columns: Sequence[str] | None = None,
        seal_id: bytes | None = None,
    ) -> pa.Table:
        """Read a table, or columns of it, whole or not at all.

        Args:
            source: a path, a file that can seek, or the bytes of a file.
            columns: which, in this order; all when None.
            seal_id: which sealing it must be; any when None.

        Raises:
            SealedFileError: one of its leaves.
            assay.keys.KeysError: a data key is not to be had.
            OSError: there is no such file.
        """
        with self._open(source, seal_id) as (file, _):
            wanted = _wanted(file, columns)
            table = _named(_tampered, lambda: file.read(columns=wanted))
            return table if wanted is None else table.select(wanted)

    def read_batches(
        self,
        source: Path | BinaryIO | bytes,
        *,
        columns: Sequence[str] | None = None,
        seal_id: bytes | None = None,
        batch_rows: int = 65_536,
    ) -> Iterator[pa.RecordBatch]:
        """Read a table batch by batch, in flat memory.

        When a later batch raises, discard the earlier ones: they are authentic, but not the whole.

        Args:
            source: as in `read`.
            columns: as in `read`.
            seal_id: as in `read`.
            batch_rows: how many rows a batch has at most.

        Raises:
            SealedFileError: one of its leaves.
            assay.keys.KeysError: a data key is not to be had.
            OSError: there is no such file.
        """
        batch = None
        try:
            with self._open(source, seal_id) as (file, _):
                wanted = _wanted(file, columns)
                batches = file.iter_batches(batch_size=batch_rows, columns=wanted)
                while (batch := _named(_tampered, lambda: next(batches, None))) is not None:
                    yield batch if wanted is None else batch.select(wanted)
        except Exception as exc:
            forget_variables(exc)
            del batch
            raise

    @concealed
    def file_key(self, source: Path | BinaryIO | bytes) -> bytes:
        """The key of one file, 32 bytes, for an engine that takes keys directly.

        It opens this file and no other. Give it to nobody who may not read all of it.

        Args:
            source: as in `read`.

        Raises:
            SealedFileError: one of its leaves.
            assay.keys.KeysError: a data key is not to be had.
            OSError: there is no such file.
        """
        with self._open(source, None) as (_, keys):
            if keys.file_key is None:  # _open refuses such a file
                raise _clear()
            return keys.file_key

    @contextmanager
    def _open(
        self, source: Path | BinaryIO | bytes, seal_id: bytes | None
    ) -> Iterator[tuple[pq.ParquetFile, FileKeys]]:
        keys = FileKeys(self._keyring, self._place)
        with open_input(source) as opened:
            footer_starts = _named(_tampered, lambda: refuse_ends(opened))  # reading, steps 1 and 2
            properties = _key_tools(keys).file_decryption_properties(pe.KmsConnectionConfig())
            file = _named(
                _tampered, lambda: pq.ParquetFile(opened, decryption_properties=properties)
            )
            if keys.file_key is None:  # 3
                raise _clear()
            if seal_id is not None and keys.seal_id != seal_id:  # 4
                raise ReplacedFileError(
                    "expected the sealing of the file that was asked for, found another one, which "
                    "is authentic: an older file was put back, or a newer one was written"
                )
            footer = footer_of(file)
            refuse_clear_columns(footer)  # 5
            refuse_added_bytes(footer, pages_end(file.metadata), footer_starts)  # 6
            yield file, keys


class SealedParquetWriter:
    """A sealed Parquet file that is being written; made by `SealedParquet.writer`.

    Attributes:
        seal_id: which sealing of the file it is, 24 bytes.
    """

    def __init__(self, file: pq.ParquetWriter, seal_id: bytes, row_group_rows: int) -> None:
        self.seal_id = seal_id
        self._file = file
        self._row_group_rows = row_group_rows

    @concealed
    def write(self, data: pa.Table | pa.RecordBatch) -> None:
        """Write rows, as one or several row groups.

        Args:
            data: with exactly the schema of the file.

        Raises:
            UnsupportedFileError: it has another one, or values that PyArrow cannot write.
            OSError: for example a full disk.
        """
        if not data.schema.equals(self._file.schema):
            raise UnsupportedFileError(
                "expected rows with the schema of the file, found others; cast or select them"
            )
        if isinstance(data, pa.RecordBatch):
            data = pa.Table.from_batches([data])
        rows = self._row_group_rows
        _named(_unsupported, lambda: self._file.write_table(data, row_group_size=rows))


class _KeyService(pe.KmsClient):  # type: ignore[misc]  # PyArrow has no types
    """The key service that PyArrow's key tools ask, for one file."""

    def __init__(self, keys: FileKeys) -> None:
        super().__init__()
        self._keys = keys

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> str:
        """The token of a file key."""
        return self._keys.wrap(key_bytes, master_key_identifier)

    def unwrap_key(self, wrapped_key: str, master_key_identifier: str) -> bytes:
        """The file key of a token."""
        return self._keys.unwrap(wrapped_key, master_key_identifier)


class _Sink(io.RawIOBase):
    """A file that PyArrow writes to and that nothing reaches any more once it is cut off."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._length = 0
        self.cut = False

    def writable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """How many bytes were written."""
        return self._length

    def write(self, data: Any) -> int:
        """Write all of the data, unless it is cut off."""
        length = memoryview(data).nbytes
        if not self.cut:
            self._file.write(data)
        self._length += length
        return length


def _key_tools(keys: FileKeys) -> pe.CryptoFactory:
    service = _KeyService(keys)
    return pe.CryptoFactory(lambda _: service)


_REFUSALS = (pa.ArrowException, OSError, ValueError, LookupError, TypeError, MemoryError)
"""What PyArrow raises on bytes that it cannot read and on tables that it cannot write."""


def _named(refusal: Callable[[str], SealedFileError], action: Callable[[], T]) -> T:
    """What PyArrow refuses, by our name; its own messages may show values."""
    try:
        return action()
    except _REFUSALS as exc:
        if isinstance(exc, OSError) and exc.errno is not None:
            raise  # the disk's, not a refusal
        reason = type(exc).__name__
    raise refusal(reason)  # out here so that no chained error shows a value


def _unsupported(reason: str) -> UnsupportedFileError:
    return UnsupportedFileError(
        f"expected a table and options that PyArrow can write, found some that it refused "
        f"({reason}); write them to a file in the clear in a test to see why"
    )


def _tampered(reason: str) -> SealedFileError:
    return tampered_file(f"one that PyArrow refused ({reason})")


def _clear() -> PlaintextFileError:
    return PlaintextFileError(
        "expected a sealed Parquet file, found one that opened without any key; write it anew by "
        "SealedParquet"
    )


def _refuse_schema(schema: pa.Schema) -> None:
    """Refuse what would be read back otherwise; tried with an empty table, in memory."""
    names = schema.names
    if not names or len(set(names)) != len(names):
        raise UnsupportedFileError("expected columns with different names, found none or two alike")
    back = _named(_unsupported, lambda: _written_and_read(schema))
    for field in schema:
        found = back.field(field.name)
        if not field.equals(found):
            raise UnsupportedFileError(
                f"expected columns that Parquet gives back as they are, found {field.name!r} of "
                f"{field.type}, which it would give back as {found.type}; cast it to that"
            )


def _written_and_read(schema: pa.Schema) -> pa.Schema:
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    return pq.read_schema(pa.BufferReader(sink.getvalue()))


def _wanted(file: pq.ParquetFile, columns: Sequence[str] | None) -> list[str] | None:
    if columns is None:
        return None
    names = file.schema_arrow.names
    missing = [name for name in columns if name not in names]
    if missing or len(set(columns)) != len(columns):
        raise UnsupportedFileError(
            f"expected columns of the file, each once, found {missing or 'one twice'}; it has "
            f"{names}"
        )
    return list(columns)
