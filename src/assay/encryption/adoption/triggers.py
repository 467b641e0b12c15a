"""The trigger that keeps envelopes true while code that knows nothing of sealing writes.

When an UPDATE changes a column in the clear, the owner or the primary key, and leaves the envelope
as it was, the envelope and the blind indexes of the row become NULL. The backfill then seals the
row again. Code that seals writes a new envelope each time, so the trigger leaves it alone. An
INSERT without an envelope needs no trigger: its envelope is NULL.

Columns are compared to the last byte: a collation that takes two spellings for equal must not
hide a change.

On MariaDB it runs behind the triggers that were there before it, and replaces itself when a
migration that was stopped half-way is applied again. What a foreign key's ON UPDATE or ON DELETE
changes there starts no trigger; such a key on an owner or a primary key is in the way
(`assay.encryption.adoption.holders`).

Sources: https://www.postgresql.org/docs/current/plpgsql-trigger.html,
https://mariadb.com/kb/en/trigger-overview/, https://www.sqlite.org/lang_createtrigger.html

Example:
    >>> create_trigger([part], "sqlite")                           # doctest: +SKIP
    ['CREATE TRIGGER …']
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from assay.encryption.adoption.names import (
    dialect_called,
    quoted,
    schema_prefix,
    table_name,
    trigger_name,
)
from assay.encryption.adoption.parts import Part


def create_trigger(part: Part, dialect: str) -> list[str]:
    """The statements that make the trigger of a part.

    Args:
        part: what is sealed together.
        dialect: "postgresql", "mariadb" or "sqlite".

    Raises:
        AdoptionBlockedError: another database.
    """
    dialect_called(dialect)
    makers = {"postgresql": _create_on_postgresql, "mariadb": _create_on_mariadb}
    return makers.get(dialect, _create_on_sqlite)(part)


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
    return [f"DROP TRIGGER IF EXISTS {schema_prefix(part, dialect)}{name}"]


def has_trigger(connection: Connection, part: Part) -> bool:
    """Whether the trigger is there and switched on.

    Raises:
        AdoptionBlockedError: another database.
    """
    dialect = connection.dialect.name
    dialect_called(dialect)
    given: dict[str, str | None] = {"name": trigger_name(part)}
    if dialect == "sqlite":
        asked = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name = :name"
    elif dialect == "mariadb":
        asked = (
            "SELECT count(*) FROM information_schema.triggers WHERE trigger_name = :name "
            "AND event_object_table = :table "
            "AND event_object_schema = coalesce(:schema, database())"
        )
        given |= {"table": part.table.name, "schema": part.table.schema}
    else:
        asked = (
            "SELECT count(*) FROM pg_catalog.pg_trigger WHERE tgname = :name AND tgenabled = 'A' "
            "AND tgrelid = CAST(:table AS pg_catalog.regclass)"
        )
        given |= {"table": table_name(part, dialect)}
    return bool(connection.execute(text(asked), given).scalar_one())


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
        f"CREATE OR REPLACE FUNCTION {_function_name(part)}() RETURNS trigger "
        "LANGUAGE plpgsql AS $assay$\n"
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
        f"DROP TRIGGER IF EXISTS {name} ON {table}",
        f"CREATE TRIGGER {name} BEFORE UPDATE ON {table} FOR EACH ROW "
        f"EXECUTE FUNCTION {_function_name(part)}()",
        # Also for what a replication worker writes, which ordinary triggers do not see.
        f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}",
    ]


def _function_name(part: Part) -> str:
    return schema_prefix(part, "postgresql") + quoted(trigger_name(part), "postgresql")


def _create_on_mariadb(part: Part) -> list[str]:
    def column(row: str, name: str) -> str:
        return f"{row}.{quoted(name, 'mariadb')}"

    def unchanged(name: str) -> str:
        new, old = column("NEW", name), column("OLD", name)
        # Both: the text form of a FLOAT is shorter than the number.
        return f"{new} <=> {old} AND CAST({new} AS BINARY) <=> CAST({old} AS BINARY)"

    envelope = str(part.envelope.name)
    same = "\n     AND ".join(unchanged(name) for name in _watched(part))
    emptied = ", ".join(f"{column('NEW', str(each.name))} = NULL" for each in part.sealed_columns)
    name = schema_prefix(part, "mariadb") + quoted(trigger_name(part), "mariadb")
    head = f"CREATE OR REPLACE TRIGGER {name} BEFORE UPDATE ON {table_name(part, 'mariadb')}"
    return [
        f"{head}\nFOR EACH ROW BEGIN\n"
        f"  IF {column('NEW', envelope)} <=> {column('OLD', envelope)} AND NOT (\n"
        f"         {same}\n"
        "  ) THEN\n"
        f"    SET {emptied};\n"
        "  END IF;\n"
        "END"
    ]


def _create_on_sqlite(part: Part) -> list[str]:
    def column(name: str) -> str:
        return quoted(name, "sqlite")

    envelope = column(str(part.envelope.name))
    changed = " OR ".join(
        f"NEW.{column(c)} COLLATE BINARY IS NOT OLD.{column(c)}" for c in _watched(part)
    )
    emptied = ", ".join(f"{column(str(each.name))} = NULL" for each in part.sealed_columns)
    here = " AND ".join(f"{column(str(k.name))} IS NEW.{column(str(k.name))}" for k in part.keys)
    table = column(part.table.name)
    trigger = f"{schema_prefix(part, 'sqlite')}{column(trigger_name(part))}"
    head = f"CREATE TRIGGER {trigger} AFTER UPDATE ON {table} FOR EACH ROW"
    when = f"OLD.{envelope} IS NOT NULL AND NEW.{envelope} IS OLD.{envelope} AND ({changed})"
    empty = f"UPDATE {table} SET {emptied} WHERE {here}"  # noqa: S608 - every name is quoted
    return [f"{head}\nWHEN {when}\nBEGIN\n  {empty};\nEND"]
