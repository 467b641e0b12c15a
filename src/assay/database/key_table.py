"""The table of wrapped data keys in a relational database.

Table ``assay_data_keys``, made when it is missing; primary key (owner, key_class, version):

=========== ======= ===================================================
column      type    meaning
=========== ======= ===================================================
owner       text    whose data the key seals
key_class   text    "rows", "indexes", "objects" or "files"
version     integer 1, then counting up
key_id      bytes   16, the commitment of ``spec/data-keys.md``
kek         text    URI of the KEK, without secrets
wrapped     bytes   up to 9 KiB, see ``spec/data-keys.md``
created_at  text    RFC 3339 in UTC, microseconds
=========== ======= ===================================================

A key is added in a transaction of its own and committed before `SqlDataKeyTable.add` returns: what
is sealed under it must never be more durable than the key.

Example:
    >>> table = SqlDataKeyTable(open_engine("sqlite:///keys.db"))   # doctest: +SKIP
    >>> table.owners(DataKeyClass.ROWS)                             # doctest: +SKIP
    ['tenant-1']
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.dialects.mysql import VARCHAR
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.types import TypeEngine

from assay.core import AssayError, DataKeyClass, WrappedDataKey, from_rfc3339, to_rfc3339
from assay.database.engine import sqlite_file
from assay.database.errors import DatabaseError, KeyTableBusyError, VolatileKeyTableError
from assay.database.failures import named_errors

KEY_TABLE_NAME = "assay_data_keys"


def _text(length: int) -> TypeEngine[str]:
    """Text of which MariaDB compares every byte: its own habit ignores case and final spaces."""
    exact = VARCHAR(length, charset="utf8mb4", collation="utf8mb4_nopad_bin")
    return String().with_variant(exact, "mariadb", "mysql")


_TABLE = Table(
    KEY_TABLE_NAME,
    MetaData(),
    Column("owner", _text(512), nullable=False),
    Column("key_class", _text(16), nullable=False),
    Column("version", Integer, nullable=False, autoincrement=False),
    Column("key_id", LargeBinary, nullable=False),
    Column("kek", _text(1024), nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("created_at", _text(40), nullable=False),
    PrimaryKeyConstraint("owner", "key_class", "version"),
)


class SqlDataKeyTable:
    """Wrapped data keys in a relational database (`assay.core.DataKeyTable`).

    Args:
        engine: of SQLite (in a file), PostgreSQL or MariaDB, where an owner has up to 512
            characters. On SQLite, where there is one writer, it is best a file of its own, so
            that a key can be made while the application writes. On MariaDB a key is as durable as
            ``innodb_flush_log_at_trx_commit`` makes every commit of the server: leave it at 1.

    Raises:
        VolatileKeyTableError: a database in memory, which would lose the keys.
        DatabaseError: the table cannot be made.
    """

    def __init__(self, engine: Engine) -> None:
        if engine.dialect.name == "sqlite" and sqlite_file(engine) is None:
            raise VolatileKeyTableError(
                "expected a database that outlives this process for data keys, found SQLite in "
                "memory; give it a file, or use assay.keys.MemoryDataKeyTable in tests"
            )
        self._engine = engine
        with _named(f"make the table {KEY_TABLE_NAME}"):
            self._create_when_missing()

    def versions(self, owner: str, key_class: DataKeyClass) -> Sequence[WrappedDataKey]:
        """All versions of an owner's key of a class, oldest first; empty when there is none.

        Raises:
            DatabaseError: the table cannot be read, or holds what no version of Assay wrote.
        """
        wanted = (
            select(_TABLE)
            .where(_TABLE.c.owner == owner, _TABLE.c.key_class == key_class.value)
            .order_by(_TABLE.c.version)
        )
        with _named(f"read the table {KEY_TABLE_NAME}"), self._engine.connect() as connection:
            return [_parsed(row) for row in connection.execute(wanted)]

    def add(self, key: WrappedDataKey) -> bool:
        """Store a key unless (owner, class, version) is taken; durable when it returns.

        Returns:
            True when it was stored, False when another writer was first; nothing is replaced.

        Raises:
            KeyTableBusyError: another writer, perhaps the caller, holds the database.
            DatabaseError: the key cannot be stored.
        """
        with _named(f"store a key in {KEY_TABLE_NAME}"):
            try:
                with self._engine.begin() as connection:
                    _commit_to_disk(connection)
                    connection.execute(insert(_TABLE).values(**_row(key)))
            except IntegrityError:
                if self._is_taken(key):
                    return False
                raise
        return True

    def owners(self, key_class: DataKeyClass) -> Sequence[str]:
        """Every owner who has a key of the class, sorted by code point.

        Raises:
            DatabaseError: the table cannot be read.
        """
        wanted = select(_TABLE.c.owner).where(_TABLE.c.key_class == key_class.value).distinct()
        with _named(f"read the table {KEY_TABLE_NAME}"), self._engine.connect() as connection:
            return sorted(connection.execute(wanted).scalars())

    def _create_when_missing(self) -> None:
        if inspect(self._engine).has_table(KEY_TABLE_NAME):
            return
        try:
            _TABLE.create(self._engine, checkfirst=True)
        except (IntegrityError, OperationalError, ProgrammingError):
            # Another process may have made it in the same moment.
            if not inspect(self._engine).has_table(KEY_TABLE_NAME):
                raise

    def _is_taken(self, key: WrappedDataKey) -> bool:
        return any(row.version == key.version for row in self.versions(key.owner, key.key_class))


def _row(key: WrappedDataKey) -> dict[str, str | int | bytes]:
    return {
        "owner": key.owner,
        "key_class": key.key_class.value,
        "version": key.version,
        "key_id": key.key_id,
        "kek": key.kek,
        "wrapped": key.wrapped,
        "created_at": to_rfc3339(key.created_at),
    }


def _parsed(row: Any) -> WrappedDataKey:
    try:
        return WrappedDataKey(
            owner=row.owner,
            key_class=DataKeyClass(row.key_class),
            version=row.version,
            key_id=bytes(row.key_id),
            kek=row.kek,
            wrapped=bytes(row.wrapped),
            created_at=from_rfc3339(row.created_at),
        )
    except (ValueError, TypeError, AssayError) as exc:
        raise DatabaseError(
            f"expected rows as Assay writes them in {KEY_TABLE_NAME}, found one that it did not "
            "write"
        ) from exc


def _commit_to_disk(connection: Connection) -> None:
    """Whatever the server's habit is, this transaction's commit waits for the disk."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL synchronous_commit = on"))


@contextmanager
def _named(what: str) -> Iterator[None]:
    with named_errors(what):
        try:
            yield
        except OperationalError as exc:
            if "database is locked" not in str(exc.orig):
                raise
            raise _busy(what, "a writer that holds the SQLite database") from exc
        except PoolTimeoutError as exc:
            raise _busy(what, "every connection of the pool in use") from exc


def _busy(what: str, found: str) -> KeyTableBusyError:
    return KeyTableBusyError(
        f"expected to {what}, found {found}. When the writer is the transaction that needs the "
        "key, they wait for each other: give the key table a database file of its own, or make "
        "the owner's key before the transaction writes (keyring.current)"
    )
