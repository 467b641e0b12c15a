from __future__ import annotations

import secrets
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from assay.database import (
    LEAK_TABLE_NAME,
    DatabaseError,
    leaky_table,
    open_engine,
    real_tables,
    storage_files,
)


def found(engine: sa.Engine, value: str) -> bool:
    return any(value.encode() in path.read_bytes() for path in storage_files(engine).files)


@pytest.fixture(params=["wal", "delete"])
def engine(tmp_path: Path, request: pytest.FixtureRequest) -> sa.Engine:
    engine = open_engine(f"sqlite:///{tmp_path / 'app.db'}")

    @sa.event.listens_for(engine, "connect")
    def leave_what_is_deleted(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA secure_delete = OFF")  # some builds have it on by themselves

    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE mine (a)"))
    with engine.connect() as connection:
        connection.execute(sa.text(f"PRAGMA journal_mode = {request.param}"))
    return engine


@pytest.mark.parametrize("size", [16, 40_000], ids=["in a page", "in overflow pages"])
def test_the_values_are_there_and_then_gone(engine: sa.Engine, size: int) -> None:
    values = [secrets.token_hex(size // 2) for _ in range(20)]
    parts = [value[:16] for value in values] + [value[-16:] for value in values]
    with leaky_table(engine, values):
        assert all(found(engine, part) for part in parts)
        assert LEAK_TABLE_NAME in real_tables(engine)
    assert not any(found(engine, part) for part in parts)
    assert real_tables(engine) == ("mine",)


def test_the_values_are_in_the_main_file_and_in_the_write_ahead_log(
    engine: sa.Engine, request: pytest.FixtureRequest
) -> None:
    value = secrets.token_hex(16)
    with engine.connect() as application:  # the last connection would take the log with it
        application.execute(sa.text("SELECT * FROM mine")).all()
        application.rollback()
        with leaky_table(engine, [value]):
            files = storage_files(engine).files
            held = {path.name for path in files if value.encode() in path.read_bytes()}
    is_wal = request.node.callspec.params["engine"] == "wal"
    assert held == ({"app.db", "app.db-wal"} if is_wal else {"app.db"})


def test_it_is_dropped_when_the_block_fails(engine: sa.Engine) -> None:
    value = secrets.token_hex(16)
    with pytest.raises(ZeroDivisionError), leaky_table(engine, [value]):
        raise ZeroDivisionError
    assert not found(engine, value)
    assert real_tables(engine) == ("mine",)


def test_what_an_interrupted_run_left_is_removed(engine: sa.Engine) -> None:
    old, new = secrets.token_hex(16), secrets.token_hex(16)
    with leaky_table(engine, [old]), leaky_table(engine, [new]):
        assert found(engine, new)
        assert not found(engine, old)
    assert real_tables(engine) == ("mine",)


def test_no_values_prove_nothing(engine: sa.Engine) -> None:
    with pytest.raises(DatabaseError, match="at least one value"), leaky_table(engine, []):
        pass


def test_a_log_that_cannot_be_emptied_is_told(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'app.db'}")
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE mine (a)"))
    quick = sa.create_engine(f"sqlite:///{tmp_path / 'app.db'}", connect_args={"timeout": 0.1})
    reader = open_engine(f"sqlite:///{tmp_path / 'app.db'}").connect()

    def read() -> None:
        reader.exec_driver_sql("BEGIN")
        reader.exec_driver_sql("SELECT * FROM mine").all()

    def leak_while_somebody_reads() -> None:
        with leaky_table(quick, ["canary"]):
            read()

    with pytest.raises(DatabaseError, match="found it in use"):
        leak_while_somebody_reads()
    reader.rollback()
    reader.close()
