"""Changing columns on MariaDB, which has to be told the whole definition of a column again.

MariaDB commits each statement by itself, so one ALTER TABLE does all that belongs together, and
each can be run again. It waits at most five seconds for the table, and never makes an empty value
of a NULL, whatever the server's habit is.

Sources: https://mariadb.com/kb/en/alter-table/, https://mariadb.com/kb/en/set-statement/

Example:
    >>> without_not_null("varchar(9) NOT NULL DEFAULT 'NOT NULL'")
    "varchar(9) NULL DEFAULT 'NOT NULL'"
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlalchemy import Connection

from assay.encryption.adoption.names import quoted, run_as_it_is, table_name
from assay.encryption.adoption.parts import Part

WAIT_SECONDS = 5

_COLUMN = re.compile(r"^  `((?:[^`]|``)+)` (.+?),?$", re.MULTILINE)
_NOT_NULL = re.compile(r"((?:'(?:[^'\\]|''|\\.)*'|`(?:[^`]|``)*`|[^'`])*?) NOT NULL\b")


def alter_table(part: Part, changes: Sequence[str]) -> str:
    """One statement that changes a part's table, or leaves it as it is."""
    listed = ",\n  ".join(changes)
    return (
        f"SET STATEMENT sql_mode = 'STRICT_ALL_TABLES', lock_wait_timeout = {WAIT_SECONDS} FOR\n"
        f"ALTER TABLE {table_name(part, 'mariadb')}\n  {listed}"
    )


def definitions(connection: Connection, part: Part) -> dict[str, str]:
    """What stands behind the name of each column of a part's table, as MariaDB writes it."""
    asked = f"SET STATEMENT sql_mode = '' FOR SHOW CREATE TABLE {table_name(part, 'mariadb')}"
    shown = run_as_it_is(connection, asked).one()
    return {
        name.replace("``", "`"): definition for name, definition in _COLUMN.findall(str(shown[1]))
    }


def without_not_null(definition: str) -> str:
    """A column's definition, with NULL allowed."""
    found = _NOT_NULL.match(definition)
    return definition if found is None else f"{found[1]} NULL{definition[found.end() :]}"


def modify(name: str, definition: str) -> str:
    """The change that gives a column a definition."""
    return f"MODIFY COLUMN {quoted(name, 'mariadb')} {definition}"
