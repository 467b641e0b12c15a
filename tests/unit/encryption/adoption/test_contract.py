"""The plaintext goes only after a fresh verification, and a search shows that it has gone."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from assay.assemble import search_storage
from assay.core import SystemClock
from assay.database import open_engine
from assay.encryption.adoption import (
    VERSION_TABLE,
    Adoption,
    Crew,
    NothingToAdoptError,
    NotVerifiedError,
    Store,
    Terms,
    Versions,
    run_backfill,
    run_contract,
    run_verify,
)
from assay.encryption.sqlalchemy import Equality, Sealed, casefold, exact, sealed


class Retired(DeclarativeBase):
    pass


class Customer(Sealed, Retired):
    __tablename__ = "customers"
    __owner__ = "tenant"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    tenant: Mapped[str]
    label: Mapped[str | None]
    email: Mapped[str] = sealed(index=Equality(casefold), retired="email")
    notes: Mapped[str | None] = sealed(retired="notes")
    visits: Mapped[int | None] = sealed(group="numbers", index=Equality(exact), retired="visits")


@pytest.fixture
def executor():
    with ThreadPoolExecutor(1) as executor:
        yield executor


@pytest.fixture
def before(expanded):
    """Both columns are written."""
    store = Store(expanded.engine, expanded.keyring, expanded.Base)
    return Adoption(store, "shop", expanded.folder / "state", SystemClock())


@pytest.fixture
def after(expanded):
    """The columns in the clear are not used any more."""
    store = Store(expanded.engine, expanded.keyring, Retired)
    return Adoption(store, "shop", expanded.folder / "state", SystemClock())


def terms(search=search_storage, hours=1.0):
    return Terms(timedelta(hours=hours), search)


def contract(shop, adoption, executor, wanted=None, *, apply=True):
    versions = Versions(shop.versions, apply=apply, table=VERSION_TABLE)
    return run_contract(adoption, Crew(adoption.store, executor), versions, (), wanted or terms())


def seal_all(shop, adoption, executor, rows=30):
    for number in range(rows):
        shop.old_insert(f"person-{number}@quartz.example", notes=f"obsidian {number:05}", visits=5)
    shop.write("CREATE INDEX by_email ON customers (email)")
    shop.write("ANALYZE")
    run_backfill(adoption, Crew(adoption.store, executor), ())
    assert all(each.passed for each in run_verify(adoption, Crew(adoption.store, executor), ()))


def raw(shop):
    return b"".join(path.read_bytes() for path in shop.folder.glob("shop.db*"))


def columns(shop):
    return [row[1] for row in shop.read("PRAGMA table_info(customers)")]


def test_the_columns_go_and_their_bytes_with_them(expanded, before, after, executor):
    seal_all(expanded, before, executor)
    expanded.engine.dispose()
    assert b"@quartz.example" in raw(expanded)
    text, numbers = contract(expanded, after, executor)
    assert (len(text.before.found), text.sampled) == (60, 60)
    assert text.shown_gone
    assert not text.still_there
    assert (numbers.sampled, numbers.shown_gone) == (0, False)  # a number cannot be looked for
    left = {"id", "tenant", "label", "sealed", "email_index", "sealed_numbers", "visits_index"}
    assert set(columns(expanded)) == left
    expanded.engine.dispose()
    assert b"quartz" not in raw(expanded)
    assert b"obsidian" not in raw(expanded)
    with expanded.sessions() as session:
        found = session.scalars(
            select(Customer).where(Customer.email == "PERSON-7@quartz.example")
        ).one()
        assert (found.notes, found.visits) == ("obsidian 00007", 5)
    strict = {row[1]: row[3] for row in expanded.read("PRAGMA table_info(customers)")}
    assert (strict["sealed"], strict["sealed_numbers"]) == (1, 1)


def test_without_apply_only_the_migration_is_written(expanded, before, after, executor):
    seal_all(expanded, before, executor)
    was = columns(expanded)
    reports = contract(expanded, after, executor, apply=False)
    assert [each.applied for each in reports] == [False, False]
    assert len(list(expanded.versions.glob("*assay_contract*"))) == 2
    assert columns(expanded) == was


def test_models_that_still_write_the_columns_keep_them(expanded, before, executor):
    seal_all(expanded, before, executor)
    with pytest.raises(NothingToAdoptError, match="retired"):
        contract(expanded, before, executor)


@pytest.mark.parametrize("gone", ["the record", "its freshness", "an envelope", "the last check"])
def test_the_columns_stay_unless_every_row_was_compared_lately(
    expanded, before, after, executor, gone
):
    seal_all(expanded, before, executor)
    wanted = terms()
    if gone == "the record":
        for path in before.state.glob("*verified*"):
            path.unlink()
    elif gone == "its freshness":
        wanted = terms(hours=0)
    elif gone == "an envelope":  # old code is still at it
        expanded.write("UPDATE customers SET email = 'x' WHERE label IS NULL")
    else:  # the newest verification did not pass, so the older one counts no more
        expanded.write("UPDATE customers SET email = 'x' WHERE label IS NULL")
        run_verify(before, Crew(before.store, executor), ())
    was = columns(expanded)
    with pytest.raises(NotVerifiedError):
        contract(expanded, after, executor, wanted)
    assert columns(expanded) == was


@pytest.mark.parametrize("how", ["another path", "put in its place"])
def test_a_verification_of_one_database_removes_nothing_from_another(
    expanded, before, after, executor, how
):
    seal_all(expanded, before, executor)
    expanded.engine.dispose()
    folder = expanded.folder
    copy = folder / "production.db"
    shutil.copy(folder / "shop.db", copy)
    if how == "put in its place":
        copy = copy.rename(folder / "shop.db")
    engine = open_engine(f"sqlite:///{copy}")
    production = replace(after, store=Store(engine, expanded.keyring, Retired))
    with pytest.raises(NotVerifiedError, match="another database"):
        contract(expanded, production, executor)
    engine.dispose()
    assert "email" in columns(expanded)
    assert not list(expanded.versions.glob("*contract*"))


def test_plaintext_that_stands_elsewhere_is_found(expanded, before, after, executor):
    seal_all(expanded, before, executor)
    expanded.write("CREATE TABLE copies AS SELECT email FROM customers")
    text, _ = contract(expanded, after, executor)
    assert text.still_there
    assert text.after.places == ("shop.db",)


def test_a_search_that_sees_nothing_before_proves_nothing(expanded, before, after, executor):
    seal_all(expanded, before, executor)

    def blind(engine, values):
        found = search_storage(engine, values)
        return type(found)(frozenset(), (), found.files, found.bytes_read, ())

    text, _ = contract(expanded, after, executor, terms(blind))
    assert not text.shown_gone


def test_it_can_be_taken_up_again_after_the_columns_went(expanded, before, after, executor):
    seal_all(expanded, before, executor)
    contract(expanded, after, executor)
    again, _ = contract(expanded, after, executor)
    assert again.cleaned
    assert (again.sampled, again.shown_gone) == (0, False)


def test_what_names_other_columns_survives_the_rebuild_and_the_rest_goes(
    expanded, before, after, executor
):
    expanded.write("CREATE TABLE journal (id)")
    expanded.write(
        "CREATE TRIGGER mine AFTER INSERT ON customers BEGIN INSERT INTO journal VALUES (NEW.id); END"
    )
    expanded.write("CREATE INDEX lower_email ON customers (lower(email))")
    expanded.write("CREATE INDEX with_notes ON customers (label) WHERE notes IS NOT NULL")
    expanded.write("CREATE INDEX labels ON customers (label) WHERE label > 'm'")
    seal_all(expanded, before, executor)
    contract(expanded, after, executor)
    made = expanded.read("SELECT name FROM sqlite_master WHERE tbl_name = 'customers'")
    names = {name for (name,) in made if not name.startswith(("sqlite_", "ix_"))}
    assert names == {"customers", "labels", "mine"}
    with expanded.sessions.begin() as session:
        session.add(Customer(tenant="north", email="new@x"))
    assert expanded.read("SELECT count(*) FROM journal") == [(31,)]
