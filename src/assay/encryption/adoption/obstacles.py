"""Tables that must not be sealed as they are: refused before anything about them is changed.

Each of these would leave plaintext behind, or envelopes that no trigger keeps true.

Example:
    >>> refuse_obstacles(connection, part)                         # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Engine, inspect, text

from assay.database.failures import named_errors
from assay.encryption.adoption.errors import AdoptionBlockedError
from assay.encryption.adoption.holders import holders, silent_on_mariadb
from assay.encryption.adoption.names import table_name, trigger_name
from assay.encryption.adoption.partitions import columns_missing_in_unique
from assay.encryption.adoption.parts import Part
from assay.encryption.adoption.sqlite_tables import lost_by_rebuild

_ROW_SECURITY = (
    "SELECT 1 WHERE pg_catalog.row_security_active(CAST(:table AS regclass))",
    "row-level security, which hides rows from this role; use a role with BYPASSRLS",
)
_ON_POSTGRESQL = (
    (
        "SELECT 1 FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhparent "
        "WHERE i.inhparent = CAST(:table AS regclass) AND c.relkind = 'r' LIMIT 1",
        "tables that inherit from it, in which no trigger watches; make them partitions or tables "
        "of their own",
    ),
    _ROW_SECURITY,
    (
        "SELECT 1 FROM pg_catalog.pg_trigger WHERE tgrelid = CAST(:table AS regclass) "
        "AND NOT tgisinternal AND tgtype & 19 = 19 AND tgname > CAST(:ours AS name) LIMIT 1",
        "a trigger BEFORE UPDATE that runs behind the one that keeps envelopes true, and could "
        "change what it has seen; give it a name that sorts before zz_assay_",
    ),
)
"""What finds an obstacle on PostgreSQL, and what it is."""


def refuse_obstacles(connection: Connection, part: Part) -> None:
    """Refuse a table that cannot be sealed as it is.

    Raises:
        AdoptionBlockedError: the first obstacle, with the way out.
    """
    for found in _obstacles(connection, part):
        raise AdoptionBlockedError(
            f"expected a table {part.name} that can be sealed as it is, found {found}"
        )


def refuse_hidden_rows(engine: Engine, part: Part) -> None:
    """Refuse to go through the rows of a table of which this role does not see all.

    Raises:
        AdoptionBlockedError: row-level security is in force, with the way out.
        DatabaseError: the database does not answer.
    """
    if engine.dialect.name != "postgresql":
        return
    asked, found = _ROW_SECURITY
    given = {"table": table_name(part, "postgresql")}
    with named_errors(f"look at {part.name}"), engine.connect() as connection:
        hidden = connection.execute(text(asked), given).first()
    if hidden:
        raise AdoptionBlockedError(f"expected to see every row of {part.name}, found {found}")


def refuse_dependents(connection: Connection, part: Part) -> None:
    """Refuse to drop columns on which something depends; nothing has been changed then.

    Raises:
        AdoptionBlockedError: a view, a foreign key, a generated column, … with the way out.
    """
    blocked = [f"{h.kind} {h.name} ({h.blocks})" for h in holders(part, connection) if h.blocks]
    refuse_lossy_rebuild(connection, part)
    if blocked:
        raise AdoptionBlockedError(
            f"expected nothing that depends on the columns of {part.name} in the clear, found "
            f"{'; '.join(blocked)}"
        )


def refuse_lossy_rebuild(connection: Connection, part: Part) -> None:
    """Refuse to rebuild a table on SQLite that would lose something by it.

    Raises:
        AdoptionBlockedError: what it would lose, with the way out.
    """
    lost = lost_by_rebuild(part, connection) if connection.dialect.name == "sqlite" else []
    if lost:
        raise AdoptionBlockedError(
            f"expected a table {part.table.name} that keeps everything when SQLite rebuilds it, "
            f"found {'; '.join(lost)}; give check constraints names, and take the rest out (a "
            "generated column, an index over an expression) until this step is done"
        )


def _obstacles(connection: Connection, part: Part) -> Iterator[str]:
    inspector, schema = inspect(connection), part.table.schema
    if part.table.name not in inspector.get_table_names(schema):
        yield "a view or another thing that is no table; name the table that holds the rows"
        return
    clear = set(part.clear_columns)
    for column in inspector.get_columns(part.table.name, schema):
        if column["name"] in clear and column.get("computed"):
            yield (
                f"the generated column {column['name']}, which nobody may write; seal the columns "
                "that it is made of, and drop it"
            )
    if connection.dialect.name == "postgresql":
        yield from _on_postgresql(connection, part)
    elif connection.dialect.name == "mariadb":
        for key in silent_on_mariadb(part, inspector):
            yield f"the {key.kind} {key.name}: {key.blocks}"


def _on_postgresql(connection: Connection, part: Part) -> Iterator[str]:
    given: dict[str, Any] = {"table": table_name(part, "postgresql"), "ours": trigger_name(part)}
    for asked, found in _ON_POSTGRESQL:
        wanted = {name: value for name, value in given.items() if f":{name}" in asked}
        if connection.execute(text(asked), wanted).first():
            yield found
    missing = columns_missing_in_unique(connection, part)
    if missing:
        yield (
            f"partitions by {', '.join(missing)}, which a unique blind index would have to "
            "contain; declare the index without unique=True"
        )
