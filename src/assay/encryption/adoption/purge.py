"""Rewriting what still holds dropped columns or rows: pages, statistics, the write-ahead log.

What is done, and needs which rights:

- PostgreSQL: ``VACUUM FULL`` of the table, which locks it while it is rewritten (its owner);
  ``VACUUM FULL`` of the statistics (superuser); each file of the write-ahead log is overwritten by
  switching through all of them, twice, with a checkpoint each time (``pg_switch_wal``,
  ``pg_ls_waldir``, ``CHECKPOINT``: superuser, or those granted).
- MariaDB: see `assay.encryption.adoption.purge_mariadb`.
- SQLite: ``VACUUM`` with ``secure_delete``, and the write-ahead log is emptied.

What no command on the server reaches is named in `Purged.remains`: backups, archived logs,
replicas, disk blocks that the file system has freed.

Sources: https://www.postgresql.org/docs/current/sql-vacuum.html,
https://www.postgresql.org/docs/current/wal-internals.html, https://www.sqlite.org/lang_vacuum.html

Example:
    >>> purge(part, engine).remains                                # doctest: +SKIP
    ('backups made before hold the plaintext',)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from assay.database.failures import said_by_driver
from assay.encryption.adoption.errors import PurgeError
from assay.encryption.adoption.names import run_as_it_is, schema_prefix
from assay.encryption.adoption.parts import Part
from assay.encryption.adoption.purge_mariadb import Rewritten, purge_mariadb

_ROUNDS = 2
_MOST_SEGMENTS = 4096


@dataclass
class Purged:
    """What was cleaned and what was not.

    Attributes:
        cleaned: what was rewritten, one sentence each.
        remains: where copies may be, one sentence each.
    """

    cleaned: list[str] = field(default_factory=list)
    remains: list[str] = field(default_factory=list)


def purge(part: Part, engine: Engine, *, binary_logs: bool = False) -> Purged:
    """Rewrite everything within reach that may still hold a part's dropped columns.

    Args:
        part: whose columns were dropped.
        engine: the database.
        binary_logs: whether MariaDB's older binary logs are deleted, of the whole server.

    Raises:
        PurgeError: the table itself could not be rewritten.
    """
    dialect = engine.dialect.name
    prefix = "" if dialect == "sqlite" else schema_prefix(part, dialect)
    where = Rewritten(
        prefix, str(part.table.name), "the plaintext", "The columns are dropped", binary_logs
    )
    return purge_table(where, engine)


def purge_table(where: Rewritten, engine: Engine) -> Purged:
    """Rewrite everything within reach that may still hold what was deleted from a table.

    Args:
        where: the table, and how to speak of it.
        engine: the database.

    Raises:
        PurgeError: the table itself could not be rewritten.
    """
    purged = Purged()
    with _autocommit(engine) as connection:
        if engine.dialect.name == "postgresql":
            _purge_postgresql(where, connection, purged)
        elif engine.dialect.name == "mariadb":
            connection.detach()  # what is set for the session must not stay in the pool
            _must(connection, where, f"ALTER TABLE {where.in_quotes('mariadb')} FORCE")
            purged.cleaned.append("the table was rebuilt, with its indexes and large values")
            purge_mariadb(where, connection, purged)
        else:
            _purge_sqlite(where, connection, purged)
    purged.remains.append(
        f"backups, snapshots and freed disk blocks from before hold {where.what} until they go"
    )
    return purged


@contextmanager
def _autocommit(engine: Engine) -> Iterator[Connection]:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection


def _purge_postgresql(where: Rewritten, connection: Connection, purged: Purged) -> None:
    _must(connection, where, f"VACUUM (FULL, ANALYZE) {where.in_quotes('postgresql')}")
    purged.cleaned.append("the table was rewritten, with its indexes and large values")
    try:
        if _rewrote_statistics(connection):
            purged.cleaned.append("the statistics were rewritten")
        else:
            purged.remains.append(
                "statistics of the columns from before: only a superuser rewrites them"
            )
    except DBAPIError as exc:
        purged.remains.append(f"statistics of the columns from before: {said_by_driver(exc)}")
    try:
        files = _turn_log_over(connection)
        purged.cleaned.append(f"the write-ahead log was turned over ({files} files)")
    except DBAPIError as exc:
        purged.remains.append(f"the write-ahead log of the server: {said_by_driver(exc)}")
    purged.remains += _copies_elsewhere(where, connection)


def _rewrote_statistics(connection: Connection) -> bool:
    """Whether they were: PostgreSQL skips what the role does not own, and says so by a warning."""
    rewritten = True
    for name in ("pg_catalog.pg_statistic", "pg_catalog.pg_statistic_ext_data"):
        asked = text(f"SELECT pg_catalog.pg_relation_filenode('{name}')")
        before = connection.execute(asked).scalar_one()
        connection.execute(text(f"VACUUM FULL {name}"))
        rewritten = connection.execute(asked).scalar_one() != before and rewritten
    return rewritten


def _turn_log_over(connection: Connection) -> int:
    """Switch through every file of the log. A switch fills the rest of a file with zeros.

    A checkpoint renames old files for later use and leaves their bytes, so all are gone through
    again: those of the first round and those that the first checkpoint set aside.
    """
    files = 0
    for _ in range(_ROUNDS):
        counted = connection.execute(text("SELECT count(*) FROM pg_catalog.pg_ls_waldir()"))
        files = min(int(counted.scalar_one()), _MOST_SEGMENTS)
        for _ in range(files + 1):
            connection.execute(text("SELECT pg_logical_emit_message(false, 'assay', '')"))
            connection.execute(text("SELECT pg_switch_wal()"))
        connection.execute(text("CHECKPOINT"))
    return files


def _copies_elsewhere(where: Rewritten, connection: Connection) -> list[str]:
    found = []
    if connection.execute(text("SHOW archive_mode")).scalar_one() != "off":
        found.append(f"archived write-ahead logs from before hold {where.what} until they go")
    slots = connection.execute(
        text("SELECT slot_name FROM pg_catalog.pg_replication_slots ORDER BY slot_name")
    ).scalars()
    found += [f"the replication slot {name} keeps older write-ahead logs" for name in slots]
    replicas = connection.execute(text("SELECT count(*) FROM pg_catalog.pg_stat_replication"))
    if replicas.scalar_one():
        found.append("replicas rewrite the table as well, but turn their own logs over later")
    return found


def _purge_sqlite(where: Rewritten, connection: Connection, purged: Purged) -> None:
    connection.detach()  # the setting must not stay with a pooled connection
    _must(connection, where, "PRAGMA secure_delete = ON")
    _must(connection, where, "VACUUM")
    if connection.execute(
        text("SELECT count(*) FROM sqlite_master WHERE name LIKE 'sqlite\\_stat%' ESCAPE '\\'")
    ).scalar_one():
        _must(connection, where, "ANALYZE")
    purged.cleaned.append("the database file was rewritten")
    busy, *_ = connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)")).one()
    if busy:
        purged.remains.append("the write-ahead log, which another connection is reading")
    else:
        purged.cleaned.append("the write-ahead log was emptied")


def _must(connection: Connection, where: Rewritten, statement: str) -> None:
    try:
        run_as_it_is(connection, statement)
    except DBAPIError as exc:
        raise PurgeError(
            f"expected the database to run {statement}, it said: {said_by_driver(exc)}. "
            f"{where.deleted} and their bytes are still in its files; run this step again"
        ) from exc
