"""Migrations as Alembic has them: written as files for review, and applied on request.

The files hold plain statements for one kind of database, so that what is reviewed is what runs.

Example:
    >>> migration = write_migration(Path("migrations/versions"), steps)   # doctest: +SKIP
    >>> apply_migration(engine, migration, "alembic_version")             # doctest: +SKIP
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError, rev_id
from sqlalchemy import Engine

from assay.core import write_atomically
from assay.database import DatabaseError
from assay.database.failures import named_errors
from assay.encryption.adoption.errors import MigrationError

_AUTOCOMMIT = "autocommit_block"
_REVISION = re.compile(r'^revision = "(\w+)"$', re.MULTILINE)
VERSION_TABLE = "alembic_version"
"""Alembic's own default for the table that says which migrations a database has."""


@dataclass(frozen=True)
class Steps:
    """What a migration does.

    Attributes:
        slug: names the migration; there is one of each in a folder.
        title: one sentence.
        dialect: the kind of database that the statements are for.
        upgrade: statements, run first and in one transaction.
        downgrade: statements that take them back; empty when nothing can.
        outside: statements that run after the others, on PostgreSQL outside of a transaction.
        rebuild: on SQLite, lines of ``op.batch_alter_table`` by table.
        irreversible: why there is no way back, or nothing.
        of_one_row: those of the statements that must change one row, or all is taken back.
    """

    slug: str
    title: str
    dialect: str
    upgrade: Sequence[str]
    downgrade: Sequence[str]
    outside: Sequence[str] = ()
    rebuild: dict[tuple[str | None, str], Sequence[str]] = field(default_factory=dict)
    irreversible: str = ""
    of_one_row: Collection[str] = ()


@dataclass(frozen=True)
class Migration:
    """A migration in a folder.

    Attributes:
        path: its file.
        revision: Alembic's id.
        written: whether it was written now; otherwise it was there already.
    """

    path: Path
    revision: str
    written: bool


def write_migration(folder: Path, steps: Steps) -> Migration:
    """Write a migration behind the newest one of a folder, unless it is there already.

    Args:
        folder: the folder of versions, of the application or one of its own.
        steps: what it does.

    Raises:
        MigrationError: the folder cannot be read, or has several heads.
    """
    folder.mkdir(parents=True, exist_ok=True)
    there = find_migration(folder, steps.slug)
    if there is not None:
        return there
    head = _head(folder)
    revision = rev_id()
    path = folder / f"{revision}_{steps.slug}.py"
    write_atomically(path, _render(steps, revision, head).encode())
    return Migration(path, revision, written=True)


def find_migration(folder: Path, slug: str) -> Migration | None:
    """The migration of a slug, when the folder has it."""
    found = sorted(
        path for path in folder.glob("*.py") if path.name.partition("_")[2] == f"{slug}.py"
    )
    if not found:
        return None
    revision = _REVISION.search(found[0].read_text(encoding="utf-8"))
    if revision is None:
        raise MigrationError(
            f"expected a migration as Assay writes it in {found[0].name}, found no revision"
        )
    return Migration(found[0], revision[1], written=False)


def apply_migration(engine: Engine, migration: Migration, version_table: str) -> None:
    """Bring a database to a migration, and to all before it.

    Args:
        engine: the database.
        migration: one of a folder.
        version_table: the table that says which migrations the database has.

    Raises:
        MigrationError: the database has a migration that the folder has not, or the migration
            refuses.
        DatabaseError: the database refuses a statement.
    """
    script = _scripts(migration.path.parent)

    def upgrade(revision: Any, _context: object) -> Any:
        return script._upgrade_revs(migration.revision, revision)  # noqa: SLF001 - as alembic.command does

    environment = EnvironmentContext(Config(), script, fn=upgrade)
    try:
        with (
            named_errors(f"apply the migration {migration.revision}"),
            environment,
            closing(engine.connect()) as connection,
        ):
            if engine.dialect.name == "sqlite":
                # One transaction, alone from its start; a table is only rebuilt while foreign keys
                # are off (https://www.sqlite.org/lang_altertable.html#otheralter).
                driver: Any = connection.connection.driver_connection
                connection.detach()
                driver.isolation_level = None
                driver.execute("PRAGMA foreign_keys = OFF")
                driver.execute("BEGIN IMMEDIATE")
            elif engine.dialect.name == "mariadb":
                connection.detach()  # it is closed, and gives up its locks, wherever it stops
            environment.configure(connection=connection, version_table=version_table)
            with environment.begin_transaction():
                environment.run_migrations()
            connection.commit()
    except CommandError as exc:
        raise MigrationError(
            f"expected to apply {migration.path.name}, Alembic found: {exc}; apply it as you "
            "apply your other migrations, or name the table of versions"
        ) from exc
    except RuntimeError as exc:  # it refuses, before anything that is not taken back
        raise MigrationError(f"the migration {migration.path.name} refuses: {exc}") from exc
    except DatabaseError as exc:
        # What stands outside of the transaction was not taken back.
        halfway = engine.dialect.name == "mariadb" or _AUTOCOMMIT in migration.path.read_text(
            "utf-8"
        )
        became = (
            "stopped half-way; apply it again, which goes on from there"
            if halfway
            else "was taken back"
        )
        raise MigrationError(f"the migration {migration.path.name} {became}: {exc}") from exc


