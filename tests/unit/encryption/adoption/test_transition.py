"""Both columns are written, rows without an envelope are read from the clear, nothing is stale."""

import importlib.util

import pytest
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import insert, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.orm.exc import StaleDataError

from assay.encryption import MissingEnvelopeError
from assay.encryption.sqlalchemy import (
    DeclarationError,
    MissingFieldError,
    Sealed,
    UnsealedWriteError,
    open_row,
    sealed,
)


def opened(shop, key):
    (row,) = shop.read("SELECT * FROM customers WHERE id = :id", id=key)
    row = row._mapping
    return {
        **open_row(shop.keyring, shop.Customer, row),
        **open_row(shop.keyring, shop.Customer, row, "numbers"),
    }


def test_a_new_row_is_written_both_ways(expanded):
    with expanded.sessions.begin() as session:
        session.add(expanded.Customer(tenant="north", email="Ada@x", visits=3))
        session.execute(insert(expanded.Customer), [{"tenant": "south", "email": "bob@x"}])
    for key, email, visits in expanded.read("SELECT id, email, visits FROM customers"):
        assert opened(expanded, key) == {"email": email, "notes": None, "visits": visits}


def test_a_row_without_an_envelope_is_read_found_and_sealed_when_it_changes(expanded):
    key = expanded.old_insert("Ada@x", notes="old", visits=1)
    model = expanded.Customer
    with expanded.sessions.begin() as session:
        found = session.scalars(select(model).where(model.email == "Ada@x")).one()
        assert (found.email, found.notes, found.visits) == ("Ada@x", "old", 1)
        found.notes = "new"
        assert found.notes == "new"
    assert opened_default(expanded, key) == {"email": "Ada@x", "notes": "new"}
    assert expanded.read("SELECT notes, sealed_numbers FROM customers") == [("new", None)]
    with expanded.sessions() as session:
        found = session.scalars(select(model).where(model.email == "ADA@X")).one()
        assert found.notes == "new"


def opened_default(shop, key):
    (row,) = shop.read("SELECT * FROM customers WHERE id = :id", id=key)
    return open_row(shop.keyring, shop.Customer, row._mapping)


def test_searches_miss_neither_kind_of_row(expanded):
    model = expanded.Customer
    with expanded.sessions.begin() as session:
        session.add(model(tenant="north", email="ada@x", visits=7))
    expanded.old_insert("ada@x", visits=7)
    expanded.old_insert("bob@x")
    with expanded.sessions() as session:

        def count(criterion):
            return len(session.scalars(select(model).where(criterion)).all())

        assert count(model.email == "ada@x") == 2
        assert count(model.email != "ada@x") == 1
        assert count(model.visits.in_([7, 8])) == 2
        assert count(model.visits.is_(None)) == 1
        assert count(model.visits.is_not(None)) == 2


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE customers SET email = 'eve@x'",
        "UPDATE customers SET email = 'ADA@X'",  # the column's collation takes them for equal
        "UPDATE customers SET notes = 'x'",
        "UPDATE customers SET notes = NULL",
        "UPDATE customers SET tenant = 'south'",
        "UPDATE customers SET id = '00000000000000000000000000000001'",
        "INSERT INTO customers (id, tenant, email) SELECT id, tenant, 'eve@x' FROM customers "
        "WHERE true ON CONFLICT (id) DO UPDATE SET email = excluded.email",
    ],
)
def test_old_code_leaves_no_stale_envelope(expanded, statement):
    with expanded.sessions.begin() as session:
        session.add(expanded.Customer(tenant="north", email="ada@x", notes="n", visits=1))
    expanded.write(statement)
    ((envelope, index, numbers),) = expanded.read(
        "SELECT sealed, email_index, sealed_numbers FROM customers"
    )
    assert envelope is None
    assert index is None
    bound = "tenant =" in statement or "SET id" in statement
    assert (numbers is None) is bound


def test_old_code_that_changes_nothing_sealed_leaves_the_envelope(expanded):
    with expanded.sessions.begin() as session:
        session.add(expanded.Customer(tenant="north", email="ada@x"))
    expanded.write("UPDATE customers SET label = 'x', email = email")
    assert expanded.read("SELECT sealed IS NULL FROM customers") == [(0,)]


