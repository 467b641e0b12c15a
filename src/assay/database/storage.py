"""The files in which a database keeps its data, for a search of the raw storage.

SQLite: the main file, its write-ahead log, shared memory and journals, and those of attached
databases. PostgreSQL: every file under the server's data directory (``base``, ``global``,
``pg_wal``, …) and its tablespaces, after a CHECKPOINT, so that what is in memory is on the disk
as well. That this directory is the server's own is proven by its system identifier. MariaDB: see
`assay.database.mariadb_files`.

An empty list is never returned: a search of nothing finds nothing.

Example:
    >>> storage_files(open_engine("sqlite:///app.db")).files       # doctest: +SKIP
    (PosixPath('/srv/app.db'), PosixPath('/srv/app.db-wal'))
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from assay.database.errors import StorageUnreachableError
from assay.database.failures import named_errors, said_by_driver
from assay.database.mariadb_files import flush_mariadb, mariadb_files

_SQLITE_SUFFIXES = ("", "-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True)
class StorageFiles:
    """Where a database keeps its data.

    Attributes:
        dialect: "sqlite", "postgresql" or "mariadb".
        files: every file, sorted, never empty; a server may add and remove some at any time.
        explanation: one sentence: which files these are.
    """

    dialect: str
    files: tuple[Path, ...]
    explanation: str


def storage_files(engine: Engine) -> StorageFiles:
    """Every file of the database that can be read from here.

    Raises:
        StorageUnreachableError: the files are elsewhere, cannot be read, or there are none.
        DatabaseUnreachableError: the database does not answer.
    """
    finders = {"sqlite": _sqlite, "postgresql": _postgresql, "mariadb": _mariadb}
    find = finders.get(engine.dialect.name)
    if find is None:
        raise StorageUnreachableError(
            f"expected SQLite, PostgreSQL or MariaDB, found {engine.dialect.name}, of whose files "
            "nothing is known"
        )
    found = find(engine)
    if not found.files:
        raise StorageUnreachableError("expected files of the database, found none")
    for path in found.files:
        if path.exists() and not os.access(path, os.R_OK):
            raise StorageUnreachableError(
                f"expected to read every file of the database, found {path} closed to this user"
            )
    return found


def checkpoint(engine: Engine) -> None:
    """Have a server write what it holds in memory to its files; SQLite needs none.

    Raises:
        StorageUnreachableError: the server refuses.
    """
    if engine.dialect.name == "sqlite":
        return
    with (
        named_errors("ask for a checkpoint"),
        engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
    ):
        if engine.dialect.name == "postgresql":
            _ask(connection, "CHECKPOINT", "run CHECKPOINT (role pg_checkpoint)")
        else:
            flush_mariadb(connection)


def _sqlite(engine: Engine) -> StorageFiles:
    with named_errors("list the files of the database"), engine.connect() as connection:
        attached = connection.execute(text("PRAGMA database_list")).all()
    mains = [Path(row[2]) for row in attached if row[2]]
    if not mains:
        raise StorageUnreachableError(
            "expected an SQLite database in a file, found one in memory, which has no storage"
        )
    files = {
        path
        for main in mains
        for suffix in _SQLITE_SUFFIXES
        if (path := main.with_name(f"{main.name}{suffix}")).is_file()
    }
    explanation = "The SQLite file, its write-ahead log, shared memory and rollback journal."
    return StorageFiles("sqlite", tuple(sorted(files)), explanation)


def _postgresql(engine: Engine) -> StorageFiles:
    checkpoint(engine)
    with named_errors("find the server's files"), engine.connect() as connection:
        directory = Path(
            _ask(
                connection, "SHOW data_directory", "tell its data directory (pg_read_all_settings)"
            )
        )
        identifier = int(
            _ask(
                connection,
                "SELECT system_identifier FROM pg_control_system()",
                "tell its system identifier",
            )
        )
    _refuse_other_server(directory, identifier)
    files = tuple(sorted(_walk(directory)))
    explanation = (
        "Every file under the server's data directory, tablespaces and write-ahead log included, "
        "after a CHECKPOINT."
    )
    return StorageFiles("postgresql", files, explanation)


def _mariadb(engine: Engine) -> StorageFiles:
    checkpoint(engine)
    with named_errors("find the server's files"), engine.connect() as connection:
        files = tuple(sorted(mariadb_files(connection, _walk)))
    explanation = (
        "Every file under the server's data directory, tablespaces, redo, undo and binary logs "
        "included, after every changed page was written."
    )
    return StorageFiles("mariadb", files, explanation)


def _ask(connection: object, statement: str, what: str) -> str:
    try:
        result = connection.execute(text(statement))  # type: ignore[attr-defined]
        return str(result.scalar_one()) if result.returns_rows else ""
    except DBAPIError as exc:
        raise StorageUnreachableError(
            f"expected the server to {what}, it answered: {said_by_driver(exc)}"
        ) from exc


def _refuse_other_server(directory: Path, identifier: int) -> None:
    control = directory / "global" / "pg_control"
    try:
        with control.open("rb") as file:
            head = file.read(8)
    except OSError as exc:
        raise StorageUnreachableError(
            f"expected to read the server's data directory {directory} from here: {exc.strerror}. "
            "Run this on the server's machine, as a user who may read it"
        ) from exc
    # ControlFileData.system_identifier is the first field, in the machine's byte order.
    if len(head) != 8 or struct.unpack("=Q", head)[0] != identifier:
        raise StorageUnreachableError(
            f"expected the data directory of the server that answers, found another server's in "
            f"{directory}"
        )


def _walk(directory: Path) -> Iterator[Path]:
    """Every regular file under a directory; tablespaces and pg_wal may be symbolic links."""

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # the server removes files at any time
            raise StorageUnreachableError(
                f"expected to read all of {directory}, found {error.filename}: {error.strerror}"
            ) from error

    seen: set[str] = set()
    for folder, below, names in os.walk(directory, onerror=refuse, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        for name in names:
            path = Path(folder, name)
            if path.is_file():
                yield path
