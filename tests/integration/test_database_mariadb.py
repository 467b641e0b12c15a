"""The database room on a real MariaDB."""

from __future__ import annotations

import secrets
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
    KEY_TABLE_NAME,
    DatabaseError,
    DatabaseUnreachableError,
    SqlDataKeyTable,
    StorageUnreachableError,
    count_rows,
    leaky_table,
    mariadb_files,
    open_engine,
    raw_rows,
    real_tables,
    storage_files,
)
from assay.database.mariadb_files import flush_mariadb
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


def raw(engine: sa.Engine) -> dict[str, bytes]:
    found = {}
    for path in storage_files(engine).files:
        try:
            found[path.name] = path.read_bytes()
        except FileNotFoundError:  # a server removes files at any time
            continue
    return found


def test_the_raw_files_hold_what_the_tables_hold(engine: sa.Engine) -> None:
    value = f"canary-{secrets.token_hex(8)}"
    with leaky_table(engine, [value]):
        places = {name for name, content in raw(engine).items() if value.encode() in content}
    assert {"assay_leak_control.ibd", "ib_logfile0"} <= places
    assert [name for name in places if name.startswith("changes.0")]  # the binary log
    assert "assay_leak_control" not in real_tables(engine)


def test_pages_are_written_where_the_server_has_no_word_for_it(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = "SELECT @@innodb_max_dirty_pages_pct, @@innodb_max_dirty_pages_pct_lwm"
    with engine.connect() as connection:
        before = connection.execute(sa.text(settings)).one()
        execute = connection.execute

        def older(statement: sa.TextClause) -> sa.CursorResult[Any]:
            known = str(statement).replace("innodb_log_checkpoint_now", "innodb_not_known")
            return execute(sa.text(known))

        monkeypatch.setattr(connection, "execute", older)
        connection.exec_driver_sql("CREATE TABLE changed AS SELECT seq FROM seq_1_to_50000")
        dirty = sa.text("SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'")
        assert int(execute(dirty).one()[1]) > 0
        flush_mariadb(connection)
        assert int(execute(dirty).one()[1]) == 0
        assert execute(sa.text(settings)).one() == before


def test_files_of_another_server_are_refused(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    SqlDataKeyTable(engine).add(KEY)
    variable = mariadb_files._variable

    def elsewhere(connection: sa.Connection, name: str) -> str | None:
        return str(tmp_path) if name == "datadir" else variable(connection, name)

    home = Path(str(elsewhere_home(engine)))
    (table,) = (path for path in storage_files(engine).files if path.name.startswith(KEY_TABLE_NAME)
                and path.suffix == ".ibd" and engine.url.database in str(path))  # fmt: skip
    monkeypatch.setattr(mariadb_files, "_variable", elsewhere)
    with pytest.raises(StorageUnreachableError, match="none of them"):
        storage_files(engine)
    other = tmp_path / table.relative_to(home)
    other.parent.mkdir()
    other.write_bytes(bytes(100))
    with pytest.raises(StorageUnreachableError, match="another server's"):
        storage_files(engine)


def elsewhere_home(engine: sa.Engine) -> str:
    with engine.connect() as connection:
        return str(connection.scalar(sa.text("SELECT @@datadir")))


def test_a_user_without_rights_is_told_which_are_missing(engine: sa.Engine) -> None:
    SqlDataKeyTable(engine).add(KEY)
    name = engine.url.database
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE USER plain@'127.0.0.1' IDENTIFIED BY 'x'")
        connection.exec_driver_sql(f"GRANT ALL ON {name}.* TO plain@'127.0.0.1'")
    plain = open_engine(engine.url.set(username="plain", password="x").render_as_string(False))
    try:
        with pytest.raises(StorageUnreachableError, match="SUPER"):
            storage_files(plain)
    finally:
        plain.dispose()
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP USER plain@'127.0.0.1'")


def test_a_refused_login_shows_no_password(mariadb_url: str) -> None:
    wrong = sa.make_url(mariadb_url).set(password="hunter2").render_as_string(hide_password=False)
    with pytest.raises(DatabaseUnreachableError) as raised:
        SqlDataKeyTable(open_engine(wrong))
    assert "hunter2" not in str(raised.value)


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
