"""First step: the sealed columns, and the trigger that keeps them true.

The migration adds nullable columns, which takes no time; lets the columns in the clear be NULL,
so that code which only seals can insert; and makes the trigger. On PostgreSQL all of this is one
transaction that waits at most five seconds for the table, and the indexes are built afterwards
without locking it. SQLite rebuilds the table when a column in the clear is NOT NULL.

Example:
    >>> expansion([part], engine.dialect.name, nullable)             # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, inspect
from sqlalchemy.dialects import registry
from sqlalchemy.schema import CreateIndex

from assay.encryption.adoption.alembic import Steps
from assay.encryption.adoption.errors import AdoptionBlockedError, NotExpandedError
from assay.encryption.adoption.parts import Part
from assay.encryption.adoption.triggers import (
    create_trigger,
    drop_trigger,
    has_trigger,
    quoted,
    table_name,
)

_DIALECTS: Mapping[str, Any] = {name: registry.load(name)() for name in ("postgresql", "sqlite")}


def slug(part: Part, step: str) -> str:
    """How the migration of a step is called."""
    plain = "".join(char if char.isalnum() else "_" for char in part.name)
    return f"{step}_{plain.lower()}"


def expansion(part: Part, connection: Connection) -> Steps:
    """The migration that prepares a part.

    Raises:
        AdoptionBlockedError: the table is not there, lacks a column that the model names, or has
            the sealed columns already; or the database has no triggers that are known here.
    """
    dialect = connection.dialect.name
    columns = columns_of(connection, part)
    _refuse_unfit(part, columns)
    table = table_name(part, dialect)
    upgrade = ["SET LOCAL lock_timeout = '5s'"] if dialect == "postgresql" else []
    upgrade += [
        f"ALTER TABLE {table} ADD COLUMN {quoted(str(column.name), dialect)} "
        f"{column.type.compile(_DIALECTS[dialect])}"
        for column in part.sealed_columns
    ]
    strict = [name for name in part.clear_columns if not columns[name]["nullable"]]
    trigger = create_trigger(part, dialect)
    rebuild: dict[tuple[str | None, str], Sequence[str]] = {}
    outside: list[str] = []
    if dialect == "postgresql":
        upgrade += [
            f"ALTER TABLE {table} ALTER COLUMN {quoted(name, dialect)} DROP NOT NULL"
            for name in strict
        ]
        upgrade += trigger
        outside += _make_indexes(part, dialect)
    elif strict:
        # The rebuilt table has lost its triggers, so ours is made afterwards.
        calls = [f"batch.alter_column({name!r}, nullable=True)" for name in strict]
        rebuild[part.table.schema, part.table.name] = calls
        outside += [*_make_indexes(part, dialect), *trigger]
    else:
        upgrade += [*_make_indexes(part, dialect), *trigger]
    return Steps(
        slug=slug(part, "assay_expand"),
        title=f"Prepare {part.name} for sealing: columns, indexes, trigger.",
        dialect=dialect,
        upgrade=upgrade,
        downgrade=_way_back(part, dialect, strict),
        outside=outside,
        rebuild=rebuild,
    )


def refuse_unexpanded(connection: Connection, part: Part) -> None:
    """Refuse to seal rows whose envelopes nothing would keep true.

    Raises:
        NotExpandedError: a column or the trigger is missing.
        AdoptionBlockedError: the table itself is.
    """
    columns = columns_of(connection, part)
    missing = [str(c.name) for c in part.sealed_columns if str(c.name) not in columns]
    if missing or not has_trigger(connection, part):
        raise NotExpandedError(
            f"expected the sealed columns of {part.name} and the trigger that keeps them true, "
            f"found no {'column ' + ', '.join(missing) if missing else 'trigger'}; run `assay seal "
            "expand` and apply its migration"
        )


def columns_of(connection: Connection, part: Part) -> dict[str, Any]:
    """The columns that a part's table really has, by name, as SQLAlchemy's inspector tells them.

    Raises:
        AdoptionBlockedError: there is no such table.
    """
    inspector = inspect(connection)
    if not inspector.has_table(part.table.name, part.table.schema):
        raise AdoptionBlockedError(
            f"expected a table {part.table.fullname} in the database, found none"
        )
    found = inspector.get_columns(part.table.name, part.table.schema)
    return {str(column["name"]): column for column in found}


def _refuse_unfit(part: Part, columns: Mapping[str, Any]) -> None:
    needed = [*part.clear_columns, str(part.owner.name), *(str(key.name) for key in part.keys)]
    missing = [name for name in needed if name not in columns]
    if missing:
        raise AdoptionBlockedError(
            f"expected the columns of {part.name} that the model names, found no "
            f"{', '.join(missing)}; a row needs its primary key and its owner before it is sealed"
        )
    bound = {str(part.owner.name), *(str(key.name) for key in part.keys)}
    keyed = sorted(bound & set(part.clear_columns))
    if keyed:
        raise AdoptionBlockedError(
            f"expected plaintext that rows of {part.name} are not addressed by, found "
            f"{', '.join(keyed)} in the primary key or as the owner; give the table another key"
        )
    there = [str(c.name) for c in part.sealed_columns if str(c.name) in columns]
    if there:
        raise AdoptionBlockedError(
            f"expected {part.name} without sealed columns, found {', '.join(there)}: it is "
            "prepared already; go on with `assay seal backfill`, or take the migration back and "
            "apply it again when its trigger is missing"
        )


def _make_indexes(part: Part, dialect: str) -> list[str]:
    made = [
        " ".join(str(CreateIndex(index).compile(dialect=_DIALECTS[dialect])).split())
        for index in part.indexes_to_make(dialect)
    ]
    made += [
        f"CREATE UNIQUE INDEX {quoted(name, dialect)} ON {table_name(part, dialect)} "
        f"({', '.join(quoted(column, dialect) for column in columns)})"
        for name, columns in part.unique_to_make.items()
    ]
    if dialect != "postgresql":
        return made
    return [
        statement.replace("INDEX ", "INDEX CONCURRENTLY IF NOT EXISTS ", 1) for statement in made
    ]


def _way_back(part: Part, dialect: str, strict: Sequence[str]) -> list[str]:
    table = table_name(part, dialect)
    schema = f"{quoted(part.table.schema, dialect)}." if part.table.schema else ""
    back = drop_trigger(part, dialect)
    back += [
        f"DROP INDEX {schema}{quoted(name, dialect)}"
        for name in (*(str(i.name) for i in part.indexes_to_make(dialect)), *part.unique_to_make)
    ]
    back += [
        f"ALTER TABLE {table} DROP COLUMN {quoted(str(column.name), dialect)}"
        for column in reversed(part.sealed_columns)
    ]
    if dialect == "postgresql":
        back += [
            f"ALTER TABLE {table} ALTER COLUMN {quoted(name, dialect)} SET NOT NULL"
            for name in strict
        ]
    return back
