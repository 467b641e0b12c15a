"""The database room on a real PostgreSQL."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from assay.core import DataKeyClass, KeyUses, OwnerDestroyedError, WrappedDataKey
from assay.database import (
    KEY_TABLE_NAMES,
    LEAK_TABLE_NAME,
    DatabaseError,
    DatabaseUnreachableError,
    SqlDataKeyTable,
    StorageUnreachableError,
    count_rows,
    leaky_table,
    open_engine,
    raw_rows,
    real_tables,
    storage,
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
def engine(fresh_postgresql_url: str) -> Iterator[sa.Engine]:
    found = open_engine(fresh_postgresql_url)
    yield found
    found.dispose()


def execute(engine: sa.Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def test_what_is_added_is_found(engine: sa.Engine) -> None:
    table = SqlDataKeyTable(engine)
    later, between = replace(KEY, version=10), replace(KEY, version=2)
    for key in (KEY, later, between, replace(KEY, owner="Zoë"), replace(KEY, owner="ärzte")):
        assert table.add(key)
    assert not table.add(replace(KEY, wrapped=bytes(61)))
    again = SqlDataKeyTable(engine)
    assert again.versions("tenant-1", ROWS) == [KEY, between, later]
    assert again.owners(ROWS) == ["Zoë", "tenant-1", "ärzte"]


def test_of_many_writers_one_is_first(engine: sa.Engine) -> None:
    barrier = threading.Barrier(8)

    def add(number: int) -> bool:
        barrier.wait()
        return SqlDataKeyTable(engine).add(replace(KEY, wrapped=bytes([number]) * 61))

    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(add, range(8)))
    assert sum(added) == 1
    (row,) = SqlDataKeyTable(engine).versions("tenant-1", ROWS)
    assert row.wrapped == bytes([added.index(True)]) * 61


def test_a_key_is_committed_before_the_callers_transaction(engine: sa.Engine) -> None:
    execute(engine, "CREATE TABLE t (a integer)")
    keyring = Keyring(MemoryKeyService(), SqlDataKeyTable(engine))
    with engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO t VALUES (1)"))
        key = keyring.current("tenant-1", ROWS)
        connection.rollback()
    (row,) = SqlDataKeyTable(engine).versions("tenant-1", ROWS)
    assert row.key_id == key.key_id


def test_a_keys_commit_waits_for_the_disk_whatever_the_servers_habit(
    fresh_postgresql_url: str,
) -> None:
    engine = open_engine(f"{fresh_postgresql_url}?options=-csynchronous_commit%3Doff")
    seen = []

    @sa.event.listens_for(engine, "commit")
    def note(connection: sa.Connection) -> None:
        seen.append(connection.execute(sa.text("SHOW synchronous_commit")).scalar_one())

    table = SqlDataKeyTable(engine)
    seen.clear()
    table.add(KEY)
    assert seen == ["on"]
    engine.dispose()


def test_text_that_the_database_cannot_hold_is_refused(engine: sa.Engine) -> None:
    table = SqlDataKeyTable(engine)
    for owner in ("secret\x00owner", "\ud800"):
        with pytest.raises(DatabaseError) as caught:
            table.add(replace(KEY, owner=owner))
        assert "secret" not in str(caught.value)


def test_every_table_that_stores_rows_is_listed(engine: sa.Engine) -> None:
    SqlDataKeyTable(engine)
    execute(
        engine,
        "CREATE SCHEMA other",
        "CREATE TABLE plain (id integer)",
        "CREATE TABLE other.plain (id integer)",
        'CREATE TABLE other."Mixed Case" (id integer)',
        "CREATE TABLE parts (id integer) PARTITION BY RANGE (id)",
        "CREATE TABLE part_1 PARTITION OF parts FOR VALUES FROM (0) TO (9)",
        "CREATE MATERIALIZED VIEW stored AS SELECT id FROM plain",
        "CREATE VIEW seen AS SELECT id FROM plain",
        "CREATE UNLOGGED TABLE hasty (id integer)",
    )
    assert set(real_tables(engine)) == {
        *KEY_TABLE_NAMES, "plain", "other.plain", "other.Mixed Case", "parts", "part_1", "stored",
        "hasty",
    }  # fmt: skip


def test_rows_come_raw_in_primary_key_order(engine: sa.Engine) -> None:
    execute(
        engine,
        "CREATE SCHEMA other",
        'CREATE TABLE other.rows (a text, n integer, "sealed" bytea, PRIMARY KEY (n, a))',
        r"INSERT INTO other.rows VALUES ('b', 2, '\x00ff'), ('z', 1, NULL), ('a', 2, '\x')",
        "INSERT INTO other.rows SELECT 'm', n, NULL FROM generate_series(3, 2000) AS n",
    )
    rows = raw_rows(engine, "other.rows", ["sealed", "a", "n"])
    first = [next(rows) for _ in range(3)]
    assert first == [(None, "z", 1), (b"", "a", 2), (b"\x00\xff", "b", 2)]
    assert [row[2] for row in rows] == list(range(3, 2001))
    assert count_rows(engine, "other.rows") == 2001


def in_files(engine: sa.Engine, value: str, under: str = "") -> bool:
    return any(
        value.encode() in path.read_bytes()
        for path in storage_files(engine).files
        if under in str(path) and path.is_file()
    )


def test_a_value_in_a_table_is_found_in_the_files(engine: sa.Engine) -> None:
    value = secrets.token_hex(16)
    # Many times: in the log a value may be cut in two by the header of a page.
    rows = f"INSERT INTO t SELECT '{value}' FROM generate_series(1, 50)"  # noqa: S608 - a test's own value
    execute(engine, "CREATE TABLE t (a text)", rows)
    found = storage_files(engine)
    assert found.dialect == "postgresql"
    folders = {path.parts[path.parts.index("data") + 1] for path in found.files}
    assert {"base", "global", "pg_wal"} <= folders
    # After the checkpoint the value is in the table's own file, not only in the log.
    assert in_files(engine, value, under="/base/")
    assert in_files(engine, value, under="/pg_wal/")


def test_a_tablespace_elsewhere_is_searched_too(
    fresh_postgresql_url: str, postgresql_url: str
) -> None:
    admin = open_engine(postgresql_url)
    engine = open_engine(fresh_postgresql_url)
    with engine.connect() as connection:
        data = Path(connection.execute(sa.text("SHOW data_directory")).scalar_one())
    space, name = data.parent / "space", f"space_{secrets.token_hex(4)}"
    space.mkdir()
    os.chown(space, data.stat().st_uid, data.stat().st_gid)
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text(f"CREATE TABLESPACE {name} LOCATION '{space}'"))
    value = secrets.token_hex(16)
    execute(
        engine,
        f"CREATE TABLE t (a text) TABLESPACE {name}",
        f"INSERT INTO t VALUES ('{value}')",  # noqa: S608 - a test's own value
    )
    assert in_files(engine, value, under="/pg_tblspc/")
    execute(engine, "DROP TABLE t")
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text(f"DROP TABLESPACE {name}"))
    admin.dispose()
    engine.dispose()


def test_a_login_that_may_not_look_is_an_error_and_not_an_empty_list(
    engine: sa.Engine, fresh_postgresql_url: str
) -> None:
    name, password = f"app_{secrets.token_hex(4)}", secrets.token_hex(8)
    execute(
        engine,
        f"CREATE ROLE {name} LOGIN PASSWORD '{password}'",
        f"GRANT CREATE ON SCHEMA public TO {name}",
    )
    url = sa.make_url(fresh_postgresql_url).set(username=name, password=password)
    app = open_engine(url.render_as_string(hide_password=False))
    try:
        with pytest.raises(StorageUnreachableError, match="run CHECKPOINT"):
            storage_files(app)
        with (
            pytest.raises(StorageUnreachableError, match="run CHECKPOINT"),
            leaky_table(app, ["x"]),
        ):
            pass
        execute(engine, f"GRANT pg_checkpoint TO {name}")
        with pytest.raises(StorageUnreachableError, match="tell its data directory"):
            storage_files(app)
        execute(engine, f"GRANT pg_read_all_settings TO {name}")
        assert storage_files(app).files
    finally:
        app.dispose()
        execute(engine, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def test_a_directory_of_another_server_is_refused(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = storage._ask

    def another_server(connection: object, statement: str, what: str) -> str:
        return "7" if "system_identifier" in statement else ask(connection, statement, what)

    monkeypatch.setattr(storage, "_ask", another_server)
    with pytest.raises(StorageUnreachableError, match="found another server's"):
        storage_files(engine)


def test_the_leak_control_is_in_the_tables_own_file_when_the_block_begins(
    engine: sa.Engine,
) -> None:
    with engine.connect() as connection:
        base = Path(connection.execute(sa.text("SHOW data_directory")).scalar_one()) / "base"
    value = secrets.token_hex(16)
    with leaky_table(engine, [value]):
        held = [path.read_bytes() for path in base.rglob("*") if path.is_file()]
        assert any(value.encode() in content for content in held)


def test_the_leak_control_is_found_and_dropped(engine: sa.Engine) -> None:
    values = [secrets.token_hex(16) for _ in range(20)]
    with leaky_table(engine, values):
        assert all(in_files(engine, value, under="/base/") for value in values)
        assert LEAK_TABLE_NAME in real_tables(engine)
    assert real_tables(engine) == ()
    assert not any(in_files(engine, value, under="/base/") for value in values)
    with pytest.raises(ZeroDivisionError), leaky_table(engine, values):
        raise ZeroDivisionError
    assert real_tables(engine) == ()
    execute(engine, f"CREATE TABLE {LEAK_TABLE_NAME} (left_behind integer)")
    with leaky_table(engine, values):
        assert count_rows(engine, LEAK_TABLE_NAME) == 20
    assert real_tables(engine) == ()


def test_a_refused_login_is_named_without_the_password(fresh_postgresql_url: str) -> None:
    url = sa.make_url(fresh_postgresql_url).set(password="hunter2-secret")
    engine = open_engine(url.render_as_string(hide_password=False))
    calls: list[Any] = [real_tables, storage_files, SqlDataKeyTable]
    for call in calls:
        with pytest.raises(DatabaseUnreachableError, match="password authentication") as caught:
            call(engine)
        assert "hunter2" not in str(caught.value)


def test_uses_add_up_and_destroyed_keys_stay_destroyed(engine: sa.Engine) -> None:
    table, later = SqlDataKeyTable(engine), datetime(2026, 2, 3, tzinfo=UTC)
    second = replace(KEY, version=2, key_id=bytes(16), wrapped=b"\x00second")
    assert table.add(KEY)
    assert table.add(second)
    new = replace(second, wrapped=b"\x00new")
    assert table.replace(second, new)
    assert not table.replace(second, new)
    for _ in range(2):
        table.add_uses({KEY.key_id: KeyUses(2**40, 1), new.key_id: KeyUses(1, 1)})
    assert table.uses() == {KEY.key_id: KeyUses(2**41, 2), new.key_id: KeyUses(2, 2)}
    assert list(table.each()) == [KEY, new]
    gone = table.destroy("tenant-1", later)
    assert [one.key_id for one in gone] == [KEY.key_id, new.key_id]
    assert table.destroy_again(gone) == 0
    assert set(table.destroyed()) == set(gone)
    assert table.destroyed_among([new.key_id, bytes(range(1, 17))]) == {new.key_id}
    assert table.generation() > 0
    with pytest.raises(OwnerDestroyedError):
        table.add(replace(KEY, version=3))
    assert list(table.each()) == []
