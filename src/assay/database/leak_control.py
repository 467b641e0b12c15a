"""The leak test's positive control: a twin table that leaks on purpose.

A search that finds no plaintext proves something only when it does find plaintext that is known
to be there. So a table with a column in the clear is made, filled, searched for, and dropped.

The values stand in the table's own file and in the write-ahead log, where there is one.

On SQLite the values are overwritten (``secure_delete``) and the write-ahead log is emptied, so
nothing of them stays in the files. On PostgreSQL and MariaDB they stay in the write-ahead log until
its files are recycled: take fresh random values for each test.

Example:
    >>> with leaky_table(engine, ["canary-3f9ac0"]):      # doctest: +SKIP
    ...     assert search(storage_files(engine), "canary-3f9ac0")
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    Table,
    Text,
    delete,
    insert,
    text,
)
from sqlalchemy.schema import CreateTable, DropTable

from assay.database.errors import DatabaseError
from assay.database.failures import named_errors
from assay.database.storage import checkpoint

LEAK_TABLE_NAME = "assay_leak_control"

_TABLE = Table(
    LEAK_TABLE_NAME,
    MetaData(),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("value", Text, nullable=False),
)


@contextmanager
def leaky_table(engine: Engine, values: Sequence[str]) -> Iterator[None]:
    """Keep values in the clear in the database while the block runs.

    What an interrupted run left is removed first. Two runs at once may remove each other's table:
    then one of them does not find its control, which is an error and never a pass.

    Args:
        engine: of SQLite, PostgreSQL or MariaDB.
        values: fresh and random; at least one.

    Raises:
        DatabaseError: the table cannot be made, or not be removed.
        StorageUnreachableError: the server refuses to write it to its files (CHECKPOINT, or
            SUPER on MariaDB).
    """
    if not values:
        raise DatabaseError("expected at least one value for the leak control, found none")
    try:
        with named_errors(f"make the table {LEAK_TABLE_NAME}"), _connected(engine) as connection:
            _drop(connection)
            connection.execute(CreateTable(_TABLE))
            _insert(connection, values, 0)
            if engine.dialect.name == "sqlite":
                # Once more, so that it stands in the main file and in the write-ahead log.
                connection.execute(text("PRAGMA wal_checkpoint(PASSIVE)"))
                _insert(connection, values, len(values))
        checkpoint(engine)
        yield
    finally:
        with named_errors(f"drop the table {LEAK_TABLE_NAME}"), _connected(engine) as connection:
            _drop(connection)
            _empty_write_ahead_log(connection)
        checkpoint(engine)


@contextmanager
def _connected(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.detach()  # the setting below must not stay with a pooled connection
            connection.execute(text("PRAGMA secure_delete = ON"))
        yield connection


def _insert(connection: Connection, values: Sequence[str], first: int) -> None:
    rows = [{"id": at, "value": value} for at, value in enumerate(values, first)]
    connection.execute(insert(_TABLE), rows)
    connection.commit()


def _drop(connection: Connection) -> None:
    if connection.dialect.has_table(connection, LEAK_TABLE_NAME):
        connection.execute(delete(_TABLE))
        connection.execute(DropTable(_TABLE))
    connection.commit()


def _empty_write_ahead_log(connection: Connection) -> None:
    if connection.dialect.name != "sqlite":
        return
    busy, *_ = connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)")).one()
    if busy:
        raise DatabaseError(
            "expected to empty the write-ahead log of the SQLite database after the leak control, "
            "found it in use; its values stay there until the next checkpoint"
        )
