from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from assay.core import DataKeyClass, WrappedDataKey
from assay.database import (
    KEY_TABLE_NAME,
    DatabaseError,
    KeyTableBusyError,
    SqlDataKeyTable,
    VolatileKeyTableError,
    open_engine,
)
from assay.database import engine as engine_module
from assay.keys import Keyring, MemoryKeyService

ROWS = DataKeyClass.ROWS
KEY = WrappedDataKey(
    owner="tenant-1",
    key_class=ROWS,
    version=1,
    key_id=bytes(range(16)),
    kek="pkcs11:token=assay;object=kek",
    wrapped=bytes(61),
    created_at=datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    found = open_engine(f"sqlite:///{tmp_path / 'keys.db'}")
    yield found
    found.dispose()


def test_what_is_added_is_found(engine: sa.Engine) -> None:
    table = SqlDataKeyTable(engine)
    assert table.versions("tenant-1", ROWS) == []
    assert table.owners(ROWS) == []
    later = replace(KEY, version=10)
    between = replace(KEY, version=2)
    for key in (KEY, later, between, replace(KEY, owner="ärzte"), replace(KEY, owner="Zoë")):
        assert table.add(key)
    again = SqlDataKeyTable(engine)
    assert again.versions("tenant-1", ROWS) == [KEY, between, later]
    assert again.versions("tenant-1", DataKeyClass.INDEXES) == []
    assert again.owners(ROWS) == ["Zoë", "tenant-1", "ärzte"]
    assert again.owners(DataKeyClass.OBJECTS) == []


def test_nothing_is_replaced(engine: sa.Engine) -> None:
    table = SqlDataKeyTable(engine)
    assert table.add(KEY)
    assert not table.add(replace(KEY, wrapped=bytes(range(61))))
    assert table.versions("tenant-1", ROWS) == [KEY]


TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=20)


MOMENTS_FROM = datetime(1900, 1, 1)  # noqa: DTZ001 - the strategy adds the zone
KEYS = st.builds(
    WrappedDataKey,
    owner=TEXT,
    key_class=st.sampled_from(DataKeyClass),
    version=st.integers(1, 2**31 - 1),
    key_id=st.binary(min_size=16, max_size=16),
    kek=TEXT,
    wrapped=st.binary(max_size=80),
    created_at=st.datetimes(MOMENTS_FROM, timezones=st.just(UTC)),
)


@given(KEYS)
def test_every_key_comes_back_as_it_was(engine: sa.Engine, key: WrappedDataKey) -> None:
    table = SqlDataKeyTable(engine)
    if table.add(key):
        assert key in table.versions(key.owner, key.key_class)
        assert key.owner in table.owners(key.key_class)


def test_of_many_writers_one_is_first(engine: sa.Engine) -> None:
    table = SqlDataKeyTable(engine)
    barrier = threading.Barrier(8)

    def add(number: int) -> bool:
        barrier.wait()
        return table.add(replace(KEY, wrapped=bytes([number]) * 61))

    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(add, range(8)))
    assert sum(added) == 1
    (row,) = table.versions("tenant-1", ROWS)
    assert row.wrapped == bytes([added.index(True)]) * 61


def test_many_threads_make_the_table_once(engine: sa.Engine) -> None:
    barrier = threading.Barrier(8)

    def make(_: int) -> SqlDataKeyTable:
        barrier.wait()
        return SqlDataKeyTable(engine)

    with ThreadPoolExecutor(8) as pool:
        tables = list(pool.map(make, range(8)))
    assert tables[0].add(KEY)
    assert not tables[7].add(KEY)


def test_a_key_is_durable_when_the_caller_rolls_back(tmp_path: Path) -> None:
    keys = open_engine(f"sqlite:///{tmp_path / 'keys.db'}")
    app = open_engine(f"sqlite:///{tmp_path / 'app.db'}")
    table = SqlDataKeyTable(keys)
    with app.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (a)"))
        connection.execute(sa.text("INSERT INTO t VALUES (1)"))
        assert table.add(KEY)
        connection.rollback()
    assert SqlDataKeyTable(open_engine(f"sqlite:///{tmp_path / 'keys.db'}")).add(KEY) is False


def test_a_caller_who_holds_the_write_lock_is_told_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "BUSY_TIMEOUT_MILLISECONDS", 100)
    engine = open_engine(f"sqlite:///{tmp_path / 'app.db'}")
    table = SqlDataKeyTable(engine)
    keyring = Keyring(MemoryKeyService(), table)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (a)"))
    with engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO t VALUES (1)"))
        with pytest.raises(KeyTableBusyError, match="a database file of its own") as caught:
            keyring.current("tenant-1", ROWS)
        assert "keyring.current" in str(caught.value)
    assert keyring.current("tenant-1", ROWS).version == 1
    with engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO t VALUES (2)"))
        keyring.current("tenant-1", ROWS)


def test_a_pool_without_connections_is_busy(tmp_path: Path) -> None:
    engine = sa.create_engine(
        f"sqlite:///{tmp_path / 'a.db'}", pool_size=1, max_overflow=0, pool_timeout=0.1
    )
    table = SqlDataKeyTable(engine)
    with engine.connect(), pytest.raises(KeyTableBusyError, match="of the pool in use"):
        table.add(KEY)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(url: str) -> None:
    with pytest.raises(VolatileKeyTableError, match="outlives this process"):
        SqlDataKeyTable(open_engine(url))


@pytest.mark.parametrize(
    "change", ["key_class = 'other'", "created_at = 'yesterday'", "wrapped = 'text'"]
)
def test_a_row_that_assay_did_not_write_is_refused(engine: sa.Engine, change: str) -> None:
    table = SqlDataKeyTable(engine)
    table.add(KEY)
    with engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE {KEY_TABLE_NAME} SET {change}"))  # noqa: S608 - constants
    key_class = ROWS
    if change.startswith("key_class"):
        assert table.versions("tenant-1", key_class) == []
        return
    with pytest.raises(DatabaseError, match="did not write"):
        table.versions("tenant-1", key_class)


def test_a_database_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="unable to open"):
        SqlDataKeyTable(open_engine(f"sqlite:///{tmp_path / 'gone' / 'keys.db'}"))


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys.db").write_bytes(b"not a database" * 100)
    with pytest.raises(DatabaseError, match="expected to make the table"):
        SqlDataKeyTable(open_engine(f"sqlite:///{tmp_path / 'keys.db'}"))


def test_text_that_the_database_cannot_hold_is_refused(engine: sa.Engine) -> None:
    with pytest.raises(DatabaseError, match="cannot hold"):
        SqlDataKeyTable(engine).add(replace(KEY, owner="\ud800"))