def _scripts(folder: Path) -> ScriptDirectory:
    return ScriptDirectory(str(folder), version_locations=[str(folder)])


def _head(folder: Path) -> str | None:
    try:
        heads = _scripts(folder).get_heads()
    except CommandError as exc:
        raise MigrationError(f"expected a folder of migrations, Alembic found: {exc}") from exc
    if len(heads) > 1:
        raise MigrationError(
            f"expected one newest migration in {folder}, found {len(heads)}; merge them first "
            "(alembic merge heads)"
        )
    return heads[0] if heads else None


def _render(steps: Steps, revision: str, head: str | None) -> str:
    lines = [
        f'"""{_in_a_docstring(steps.title)}"""',
        "",
        "from alembic import op",
        "from sqlalchemy import text",
        "",
        f'revision = "{revision}"',
        f"down_revision = {json.dumps(head) if head else None}",
        "branch_labels = None",
        "depends_on = None",
        "",
        "",
        "def run(statement: str, *, of_one_row: bool = False) -> None:",
        '    as_it_is = {"no_parameters": True}',
        "    done = op.get_bind().exec_driver_sql(statement, execution_options=as_it_is)",
        "    if of_one_row and done.rowcount != 1:",
        "        raise RuntimeError(",
        '            "expected the table as it was when this was written, found it changed: "',
        '            "delete this file and write the migration again"',
        "        )",
        "",
        "",
        "def upgrade() -> None:",
        *_refuse_other_dialect(steps.dialect),
    ]
    lines += [
        line
        for statement in steps.upgrade
        for line in _execute(statement, of_one_row=statement in steps.of_one_row)
    ]
    for (schema, table), calls in steps.rebuild.items():
        where = f"{table!r}, schema={schema!r}, recreate='always'"
        lines += [
            '    if op.get_bind().execute(text("PRAGMA foreign_keys")).scalar_one():',
            "        raise RuntimeError(",
            '            "expected foreign keys off while SQLite rebuilds a table: "',
            '            "run PRAGMA foreign_keys = OFF before the transaction"',
            "        )",
            "    triggers = op.get_bind().execute(",
            "        text(\"SELECT sql FROM sqlite_master WHERE type = 'trigger' \"",
            '             "AND tbl_name = :table"),',
            f'        {{"table": {table!r}}},',
            "    ).scalars().all()",
            f"    with op.batch_alter_table({where}) as batch:",
        ]
        lines += [f"        {call}" for call in calls]
        lines += [
            "    for trigger in triggers:  # they went with the table that was rebuilt",
            "        run(trigger)",
        ]
    in_block = steps.outside and steps.dialect == "postgresql"
    if in_block:
        lines.append(f"    with op.get_context().{_AUTOCOMMIT}():")
    for statement in steps.outside:
        lines += [f"    {line}" if in_block else line for line in _execute(statement)]
    lines += ["", "", "def downgrade() -> None:", *_refuse_other_dialect(steps.dialect)]
    if steps.irreversible:
        lines.append(f"    raise RuntimeError({json.dumps(steps.irreversible)})")
    lines += [line for statement in steps.downgrade for line in _execute(statement)]
    return "\n".join(lines) + "\n"


def _in_a_docstring(sentence: str) -> str:
    return json.dumps(sentence, ensure_ascii=False)[1:-1]


def _refuse_other_dialect(dialect: str) -> list[str]:
    return [
        f'    if op.get_bind().dialect.name != "{dialect}":',
        f'        raise RuntimeError("expected {dialect}, for which this migration was written")',
    ]


def _execute(statement: str, *, of_one_row: bool = False) -> list[str]:
    """A statement as a call; neither colons nor percent signs in it are parameters."""
    more = ", of_one_row=True" if of_one_row else ""
    if "\n" not in statement:
        return [f"    run({statement!r}{more})"]
    body = [f"        {line!r}" for line in statement.splitlines(keepends=True)]
    return ["    run(", *body, f"    {more})" if more else "    )"]
