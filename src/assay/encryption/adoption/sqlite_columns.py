"""Columns of SQLite's tables that may be NULL from now on, and are as they were in all else.

SQLite has no statement for it, and a table that is rebuilt loses what SQLAlchemy is not told of it,
such as collations and check constraints. But it documents that NOT NULL may be taken out of the
table's definition where it stands, because no row is stored in another way by it:
https://www.sqlite.org/lang_altertable.html#otheralter. Nothing else of the definition is touched,
and SQLite itself must read the new one as the old one in all else.

Example:
    >>> without_not_null(part, ["email"], connection)              # doctest: +SKIP
    ["UPDATE sqlite_master SET sql = replace(sql, '(email TEXT NOT NULL', '(email TEXT') WHERE …"]
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing

from sqlalchemy import Connection

from assay.encryption.adoption.errors import AdoptionBlockedError
from assay.encryption.adoption.names import schema_prefix
from assay.encryption.adoption.parts import Part
from assay.encryption.adoption.sqlite_definitions import (
    Definition,
    Token,
    definitions,
    tokens,
    told,
)

BEGIN_EDITING = "PRAGMA writable_schema = 1"
END_EDITING = "PRAGMA writable_schema = RESET"
"""Reads the new definition; the cookie that tells other connections of it is changed by whatever
else the migration makes."""


def without_not_null(part: Part, columns: Sequence[str], connection: Connection) -> list[str]:
    """The statements that let columns be NULL; each must change one row of ``sqlite_master``.

    Args:
        part: whose table.
        columns: names of columns that are NOT NULL.
        connection: to the database.

    Raises:
        AdoptionBlockedError: the definition cannot be changed with certainty.
    """
    ((name, sql),) = told(part, connection, "table")
    place = f"{schema_prefix(part, 'sqlite')}sqlite_master"
    strict = {column.casefold() for column in columns}
    statements, changed = [], sql
    for definition in definitions(tokens(sql)):
        if definition.name.casefold() not in strict:
            continue
        old = sql[definition.begin : definition.tokens[-1].end]
        new = _loosened(sql, definition)
        if sql.count(old) != 1:
            raise _uncertain(part, definition.name)
        changed = changed.replace(old, new)
        statements.append(
            f"UPDATE {place} SET sql = replace(sql, {_string(old)}, {_string(new)}) "  # noqa: S608 - quoted
            f"WHERE type = 'table' AND name = {_string(name)} "
            f"AND length(sql) - length(replace(sql, {_string(old)}, '')) = {len(old)}"
        )
    expected = [
        (*each[:3], each[3] and str(each[1]).casefold() not in strict, *each[4:])
        for each in _read(sql, name)
    ]
    if not expected or _read(changed, name) != expected:
        raise _uncertain(part, ", ".join(columns))
    return statements


def _loosened(sql: str, definition: Definition) -> str:
    pieces, at = [], definition.begin
    for start, end in _not_nulls(definition.outside):
        pieces.append(sql[at:start].rstrip(" \t"))  # a line's end may close a comment
        at = end
    return "".join([*pieces, sql[at : definition.tokens[-1].end]])


def _not_nulls(found: Sequence[Token]) -> Iterator[tuple[int, int]]:
    """Where NOT NULL stands, with its name before it and ON CONFLICT behind it."""
    words = [each.word for each in found]
    for at in range(len(words)):
        if words[at : at + 2] != ["NOT", "NULL"]:
            continue
        named = at > 1 and words[at - 2] == "CONSTRAINT"
        last = at + 4 if words[at + 2 : at + 4] == ["ON", "CONFLICT"] else at + 1
        yield found[at - 2 if named else at].start, found[last].end


def _read(sql: str, name: str) -> list[tuple[object, ...]]:
    """The columns as SQLite reads them out of a definition; none when it does not."""
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            connection.execute(sql)
        except sqlite3.Error:
            return []
        found = connection.execute("SELECT * FROM pragma_table_xinfo(?)", (name,)).fetchall()
        return [(*row[:3], bool(row[3]), *row[4:]) for row in found]


def _string(value: str) -> str:
    doubled = value.replace("'", "''")
    return f"'{doubled}'"


def _uncertain(part: Part, columns: str) -> AdoptionBlockedError:
    return AdoptionBlockedError(
        f"expected a definition of {part.table.name} out of which NOT NULL of {columns} can be "
        "taken with certainty, found one that SQLite reads otherwise, or only with functions of "
        "the application; let the column be NULL by a migration of your own first"
    )
