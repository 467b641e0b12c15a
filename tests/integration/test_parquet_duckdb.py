"""Another engine reads sealed Parquet files: DuckDB, which is given the key of a file."""

from __future__ import annotations

import base64
from datetime import date
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from assay.encryption.pyarrow import SealedParquet
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

ROWS = 3000
TABLE = pa.table(
    {
        "id": range(ROWS),
        "text": pa.array([f"Dear Ada {n}" if n % 3 else None for n in range(ROWS)]),
        "kind": pa.array(["letter", "bill", None] * (ROWS // 3)).dictionary_encode(),
        "price": pa.array([Decimal("1.50")] * ROWS, pa.decimal128(12, 2)),
        "born": pa.array([date(1815, 12, 10)] * ROWS),
        "address": [{"street": "x", "tags": ["a"]}] * ROWS,
    }
)
QUERY = (
    "SELECT count(*), sum(id), count(text), min(kind), sum(price), max(born), max(address.street)"
    " FROM read_parquet(?, encryption_config = {footer_key: 'key'})"
)


@pytest.mark.parametrize("compression", ["zstd", "snappy", "none"])
def test_duckdb_reads_what_was_sealed(tmp_path: Path, compression: str) -> None:
    keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())
    files = SealedParquet(keyring, owner="north", dataset="documents")
    paths = [tmp_path / "one.parquet", tmp_path / "other.parquet"]
    for path in paths:
        files.write(TABLE, path, compression=compression, row_group_rows=1000)
    with duckdb.connect() as connection:
        key = base64.b64encode(files.file_key(paths[0])).decode()
        connection.execute(f"PRAGMA add_parquet_key('key', '{key}')")
        found = connection.execute(QUERY, [str(paths[0])]).fetchone()
        assert found == (
            ROWS, sum(range(ROWS)), ROWS * 2 // 3, "bill", Decimal("4500.00"), date(1815, 12, 10), "x",
        )  # fmt: skip
        with pytest.raises(duckdb.Error):  # each file has a key of its own
            connection.execute(QUERY, [str(paths[1])])
        with pytest.raises(duckdb.Error):
            connection.execute("SELECT * FROM read_parquet(?)", [str(paths[0])])
