"""A plan says what will be done and what stands in the way, and changes nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from assay.core import DataKeyClass
from assay.encryption.adoption import (
    AdoptionBlockedError,
    Crew,
    NothingToAdoptError,
    Stage,
    Store,
    all_parts,
    parts_in_transition,
)
from assay.encryption.adoption.backfill import backfill
from assay.encryption.adoption.obstacles import refuse_dependents
from assay.encryption.adoption.plan import plan
from assay.encryption.adoption.ranges import Checkpoint
from assay.encryption.sqlalchemy import Equality, Sealed, exact, sealed

from .test_contract import Retired  # the same models once nobody uses the columns

SCHEMA = "SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2"


def look(shop, part=0):
    return plan(shop.parts[part], shop.engine)


def test_stages_follow_one_another(shop):
    for number in range(10):
        shop.old_insert(f"person-{number}@x")
    before = shop.read(SCHEMA)
    first = look(shop)
    assert (first.stage, first.rows, first.unsealed) == (Stage.EXPAND, 10, 10)
    assert (first.columns, first.sealed_columns) == (("email", "notes"), ("sealed", "email_index"))
    assert first.blockers == ()
    assert shop.read(SCHEMA) == before
    assert shop.keyring.owners(DataKeyClass.ROWS) == []  # no key was made
    shop.expand()
    assert look(shop).stage is Stage.BACKFILL
    assert look(shop).seconds_at(5) == 2
    store = Store(shop.engine, shop.keyring, shop.Base)
    with ThreadPoolExecutor(1) as executor:
        checkpoint = Checkpoint(shop.folder / "c.json", shop.parts[0], shop.place)
        backfill(store, shop.parts[0], Crew(store, executor), checkpoint)
    assert look(shop).stage is Stage.VERIFY
    shop.write("DROP TRIGGER zz_assay_customers_sealed")
    assert look(shop).stage is Stage.EXPAND
    retired = all_parts(Retired)[0]
    assert plan(retired, shop.engine).stage is Stage.CONTRACT
    shop.write("DROP TRIGGER zz_assay_customers_sealed_numbers")
    shop.write("ALTER TABLE customers DROP COLUMN email")
    shop.write("ALTER TABLE customers DROP COLUMN notes")
    assert plan(retired, shop.engine).stage is Stage.FINISHED


def test_the_size_is_about_right(shop):
    for number in range(200):
        shop.old_insert(f"person-{number:04}@example.com", notes="n" * 300)
    guess = look(shop).added_bytes
    shop.expand()
    store = Store(shop.engine, shop.keyring, shop.Base)
    with ThreadPoolExecutor(1) as executor:
        checkpoint = Checkpoint(shop.folder / "c.json", shop.parts[0], shop.place)
        backfill(store, shop.parts[0], Crew(store, executor), checkpoint)
    ((sealed_bytes,),) = shop.read(
        "SELECT sum(length(sealed) + 2 * length(email_index)) FROM customers"
    )
    assert guess == pytest.approx(sealed_bytes, rel=0.05)


def test_what_holds_the_plaintext_is_named(shop):
    shop.write("CREATE INDEX by_email ON customers (email)")
    shop.write("CREATE INDEX by_label ON customers (label)")
    shop.write("CREATE VIEW mails AS SELECT email FROM Customers")
    shop.write("CREATE TRIGGER mine AFTER UPDATE ON customers BEGIN SELECT 1; END")
    found = look(shop)
    assert {(each.kind, each.name) for each in found.holders} == {
        ("index", "by_email"), ("view", "mails"), ("trigger", "mine"),
    }  # fmt: skip
    assert len(found.blockers) == 1
    assert "view mails" in found.blockers[0]


class Plain(DeclarativeBase):
    pass


class Account(Sealed, Plain):
    __tablename__ = "accounts"
    __owner__ = "tenant"
    id: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    code: Mapped[str] = sealed(plaintext="code")


class Unique(Sealed, Plain):
    __tablename__ = "uniques"
    __owner__ = "tenant"
    id: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    code: Mapped[str] = sealed(index=Equality(exact, unique=True), plaintext="code")


COLUMNS = "id TEXT PRIMARY KEY, tenant TEXT, code TEXT"


@pytest.mark.parametrize(
    ("table", "more", "blocker"),
    [
        ("accounts", f"CREATE TABLE accounts ({COLUMNS}, CONSTRAINT once UNIQUE (code))", "twice"),
        ("uniques", f"CREATE TABLE uniques ({COLUMNS}, CONSTRAINT once UNIQUE (code))", None),
        ("accounts", f"CREATE TABLE accounts ({COLUMNS} REFERENCES customers (id))", "primary key"),
        ("accounts", "CREATE TABLE accounts (id TEXT PRIMARY KEY, code TEXT)", "found no tenant"),
        ("accounts", f"CREATE TABLE accounts ({COLUMNS}, sealed BLOB)", "prepared already"),
    ],
)
def test_what_stands_in_the_way_is_named_with_the_way_out(shop, table, more, blocker):
    shop.write(more)
    (part,) = parts_in_transition(Plain, [table])
    found = plan(part, shop.engine).blockers
    assert [blocker in each for each in found] == ([True] if blocker else [])


@pytest.mark.parametrize(("table", "blocked"), [("accounts", True), ("uniques", False)])
def test_a_unique_index_counts_as_much_as_a_constraint(shop, table, blocked):
    shop.write(f"CREATE TABLE {table} ({COLUMNS})")
    shop.write(f"CREATE UNIQUE INDEX once ON {table} (tenant, code)")
    (part,) = parts_in_transition(Plain, [table])
    found = plan(part, shop.engine)
    assert [(each.kind, each.name) for each in found.holders] == [("unique index", "once")]
    assert ["twice" in each for each in found.blockers] == [True] * blocked


T = "id TEXT PRIMARY KEY, tenant TEXT, code TEXT NOT NULL"
LOSSY = {
    "a check constraint without a name on n": [f"{T}, n INTEGER CHECK (n > 0)"],
    "a check constraint without a name on CHECK": [f"{T}, n INTEGER, CHECK (n > 0 OR n < -9)"],
    "a collation on n": [f"{T}, n TEXT COLLATE NOCASE"],
    "ON CONFLICT on tenant": [T.replace("tenant TEXT", "tenant TEXT NOT NULL ON CONFLICT IGNORE")],
    "a generated column on n": [f"{T}, n TEXT AS (lower(tenant))"],
    "the index lost": [f"{T}, n TEXT", "CREATE INDEX lost ON accounts (lower(n))"],
    "the index once": [f"{T}, n TEXT", "CREATE UNIQUE INDEX once ON accounts (n COLLATE NOCASE)"],
    "AUTOINCREMENT on other": [
        "id TEXT, tenant TEXT, code TEXT NOT NULL, other INTEGER PRIMARY KEY AUTOINCREMENT"
    ],
}


@pytest.mark.parametrize("lost", LOSSY)
def test_a_rebuild_that_would_lose_something_is_refused(shop, lost):
    table, *more = LOSSY[lost]
    shop.write(f"CREATE TABLE accounts ({table})")
    for statement in more:
        shop.write(statement)
    (part,) = parts_in_transition(Plain, ["accounts"])
    (blocker,) = plan(part, shop.engine).blockers
    assert lost in blocker
    with shop.engine.connect() as connection, pytest.raises(AdoptionBlockedError, match="rebuilds"):
        refuse_dependents(connection, part)


def test_what_a_rebuild_keeps_is_no_obstacle(shop):
    shop.write(
        f"CREATE TABLE accounts ({T} COLLATE NOCASE, -- CHECK (, \n"
        "n INTEGER DEFAULT (lower('CHECK')), \"COLLATE\" TEXT, m TEXT UNIQUE, "
        "CONSTRAINT positive CHECK (n > 0))"
    )
    shop.write("CREATE INDEX some ON accounts (n) WHERE n > 5")
    (part,) = parts_in_transition(Plain, ["accounts"])
    assert plan(part, shop.engine).blockers == ()


GOES = {
    "unique index of an expression": ("CREATE UNIQUE INDEX lost ON accounts (lower(code))", "twice"),
    "partial unique index": (
        "CREATE UNIQUE INDEX lost ON accounts (tenant) WHERE [Code] IS NOT NULL", "twice"),
    "unique index with the owner": ("CREATE UNIQUE INDEX lost ON Accounts (tenant, code)", "twice"),
    "index of an expression": ("CREATE INDEX lost ON accounts (lower(code))", ""),
    "partial index": ("CREATE INDEX lost ON accounts (tenant) WHERE code > 'm'", ""),
    "index with a collation": ("CREATE INDEX lost ON accounts (code COLLATE NOCASE)", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", GOES)
def test_an_index_that_goes_with_a_column_is_named(shop, case):
    statement, blocks = GOES[case]
    shop.write(f"CREATE TABLE accounts ({COLUMNS}, n TEXT)")
    shop.write("CREATE INDEX kept ON accounts (tenant) WHERE n = 'code'")
    shop.write(statement)
    (part,) = parts_in_transition(Plain, ["accounts"])
    found = plan(part, shop.engine)
    (holder,) = found.holders
    assert (holder.name, holder.kind in case) == ("lost", True)
    assert [blocks in each for each in found.blockers] == [True] * bool(blocks)


def test_a_unique_blind_index_takes_over_from_one_of_an_expression(shop):
    shop.write(f"CREATE TABLE uniques ({COLUMNS})")
    shop.write("CREATE UNIQUE INDEX once ON uniques (lower(code))")
    (part,) = parts_in_transition(Plain, ["uniques"])
    found = plan(part, shop.engine)
    assert [each.name for each in found.holders] == ["once"]
    assert found.blockers == ()


@pytest.mark.parametrize(
    ("definition", "name"),
    [
        (f"{COLUMNS} CHECK (length(code) > 2)", "on code"),
        (f"{COLUMNS} CONSTRAINT long CHECK (length(code) > 2)", "long"),
        (f"{COLUMNS}, n INTEGER CHECK (n > 0 OR 'code' = ''), CHECK (n > (length([Code])))", "on CHECK"),
        (f"{COLUMNS}, n INTEGER, CONSTRAINT both CHECK ((n > 0) = (code > ''))", "both"),
    ],
)  # fmt: skip
def test_a_check_that_goes_with_a_column_is_named_and_stands_in_the_way(shop, definition, name):
    shop.write(f"CREATE TABLE accounts ({definition})")
    (part,) = parts_in_transition(Plain, ["accounts"])
    found = plan(part, shop.engine)
    assert [(each.kind, each.name) for each in found.holders] == [("check constraint", name)]
    assert any(f"check constraint {name}: it goes with the column" in b for b in found.blockers)
    with shop.engine.connect() as connection, pytest.raises(AdoptionBlockedError, match=name):
        refuse_dependents(connection, part)


def test_no_table_nothing_to_seal(shop):
    (part,) = parts_in_transition(Plain, ["accounts"])
    with pytest.raises(AdoptionBlockedError, match="found none"):
        plan(part, shop.engine)
    with pytest.raises(NothingToAdoptError):
        parts_in_transition(Plain, ["nonsense"])


def test_a_unique_field_is_unique_once_it_is_expanded(shop):
    from assay.encryption.adoption.expand import expansion

    shop.write(f"CREATE TABLE uniques ({COLUMNS})")
    (part,) = parts_in_transition(Plain, ["uniques"])
    with shop.engine.connect() as connection:
        statements = expansion(part, connection).upgrade
    for statement in statements:
        shop.write(statement)
    unique = [row for row in shop.read("PRAGMA index_list(uniques)") if row[2] and row[3] == "c"]
    assert len(unique) == 1
