"""Rewriting what still holds dropped columns or rows on MariaDB.

| place | what is done |
|---|---|
| the table's file, its indexes, columns dropped at once | the table is rebuilt into a new file |
| statistics of columns (``mysql.column_stats``) | rebuilt |
| undo logs, in ``ibdata1`` or ``undo001``… | waited for, and their free pages filled |
| doublewrite buffer, in ``ibdata1`` | overwritten by the same filling |
| redo log (``ib_logfile0``) | resized there and back, which begins new files |
| binary logs | begun anew; older ones are deleted on request only |

Needs ALTER and CREATE on the schema, and SUPER; what is refused is named in ``remains``.

Sources: https://mariadb.com/kb/en/innodb-undo-log/, https://mariadb.com/kb/en/innodb-redo-log/
("resizing"), https://mariadb.com/kb/en/innodb-doublewrite-buffer/,
https://mariadb.com/kb/en/purge-binary-logs/

Example:
    >>> purge_mariadb(where, connection, purged)   # doctest: +SKIP
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from assay.database.errors import StorageUnreachableError
from assay.database.failures import said_by_driver
from assay.database.mariadb_files import flush_mariadb
from assay.encryption.adoption.names import quoted, run_as_it_is

if TYPE_CHECKING:
    from assay.encryption.adoption.purge import Purged

_FILLER = "assay_filler"
_SCRUB = "innodb_immediate_scrub_data_uncompressed"
"""With it InnoDB writes zeros over pages that it frees."""
_GROWTH = "innodb_autoextend_increment"
"""By how many MiB the system tablespace grows."""
_ROLLBACK_SEGMENTS = 128
"""The most that InnoDB has; each transaction takes the next one."""
_PIECE_BYTES = 4000
_PIECES = 8
_ROUNDS = 32
"""How often each rollback segment is used, at least: a file may grow before its pages are all used
(seen on 10.11.19, where 3 left some and 24 none)."""
_FLUSHES = 2
_MOST_FILLED_BYTES = 2**33
_UNDO_SECONDS = 60.0
_PURGED = re.compile(r"Trx id counter (\d+)\s+Purge done for trx's n:o < (\d+)")
_BINARY_LOG_SECONDS = 20.0


@dataclass(frozen=True)
class Rewritten:
    """The table from which something was deleted.

    Attributes:
        prefix: its schema in quotes and a dot, or nothing.
        name: its name.
        what: what must not stay anywhere, in words.
        deleted: what was done to it, as the beginning of a sentence.
        binary_logs: whether MariaDB's older binary logs are deleted, of the whole server.
    """

    prefix: str
    name: str
    what: str
    deleted: str
    binary_logs: bool = False

    def in_quotes(self, dialect: str) -> str:
        """The table as statements name it."""
        return f"{self.prefix}{quoted(self.name, dialect)}"


def purge_mariadb(where: Rewritten, connection: Connection, purged: Purged) -> None:
    """Rewrite everything within reach that may hold what was deleted from a table.

    Args:
        where: the table.
        connection: in autocommit mode.
        purged: gets one sentence for each thing.
    """

    def attempt(what: str, work: Callable[[], str]) -> None:
        try:
            purged.cleaned.append(work())
        except DBAPIError as exc:
            purged.remains.append(f"{what}: {said_by_driver(exc)}")
        except StorageUnreachableError as exc:
            purged.remains.append(f"{what}: {exc}")

    attempt("the statistics of columns", lambda: _rebuild_statistics(connection))
    attempt("undo logs and doublewrite buffer", lambda: _fill_free_pages(where, connection))
    attempt("the redo log", lambda: _begin_new_redo_log(connection))
    if _one(connection, "SELECT @@log_bin"):
        if where.binary_logs:
            attempt("the binary logs", lambda: _delete_binary_logs(connection))
        else:
            purged.remains.append(
                f"the binary logs from before hold {where.what}; once replicas and backups need "
                "them no more, delete them (--purge-binary-logs, or PURGE BINARY LOGS)"
            )
    if connection.execute(text("SHOW SLAVE HOSTS")).first():
        purged.remains.append(
            "replicas do the same to the table, but their undo, redo and relay logs stay: do there "
            "what was done here, or set them up anew"
        )


def _rebuild_statistics(connection: Connection) -> str:
    tables = "mysql.column_stats, mysql.index_stats"
    asked = f"OPTIMIZE NO_WRITE_TO_BINLOG TABLE {tables}"
    results = connection.execute(text(asked)).all()
    failed = [str(row[3]) for row in results if row[2] == "Error"]
    if failed:
        raise StorageUnreachableError(failed[0])
    run_as_it_is(
        connection, "FLUSH NO_WRITE_TO_BINLOG TABLES mysql.column_stats, mysql.index_stats"
    )
    return "the statistics of columns were rebuilt"


def _fill_free_pages(where: Rewritten, connection: Connection) -> str:
    """Wait until no old row version is needed any more, then write over where they stood.

    InnoDB keeps the old values of changed rows in undo logs. It frees their pages, but overwrites
    none before it needs them, and an undo log takes single pages first. So while a reader keeps
    undo logs from being freed, many small transactions write new ones, until their files have grown
    because no page was free; each takes the next rollback segment, which keeps a page to use again.
    """
    _await_purge_of_undo(connection)
    with suppress(DBAPIError):  # without the privilege it is in the binary log as well
        connection.execute(text("SET SESSION sql_log_bin = 0"))
    table = f"{where.prefix}{quoted(_FILLER, 'mariadb')}"
    with _set_for_a_while(connection, _SCRUB, 1), _set_for_a_while(connection, _GROWTH, 1):
        run_as_it_is(connection, f"DROP TABLE IF EXISTS {table}")
        run_as_it_is(
            connection,
            f"CREATE TABLE {table} ENGINE=InnoDB SELECT seq AS id, repeat('a', {_PIECE_BYTES}) "  # noqa: S608 - a quoted name
            f"AS piece FROM seq_1_to_{_PIECES}",
        )
        try:
            _fill(connection, table)
            for _ in range(_FLUSHES):  # zeros are written with the next page of the same file
                _await_purge_of_undo(connection)
                flush_mariadb(connection)
                _change(connection, table)
        finally:
            run_as_it_is(connection, f"DROP TABLE IF EXISTS {table}")
        flush_mariadb(connection)
    return "free pages of undo logs and the doublewrite buffer were filled"


def _fill(connection: Connection, table: str) -> None:
    before, changes = _undo_files(connection), 0
    with connection.engine.connect() as reader:
        run_as_it_is(reader, "START TRANSACTION WITH CONSISTENT SNAPSHOT")
        while True:
            for _ in range(_ROLLBACK_SEGMENTS):
                _change(connection, table)
            changes += _ROLLBACK_SEGMENTS
            now = _undo_files(connection)
            grown = all(size > before.get(name, 0) for name, size in now.items())
            if grown and changes >= _ROUNDS * _ROLLBACK_SEGMENTS:
                return
            if changes * _PIECES * _PIECE_BYTES > _MOST_FILLED_BYTES:
                raise StorageUnreachableError(
                    f"expected {_MOST_FILLED_BYTES} bytes to fill every free page, found more of "
                    "them: what is left is overwritten when the server needs it"
                )


def _undo_files(connection: Connection) -> dict[str, int]:
    """The files with undo logs, and their sizes: tablespaces of their own, or the system's."""
    asked = (
        "SELECT filename, file_size FROM information_schema.innodb_sys_tablespaces "
        "WHERE space = 0 OR filename REGEXP 'undo[0-9]{3}$'"
    )
    found = {str(name): int(size) for name, size in connection.execute(text(asked))}
    own = {name: size for name, size in found.items() if "undo" in name}
    return own or found


