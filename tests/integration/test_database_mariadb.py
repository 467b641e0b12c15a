"""The database room on a real MariaDB."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from assay.core import DataKeyClass, WrappedDataKey
from assay.database import (
    KEY_TABLE_NAME,
    DatabaseError,
    DatabaseUnreachableError,
    SqlDataKeyTable,
    StorageUnreachableError,
    count_rows,
    open_engine,
    raw_rows,
    real_tables,
    storage_files,
)
from assay.keys import Keyring, MemoryKeyService

ROWS = DataKeyClass.ROWS
KEY = WrappedDataKey(
    owner="tenant-1",
    key_class=ROWS,
    version=1,
    key_id=bytes(range(16)),
    kek="pkcs11:token=assay;object=kek",
    wrapped=bytes(range(61)),
    created_at=datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
)


@pytest.fixture
def engine(fresh_mariadb_url: str) -> Iterator[sa.Engine]:
    found = open_engine(fresh_mariadb_url)
    yield found
    found.dispose()


def test_keys_come_back_as_they_were_and_are_never_replaced(engine: sa.Engine) -> None:
    table = SqlDataKeyTable(engine)
    assert table.add(KEY)
    assert not table.add(replace(KEY, wrapped=bytes(61)))
    assert SqlDataKeyTable(engine).versions("tenant-1", ROWS) == [KEY]
    assert table.versions("tenant-1", DataKeyClass.INDEXES) == []


def test_owners_differ_in_every_byte(engine: sa.Engine) -> None:
    """MariaDB's own habit takes "A" for "a", "ä" for "a", and "a " for "a"."""
    table = SqlDataKeyTable(engine)
    owners = ["A", "a", "a ", "ä", "🜁", "x" * 512]
    for number, owner in enumerate(owners):
        assert table.add(replace(KEY, owner=owner, key_id=bytes([number]) * 16))
    for number, owner in enumerate(owners):
        assert [key.key_id for key in table.versions(owner, ROWS)] == [bytes([number]) * 16]
    assert table.owners(ROWS) == sorted(owners)


@pytest.fixture
def lax_server(engine: sa.Engine) -> Iterator[None]:
    """A server that cuts off what does not fit."""
    with engine.connect() as connection:
        habit = connection.scalar(sa.text("SELECT @@GLOBAL.sql_mode"))
        connection.execute(sa.text("SET GLOBAL sql_mode = ''"))
        engine.dispose()
        yield
        connection.execute(sa.text("SET GLOBAL sql_mode = :habit"), {"habit": habit})


def test_what_does_not_fit_is_refused_and_not_cut_off(engine: sa.Engine, lax_server: None) -> None:
    table = SqlDataKeyTable(engine)
    with pytest.raises(DatabaseError):
        table.add(replace(KEY, owner="x" * 513))
    assert table.owners(ROWS) == []


def test_one_key_is_made_by_many_threads(engine: sa.Engine) -> None:
    table, service = SqlDataKeyTable(engine), MemoryKeyService()

    def make(_: int) -> bytes:
        return Keyring(service, table).current("tenant-1", ROWS).key_id

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(make, range(8)))) == 1
    assert len(table.versions("tenant-1", ROWS)) == 1


def test_tables_and_rows(engine: sa.Engine) -> None:
    SqlDataKeyTable(engine).add(KEY)
    name = KEY_TABLE_NAME
    assert name in real_tables(engine)
    assert not [table for table in real_tables(engine) if table.startswith("mysql.")]
    assert count_rows(engine, name) == 1
    assert next(raw_rows(engine, name, ["owner", "key_id"])) == ("tenant-1", bytes(range(16)))
    with pytest.raises(StorageUnreachableError, match="mariadb"):
        storage_files(engine)


def test_a_refused_login_shows_no_password(mariadb_url: str) -> None:
    wrong = sa.make_url(mariadb_url).set(password="hunter2").render_as_string(hide_password=False)
    with pytest.raises(DatabaseUnreachableError) as raised:
        SqlDataKeyTable(open_engine(wrong))
    assert "hunter2" not in str(raised.value)
