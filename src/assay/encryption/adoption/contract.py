"""Sixth step: the columns in the clear go, and what is left of them in the storage.

Dropping a column removes no byte: its values stay in the pages of the table, in statistics, in
the write-ahead log. So after the migration the table and the statistics are rewritten and the log
is turned over (`assay.encryption.adoption.purge`). Whether that was enough is not believed but
looked for: some values are kept in memory, never on a disk; the raw files are searched for them
before, which shows that the search can see them, and afterwards.

Example:
    >>> contraction(part, connection)                              # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, String, column, func, inspect, select, table

from assay.database.failures import named_errors
from assay.encryption.adoption.alembic import Steps
from assay.encryption.adoption.expand import slug
from assay.encryption.adoption.mariadb_columns import WAIT_SECONDS, alter_table
from assay.encryption.adoption.names import dialect_called, quoted, schema_prefix, table_name
from assay.encryption.adoption.parts import Part
from assay.encryption.adoption.sqlite_tables import indexes_over
from assay.encryption.adoption.triggers import drop_trigger

_SHORTEST = 12
"""Characters; a shorter value may stand in a file by coincidence."""
_LONGEST = 48
"""Characters of a value that are looked for; a longer one may cross the border of a page."""
_SAMPLED = 20
"""Values from either end of the table, for each field."""


@dataclass(frozen=True)
class Searched:
    """What a search of the raw files found. It names no value.

    Attributes:
        found: the positions of the values that were found.
        places: files with at least one of them.
        files: how many files were searched from end to end.
        bytes_read: how many bytes of them.
        gaps: files that could not be searched, and why.
    """

    found: frozenset[int]
    places: tuple[str, ...]
    files: int
    bytes_read: int
    gaps: tuple[str, ...]


Search = Callable[[Engine, Sequence[str]], Searched]
"""Searches every file of a database for values, in all encodings that are known."""


@dataclass(frozen=True)
class ContractReport:
    """What the last step did to a part.

    Attributes:
        part: of which part of which table.
        migration: the file of the migration.
        applied: whether it was applied, and the storage cleaned.
        cleaned: what was rewritten, one sentence each.
        remains: where copies may be that nobody could clean from here, one sentence each.
        sampled: how many values were looked for.
        before: what a search found before, or None when nothing could be looked for.
        after: what a search for those that were found before found afterwards.
    """

    part: str
    migration: str
    applied: bool
    cleaned: tuple[str, ...] = ()
    remains: tuple[str, ...] = ()
    sampled: int = 0
    before: Searched | None = None
    after: Searched | None = None

    @property
    def still_there(self) -> bool:
        """Whether plaintext was found in the raw files afterwards."""
        return self.after is not None and bool(self.after.found)

    @property
    def shown_gone(self) -> bool:
        """Whether values that a search had seen before were seen nowhere afterwards."""
        return (
            self.before is not None
            and bool(self.before.found)
            and self.after is not None
            and not self.after.found
            and not self.after.gaps
        )


def contraction(part: Part, connection: Connection) -> Steps:
    """The migration that drops a part's columns in the clear."""
    dialect = connection.dialect.name
    makers = {"postgresql": _on_postgresql, "mariadb": _on_mariadb, "sqlite": _on_sqlite}
    dialect_called(dialect)
    upgrade, rebuild = makers[dialect](part, connection)
    return Steps(
        slug=slug(part, "assay_contract"),
        title=f"Drop the columns of {part.name} that stand in the clear.",
        dialect=dialect,
        upgrade=upgrade,
        downgrade=(),
        rebuild=rebuild,
        irreversible="the plaintext is gone; that is what this migration is for",
    )


_Rebuild = dict[tuple[str | None, str], Sequence[str]]


def _on_postgresql(part: Part, _connection: Connection) -> tuple[list[str], _Rebuild]:
    dialect, name = "postgresql", table_name(part, "postgresql")
    envelope = quoted(str(part.envelope.name), dialect)
    return [
        "SET LOCAL lock_timeout = '5s'",
        *drop_trigger(part, dialect),
        f"ALTER TABLE {name} ALTER COLUMN {envelope} SET NOT NULL",
        *(
            f"ALTER TABLE {name} DROP COLUMN {quoted(clear, dialect)}"
            for clear in part.clear_columns
        ),
    ], {}


def _on_mariadb(part: Part, connection: Connection) -> tuple[list[str], _Rebuild]:
    """One lock around all of it: without the trigger, and with the columns, nobody writes."""
    dialect, name = "mariadb", table_name(part, "mariadb")
    envelope = part.envelope
    changes = [
        *(f"DROP INDEX IF EXISTS {each}" for each in _indexes_over(part, connection)),
        *(f"DROP COLUMN IF EXISTS {quoted(clear, dialect)}" for clear in part.clear_columns),
        f"MODIFY COLUMN {quoted(str(envelope.name), dialect)} "
        f"{envelope.type.compile(dialect_called(dialect))} NOT NULL",
    ]
    return [
        f"LOCK TABLES {name} WRITE WAIT {WAIT_SECONDS}",
        *drop_trigger(part, dialect),
        alter_table(part, changes),
        "UNLOCK TABLES",
    ], {}


def _on_sqlite(part: Part, connection: Connection) -> tuple[list[str], _Rebuild]:
    calls = [f"batch.drop_column({clear!r})" for clear in part.clear_columns]
    calls.append(f"batch.alter_column({str(part.envelope.name)!r}, nullable=False)")
    schema = schema_prefix(part, "sqlite")
    return [
        *drop_trigger(part, "sqlite"),
        # SQLite drops no column that an index names.
        *(f"DROP INDEX {schema}{each}" for each in _indexes_over(part, connection)),
    ], {(part.table.schema, part.table.name): calls}


def _indexes_over(part: Part, connection: Connection) -> list[str]:
    """The quoted names of the indexes that name a column in the clear."""
    if connection.dialect.name == "sqlite":
        return [quoted(name, "sqlite") for name, _, _ in indexes_over(part, connection)]
    found = inspect(connection).get_indexes(part.table.name, part.table.schema)
    clear, dialect = set(part.clear_columns), connection.dialect.name
    return [quoted(str(i["name"]), dialect) for i in found if clear & set(i["column_names"])]


def clear_columns_there(part: Part, connection: Connection) -> list[str]:
    """The columns in the clear that the table still has."""
    found = inspect(connection).get_columns(part.table.name, part.table.schema)
    there = {str(each["name"]) for each in found}
    return [name for name in part.clear_columns if name in there]


def sample(part: Part, engine: Engine) -> list[str]:
    """Some values of the columns in the clear, to be looked for. They are never written anywhere.

    Returns:
        pieces of 12 to 48 characters, from the first and the last rows; only of fields that hold
        text.
    """
    found: dict[str, None] = {}
    for field in part.group.fields:
        name = part.retired.get(field.name)
        if field.kind is not str or name is None:
            continue
        clear: Any = column(name, String)
        source = table(part.table.name, clear, *_keys(part), schema=part.table.schema)
        long = select(func.substr(source.c[name], 1, _LONGEST)).where(
            func.length(source.c[name]) >= _SHORTEST
        )
        keys = [source.c[str(key.name)] for key in part.keys]
        with named_errors(f"sample {part.name}"), engine.connect() as connection:
            for order in (keys, [key.desc() for key in keys]):
                values = connection.execute(long.order_by(*order).limit(_SAMPLED)).scalars()
                found.update(dict.fromkeys(values))
    return list(found)


def _keys(part: Part) -> list[Any]:
    return [column(str(key.name)) for key in part.keys]
