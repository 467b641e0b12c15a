"""The trigger that keeps envelopes true while code that knows nothing of sealing writes.

When an UPDATE changes a column in the clear, the owner or the primary key, and leaves the envelope
as it was, the envelope and the blind indexes of the row become NULL. The backfill then seals the
row again. Code that seals writes a new envelope each time, so the trigger leaves it alone. An
INSERT without an envelope needs no trigger: its envelope is NULL.

Columns are compared to the last byte: a collation that takes two spellings for equal must not
hide a change.

Sources: https://www.postgresql.org/docs/current/plpgsql-trigger.html,
https://www.sqlite.org/lang_createtrigger.html

Example:
    >>> create_trigger([part], "sqlite")                           # doctest: +SKIP
    ['CREATE TRIGGER …']
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.dialects import registry

from assay.encryption.adoption.errors import AdoptionBlockedError
from assay.encryption.adoption.parts import Part

_DIALECTS: dict[str, Any] = {name: registry.load(name)() for name in ("postgresql", "sqlite")}


def quoted(name: str, dialect: str) -> str:
    """An identifier, always in quotes."""
    return str(_dialect(dialect).identifier_preparer.quote_identifier(name))


def table_name(part: Part, dialect: str) -> str:
    """The name of a part's table, quoted, with its schema when it has one."""
    plain = quoted(part.table.name, dialect)
    return f"{quoted(part.table.schema, dialect)}.{plain}" if part.table.schema else plain


def trigger_name(part: Part) -> str:
    """The trigger's name; it sorts behind others, because PostgreSQL runs them in that order."""
    suffix = f"_{part.group.column}"
    return f"zz_assay_{part.table.name}"[: 63 - len(suffix)] + suffix


def create_trigger(part: Part, dialect: str) -> list[str]:
    """The statements that make the trigger of a part.

    Args:
        part: what is sealed together.
        dialect: "postgresql" or "sqlite".

    Raises:
        AdoptionBlockedError: another database.
    """
    _dialect(dialect)
    return _create_on_postgresql(part) if dialect == "postgresql" else [_create_on_sqlite(part)]


def drop_trigger(part: Part, dialect: str) -> list[str]:
    """The statements that remove the trigger of a part.

    Raises:
        AdoptionBlockedError: another database.
    """
    name, table = quoted(trigger_name(part), dialect), table_name(part, dialect)
    if dialect == "postgresql":
        function = _function_name(part)
        return [
            f"DROP TRIGGER IF EXISTS {name} ON {table}",
            f"DROP FUNCTION IF EXISTS {function}()",
        ]
    schema = f"{quoted(part.table.schema, dialect)}." if part.table.schema else ""
    return [f"DROP TRIGGER IF EXISTS {schema}{name}"]


def has_trigger(connection: Connection, part: Part) -> bool:
    """Whether the trigger is there and switched on.

    Raises:
        AdoptionBlockedError: another database.
    """
    dialect = connection.dialect.name
    _dialect(dialect)
    if dialect == "sqlite":
        asked = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name = :name"
        return bool(connection.execute(text(asked), {"name": trigger_name(part)}).scalar_one())
    asked = (
        "SELECT count(*) FROM pg_catalog.pg_trigger WHERE tgname = :name AND tgenabled = 'A' "
        "AND tgrelid = CAST(:table AS pg_catalog.regclass)"
    )
    given = {"name": trigger_name(part), "table": table_name(part, dialect)}
    return bool(connection.execute(text(asked), given).scalar_one())


def _dialect(name: str) -> Any:
    found = _DIALECTS.get(name)
    if found is None:
        raise AdoptionBlockedError(
            f"expected PostgreSQL or SQLite, found {name}, for which there is no trigger that "
            "keeps envelopes true while old code writes"
        )
    return found


def _watched(part: Part) -> list[str]:
    """The columns that an envelope is made of or bound to."""
    columns = [*part.plaintext.values(), part.owner, *part.keys]
    return list(dict.fromkeys(str(column.name) for column in columns))


def _create_on_postgresql(part: Part) -> list[str]:
    def exactly(row: str, column: str) -> str:
        return f'{row}.{quoted(column, "postgresql")}::text COLLATE "C"'

    envelope = quoted(str(part.envelope.name), "postgresql")
    changed = "\n      OR ".join(
        f"{exactly('NEW', c)} IS DISTINCT FROM {exactly('OLD', c)}" for c in _watched(part)
    )
    emptied = "\n".join(
        f"    NEW.{quoted(str(column.name), 'postgresql')} := NULL;"
        for column in part.sealed_columns
    )
    function = (
        f"CREATE FUNCTION {_function_name(part)}() RETURNS trigger LANGUAGE plpgsql AS $assay$\n"
        "BEGIN\n"
        f"  IF NEW.{envelope} IS NOT DISTINCT FROM OLD.{envelope} AND (\n"
        f"         {changed}\n"
        "  ) THEN\n"
        f"{emptied}\n"
        "  END IF;\n"
        "  RETURN NEW;\n"
        "END\n"
        "$assay$"
    )
    name, table = quoted(trigger_name(part), "postgresql"), table_name(part, "postgresql")
    return [
        function,
        f"CREATE TRIGGER {name} BEFORE UPDATE ON {table} FOR EACH ROW "
        f"EXECUTE FUNCTION {_function_name(part)}()",
        # Also for what a replication worker writes, which ordinary triggers do not see.
        f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}",
    ]


def _function_name(part: Part) -> str:
    plain = quoted(trigger_name(part), "postgresql")
    schema = part.table.schema
    return f"{quoted(schema, 'postgresql')}.{plain}" if schema else plain


def _create_on_sqlite(part: Part) -> str:
    def column(name: str) -> str:
        return quoted(name, "sqlite")

    envelope = column(str(part.envelope.name))
    changed = " OR ".join(
        f"NEW.{column(c)} COLLATE BINARY IS NOT OLD.{column(c)}" for c in _watched(part)
    )
    emptied = ", ".join(f"{column(str(each.name))} = NULL" for each in part.sealed_columns)
    here = " AND ".join(f"{column(str(k.name))} IS NEW.{column(str(k.name))}" for k in part.keys)
    schema = f"{column(part.table.schema)}." if part.table.schema else ""
    table, trigger = column(part.table.name), f"{schema}{column(trigger_name(part))}"
    head = f"CREATE TRIGGER {trigger} AFTER UPDATE ON {table} FOR EACH ROW"
    when = f"OLD.{envelope} IS NOT NULL AND NEW.{envelope} IS OLD.{envelope} AND ({changed})"
    empty = f"UPDATE {table} SET {emptied} WHERE {here}"  # noqa: S608 - every name is quoted
    return f"{head}\nWHEN {when}\nBEGIN\n  {empty};\nEND"
