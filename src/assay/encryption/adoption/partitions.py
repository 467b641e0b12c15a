"""Blind indexes of partitioned tables on PostgreSQL, which builds none of them concurrently.

So one is built concurrently on each partition that holds rows; the index of the whole table, made
last, takes these over and builds nothing but those of partitions that are newer than the
migration.

Sources: https://www.postgresql.org/docs/current/ddl-partitioning.html

Example:
    >>> partitions(connection, part)                               # doctest: +SKIP
    [('public', 'people_2026'), ('public', 'people_2027')]
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.schema import CreateIndex

from assay.encryption.adoption.names import dialect_called, quoted, schema_prefix, table_name
from assay.encryption.adoption.parts import Part

_DIALECT = "postgresql"

_LEAVES = """
SELECT n.nspname, c.relname FROM pg_catalog.pg_partition_tree(CAST(:table AS regclass)) t
JOIN pg_catalog.pg_class c ON c.oid = t.relid JOIN pg_catalog.pg_namespace n
ON n.oid = c.relnamespace WHERE t.isleaf AND c.relkind = 'r' ORDER BY 1, 2"""

_PARTITIONED_BY = """
SELECT coalesce(a.attname, 'an expression') FROM pg_catalog.pg_partitioned_table p
CROSS JOIN unnest(p.partattrs) AS at (number) LEFT JOIN pg_catalog.pg_attribute a
ON a.attrelid = p.partrelid AND a.attnum = at.number
WHERE p.partrelid IN (SELECT relid FROM pg_catalog.pg_partition_tree(CAST(:table AS regclass)))"""

_NAME_BYTES = 54
"""Of an index's name, before the nine that tell of which partition it is."""

Leaf = tuple[str, str]
"""The schema and the name of a partition that holds rows."""


def partitions(connection: Connection, part: Part) -> list[Leaf] | None:
    """The partitions of a part's table that hold rows; None when it has none of its own."""
    given = {"table": table_name(part, _DIALECT)}
    asked = "SELECT relkind = 'p' FROM pg_catalog.pg_class WHERE oid = CAST(:table AS regclass)"
    if not connection.execute(text(asked), given).scalar():
        return None
    return [(str(schema), str(name)) for schema, name in connection.execute(text(_LEAVES), given)]


def columns_missing_in_unique(connection: Connection, part: Part) -> list[str]:
    """The columns that a table is partitioned by and that a unique blind index does not have."""
    unique = [set(columns) for columns in part.unique_to_make.values()]
    unique += [
        {str(column.name) for column in index.columns}
        for index in part.indexes_to_make(_DIALECT)
        if index.unique
    ]
    given = {"table": table_name(part, _DIALECT)}
    by = [str(name) for name in connection.execute(text(_PARTITIONED_BY), given).scalars()]
    return sorted({name for name in by for columns in unique if name not in columns})


def make_partitioned_indexes(part: Part, leaves: Sequence[Leaf]) -> list[str]:
    """The statements that make the blind indexes of a partitioned table.

    Each is for itself, outside of a transaction, and all can be run again wherever they stopped.
    """
    schema, statements = schema_prefix(part, _DIALECT), []
    for name, (head, tail) in _indexes(part).items():
        statements += _briefly(f"DROP INDEX IF EXISTS {schema}{quoted(name, _DIALECT)}")
        for leaf in leaves:
            prefix, own = f"{quoted(leaf[0], _DIALECT)}.", quoted(_name(name, leaf), _DIALECT)
            statements += [
                f"DROP INDEX CONCURRENTLY IF EXISTS {prefix}{own}",
                f"{head}CONCURRENTLY {own} ON {prefix}{quoted(leaf[1], _DIALECT)} {tail}",
            ]
        whole = f"{quoted(name, _DIALECT)} ON {table_name(part, _DIALECT)}"
        statements += _briefly(f"{head}{whole} {tail}")
    return statements


def _briefly(statement: str) -> list[str]:
    return ["SET lock_timeout = '5s'", statement, "RESET lock_timeout"]


def _name(name: str, leaf: Leaf) -> str:
    cut = name.encode()[:_NAME_BYTES].decode(errors="ignore")
    return f"{cut}_{sha256(repr((name, leaf)).encode()).hexdigest()[:8]}"


def _indexes(part: Part) -> dict[str, tuple[str, str]]:
    """By their names, what stands before the name in the statement, and behind the table."""
    dialect: Any = dialect_called(_DIALECT)
    table = dialect.identifier_preparer.format_table(part.table)
    found = {}
    for index in part.indexes_to_make(_DIALECT):
        made = str(CreateIndex(index).compile(dialect=dialect)).strip()
        name = dialect.identifier_preparer.format_index(index)
        head, _, tail = made.partition(f"{name} ON {table} ")
        found[str(index.name)] = head, tail
    for unique, columns in part.unique_to_make.items():
        listed = ", ".join(quoted(column, _DIALECT) for column in columns)
        found[unique] = "CREATE UNIQUE INDEX ", f"({listed})"
    return found
