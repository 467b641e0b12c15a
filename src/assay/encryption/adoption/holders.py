"""What in a database holds the values of columns in the clear, or depends on them.

Example:
    >>> holders(part, connection)                                  # doctest: +SKIP
    [Holder('index', 'by_email', blocks=''), …]
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Inspector, bindparam, inspect, text

from assay.encryption.adoption.names import quoted, table_name, trigger_name
from assay.encryption.adoption.parts import Part
from assay.encryption.adoption.sqlite_tables import checks_over, indexes_over

_VIEWS = """
SELECT DISTINCT r.oid::regclass::text FROM pg_catalog.pg_depend d
JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid JOIN pg_catalog.pg_class r ON r.oid = w.ev_class
JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE d.refobjid = CAST(:table AS regclass) AND a.attname IN :columns ORDER BY 1"""

_OTHERS = (
    (
        "trigger",
        "SELECT tgname FROM pg_catalog.pg_trigger WHERE tgrelid = CAST(:table AS regclass) "
        "AND NOT tgisinternal AND tgname != :ours ORDER BY 1",
    ),
    (
        "publication",
        "SELECT pubname FROM pg_catalog.pg_publication p WHERE puballtables OR EXISTS (SELECT 1 "
        "FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = p.oid "
        "AND r.prrelid = CAST(:table AS regclass)) ORDER BY 1",
    ),
    (
        "extended statistics",
        "SELECT stxname FROM pg_catalog.pg_statistic_ext "
        "WHERE stxrelid = CAST(:table AS regclass) ORDER BY 1",
    ),
    ("replication slot", "SELECT slot_name FROM pg_catalog.pg_replication_slots ORDER BY 1"),
)
"""Kinds of holders on PostgreSQL, and the statement that names them."""

_DEPENDENTS = """
SELECT DISTINCT pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid)
FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_attribute a
ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE d.refobjid = CAST(:table AS regclass) AND a.attname IN :columns AND d.deptype = 'n'
AND d.classid NOT IN ('pg_rewrite'::regclass, 'pg_constraint'::regclass) ORDER BY 1"""
"""Generated columns, policies, triggers of columns, functions: DROP COLUMN refuses to take them."""

_INDEXES = """
WITH tables AS (SELECT CAST(:table AS regclass)::oid AS oid, '' AS place
UNION SELECT relid, ' on ' || relid::text
FROM pg_catalog.pg_partition_tree(CAST(:table AS regclass)) WHERE relid != CAST(:table AS regclass))
SELECT 'index' AS kind, c.relname || t.place AS name, i.indisunique AS is_unique,
pg_catalog.array_agg(a.attname::text) AS columns
FROM tables t JOIN pg_catalog.pg_index i ON i.indrelid = t.oid
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid
JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE d.refobjid = i.indrelid AND a.attname IN :columns
AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_inherits h WHERE h.inhrelid = c.oid) GROUP BY 2, 3
UNION ALL
SELECT CASE k.contype WHEN 'c' THEN 'check constraint' WHEN 'u' THEN 'unique constraint'
WHEN 'x' THEN 'exclusion constraint' ELSE 'primary key' END, k.conname || t.place,
k.contype != 'c', pg_catalog.array_agg(a.attname::text)
FROM tables t JOIN pg_catalog.pg_constraint k ON k.conrelid = t.oid
JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_constraint'::regclass AND d.objid = k.oid
JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE d.refobjid = k.conrelid AND a.attname IN :columns
AND k.contype IN ('c', 'u', 'x', 'p') AND k.coninhcount = 0 GROUP BY 1, 2, 3 ORDER BY 1, 2"""
"""What goes without a word when a column goes, in whichever way it names it: as a key, beside the
keys (INCLUDE), in an expression or in a condition, and also what a single partition has of its own.
An index of a constraint depends on that."""

_ON_MARIADB = (
    (
        "trigger",
        "SELECT trigger_name FROM information_schema.triggers WHERE event_object_table = :table "
        "AND event_object_schema = coalesce(:schema, database()) AND trigger_name != :ours "
        "ORDER BY 1",
    ),
    (
        "full-text index",
        "SELECT DISTINCT index_name FROM information_schema.statistics WHERE table_name = :table "
        "AND table_schema = coalesce(:schema, database()) AND index_type = 'FULLTEXT' "
        "AND column_name IN :columns ORDER BY 1",
    ),
    (
        "statistics in mysql.column_stats of",
        "SELECT DISTINCT column_name FROM mysql.column_stats WHERE table_name = :table "
        "AND db_name = coalesce(:schema, database()) AND column_name IN :columns ORDER BY 1",
    ),
    ("binary log", "SELECT @@log_bin_basename FROM (SELECT 1) one WHERE @@log_bin"),
    ("general log", "SELECT @@general_log_file FROM (SELECT 1) one WHERE @@general_log"),
    ("slow query log", "SELECT @@slow_query_log_file FROM (SELECT 1) one WHERE @@slow_query_log"),
)
"""Kinds of holders on MariaDB, and the statement that names them."""

_ALL_OF_MARIADB = """
SELECT 'view', table_name, view_definition FROM information_schema.views
WHERE table_schema = coalesce(:schema, database())
UNION ALL
SELECT 'check constraint', constraint_name, check_clause FROM information_schema.check_constraints
WHERE table_name = :table AND constraint_schema = coalesce(:schema, database())
AND check_clause != concat('json_valid(`', constraint_name, '`)')
UNION ALL
SELECT 'generated column', column_name, generation_expression FROM information_schema.columns
WHERE table_name = :table AND table_schema = coalesce(:schema, database())
AND generation_expression IS NOT NULL
ORDER BY 1, 2"""
"""What may name a column: its kind, its name, its text with each name in backticks. The check that
MariaDB makes of the type JSON is left out: what a model seals as JSON is nothing else."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Something that holds or reads a column in the clear.

    Attributes:
        kind: "index", "unique constraint", "foreign key", "view", "trigger", ….
        name: its name.
        blocks: what it stands in the way of, and the way out; empty when it does not.
    """

    kind: str
    name: str
    blocks: str = ""


def holders(part: Part, connection: Connection) -> list[Holder]:
    """Everything that holds or reads a part's columns in the clear, as far as it can be seen."""
    found = [*_foreign_keys(part, inspect(connection))]
    others = {"postgresql": _of_postgresql, "mariadb": _of_mariadb, "sqlite": _of_sqlite}
    found += others[connection.dialect.name](part, connection)
    return found