def _change(connection: Connection, table: str) -> None:
    """Change every row; none is left as it was."""
    run_as_it_is(
        connection,
        f"UPDATE {table} SET piece = repeat(if(piece LIKE 'b%', 'c', 'b'), {_PIECE_BYTES})",  # noqa: S608 - a quoted name
    )


@contextmanager
def _set_for_a_while(connection: Connection, name: str, value: int) -> Iterator[None]:
    """A setting of the server has a value while the block runs."""
    before = int(_one(connection, f"SELECT @@GLOBAL.{name}"))
    connection.execute(text(f"SET GLOBAL {name} = {value}"))
    try:
        yield
    finally:
        connection.execute(text(f"SET GLOBAL {name} = {before}"))


def _await_purge_of_undo(connection: Connection) -> None:
    """Wait until no row version from before is needed any more, also while others go on writing.

    Twice, because undo logs that were gone through are freed with the next ones.
    """
    deadline = time.monotonic() + _UNDO_SECONDS
    for _ in range(2):
        now, _purged = _transactions(connection)
        while _transactions(connection)[1] < now and _history(connection):
            if time.monotonic() > deadline:
                raise StorageUnreachableError(
                    "expected no row version from before to be needed any more, found a "
                    "transaction that is still open; end it, and run this step again"
                )
            time.sleep(0.1)


def _history(connection: Connection) -> int:
    """How many undo logs of finished transactions there are."""
    asked = text("SHOW GLOBAL STATUS LIKE 'Innodb_history_list_length'")
    return int(connection.execute(asked).one()[1])


def _transactions(connection: Connection) -> tuple[int, int]:
    """The number of the next transaction, and of the first whose old row versions are kept."""
    status = str(connection.execute(text("SHOW ENGINE INNODB STATUS")).one()[2])
    found = _PURGED.search(status)
    if found is None:
        raise StorageUnreachableError(
            "expected the server to say how far it has purged undo logs, found another form of "
            "SHOW ENGINE INNODB STATUS"
        )
    return int(found[1]), int(found[2])


def _begin_new_redo_log(connection: Connection) -> str:
    flush_mariadb(connection)
    size = int(_one(connection, "SELECT @@innodb_log_file_size"))
    try:
        connection.execute(text(f"SET GLOBAL innodb_log_file_size = {size + 2**20}"))
    finally:
        connection.execute(text(f"SET GLOBAL innodb_log_file_size = {size}"))
    return "the redo log was begun anew"


def _delete_binary_logs(connection: Connection) -> str:
    run_as_it_is(connection, "FLUSH BINARY LOGS")
    newest = connection.execute(text("SHOW BINARY LOGS")).all()[-1][0]
    deadline = time.monotonic() + _BINARY_LOG_SECONDS
    while True:
        # The server keeps those that it would need to recover, until InnoDB has written all.
        flush_mariadb(connection)
        connection.execute(text("PURGE BINARY LOGS TO :newest"), {"newest": newest})
        left = [row[0] for row in connection.execute(text("SHOW BINARY LOGS"))]
        if left[0] == newest:
            return f"the binary logs before {newest} were deleted"
        if time.monotonic() > deadline:
            raise StorageUnreachableError(
                f"expected the binary logs before {newest} to be deleted, found {left[0]} still "
                "needed by a replica or by the server; delete it later (PURGE BINARY LOGS)"
            )
        time.sleep(0.2)


def _one(connection: Connection, asked: str) -> Any:
    return connection.execute(text(asked)).scalar_one()
