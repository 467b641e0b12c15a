"""The ends of a Parquet file: what stands there before a file is believed, and where pages end.

Specification: ``spec/parquet.md``, "Reading a file".

Example:
    >>> with open_input(Path("documents.parquet")) as file:     # doctest: +SKIP
    ...     refuse_ends(file)
    4711
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from assay.encryption.parquet_footer import (
    MAGIC_BYTES,
    MOST_CRYPTO_BYTES,
    TAIL_BYTES,
    footer_length,
    refuse_other_algorithm,
    tampered_file,
)


@contextmanager
def open_input(source: Path | BinaryIO | bytes) -> Iterator[pa.NativeFile]:
    """A path, a file that can seek, or the bytes of a file, as PyArrow reads it."""
    if isinstance(source, Path):
        with pa.OSFile(str(source)) as file:
            yield file
    elif isinstance(source, bytes):
        yield pa.BufferReader(source)
    else:
        yield pa.PythonFile(source, mode="r")


def refuse_ends(file: pa.NativeFile) -> int:
    """Refuse a file that does not say at both ends that it is sealed as ours are: steps 1 and 2.

    Returns:
        Where the crypto metadata stand, which precede the footer.

    Raises:
        PlaintextFileError: a file, or a footer, in the clear.
        TamperedFileError: no sealed Parquet file, or one of another algorithm.
    """
    size = file.size()
    file.seek(max(0, size - TAIL_BYTES))
    length = footer_length(file.read(TAIL_BYTES))
    if length > size - TAIL_BYTES - MAGIC_BYTES:
        raise tampered_file("a footer that is longer than the file")
    starts = int(size - TAIL_BYTES - length)
    file.seek(starts)
    refuse_other_algorithm(file.read(min(length, MOST_CRYPTO_BYTES)))
    file.seek(0)
    if file.read(MAGIC_BYTES) != b"PARE":
        raise tampered_file("not the beginning of a sealed Parquet file")
    file.seek(0)
    return starts


def pages_end(metadata: pq.FileMetaData) -> int:
    """Where the last page of a file ends, as its footer has it."""
    ends = {MAGIC_BYTES}
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            start = column.dictionary_page_offset or column.data_page_offset
            ends.add(start + column.total_compressed_size)
    return max(ends)


def footer_of(file: pq.ParquetFile) -> bytes:
    """The decrypted footer as it stands in the file."""
    sink = pa.BufferOutputStream()
    file.metadata.write_metadata_file(sink)
    return bytes(sink.getvalue()[MAGIC_BYTES:-TAIL_BYTES])
