"""On SQLite a column may be NULL from now on, and the table is as it was in all else."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from assay.encryption.adoption import AdoptionBlockedError, MigrationError, parts_in_transition
from assay.encryption.adoption.alembic import apply_migration, write_migration
from assay.encryption.adoption.expand import expansion
from assay.encryption.sqlalchemy import Sealed, sealed


class Plain(DeclarativeBase):
    pass


class Account(Sealed, Plain):
    __tablename__ = "accounts"
    __owner__ = "tenant"
    id: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    code: Mapped[str] = sealed(plaintext="code")
    name: Mapped[str] = sealed(plaintext="name", group="names")


K = "id TEXT PRIMARY KEY, tenant TEXT"
DEFINITIONS = {
    "a collation": (f"{K}, code TEXT NOT NULL COLLATE NOCASE, name", f"{K}, code TEXT COLLATE NOCASE, name"),
    "checks": (f"{K}, code TEXT CHECK (code NOT NULL OR 1) NOT NULL, name, CHECK (code != ',')",
               f"{K}, code TEXT CHECK (code NOT NULL OR 1), name, CHECK (code != ',')"),
    "a name and a conflict": (
        f"{K}, code TEXT CONSTRAINT here NOT NULL ON CONFLICT ABORT UNIQUE, name",
        f"{K}, code TEXT UNIQUE, name"),
    "defaults": (f"{K}, code TEXT DEFAULT 'NOT NULL' NOT NULL, name DEFAULT (1 NOT NULL)",
                 f"{K}, code TEXT DEFAULT 'NOT NULL', name DEFAULT (1 NOT NULL)"),
    "comments": (f"{K}, /* , */ code TEXT -- is it NOT NULL?\n NOT /* really */ NULL, -- (\n name",
                 f"{K}, /* , */ code TEXT -- is it NOT NULL?\n, -- (\n name"),
    "small letters and quotes": (f'{K}, [code]text not null,"NOT" text not null default 1, name',
                                 f'{K}, [code]text,"NOT" text not null default 1, name'),
    "two groups": (f"{K}, code TEXT NOT NULL, name TEXT NOT NULL, label TEXT NOT NULL DEFAULT ''",
                   f"{K}, code TEXT, name TEXT, label TEXT NOT NULL DEFAULT ''"),
    "twice": (f"{K}, code NOT NULL COLLATE NOCASE NOT NULL, name", f"{K}, code COLLATE NOCASE, name"),
    "what a rebuild would lose": (
        "id, tenant, n INTEGER PRIMARY KEY AUTOINCREMENT, code NOT NULL, name, m TEXT AS (lower(tenant))",
        "id, tenant, n INTEGER PRIMARY KEY AUTOINCREMENT, code, name, m TEXT AS (lower(tenant))"),
}  # fmt: skip
SHOWN = "SELECT sql FROM sqlite_master WHERE name = 'accounts'"


def write_migrations(shop):
    """Those of both groups, none of them applied."""
    written = []
    for part in parts_in_transition(Plain):
        with shop.engine.connect() as connection:
            written.append(write_migration(shop.versions, expansion(part, connection)))
    return written


@pytest.mark.parametrize("what", DEFINITIONS)
def test_only_not_null_goes(shop, what):
    before, after = DEFINITIONS[what]
    shop.write(f"CREATE TABLE accounts ({before})")
    reader = shop.engine.connect()  # another connection, which knows the old definition
    reader.exec_driver_sql("SELECT code FROM accounts").all()
    reader.rollback()
    for migration in write_migrations(shop):
        apply_migration(shop.engine, migration, "alembic_version")
    ((sql,),) = shop.read(SHOWN)
    for each in ("sealed", "sealed_names"):
        sql = sql.replace(f', "{each}" BLOB', "")
    assert sql == f"CREATE TABLE accounts ({after})"
    reader.exec_driver_sql("INSERT INTO accounts (id, tenant, name) VALUES ('1', 'x', 'y')")
    reader.rollback()
    reader.close()
    assert shop.read("PRAGMA integrity_check") == [("ok",)]


def test_old_code_finds_and_is_refused_what_it_was_before(shop):
    shop.write(
        f"CREATE TABLE accounts ({K}, code TEXT NOT NULL COLLATE NOCASE CHECK (code != ''), name)"
    )
    shop.write("CREATE UNIQUE INDEX lower_case ON accounts (lower(name))")
    shop.write("INSERT INTO accounts VALUES ('1', 'north', 'Ada', 'A')")
    for migration in write_migrations(shop):
        apply_migration(shop.engine, migration, "alembic_version")
    assert shop.read("SELECT id FROM accounts WHERE code = 'aDA'") == [("1",)]
    for refused in ("('2', 'north', '', 'B')", "('2', 'north', 'b', 'a')"):
        with pytest.raises(IntegrityError):
            shop.write(f"INSERT INTO accounts (id, tenant, code, name) VALUES {refused}")  # noqa: S608 - of this test


@pytest.mark.parametrize(
    "definition",
    [
        f"{K}, code TEXT NOT NULL, name /* , code TEXT NOT NULL */",
        f"{K}, code TEXT NOT NULL, name CHECK (of_the_application(name))",
    ],
)
def test_what_cannot_be_changed_with_certainty_is_refused(shop, definition):
    application = shop.engine.connect()
    driver = application.connection.driver_connection
    driver.create_function("of_the_application", 1, lambda _: True, deterministic=True)
    application.exec_driver_sql(f"CREATE TABLE accounts ({definition})")
    application.commit()
    application.close()
    before = shop.read(SHOWN)
    with pytest.raises(AdoptionBlockedError, match="certainty"):
        write_migrations(shop)
    assert shop.read(SHOWN) == before


def test_a_table_that_changed_since_is_left_as_it_is(shop):
    shop.write(f"CREATE TABLE accounts ({K}, code TEXT NOT NULL, name)")
    migration, _ = write_migrations(shop)
    shop.write("DROP TABLE accounts")
    shop.write(f"CREATE TABLE accounts ({K}, code VARCHAR NOT NULL, name)")
    before = shop.read("SELECT * FROM sqlite_master ORDER BY name")
    with pytest.raises(MigrationError, match="write the migration again"):
        apply_migration(shop.engine, migration, "alembic_version")
    assert shop.read("SELECT * FROM sqlite_master ORDER BY name") == before
