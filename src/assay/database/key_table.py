"""The table of wrapped data keys in a relational database, and what goes with it.

Three tables, made where they are missing; ``key_tables.py`` tells their columns.

What is written is committed, durably, in a transaction of its own before a method returns: what is
sealed under a key must never be more durable than the key, and a destroyed key never less gone
than is said.

A key that was destroyed cannot be found, also when its row came back with a restored backup
(`SqlDataKeyTable.versions`), and its owner gets no new one. Whoever destroys and whoever adds at
the same moment both write first and look afterwards, so at least one of them sees the other.

Example:
    >>> table = SqlDataKeyTable(open_engine("sqlite:///keys.db"))   # doctest: +SKIP
    >>> table.owners(DataKeyClass.ROWS)                             # doctest: +SKIP
    ['tenant-1']
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Insert,
    Select,
    and_,
    delete,
    exists,
    func,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from assay.core import (
    DataKeyClass,
    DestroyedKey,
    KeyUses,
    OwnerDestroyedError,
    WrappedDataKey,
    owner_digest,
)
from assay.database.engine import sqlite_file
from assay.database.errors import KeyTableBusyError, VolatileKeyTableError
from assay.database.failures import named_errors
from assay.database.key_tables import (
    DATA_KEYS,
    DESTROYED,
    DESTROYED_TABLE_NAME,
    KEY_TABLE_NAME,
    KEY_TABLE_NAMES,
    METADATA,
    USES,
    USES_TABLE_NAME,
    destroyed_of_row,
    destroyed_values,
    key_of_row,
    key_values,
)

_T = TypeVar("_T")
_ROWS_AT_A_TIME = 500
_NOT_DESTROYED = ~exists().where(DESTROYED.c.key_id == DATA_KEYS.c.key_id)
_ORDER = (DATA_KEYS.c.owner, DATA_KEYS.c.key_class, DATA_KEYS.c.version)


class SqlDataKeyTable:
    """Wrapped data keys in a relational database (`assay.core.DataKeyTable`).

    Args:
        engine: of SQLite (in a file), PostgreSQL or MariaDB, where an owner has up to 512
            characters. On SQLite, where there is one writer, it is best a file of its own, so
            that a key can be made while the application writes. On MariaDB a key is as durable as
            ``innodb_flush_log_at_trx_commit`` makes every commit of the server: leave it at 1.

    Raises:
        VolatileKeyTableError: a database in memory, which would lose the keys.
        DatabaseError: the tables cannot be made.
    """

    def __init__(self, engine: Engine) -> None:
        if engine.dialect.name == "sqlite" and sqlite_file(engine) is None:
            raise VolatileKeyTableError(
                "expected a database that outlives this process for data keys, found SQLite in "
                "memory; give it a file, or use assay.keys.MemoryDataKeyTable in tests"
            )
        self._engine = engine
        self._pool = engine.pool
        with _named(f"make the tables {', '.join(KEY_TABLE_NAMES)}"):
            self._create_when_missing()

    def versions(self, owner: str, key_class: DataKeyClass) -> Sequence[WrappedDataKey]:
        """All versions of an owner's key of a class, oldest first; empty when there is none.

        What was destroyed is not among them, whatever stands in the table.

        Raises:
            DatabaseError: the table cannot be read, or holds what no version of Assay wrote.
        """
        wanted = (
            select(DATA_KEYS)
            .where(
                DATA_KEYS.c.owner == owner,
                DATA_KEYS.c.key_class == key_class.value,
                _NOT_DESTROYED,
            )
            .order_by(DATA_KEYS.c.version)
        )
        self._pool = self._engine.pool
        with self._reading(KEY_TABLE_NAME) as connection:
            return [key_of_row(row) for row in connection.execute(wanted)]

    def add(self, key: WrappedDataKey) -> bool:
        """Store a key unless (owner, class, version) is taken; durable when it returns.

        Returns:
            True when it was stored, False when another writer was first; nothing is replaced.

        Raises:
            OwnerDestroyedError: the owner's keys were destroyed; nothing was stored.
            KeyTableBusyError: another writer, perhaps the caller, holds the database.
            DatabaseError: the key cannot be stored.
        """
        self._refuse_destroyed(key.owner)
        with _named(f"store a key in {KEY_TABLE_NAME}"):
            try:
                with self._transaction() as connection:
                    connection.execute(insert(DATA_KEYS).values(**key_values(key)))
            except IntegrityError:
                if self._is_taken(key):
                    return False
                raise
        try:
            self._refuse_destroyed(key.owner)
        except OwnerDestroyedError:
            # Who destroyed meanwhile has looked before this key was there, or takes it too.
            with self._writing(f"take a key out of {KEY_TABLE_NAME}") as connection:
                connection.execute(delete(DATA_KEYS).where(_place_of(key)))
            raise
        return True

    def owners(self, key_class: DataKeyClass) -> Sequence[str]:
        """Every owner who has a key of the class, sorted by code point.

        Raises:
            DatabaseError: the table cannot be read.
        """
        wanted = (
            select(DATA_KEYS.c.owner)
            .where(DATA_KEYS.c.key_class == key_class.value, _NOT_DESTROYED)
            .distinct()
        )
        with self._reading(KEY_TABLE_NAME) as connection:
            return sorted(connection.execute(wanted).scalars())

    def each(self) -> Iterator[WrappedDataKey]:
        """Every key that stands in the table, ordered by owner, class and version; streamed.

        Raises:
            DatabaseError: the table cannot be read, or holds what no version of Assay wrote.
        """
        for row in self._stream(KEY_TABLE_NAME, select(DATA_KEYS).order_by(*_ORDER)):
            yield key_of_row(row)

    def replace(self, old: WrappedDataKey, new: WrappedDataKey) -> bool:
        """Store a key in another wrapped form, unless it is not as ``old`` says any more.

        Returns:
            True when it was replaced, False when another writer was first or it was destroyed.

        Raises:
            ValueError: the new one is another key.
            KeyTableBusyError: another writer, perhaps the caller, holds the database.
            DatabaseError: the key cannot be stored.
        """
        same = {name: getattr(old, name) for name in ("owner", "key_class", "version", "key_id")}
        if any(getattr(new, name) != value for name, value in same.items()):
            raise ValueError("expected the same key wrapped otherwise, found another key")
        statement = (
            update(DATA_KEYS)
            .where(
                _place_of(old),
                DATA_KEYS.c.key_id == old.key_id,
                DATA_KEYS.c.kek == old.kek,
                DATA_KEYS.c.wrapped == old.wrapped,
                _NOT_DESTROYED,
            )
            .values(kek=new.kek, wrapped=new.wrapped)
        )
        with self._writing(f"replace a key in {KEY_TABLE_NAME}") as connection:
            return bool(connection.execute(statement).rowcount)

    def destroy(self, owner: str, destroyed_at: datetime) -> Sequence[DestroyedKey]:
        """Destroy every key of an owner, remember their ids, and admit no new one.

        The bytes of deleted rows may stay in the database's files, its logs and its backups until
        those are overwritten: see ``docs/keys.md``.

        Returns:
            what was destroyed now; empty when the owner has no key.

        Raises:
            KeyTableBusyError: another writer, perhaps the caller, holds the database.
            DatabaseError: the keys cannot be destroyed.
        """
        gone: list[DestroyedKey] = []
        while rows := self._rows_of(owner):
            found = [
                DestroyedKey(
                    row.key_id, owner_digest(owner), row.key_class, row.version, destroyed_at
                )
                for row in rows
            ]
            self.destroy_again(found)
            gone += found
        return gone

    def destroy_again(self, keys: Collection[DestroyedKey]) -> int:
        """Destroy keys that came back with a restored backup, and remember all of them.

        Returns:
            how many wrapped keys were there, and are gone.

        Raises:
            KeyTableBusyError: another writer, perhaps the caller, holds the database.
            DatabaseError: the keys cannot be destroyed.
        """
        gone = 0
        for some in _pieces(sorted(keys, key=lambda key: key.key_id)):
            ids = [key.key_id for key in some]
            with self._writing(f"destroy keys in {KEY_TABLE_NAME}") as connection:
                known = select(DESTROYED.c.key_id).where(DESTROYED.c.key_id.in_(ids))
                seen = {bytes(found) for found in connection.execute(known).scalars()}
                new = {key.key_id: destroyed_values(key) for key in some if key.key_id not in seen}
                if new:
                    connection.execute(_remembering(connection), [*new.values()])
                here = delete(DATA_KEYS).where(DATA_KEYS.c.key_id.in_(ids))
                gone += connection.execute(here).rowcount
        return gone

    def destroyed(self) -> Iterator[DestroyedKey]:
        """All that is remembered of destroyed keys, in the order of destruction; streamed.

        Raises:
            DatabaseError: the table cannot be read, or holds what no version of Assay wrote.
        """
        wanted = select(DESTROYED).order_by(DESTROYED.c.number)
        for row in self._stream(DESTROYED_TABLE_NAME, wanted):
            yield destroyed_of_row(row)

    def destroyed_among(self, key_ids: Collection[bytes]) -> frozenset[bytes]:
        """Which of these keys were destroyed.

        Raises:
            DatabaseError: the table cannot be read.
        """
        found: set[bytes] = set()
        with self._reading(DESTROYED_TABLE_NAME) as connection:
            for some in _pieces(sorted(key_ids)):
                wanted = select(DESTROYED.c.key_id).where(DESTROYED.c.key_id.in_(some))
                found |= {bytes(key_id) for key_id in connection.execute(wanted).scalars()}
        return frozenset(found)

    def generation(self) -> int:
        """The number of the key that was destroyed last; 0 before there is one.

        Raises:
            DatabaseError: the table cannot be read.
        """
        with self._reading(DESTROYED_TABLE_NAME) as connection:
            return connection.execute(select(func.max(DESTROYED.c.number))).scalar_one() or 0

    def add_uses(self, uses: Mapping[bytes, KeyUses]) -> None:
        """Add to the count of uses of keys, all or none.

        Raises:
            KeyTableBusyError: another writer, perhaps the caller, holds the database.
            DatabaseError: they cannot be counted.
        """
        rows = [
            {"key_id": key_id, "messages": one.messages, "nonce_prefixes": one.nonce_prefixes}
            for key_id, one in sorted(uses.items())  # in one order, so that nobody waits in a ring
        ]
        if rows:
            with self._writing(f"count uses in {USES_TABLE_NAME}") as connection:
                connection.execute(_adding(connection), rows)

    def uses(self, key_ids: Collection[bytes] | None = None) -> Mapping[bytes, KeyUses]:
        """How often these keys, or all, were used; a key that was never counted is missing.

        Raises:
            DatabaseError: the table cannot be read.
        """
        wanted = [select(USES)]
        if key_ids is not None:
            wanted = [wanted[0].where(USES.c.key_id.in_(ids)) for ids in _pieces(sorted(key_ids))]
        with self._reading(USES_TABLE_NAME) as connection:
            return {
                bytes(row.key_id): KeyUses(row.messages, row.nonce_prefixes)
                for statement in wanted
                for row in connection.execute(statement)
            }

    def is_at_rest(self) -> bool:
        """Whether the engine was disposed of since anybody asked for a key.

        A thread that looks after keys leaves such a database alone: whoever disposed of the engine
        may mean to drop it, and wants no new connection.
        """
        return self._engine.pool is not self._pool

    @contextmanager
    def _reading(self, table: str) -> Iterator[Connection]:
        with _named(f"read the table {table}"), self._engine.connect() as connection:
            yield connection

    def _stream(self, table: str, wanted: Select[Any]) -> Iterator[Any]:
        with self._reading(table) as connection:
            options = {"yield_per": _ROWS_AT_A_TIME}
            yield from connection.execute(wanted, execution_options=options)

    @contextmanager
    def _writing(self, what: str) -> Iterator[Connection]:
        with _named(what), self._transaction() as connection:
            yield connection

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            # Whatever a PostgreSQL server's habit is, this commit waits for the disk.
            if connection.dialect.name == "postgresql":
                connection.execute(text("SET LOCAL synchronous_commit = on"))
            yield connection

    def _create_when_missing(self) -> None:
        there = inspect(self._engine)
        for table in METADATA.sorted_tables:
            if there.has_table(table.name):
                continue
            try:
                table.create(self._engine, checkfirst=True)
            except (IntegrityError, OperationalError, ProgrammingError):
                # Another process may have made it in the same moment.
                if not inspect(self._engine).has_table(table.name):
                    raise

    def _rows_of(self, owner: str) -> Sequence[WrappedDataKey]:
        wanted = select(DATA_KEYS).where(DATA_KEYS.c.owner == owner).order_by(*_ORDER)
        with self._reading(KEY_TABLE_NAME) as connection:
            return [key_of_row(row) for row in connection.execute(wanted)]

    def _refuse_destroyed(self, owner: str) -> None:
        with self._reading(DESTROYED_TABLE_NAME) as connection:
            of_owner = DESTROYED.c.owner_digest == owner_digest(owner)
            if connection.execute(select(DESTROYED.c.number).where(of_owner).limit(1)).first():
                raise OwnerDestroyedError(
                    "expected an owner whose data keys were not destroyed, found one whose were; "
                    "nothing can be sealed for this owner any more: give new data a new owner"
                )

    def _is_taken(self, key: WrappedDataKey) -> bool:
        return any(
            (row.key_class, row.version) == (key.key_class, key.version)
            for row in self._rows_of(key.owner)
        )


def _place_of(key: WrappedDataKey) -> ColumnElement[bool]:
    return and_(
        DATA_KEYS.c.owner == key.owner,
        DATA_KEYS.c.key_class == key.key_class.value,
        DATA_KEYS.c.version == key.version,
        DATA_KEYS.c.key_id == key.key_id,
    )


def _pieces(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """So many at a time as every database takes in one statement."""
    return (values[at : at + _ROWS_AT_A_TIME] for at in range(0, len(values), _ROWS_AT_A_TIME))


def _adding(connection: Connection) -> Insert:
    """Counts uses: a new row, or the numbers of the row that is there and these together."""
    columns = ("messages", "nonce_prefixes")
    if connection.dialect.name in {"mysql", "mariadb"}:
        insertion = mysql.insert(USES)
        return insertion.on_duplicate_key_update(
            {name: USES.c[name] + insertion.inserted[name] for name in columns}
        )
    of_dialect = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    added = of_dialect(USES)
    return added.on_conflict_do_update(
        index_elements=[USES.c.key_id],
        set_={name: USES.c[name] + added.excluded[name] for name in columns},
    )


def _remembering(connection: Connection) -> Insert:
    """Remembers destroyed keys; one that is remembered already is left as it is."""
    if connection.dialect.name in {"mysql", "mariadb"}:
        insertion = mysql.insert(DESTROYED)
        return insertion.on_duplicate_key_update(key_id=DESTROYED.c.key_id)
    of_dialect = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    return of_dialect(DESTROYED).on_conflict_do_nothing(index_elements=[DESTROYED.c.key_id])


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
