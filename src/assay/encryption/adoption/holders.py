"""What in a database holds the values of columns in the clear, or depends on them.

Example:
    >>> holders(part, connection)                                  # doctest: +SKIP
    [Holder('index', 'by_email', blocks=''), …]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Inspector, bindparam, inspect, text

from assay.encryption.adoption.parts import Part
from assay.encryption.adoption.triggers import table_name, trigger_name

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
    found = [*_of_every_database(part, inspect(connection))]
    if connection.dialect.name == "postgresql":
        found += _of_postgresql(part, connection)
    else:
        found += _of_sqlite(part, connection)
    return found


def _of_every_database(part: Part, inspector: Inspector) -> Iterator[Holder]:
    place, clear = (part.table.name, part.table.schema), set(part.clear_columns)
    unique = inspector.get_unique_constraints(*place)
    of_constraints = {each["name"] for each in unique}
    for index in inspector.get_indexes(*place):
        if clear & set(index["column_names"]) and index["name"] not in of_constraints:
            yield Holder("index", str(index["name"]))
    for constraint in unique:
        if clear & set(constraint["column_names"]):
            yield Holder(
                "unique constraint",
                str(constraint["name"]),
                "" if _is_kept_unique(part) else _LOSES_UNIQUENESS,
            )
    for key in inspector.get_foreign_keys(*place):
        if clear & set(key["constrained_columns"]):
            yield Holder("foreign key", str(key["name"]), _FOREIGN_KEY)
    for other in inspector.get_table_names(part.table.schema):
        for key in inspector.get_foreign_keys(other, part.table.schema):
            refers = key["referred_table"] == part.table.name
            if refers and clear & set(key["referred_columns"]):
                yield Holder("foreign key", f"{other}.{key['name']}", _FOREIGN_KEY)


_LOSES_UNIQUENESS = (
    "without it values can be there twice; declare Equality(..., unique=True) for the field"
)
_FOREIGN_KEY = "a sealed value cannot be referred to; refer to the primary key instead"
_VIEW = "the column cannot be dropped while a view reads it; change or drop the view"


def _is_kept_unique(part: Part) -> bool:
    return bool(part.unique_to_make)


def _of_postgresql(part: Part, connection: Connection) -> Iterator[Holder]:
    given: dict[str, Any] = {"table": table_name(part, "postgresql"), "ours": trigger_name(part)}
    views = text(_VIEWS).bindparams(bindparam("columns", expanding=True))
    names = connection.execute(
        views, {"table": given["table"], "columns": list(part.clear_columns)}
    ).scalars()
    yield from (Holder("view", name, _VIEW) for name in names)
    for kind, asked in _OTHERS:
        used = {key: value for key, value in given.items() if f":{key}" in asked}
        yield from (Holder(kind, name) for name in connection.execute(text(asked), used).scalars())


def _of_sqlite(part: Part, connection: Connection) -> Iterator[Holder]:
    asked = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE type IN ('view', 'trigger')"
    for kind, name, table, sql in connection.execute(text(asked)):
        if kind == "view" and part.table.name.casefold() in str(sql).casefold():
            yield Holder("view", name, "SQLite rebuilds no table that a view reads; drop it first")
        if kind == "trigger" and table == part.table.name and not name.startswith("zz_assay_"):
            yield Holder("trigger", name)
