"""Sealed Parquet files, written and read through PyArrow."""

from __future__ import annotations

import io
import traceback
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.core import DataKeyClass
from assay.encryption import (
    FileKeys,
    FilePlace,
    PlaintextFileError,
    ReplacedFileError,
    SealedFileError,
    TamperedFileError,
    UnknownFileKeyVersionError,
    UnsupportedFileError,
    WrongFileKeyError,
)
from assay.encryption.pyarrow import SealedParquet
from assay.encryption.pyarrow.parquet import _key_tools
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

CANARY = "Quartz & Obsidian"
KEYRING = Keyring(MemoryKeyService(), MemoryDataKeyTable())
KEYRING.current("south", DataKeyClass.FILES)
FILES = SealedParquet(KEYRING, owner="north", dataset="documents")

TYPES = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        ("text", pa.string()),
        ("bytes", pa.large_binary()),
        ("price", pa.decimal128(12, 2)),
        ("at", pa.timestamp("us", tz="Europe/Berlin")),
        ("nanoseconds", pa.timestamp("ns")),
        ("kind", pa.dictionary(pa.int8(), pa.string())),
        ("address", pa.struct([("street", pa.string()), ("tags", pa.list_(pa.string()))])),
        ("scores", pa.list_(pa.float32())),
        ("pairs", pa.map_(pa.string(), pa.int32())),
        ("uuid", pa.uuid()),
        ("nothing", pa.null()),
    ]
)
ROWS: list[dict[str, Any]] = [
    {
        "id": number,
        "text": f"{CANARY} {number}" if number % 3 else None,
        "bytes": bytes([number % 256]),
        "price": Decimal("12.50"),
        "at": datetime(2026, 7, 1, 12, tzinfo=UTC),
        "nanoseconds": None,
        "kind": ("letter", "bill", None)[number % 3],
        "address": {"street": CANARY, "tags": ["a", None]} if number % 2 else None,
        "scores": [0.5, float(number)],
        "pairs": [("a", 1)],
        "uuid": UUID(int=number),
        "nothing": None,
    }
    for number in range(100)
]
TABLE = pa.Table.from_pylist(ROWS, schema=TYPES)


def sealed(table: pa.Table = TABLE, files: SealedParquet = FILES, **options: Any) -> bytes:
    sink = io.BytesIO()
    files.write(table, sink, **options)
    return sink.getvalue()


def test_every_type_comes_back_as_it_was_and_nothing_stands_in_the_clear() -> None:
    data = sealed(row_group_rows=30, compression="none")
    assert data[:4] == data[-4:] == b"PARE"
    for piece in (CANARY, "text", "street", "letter", "north", "documents"):
        assert piece.encode() not in data
    back = FILES.read(data)
    assert back.equals(TABLE)
    assert back.schema.equals(TYPES)
    batches = list(FILES.read_batches(data, batch_rows=20))
    assert max(batch.num_rows for batch in batches) == 20
    assert pa.Table.from_batches(batches).equals(TABLE)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "a": st.none() | st.text(st.characters(codec="utf-8"), max_size=20),
                "b": st.none() | st.integers(-(2**63), 2**63 - 1),
                "c": st.none() | st.lists(st.binary(max_size=8), max_size=3),
            }
        ),
        max_size=40,
    ),
    st.integers(1, 50),
)
def test_any_rows_come_back(rows: list[dict[str, Any]], row_group_rows: int) -> None:
    schema = pa.schema([("a", pa.string()), ("b", pa.int64()), ("c", pa.list_(pa.binary()))])
    table = pa.Table.from_pylist(rows, schema=schema)
    assert FILES.read(sealed(table, row_group_rows=row_group_rows)).equals(table)


def test_an_empty_table_keeps_its_schema() -> None:
    back = FILES.read(sealed(TYPES.empty_table()))
    assert back.num_rows == 0
    assert back.schema.equals(TYPES)


def test_columns_are_read_in_the_order_that_is_asked_for() -> None:
    table = pa.table({"a": [1], "a.b": [2], "n": [{"b": 3}]})
    data = sealed(table)
    assert FILES.read(data, columns=["n", "a"]).equals(table.select(["n", "a"]))
    (batch,) = FILES.read_batches(data, columns=["a.b", "a"])
    assert batch.schema.names == ["a.b", "a"]
    for columns in (["n.b"], ["missing"], ["a", "a"]):
        with pytest.raises(UnsupportedFileError, match="expected columns of the file"):
            FILES.read(data, columns=columns)


@pytest.mark.parametrize(
    "type_", [pa.timestamp("s"), pa.date64(), pa.time32("s"), pa.month_day_nano_interval()]
)
def test_a_type_that_would_come_back_as_another_is_refused(type_: pa.DataType) -> None:
    sink = io.BytesIO()
    with pytest.raises(UnsupportedFileError):
        FILES.write(pa.schema([("a", type_)]).empty_table(), sink)
    assert sink.getvalue() == b""


