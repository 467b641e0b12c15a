"""Which database, and which table in it, so that what is known of one is not believed of another.

A place is told by the database itself and by its address, and both must be the same: two servers
behind one name differ in what they tell of themselves, a copy of a whole server in its address.

- PostgreSQL: the cluster's system identifier, the database's oid, the table's oid. For a role that
  may not call ``pg_control_system()`` the moment when the server was started stands for the first:
  no two servers share it, and what is kept of a place ends with a restart.
- MariaDB: the server's uid, id, host name, port and folder of data; the database's name.
- SQLite: the file's path, device and number, which a file that is put in its place does not share.

Sources: https://www.postgresql.org/docs/current/functions-info.html (control data, server start),
https://mariadb.com/kb/en/server-system-variables/#server_uid

Example:
    >>> place_of(part, engine).dialect                             # doctest: +SKIP
    'postgresql'
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, text

from assay.database.failures import named_errors
from assay.encryption.adoption.names import dialect_called, table_name
from assay.encryption.adoption.parts import Part

_MAY_ASK = text(
    "SELECT pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')"
)
_CLUSTER = "SELECT system_identifier::text FROM pg_catalog.pg_control_system()"
_STARTED = "SELECT 'started ' || extract(epoch FROM pg_catalog.pg_postmaster_start_time())::text"
_IN_CLUSTER = (
    "SELECT d.oid::text, to_regclass(:table)::oid::text FROM pg_catalog.pg_database d "
    "WHERE d.datname = pg_catalog.current_database()"
)
_ON_MARIADB = text(
    "SELECT variable_name, global_value FROM information_schema.system_variables WHERE "
    "variable_name IN ('SERVER_UID', 'SERVER_ID', 'HOSTNAME', 'PORT', 'DATADIR') "
    "UNION ALL SELECT 'database', coalesce(:schema, database()) ORDER BY 1"
)
_IN_ADDRESSES = ("host", "hostaddr", "port", "dbname", "service", "unix_socket")
"""What may stand behind the question mark of a URL and says where the database is."""


@dataclass(frozen=True, slots=True)
class Place:
    """A table's place.

    Attributes:
        dialect: "postgresql", "mariadb" or "sqlite".
        identity: 64 hexadecimal digits, a digest of what the database and its address tell. No
            user's name and no password goes into it.
    """

    dialect: str
    identity: str


def place_of(part: Part, engine: Engine) -> Place:
    """Where a part's table is.

    Raises:
        AdoptionBlockedError: a database of another kind.
        DatabaseError: the database does not answer, or tells this role nothing of itself.
    """
    dialect = engine.dialect.name
    dialect_called(dialect)
    with named_errors(f"tell which database has {part.name}"), engine.connect() as connection:
        told = {"postgresql": _postgresql, "mariadb": _mariadb, "sqlite": _sqlite}[dialect](
            part, connection
        )
    whole = [dialect, *told, *([] if dialect == "sqlite" else _address(engine.url))]
    return Place(dialect, sha256(json.dumps(whole).encode()).hexdigest())


def _postgresql(part: Part, connection: Connection) -> list[Any]:
    may_ask = connection.execute(_MAY_ASK).scalar_one()
    server = connection.execute(text(_CLUSTER if may_ask else _STARTED)).scalar_one()
    given = {"table": table_name(part, "postgresql")}
    return [server, *connection.execute(text(_IN_CLUSTER), given).one()]


def _mariadb(part: Part, connection: Connection) -> list[Any]:
    found = connection.execute(_ON_MARIADB, {"schema": part.table.schema})
    return [[str(name), str(value)] for name, value in found]


def _sqlite(part: Part, connection: Connection) -> list[Any]:
    wanted = part.table.schema or "main"
    for _, name, file in connection.execute(text("PRAGMA database_list")):
        if name == wanted and file:
            path = Path(file).resolve()
            status = path.stat()
            return [str(path), status.st_dev, status.st_ino]
    return [wanted, id(connection.engine.pool)]  # in memory: for as long as this process has it


def _address(url: URL) -> list[Any]:
    more = {name: url.query[name] for name in _IN_ADDRESSES if name in url.query}
    return [url.host, url.port, url.database, sorted(more.items())]