def _indexes(part: Part, inspector: Inspector) -> Iterator[Holder]:
    place, clear = (part.table.name, part.table.schema), set(part.clear_columns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of SQLite's indexes over expressions
        unique = inspector.get_unique_constraints(*place)
        indexes = inspector.get_indexes(*place)
    of_constraints = {each["name"] for each in unique}
    for index in indexes:
        named = clear & set(index["column_names"])
        if named and index["name"] not in of_constraints:
            yield _index(part, "index", str(index["name"]), named, unique=bool(index["unique"]))
    for constraint in unique:
        named = clear & set(constraint["column_names"])
        if named:
            name = str(constraint["name"] or f"on {', '.join(constraint['column_names'])}")
            yield _index(part, "unique constraint", name, named, unique=True)


def _index(part: Part, kind: str, name: str, named: set[Any], *, unique: bool) -> Holder:
    if kind == "check constraint":
        return Holder(kind, name, _LOSES_RULE)
    kind = "unique index" if unique and kind == "index" else kind
    lost = unique and not _is_kept_unique(part, named)
    return Holder(kind, name, _LOSES_UNIQUENESS if lost else "")


def _foreign_keys(part: Part, inspector: Inspector) -> Iterator[Holder]:
    place, clear = (part.table.name, part.table.schema), set(part.clear_columns)
    for key in inspector.get_foreign_keys(*place):
        if clear & set(key["constrained_columns"]):
            yield Holder("foreign key", str(key["name"]), _FOREIGN_KEY)
    for other in inspector.get_table_names(part.table.schema):
        for key in inspector.get_foreign_keys(other, part.table.schema):
            refers = key["referred_table"] == part.table.name
            if refers and clear & set(key["referred_columns"]):
                yield Holder("foreign key", f"{other}.{key['name']}", _FOREIGN_KEY)


_LOSES_UNIQUENESS = (
    "it goes with the column, and without it values can be there twice; declare "
    "Equality(..., unique=True) for the field, or drop it yourself if they may be"
)
_LOSES_RULE = (
    "it goes with the column, and no database checks a sealed value; check it in the model "
    "(sqlalchemy.orm.validates), and drop the constraint yourself"
)
_FOREIGN_KEY = "a sealed value cannot be referred to; refer to the primary key instead"
_VIEW = "the column cannot be dropped while a view reads it; change or drop the view"


_DEPENDENT = "the column cannot be dropped while this depends on it; change or drop it"
_BLOCKING = {
    "view": _VIEW,
    "check constraint": _LOSES_RULE,
    "generated column": _DEPENDENT,
}
"""Why a kind of `_ALL_OF_MARIADB` blocks."""
_SILENT = (
    "what it does to {column} starts no trigger on MariaDB, so envelopes would go stale; make it "
    "ON UPDATE RESTRICT ON DELETE RESTRICT while the table is on its way"
)


def _is_kept_unique(part: Part, named: set[Any]) -> bool:
    """Whether a unique blind index takes over for one of the columns in the clear."""
    unique = {column for columns in part.unique_to_make.values() for column in columns}
    clear = {**{f: str(c.name) for f, c in part.plaintext.items()}, **part.retired}
    return any(
        clear.get(field.name) in named
        and unique & {str(part.indexes[name].name) for name in field.index_columns}
        for field in part.group.fields
    )


def _of_postgresql(part: Part, connection: Connection) -> Iterator[Holder]:
    given = {
        "table": table_name(part, "postgresql"),
        "ours": trigger_name(part),
        "columns": part.clear_columns,
    }
    for kind, name, unique, named in _rows(connection, _INDEXES, given):
        yield _index(part, kind, name, set(named), unique=unique)
    for kind, asked, blocks in (
        ("view", _VIEWS, _VIEW),
        ("dependent", _DEPENDENTS, _DEPENDENT),
        *((kind, asked, "") for kind, asked in _OTHERS),
    ):
        for name in _names(connection, asked, given):
            yield Holder(kind, name, blocks)


def _names(connection: Connection, asked: str, given: dict[str, Any]) -> list[str]:
    """What a statement names."""
    return [str(row[0]) for row in _rows(connection, asked, given)]


def _rows(connection: Connection, asked: str, given: dict[str, Any]) -> list[Any]:
    """The rows of a statement, given those of the values that it asks for."""
    wanted: list[Any] = [
        bindparam(key, list(value) if key == "columns" else value, expanding=key == "columns")
        for key, value in given.items()
        if f":{key}" in asked
    ]
    return list(connection.execute(text(asked).bindparams(*wanted)).all())


def _of_mariadb(part: Part, connection: Connection) -> Iterator[Holder]:
    schema, clear = part.table.schema, part.clear_columns
    yield from _indexes(part, inspect(connection))
    given: dict[str, Any] = {
        "table": part.table.name,
        "schema": schema,
        "ours": trigger_name(part),
        "columns": clear,
    }
    for kind, asked in _ON_MARIADB:
        for name in _names(connection, asked, given):
            yield Holder(kind, name)
    everything = connection.execute(
        text(_ALL_OF_MARIADB), {k: given[k] for k in ("table", "schema")}
    )
    for kind, name, sql in everything:
        names_table = kind != "view" or quoted(part.table.name, "mariadb") in sql
        if names_table and any(quoted(column, "mariadb") in sql for column in clear):
            yield Holder(kind, name, _BLOCKING[kind])
    yield from silent_on_mariadb(part, inspect(connection))


def silent_on_mariadb(part: Part, inspector: Inspector) -> Iterator[Holder]:
    """Foreign keys that change what envelopes are bound to without starting a trigger."""
    bound = {str(part.owner.name), *(str(key.name) for key in part.keys)}
    for key in inspector.get_foreign_keys(part.table.name, part.table.schema):
        columns = sorted(bound & set(key["constrained_columns"]))
        onupdate, ondelete = (
            str(key["options"].get(each) or "RESTRICT") for each in ("onupdate", "ondelete")
        )
        quiet = {"RESTRICT", "NO ACTION"}
        if columns and (onupdate not in quiet or ondelete not in quiet | {"CASCADE"}):
            yield Holder("foreign key", str(key["name"]), _SILENT.format(column=columns[0]))


def _of_sqlite(part: Part, connection: Connection) -> Iterator[Holder]:
    for name, named, unique in indexes_over(part, connection):
        yield _index(part, "index", name, named, unique=unique)
    yield from (h for h in _indexes(part, inspect(connection)) if h.kind == "unique constraint")
    for name in checks_over(part, connection):
        yield Holder("check constraint", name, _LOSES_RULE)
    asked = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE type IN ('view', 'trigger')"
    for kind, name, table, sql in connection.execute(text(asked)):
        if kind == "view" and part.table.name.casefold() in str(sql).casefold():
            yield Holder("view", name, "SQLite rebuilds no table that a view reads; drop it first")
        if kind == "trigger" and table == part.table.name and not name.startswith("zz_assay_"):
            yield Holder("trigger", name)
