"""What tables a database really has, and their rows as they are stored.

Example:
    >>> real_tables(engine)                                     # doctest: +SKIP
    ('audit', 'documents')
    >>> next(raw_rows(engine, "documents", ["id", "sealed"]))   # doctest: +SKIP
    ('6f0c…', b'…')
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Engine, TableClause, and_, column, func, inspect, select, table
from sqlalchemy.engine import Inspector

from assay.database.errors import UnknownTableError
from assay.database.failures import named_errors

_ROWS_AT_A_TIME = 500
_SYSTEM_SCHEMAS = {  # the inspector leaves PostgreSQL's pg_… out itself
    "information_schema",
    *("mysql", "performance_schema", "sys"),  # MariaDB's
}


def real_tables(engine: Engine) -> tuple[str, ...]:
    """Everything in the database that stores rows, in every schema but the system's own.

    Tables, partitioned tables, materialised views and foreign tables; a plain view stores
    nothing. Assay's own tables are among them.

    Returns:
        names, sorted; ``schema.table`` outside the default schema.

    Raises:
        DatabaseUnreachableError: the database does not answer.
    """
    with named_errors("list the tables of the database"):
        inspector = inspect(engine)
        found = set()
        for schema in _user_schemas(inspector):
            prefix = "" if schema == inspector.default_schema_name else f"{schema}."
            found |= {f"{prefix}{name}" for name in _stored(inspector, schema)}
        return tuple(sorted(found))


def count_rows(engine: Engine, name: str) -> int:
    """How many rows a table has.

    Args:
        engine: the database.
        name: as `real_tables` gives it.

    Raises:
        UnknownTableError: there is no such table.
        DatabaseUnreachableError: the database does not answer.
    """
    with named_errors("count the rows of a table"):
        schema, plain = _split(inspect(engine), name)
        with engine.connect() as connection:
            counted = select(func.count()).select_from(table(plain, schema=schema))
            return int(connection.execute(counted).scalar_one())


def raw_rows(engine: Engine, name: str, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """The rows of a table as the driver gives them, in primary key order, streamed.

    No model and no type decoration stands between: what comes is what is stored.

    Args:
        engine: the database.
        name: as `real_tables` gives it.
        columns: at least one, in the order in which they are wanted.

    Raises:
        UnknownTableError: there is no such table or column.
        DatabaseUnreachableError: the database does not answer.
    """
    with named_errors("read the columns of a table"):
        source, order = _source(engine, name, columns)
    statement = select(*(source.c[each] for each in columns))
    return _stream(engine, statement.order_by(*(source.c[each] for each in order)))


def raw_joined_rows(
    engine: Engine, name: str, columns: Sequence[str], other: str, others: Sequence[str]
) -> Iterator[tuple[Any, ...]]:
    """As `raw_rows`, with columns of another table's rows of the same primary key.

    Args:
        engine: the database.
        name: as `real_tables` gives it.
        columns: at least one, in the order in which they are wanted.
        other: a table whose primary key has as many columns; where it has no such row, there is
            None for each of its columns.
        others: its columns, at least one; they come last.

    Raises:
        UnknownTableError: there is no such table or column.
        DatabaseUnreachableError: the database does not answer.
    """
    with named_errors("read the columns of a table"):
        one, key = _source(engine, name, columns)
        two, other_key = _source(engine, other, others)
    pairs = [one.c[a] == two.c[b] for a, b in zip(key, other_key, strict=True)]
    wanted = [*(one.c[each] for each in columns), *(two.c[each] for each in others)]
    statement = select(*wanted).select_from(one.outerjoin(two, and_(*pairs)))
    return _stream(engine, statement.order_by(*(one.c[each] for each in key)))


def _source(engine: Engine, name: str, columns: Sequence[str]) -> tuple[TableClause, Sequence[str]]:
    """A table as it is in the database, and its primary key."""
    inspector = inspect(engine)
    schema, plain = _split(inspector, name)
    there = [found["name"] for found in inspector.get_columns(plain, schema)]
    order = inspector.get_pk_constraint(plain, schema)["constrained_columns"]
    missing = [wanted for wanted in columns if wanted not in there]
    if missing or not columns:
        raise UnknownTableError(
            f"expected columns of the table {name}, found none called {', '.join(missing)}; it "
            f"has {', '.join(there)}"
        )
    return table(plain, *(column(each) for each in there), schema=schema), order


def _stream(engine: Engine, statement: Any) -> Iterator[tuple[Any, ...]]:
    with named_errors("read the rows of a table"), engine.connect() as connection:
        options = {"yield_per": _ROWS_AT_A_TIME}
        for row in connection.execute(statement, execution_options=options):
            yield tuple(row)


def _user_schemas(inspector: Inspector) -> list[str | None]:
    schemas: list[str | None] = [
        schema for schema in inspector.get_schema_names() if schema not in _SYSTEM_SCHEMAS
    ]
    return schemas or [None]


def _stored(inspector: Inspector, schema: str | None) -> set[str]:
    found = {*inspector.get_table_names(schema)}
    if inspector.dialect.name == "postgresql":
        found |= {*inspector.get_materialized_view_names(schema)}
        foreign: Any = inspector  # PostgreSQL's inspector has more than the general one
        found |= {*foreign.get_foreign_table_names(schema)}
    return found


def _split(inspector: Inspector, name: str) -> tuple[str | None, str]:
    if inspector.has_table(name):
        return None, name
    schema, dot, plain = name.partition(".")
    if dot and inspector.has_table(plain, schema):
        return schema, plain
    raise UnknownTableError(f"expected a table {name} in the database, found none")