def test_columns_that_share_a_name_are_refused() -> None:
    for table in (pa.table([[1], [2]], names=["a", "a"]), pa.table({})):
        with pytest.raises(UnsupportedFileError, match="different names"):
            sealed(table)


def test_rows_of_another_schema_and_unknown_options_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    schema = pa.schema([("a", pa.int64())])
    with pytest.raises(UnsupportedFileError, match="schema of the file"):
        with FILES.writer(schema, path) as writer:
            writer.write(pa.table({"a": ["1"]}))
    with pytest.raises(UnsupportedFileError):
        FILES.write(schema.empty_table(), path, compression="no-such")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_not_finished_is_none(tmp_path: Path) -> None:
    path, sink = tmp_path / "documents.parquet", io.BytesIO()
    FILES.write(TABLE, path)
    before = path.read_bytes()
    for target in (path, sink):
        with pytest.raises(KeyError), FILES.writer(TYPES, target) as writer:  # noqa: PT012 - it is the block that fails
            writer.write(TABLE)
            raise KeyError
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert sink.getvalue()
    with pytest.raises(TamperedFileError):
        FILES.read(sink.getvalue())


def test_a_path_and_an_open_file(tmp_path: Path) -> None:
    path = tmp_path / "documents.parquet"
    seal_id = FILES.write(TABLE, path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert FILES.read(path, seal_id=seal_id).equals(TABLE)
    with path.open("rb") as file:
        assert FILES.read(file).equals(TABLE)
        assert not file.closed
    with pytest.raises(FileNotFoundError):
        FILES.read(tmp_path / "missing.parquet")


def test_a_full_disk_is_not_called_tampering() -> None:
    class FullDisk(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        FILES.write(TABLE, FullDisk())


def test_streams_use_flat_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.parquet"
    batch = pa.record_batch({"a": pa.array([bytes(1000)] * 1000)})
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        with FILES.writer(batch.schema, path, compression="none") as writer:
            for _ in range(60):
                writer.write(batch)
                assert pa.total_allocated_bytes() - before < 10_000_000
        rows = 0
        for each in FILES.read_batches(path, batch_rows=500):
            rows += each.num_rows
            assert pa.total_allocated_bytes() - before < 10_000_000
        assert rows == 60_000
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


# What an attacker, or a careless colleague, can put into its place.


def written_otherwise(table: pa.Table = TABLE, *, options: Any = {}, **configuration: Any) -> bytes:  # noqa: B006 - read only
    """By somebody who has the owner's keys and uses PyArrow in another way."""
    keys = FileKeys(KEYRING, FilePlace("north", "documents"))
    configured = {
        "footer_key": keys.master_key_id(),
        "double_wrapping": False,
        "data_key_length_bits": 256,
        "uniform_encryption": "column_keys" not in configuration,
        **configuration,
    }
    properties = _key_tools(keys).file_encryption_properties(
        pe.KmsConnectionConfig(), pe.EncryptionConfiguration(**configured)
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, encryption_properties=properties, **options)
    return sink.getvalue()


def in_the_clear() -> bytes:
    sink = io.BytesIO()
    pq.write_table(TABLE, sink)
    return sink.getvalue()


def master() -> str:
    return FileKeys(KEYRING, FilePlace("north", "documents")).master_key_id()


@pytest.mark.parametrize(
    ("configuration", "options"),
    [
        ({}, {}),
        ({}, {"write_page_index": True}),
        ({}, {"data_page_version": "2.0", "use_dictionary": False, "row_group_size": 7}),
        ({"column_keys": "all"}, {"write_page_index": True}),
    ],
)
def test_a_file_that_is_written_as_it_should_be_is_read(
    configuration: dict[str, Any], options: dict[str, Any]
) -> None:
    table = TABLE.select(["id", "text"])
    if configuration:
        configuration = {"column_keys": {master(): table.column_names}}
    data = written_otherwise(table, options=options, **configuration)
    assert FILES.read(data).equals(table)
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    with pytest.raises(TamperedFileError, match="between its last page and its footer"):
        FILES.read(data[:footer] + b"\0" + data[footer:])


@pytest.mark.parametrize(
    ("forge", "error"),
    [
        (in_the_clear, PlaintextFileError),
        (
            lambda: written_otherwise(plaintext_footer=True, column_keys={master(): ["text"]}),
            PlaintextFileError,
        ),
        (lambda: written_otherwise(column_keys={master(): ["text"]}), PlaintextFileError),
        (lambda: written_otherwise(encryption_algorithm="AES_GCM_CTR_V1"), TamperedFileError),
        (lambda: b"", TamperedFileError),
        (lambda: CANARY.encode() * 9, TamperedFileError),
        (lambda: sealed() + b"\0", TamperedFileError),
        (lambda: b"\xff\xff\xff\x7fPARE", TamperedFileError),
        (
            lambda: sealed(files=SealedParquet(KEYRING, owner="south", dataset="documents")),
            WrongFileKeyError,
        ),
        (
            lambda: sealed(files=SealedParquet(KEYRING, owner="north", dataset="letters")),
            TamperedFileError,
        ),
        (
            lambda: sealed(
                files=SealedParquet(KEYRING, owner="north", dataset="documents", file="7")
            ),
            TamperedFileError,
        ),
    ],
)
def test_other_files_are_refused(forge: Callable[[], bytes], error: type[SealedFileError]) -> None:
    data = forge()
    with pytest.raises(error):
        list(FILES.read_batches(data))
    for read in (FILES.read, FILES.file_key):
        with pytest.raises(error) as raised:
            read(data)
        assert type(raised.value) is error
        shown = traceback.TracebackException.from_exception(raised.value, capture_locals=True)
        room = [frame for frame in shown.stack if "/src/assay/" in frame.filename]
        assert room
        assert CANARY not in repr([frame.locals for frame in room])
        assert not any("data" in (frame.locals or {}) for frame in room)


def test_the_clear_column_is_noticed_even_when_another_is_read() -> None:
    data = written_otherwise(column_keys={master(): ["text"]})
    with pytest.raises(PlaintextFileError):
        FILES.read(data, columns=["text"])


def test_the_algorithm_cannot_be_renamed() -> None:
    """Nothing in the standard authenticates it, and CTR would not authenticate the pages."""
    data = sealed(pa.table({"a": [1]}))
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    assert data[start : start + 2] == b"\x1c\x1c"
    renamed = data[: start + 1] + b"\x2c" + data[start + 2 :]
    with pytest.raises(TamperedFileError, match="AES_GCM_V1"):
        FILES.read(renamed)


def test_every_flipped_bit_is_refused_or_means_nothing() -> None:
    table = pa.table({"a": [1, 2], "text": [CANARY, None]})
    data = sealed(table, compression="none")
    passed = set()
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << position % 8
        try:
            assert FILES.read(bytes(changed)).equals(table)
        except (TamperedFileError, WrongFileKeyError, UnknownFileKeyVersionError):
            continue
        passed.add(position)
    crypto = data.index(b'{"keyMaterialType')
    text = set(range(crypto, data.index(b"}", crypto)))
    # In the JSON, what names nothing that is needed may change: names of unused members.
    assert passed <= text
    token = data.index(b'"wrappedDEK":"') + len(b'"wrappedDEK":"')
    assert not passed & set(range(token, token + 100))


def test_a_file_that_was_cut_off_is_refused() -> None:
    data = sealed(pa.table({"a": [1, 2]}))
    for length in range(len(data)):
        with pytest.raises(TamperedFileError):
            FILES.read(data[:length])


def test_pages_of_two_files_cannot_be_mixed() -> None:
    one, other = (
        sealed(pa.table({"a": pa.array([number] * 4)}), compression="none") for number in (1, 2)
    )
    assert len(one) == len(other)
    footer = len(one) - 8 - int.from_bytes(one[-8:-4], "little")
    for mixed in (one[:footer] + other[footer:], other[:footer] + one[footer:]):
        with pytest.raises(TamperedFileError, match="PyArrow refused") as raised:
            FILES.read(mixed)
        # PyArrow's own messages may show values.
        assert (raised.value.__cause__, raised.value.__context__) == (None, None)


def test_an_older_file_is_noticed_when_its_seal_id_is_known() -> None:
    old, new = io.BytesIO(), io.BytesIO()
    FILES.write(TABLE, old)
    seal_id = FILES.write(TABLE, new)
    assert len(seal_id) == 24
    assert FILES.read(new.getvalue(), seal_id=seal_id).equals(TABLE)
    with pytest.raises(ReplacedFileError):
        FILES.read(old.getvalue(), seal_id=seal_id)
    with pytest.raises(ReplacedFileError):
        next(FILES.read_batches(old.getvalue(), seal_id=seal_id))


def test_somebody_elses_keys_open_nothing() -> None:
    other = SealedParquet(
        Keyring(MemoryKeyService(), MemoryDataKeyTable()), owner="north", dataset="documents"
    )
    with pytest.raises(WrongFileKeyError):
        other.read(sealed())


def test_a_reader_that_is_given_the_file_key_needs_nothing_of_ours() -> None:
    data = sealed()
    properties = pe.create_decryption_properties(FILES.file_key(data))
    assert pq.read_table(io.BytesIO(data), decryption_properties=properties).equals(TABLE)


def test_each_file_has_a_key_of_its_own() -> None:
    assert FILES.file_key(sealed()) != FILES.file_key(sealed())
