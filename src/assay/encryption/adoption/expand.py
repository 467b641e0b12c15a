"""First step: the sealed columns, and the trigger that keeps them true.

The migration adds nullable columns, which takes no time; lets the columns in the clear be NULL,
so that code which only seals can insert; and makes the trigger. On PostgreSQL all of this is one
transaction that waits at most five seconds for the table, and the indexes are built afterwards
without locking it. On MariaDB each statement is a transaction, and can be run again. On SQLite all
of it is one, and NOT NULL is taken out of the table's definition.

Example:
    >>> expansion([part], engine.dialect.name, nullable)             # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, inspect
from sqlalchemy.schema import CreateIndex

from assay.encryption.adoption.alembic import Steps
from assay.encryption.adoption.errors import AdoptionBlockedError, NotExpandedError
from assay.encryption.adoption.mariadb_columns import (
    alter_table,
    definitions,
    modify,
    without_not_null,
)
from assay.encryption.adoption.names import (
    dialect_called,
    file_word,
    quoted,
    schema_prefix,
    table_name,
)
from assay.encryption.adoption.obstacles import refuse_obstacles
from assay.encryption.adoption.partitions import make_partitioned_indexes, partitions
from assay.encryption.adoption.parts import Part
from assay.encryption.adoption.sqlite_columns import BEGIN_EDITING, END_EDITING
from assay.encryption.adoption.sqlite_columns import without_not_null as without_not_null_on_sqlite
from assay.encryption.adoption.triggers import create_trigger, drop_trigger, has_trigger

_EXPAND = "assay_expand"


def slug(part: Part, step: str) -> str:
    """How the migration of a step is called."""
    return f"{step}_{file_word(part.name)}"


def expansion(part: Part, connection: Connection) -> Steps:
    """The migration that prepares a part.

    Raises:
        AdoptionBlockedError: the table is not there, lacks a column that the model names, or has
            the sealed columns already; or the database has no triggers that are known here.
    """
    dialect = connection.dialect.name
    dialect_called(dialect)
    columns = columns_of(connection, part)
    _refuse_unfit(part, columns)
    refuse_obstacles(connection, part)
    strict = [name for name in part.clear_columns if not columns[name]["nullable"]]
    makers = {"postgresql": _on_postgresql, "mariadb": _on_mariadb, "sqlite": _on_sqlite}
    return makers[dialect](part, strict, connection)


def _on_postgresql(part: Part, strict: Sequence[str], connection: Connection) -> Steps:
    dialect, table = "postgresql", table_name(part, "postgresql")
    leaves = partitions(connection, part)
    names = [quoted(name, dialect) for name in strict]
    return Steps(
        slug=slug(part, _EXPAND),
        title=_title(part),
        dialect=dialect,
        upgrade=[
            "SET LOCAL lock_timeout = '5s'",
            *(f"ALTER TABLE {table} {each}" for each in _additions(part, dialect)),
            *(f"ALTER TABLE {table} ALTER COLUMN {name} DROP NOT NULL" for name in names),
            *create_trigger(part, dialect),
        ],
        outside=_make_indexes(part, dialect)
        if leaves is None
        else make_partitioned_indexes(part, leaves),
        downgrade=[
            *drop_trigger(part, dialect),
            *(f"DROP INDEX IF EXISTS {each}" for each in _index_names(part, dialect)),
            *(f"ALTER TABLE {table} {each}" for each in _removals(part, dialect)),
            *(f"ALTER TABLE {table} ALTER COLUMN {name} SET NOT NULL" for name in names),
        ],
    )


def _on_mariadb(part: Part, strict: Sequence[str], connection: Connection) -> Steps:
    dialect, table = "mariadb", table_name(part, "mariadb")
    there = definitions(connection, part)
    loosened = [modify(name, without_not_null(there[name])) for name in strict]
    tightened = [modify(name, there[name]) for name in strict]
    return Steps(
        slug=slug(part, _EXPAND),
        title=_title(part),
        dialect=dialect,
        upgrade=[
            alter_table(part, [*_additions(part, dialect), *loosened]),
            *_make_indexes(part, dialect),
            *create_trigger(part, dialect),
        ],
        downgrade=[
            *drop_trigger(part, dialect),
            *(f"DROP INDEX IF EXISTS {each} ON {table}" for each in _index_names(part, dialect)),
            alter_table(part, [*_removals(part, dialect), *tightened]),
        ],
    )


def _on_sqlite(part: Part, strict: Sequence[str], connection: Connection) -> Steps:
    dialect, table = "sqlite", table_name(part, "sqlite")
    loosened = without_not_null_on_sqlite(part, strict, connection) if strict else []
    return Steps(
        slug=slug(part, _EXPAND),
        title=_title(part),
        dialect=dialect,
        upgrade=[
            *(f"ALTER TABLE {table} {each}" for each in _additions(part, dialect)),
            *([BEGIN_EDITING, *loosened, END_EDITING] if loosened else ()),
            *_make_indexes(part, dialect),
            *create_trigger(part, dialect),
        ],
        of_one_row=loosened,
        downgrade=[
            *drop_trigger(part, dialect),
            *(f"DROP INDEX {each}" for each in _index_names(part, dialect)),
            *(f"ALTER TABLE {table} {each}" for each in _removals(part, dialect)),
        ],
    )


def refuse_unexpanded(connection: Connection, part: Part) -> None:
    """Refuse to seal rows whose envelopes nothing would keep true.

    Raises:
        NotExpandedError: a column or the trigger is missing.
        AdoptionBlockedError: the table itself is.
    """
    columns = columns_of(connection, part)
    refuse_obstacles(connection, part)
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


def _title(part: Part) -> str:
    return f"Prepare {part.name} for sealing: columns, indexes, trigger."


def _additions(part: Part, dialect: str) -> list[str]:
    """Where a migration may have been stopped half-way, it can be applied again."""
    again = "" if dialect == "sqlite" else "IF NOT EXISTS "
    return [
        f"ADD COLUMN {again}{quoted(str(column.name), dialect)} "
        f"{column.type.compile(dialect_called(dialect))}"
        for column in part.sealed_columns
    ]


def _removals(part: Part, dialect: str) -> list[str]:
    again = "" if dialect == "sqlite" else "IF EXISTS "
    return [
        f"DROP COLUMN {again}{quoted(str(column.name), dialect)}"
        for column in reversed(part.sealed_columns)
    ]


def _index_names(part: Part, dialect: str) -> list[str]:
    schema = "" if dialect == "mariadb" else schema_prefix(part, dialect)
    names = (*(str(i.name) for i in part.indexes_to_make(dialect)), *part.unique_to_make)
    return [schema + quoted(name, dialect) for name in names]


def _make_indexes(part: Part, dialect: str) -> list[str]:
    """The statements that make the indexes.

    PostgreSQL keeps an index that was being built when its builder was killed, and marks it as not
    valid: it is made anew.
    """
    made = [
        str(CreateIndex(index).compile(dialect=dialect_called(dialect))).strip()
        for index in part.indexes_to_make(dialect)
    ]
    made += [
        f"CREATE UNIQUE INDEX {quoted(name, dialect)} ON {table_name(part, dialect)} "
        f"({', '.join(quoted(column, dialect) for column in columns)})"
        for name, columns in part.unique_to_make.items()
    ]
    if dialect == "sqlite":
        return made
    if dialect == "mariadb":
        return [each.replace("INDEX ", "INDEX IF NOT EXISTS ", 1) for each in made]
    names = _index_names(part, dialect)
    return [
        statement
        for name, each in zip(names, made, strict=True)
        for statement in (
            f"DROP INDEX CONCURRENTLY IF EXISTS {name}",
            each.replace("INDEX ", "INDEX CONCURRENTLY ", 1),
        )
    ]
