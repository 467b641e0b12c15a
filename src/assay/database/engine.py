"""Engines with careful defaults for SQLite, PostgreSQL and MariaDB.

- Statements' parameters never stand in errors or logs (``hide_parameters``).
- SQLite: wait 5 s for a writer, enforce foreign keys, flush at each commit
  (``synchronous=FULL``), and keep a write-ahead log when the database is new; a database that is
  there already keeps the journal mode that its owner gave it.
- PostgreSQL: by psycopg 3; a pooled connection is tried before it is used.
- MariaDB: by PyMySQL; a pooled connection is tried before it is used, text is ``utf8mb4``, and what
  does not fit into a column is refused, not cut off (``sql_mode``), whatever the server's habit is.

Sources: https://www.sqlite.org/pragma.html, https://www.sqlite.org/wal.html,
https://mariadb.com/kb/en/sql-mode/

Example:
    >>> open_engine("sqlite://").dialect.name
    'sqlite'
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from assay.database.errors import DatabaseUnreachableError, DatabaseUrlError

BUSY_TIMEOUT_MILLISECONDS = 5000
_DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "sqlite": "sqlite+pysqlite",
    "mariadb": "mariadb+pymysql",
    "mysql": "mysql+pymysql",
}
_SERVERS = frozenset({"postgresql", "mariadb", "mysql"})


def open_engine(url: str, *, must_exist: bool = False) -> Engine:
    """An engine for a database URL; nothing is connected yet.

    Args:
        url: ``sqlite:///relative.db``, ``sqlite:////absolute.db``,
            ``postgresql://user:password@host:port/name`` or
            ``mariadb://user:password@host:port/name``.
        must_exist: refuse an SQLite file that is not there, which SQLite would make, empty.

    Raises:
        DatabaseUrlError: the URL is malformed, or names a database or driver that is not here.
        DatabaseUnreachableError: ``must_exist``, and there is no such file.
    """
    parsed = _parse(url)
    if must_exist:
        _refuse_missing_file(parsed)
    try:
        engine = create_engine(parsed, hide_parameters=True, pool_pre_ping=_is_server(parsed))
    except (ArgumentError, NoSuchModuleError) as exc:
        raise DatabaseUrlError(
            f"expected a URL of SQLite, PostgreSQL or MariaDB, found {parsed.drivername}"
        ) from exc
    except ImportError as exc:
        raise DatabaseUrlError(
            f"expected the driver of {parsed.drivername}, found it missing; install "
            f"{'pymysql' if _is_mariadb(parsed) else 'assay[postgresql]'}"
        ) from exc
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    elif _is_mariadb(parsed):
        event.listen(engine, "connect", _prepare_mariadb)
    return engine


def sqlite_file(engine: Engine) -> Path | None:
    """The file of an SQLite engine; None for other dialects and for databases in memory."""
    return _file_of(engine.url)


def _file_of(url: URL) -> Path | None:
    name = (url.database or "").removeprefix("file:")
    in_memory = name in {"", ":memory:"} or url.query.get("mode") == "memory"
    return None if url.get_backend_name() != "sqlite" or in_memory else Path(name)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # The error would quote the URL, and with it the password.
        raise DatabaseUrlError(
            "expected a database URL such as sqlite:///app.db or "
            "postgresql://user:password@host:5432/name, found another form"
        ) from None
    parsed = parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))
    if _is_mariadb(parsed) and "charset" not in parsed.query:
        parsed = parsed.update_query_dict({"charset": "utf8mb4"})
    return parsed


def _is_server(url: URL) -> bool:
    return url.get_backend_name() in _SERVERS


def _is_mariadb(url: URL) -> bool:
    return url.get_backend_name() in ("mariadb", "mysql")


def _refuse_missing_file(url: URL) -> None:
    path = _file_of(url)
    if path is not None and not path.is_file():
        raise DatabaseUnreachableError(f"expected an SQLite database at {path}, found no file")


def _prepare_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    try:
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MILLISECONDS}")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA synchronous = FULL")
        if cursor.execute("PRAGMA page_count").fetchone() == (0,):
            cursor.execute("PRAGMA journal_mode = WAL")
    finally:
        cursor.close()


def _prepare_mariadb(connection: Any, _record: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION sql_mode = CONCAT(@@SESSION.sql_mode, ',STRICT_ALL_TABLES')")