@pytest.mark.parametrize("with_envelope", [True, False])
@pytest.mark.parametrize("meanwhile", ["email = 'eve@x'", "email = 'ADA@X'", "notes = NULL"])
def test_a_change_of_old_code_is_never_overwritten(expanded, with_envelope, meanwhile):
    expanded.old_insert("ada@x", notes="first")
    model = expanded.Customer
    if with_envelope:
        with expanded.sessions.begin() as session:
            session.scalars(select(model)).one().notes = "sealed"
    with expanded.sessions(expire_on_commit=False) as session:
        found = session.scalars(select(model)).one()
        assert found.email == "ada@x"
        session.commit()
        expanded.write(f"UPDATE customers SET {meanwhile}")  # noqa: S608 - of this test
        after = expanded.read("SELECT email, notes FROM customers")
        found.notes = "second"
        with pytest.raises(StaleDataError, match="another writer"):
            session.flush()
        session.rollback()
    assert expanded.read("SELECT email, notes FROM customers") == after
    assert expanded.read("SELECT sealed FROM customers") == [(None,)]


def test_a_change_of_another_column_does_not_stand_in_the_way(expanded):
    expanded.old_insert("ada@x", notes="first")
    with expanded.sessions(expire_on_commit=False) as session:
        found = session.scalars(select(expanded.Customer)).one()
        session.commit()
        expanded.write("UPDATE customers SET label = 'x'")
        found.notes = "second"
        session.commit()
    assert expanded.read("SELECT label, notes FROM customers") == [("x", "second")]


def test_the_column_in_the_clear_is_not_written_by_itself(expanded):
    model = expanded.Customer
    with pytest.raises(UnsealedWriteError, match="assign the sealed field"):
        model(tenant="north", email_plaintext="ada@x")
    with expanded.sessions() as session, pytest.raises(UnsealedWriteError, match="UPDATE"):
        session.execute(update(model).values(email_plaintext="x"))
    with expanded.sessions() as session, pytest.raises(UnsealedWriteError, match="UPDATE"):
        session.execute(update(model).values({model.email_plaintext: "x"}))


def test_null_in_the_clear_where_the_model_wants_a_value_is_said(expanded):
    expanded.old_insert("ada@x")
    expanded.write("UPDATE customers SET email = NULL")
    with expanded.sessions() as session:
        found = session.scalars(select(expanded.Customer)).one()
        with pytest.raises(MissingFieldError):
            found.email  # noqa: B018 - reading is the test


class Plain(DeclarativeBase):
    pass


class Finished(Sealed, Plain):
    __tablename__ = "customers"
    __owner__ = "tenant"
    id: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    email: Mapped[str] = sealed(retired="email")
    notes: Mapped[str | None] = sealed(retired="notes")


def test_without_a_transition_the_clear_is_never_read(expanded):
    expanded.old_insert("ada@x")
    with expanded.sessions() as session:
        found = session.scalars(select(Finished)).one()
        with pytest.raises(MissingEnvelopeError):
            found.email  # noqa: B018 - reading is the test


def test_half_a_transition_is_refused():
    with pytest.raises(DeclarationError, match="every field of the group"):

        class Half(Sealed, Plain):
            __tablename__ = "half"
            __owner__ = "tenant"
            id: Mapped[str] = mapped_column(primary_key=True)
            tenant: Mapped[str]
            email: Mapped[str] = sealed(plaintext="email")
            notes: Mapped[str] = sealed()


def test_one_stage_at_a_time():
    with pytest.raises(DeclarationError, match="found both"):

        class Both(Sealed, Plain):
            __tablename__ = "both"
            __owner__ = "tenant"
            id: Mapped[str] = mapped_column(primary_key=True)
            tenant: Mapped[str]
            email: Mapped[str] = sealed(plaintext="email", retired="email")


def test_expand_can_be_taken_back(expanded):

    expanded.old_insert("ada@x")
    for path in sorted(expanded.versions.glob("*.py"), key=lambda p: "numbers" not in p.name):
        spec = importlib.util.spec_from_file_location("migration", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        with expanded.engine.begin() as connection:
            with Operations.context(MigrationContext.configure(connection)):
                module.downgrade()
    columns = [row[1] for row in expanded.read("PRAGMA table_info(customers)")]
    assert columns == ["id", "tenant", "email", "notes", "visits", "label"]
    assert expanded.read("SELECT count(*) FROM sqlite_master WHERE type = 'trigger'") == [(0,)]
    assert expanded.read("SELECT email FROM customers") == [("ada@x",)]
