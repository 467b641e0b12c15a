"""Names of tables, columns and triggers as each kind of database writes them.

Example:
    >>> quoted("select", "postgresql")
    '"select"'
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, make_url

from assay.encryption.adoption.errors import AdoptionBlockedError
from assay.encryption.adoption.parts import Part


def _dialect(driver: str) -> Any:
    dialect: Any = make_url(f"{driver}://").get_dialect()
    return dialect(paramstyle="named")  # with which no percent sign in a name is written twice


_DIALECTS: Mapping[str, Any] = {
    "postgresql": _dialect("postgresql+psycopg"),
    "mariadb": _dialect("mariadb+pymysql"),
    "sqlite": _dialect("sqlite"),
}
_LONGEST = 63
"""Bytes of a name on PostgreSQL, which cuts off the rest; MariaDB takes 64 characters."""


def dialect_called(name: str) -> Any:
    """How a kind of database writes statements.

    Raises:
        AdoptionBlockedError: another database than those for which there is a trigger.
    """
    found = _DIALECTS.get(name)
    if found is None:
        way_out = "; begin the URL with mariadb:// if that is what it is" if name == "mysql" else ""
        raise AdoptionBlockedError(
            f"expected PostgreSQL, MariaDB or SQLite, found {name}, for which there is no trigger "
            f"that keeps envelopes true while old code writes{way_out}"
        )
    return found


def quoted(name: str, dialect: str) -> str:
    """An identifier, always in quotes."""
    return str(dialect_called(dialect).identifier_preparer.quote_identifier(name))


def schema_prefix(part: Part, dialect: str) -> str:
    """The schema of a part's table and a dot, or nothing."""
    return f"{quoted(part.table.schema, dialect)}." if part.table.schema else ""


def table_name(part: Part, dialect: str) -> str:
    """The name of a part's table, quoted, with its schema when it has one."""
    return f"{schema_prefix(part, dialect)}{quoted(part.table.name, dialect)}"


def trigger_name(part: Part) -> str:
    """The trigger's name; it sorts behind others, because PostgreSQL runs them in that order."""
    whole = f"zz_assay_{part.table.name}_{part.group.column}"
    raw = whole.encode()
    if len(raw) <= _LONGEST:
        return whole
    digest = sha256(raw).hexdigest()[:12]  # two names that begin alike stay two
    return f"{raw[: _LONGEST - 13].decode(errors='ignore')}_{digest}"


def file_word(name: str) -> str:
    """A part's name as a word for file names, a different one for each name."""
    word = "".join(char if char.isascii() and char.isalnum() else "_" for char in name).lower()
    if word == name:
        return word
    return f"{word[:80]}_{sha256(name.encode()).hexdigest()[:8]}"


def run_as_it_is(connection: Connection, statement: str) -> Any:
    """Run a statement in which nothing stands for a parameter, whatever its names look like."""
    return connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
