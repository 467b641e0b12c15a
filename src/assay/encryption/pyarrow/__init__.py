"""Parquet files and Arrow record batches, by PyArrow (``assay[parquet]``).

A Parquet file is sealed whole, as the standard has it, so that other engines read it; its key is
wrapped by the owner's data key (``spec/parquet.md``, whose steps are repeated here). Record batches
are sealed row by row: declared columns go into columns of row envelopes (``spec/row-envelope.md``),
and come back with their types.

Example:
    >>> import io
    >>> import pyarrow as pa
    >>> from assay.encryption.pyarrow import RowIdKind, SealedColumns, SealedParquet
    >>> from assay.encryption.pyarrow import open_batch, seal_batch, sealed
    >>> from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService
    >>> keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())
    >>> files = SealedParquet(keyring, owner="tenant-1", dataset="documents")
    >>> sink = io.BytesIO()
    >>> seal_id = files.write(pa.table({"id": [7], "text": ["Dear Ada"]}), sink)
    >>> files.read(sink.getvalue(), columns=["text"]).to_pylist()
    [{'text': 'Dear Ada'}]
    >>> declared = SealedColumns(
    ...     table="documents",
    ...     key={"id": RowIdKind.INTEGER},
    ...     owner="tenant",
    ...     fields={"text": sealed(pa.string())},
    ... )
    >>> batch = pa.record_batch({"id": [7], "tenant": ["north"], "text": ["Dear Ada"]})
    >>> stored = seal_batch(batch, declared, keyring)
    >>> stored.schema.names
    ['id', 'tenant', 'sealed']
    >>> open_batch(stored, declared, keyring).column("text").to_pylist()
    ['Dear Ada']
"""

from __future__ import annotations

try:
    import pyarrow as _pyarrow  # noqa: F401 - whether it is there
except ModuleNotFoundError as exc:
    raise ModuleNotFoundError(
        "expected the package pyarrow, found none; install assay[parquet]", name=exc.name
    ) from exc

from assay.encryption.pyarrow.batches import (
    BatchOpener,
    BatchSealer,
    SealedColumn,
    SealedColumns,
    open_batch,
    seal_batch,
    sealed,
)
from assay.encryption.pyarrow.parquet import SealedParquet, SealedParquetWriter
from assay.encryption.row_address import RowIdKind

__all__ = [
    "BatchOpener",
    "BatchSealer",
    "RowIdKind",
    "SealedColumn",
    "SealedColumns",
    "SealedParquet",
    "SealedParquetWriter",
    "open_batch",
    "seal_batch",
    "sealed",
]
