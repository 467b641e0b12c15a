"""The files of a MariaDB server, for a search of the raw storage.

Every file under the data directory (tables, the system tablespace with its undo logs and its
doublewrite buffer, redo logs, Aria's logs), the folders and tablespaces that are kept elsewhere,
the binary and relay logs, and the logs of statements. That they are this server's own is seen by
the numbers of its tablespaces, which stand in the first page of each file.

Needs the privileges PROCESS and SUPER.

Sources: https://mariadb.com/kb/en/innodb-system-variables/,
https://mariadb.com/kb/en/information-schema-innodb_sys_tablespaces-table/

Example:
    >>> flush_mariadb(connection)                                  # doctest: +SKIP
    >>> mariadb_files(connection)                                  # doctest: +SKIP
    {PosixPath('/var/lib/mysql/ibdata1'), …}
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from assay.database.errors import StorageUnreachableError
from assay.database.failures import said_by_driver

_FLUSH_SECONDS = 120.0
_UNKNOWN_VARIABLE = 1193
_SPACE_NUMBER_AT = 34
"""Offset in a page of the number of its tablespace: 4 bytes, big-endian (``fil0fil.h``)."""
_TEMPORARY = 0xFFFFFFF0
"""From here on numbers are of temporary tablespaces, whose files say nothing of them."""

_FOLDERS = ("innodb_data_home_dir", "innodb_log_group_home_dir", "innodb_undo_directory",
            "aria_log_dir_path")  # fmt: skip
_FILES = ("general_log_file", "slow_query_log_file", "log_error")
_SERIES = ("log_bin_basename", "relay_log_basename")


def flush_mariadb(connection: Connection) -> None:
    """Have the server write every changed page to its files.

    Raises:
        StorageUnreachableError: it refuses, or does not come to an end.
    """
    try:
        connection.execute(text("SET GLOBAL innodb_log_checkpoint_now = 1"))
    except DBAPIError as exc:
        if exc.orig is None or exc.orig.args[:1] != (_UNKNOWN_VARIABLE,):
            raise StorageUnreachableError(
                "expected the server to write its pages to its files (SUPER), it answered: "
                f"{said_by_driver(exc)}"
            ) from exc
        with _no_dirty_pages(connection):
            _await_no_dirty_pages(connection)


@contextmanager
def _no_dirty_pages(connection: Connection) -> Iterator[None]:
    """What older servers have instead: keep no changed page in memory while the block runs."""
    names = ("innodb_max_dirty_pages_pct_lwm", "innodb_max_dirty_pages_pct")
    before = [connection.execute(text(f"SELECT @@{name}")).scalar_one() for name in names]
    try:
        for name in names:
            connection.execute(text(f"SET GLOBAL {name} = 0"))
        yield
    finally:
        for name, value in zip(reversed(names), reversed(before), strict=True):
            connection.execute(text(f"SET GLOBAL {name} = {float(value)}"))


def _await_no_dirty_pages(connection: Connection) -> None:
    deadline = time.monotonic() + _FLUSH_SECONDS
    asked = "SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'"
    while int(connection.execute(text(asked)).one()[1]):
        if time.monotonic() > deadline:
            raise StorageUnreachableError(
                "expected the server to write its pages to its files, found some that it still "
                f"keeps in memory after {_FLUSH_SECONDS:.0f} s; try again when it is less busy"
            )
        time.sleep(0.05)


def mariadb_files(connection: Connection, walk: Callable[[Path], Iterator[Path]]) -> set[Path]:
    """Every file in which the server keeps data, at this moment.

    Args:
        connection: with the privilege PROCESS.
        walk: gives every regular file under a folder.

    Raises:
        StorageUnreachableError: the files are elsewhere, or another server's.
    """
    home = Path(str(_variable(connection, "datadir")))
    tablespaces = _tablespaces(connection)
    _refuse_other_server(home, tablespaces)
    found = set(walk(home)) | {home / name for name in tablespaces if (home / name).is_file()}
    for folder in _FOLDERS:
        value = _variable(connection, folder)
        if value:
            found |= set(walk(home / value))
    for name in _FILES:
        value = _variable(connection, name)
        if value and (home / value).is_file():
            found.add(home / value)
    for name in _SERIES:
        value = _variable(connection, name)
        if value:
            series = Path(home / value)
            found |= {path for path in series.parent.glob(f"{series.name}.*") if path.is_file()}
    return {Path(os.path.normpath(path)) for path in found}


def _variable(connection: Connection, name: str) -> str | None:
    value = connection.execute(text(f"SELECT @@GLOBAL.{name}")).scalar_one()
    return str(value) if value else None


def _tablespaces(connection: Connection) -> dict[str, int]:
    """The files of tables, as the server names them, and the numbers of their tablespaces."""
    asked = text(
        "SELECT filename, space FROM information_schema.innodb_sys_tablespaces "
        "WHERE space > 0 AND space < :temporary"
    )
    try:
        rows = connection.execute(asked, {"temporary": _TEMPORARY}).all()
    except DBAPIError as exc:
        raise StorageUnreachableError(
            f"expected the server to list its tablespaces (PROCESS), it answered: "
            f"{said_by_driver(exc)}"
        ) from exc
    found = {str(name): int(space) for name, space in rows}
    own = {name: space for name, space in found.items() if "mysql/" not in name}
    return own or found


def _refuse_other_server(home: Path, tablespaces: dict[str, int]) -> None:
    same = 0
    for name, space in tablespaces.items():
        try:
            with (home / name).open("rb") as file:
                file.seek(_SPACE_NUMBER_AT)
                number = file.read(4)
        except FileNotFoundError:
            continue  # dropped meanwhile, or not there at all: then none is the same
        except OSError as exc:
            raise StorageUnreachableError(
                f"expected to read the server's data directory {home} from here: {exc.strerror}. "
                "Run this on the server's machine, as a user who may read it"
            ) from exc
        if len(number) == 4 and struct.unpack(">I", number)[0] != space:
            raise StorageUnreachableError(
                f"expected the data directory of the server that answers, found another server's "
                f"in {home}"
            )
        same += 1
    if not same:
        raise StorageUnreachableError(
            f"expected the tables of the server that answers in {home}, found none of them; run "
            "this on the server's machine, as a user who may read them"
        )
