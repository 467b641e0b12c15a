"""Two sessions that change one row: nobody's change is undone without a word."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import (
    Column,
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    StaticPool,
    Table,
    create_engine,
    event,
    select,
    update,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker
from sqlalchemy.orm.exc import StaleDataError

from assay.encryption.sqlalchemy import (
    Equality,
    Sealed,
    StaleEnvelopeError,
    UnsealedWriteError,
    bind,
    exact,
    sealed,
)
from assay.encryption.sqlalchemy.columns import EnvelopeType
from assay.encryption.sqlalchemy.swapping import CompareAndSwap, guard_table
from assay.keys import Keyring


class Base(DeclarativeBase):
    pass


class Note(Sealed, Base):
    __tablename__ = "notes"
    __owner__ = "owner"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    owner: Mapped[str] = mapped_column(default="north")
    label: Mapped[str | None]
    author: Mapped[str] = sealed(default="Ada", index=Equality(exact))
    text: Mapped[str] = sealed(default="one")
    body: Mapped[str | None] = sealed(group="content", default="one")


class Versioned(Sealed, Base):
    __tablename__ = "versioned"
    __owner__ = "owner"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    owner: Mapped[str] = mapped_column(default="north")
    version: Mapped[int] = mapped_column()
    label: Mapped[str | None]
    author: Mapped[str] = sealed(default="Ada", index=Equality(exact))
    text: Mapped[str] = sealed(default="one")
    body: Mapped[str | None] = sealed(group="content", default="one")
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - as models declare it


class Person(Sealed, Base):
    __tablename__ = "persons"
    __owner__ = "owner"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    owner: Mapped[str] = mapped_column(default="north")
    kind: Mapped[str]
    author: Mapped[str] = sealed(default="Ada", index=Equality(exact))
    text: Mapped[str] = sealed(default="one")
    body: Mapped[str | None] = sealed(group="content", default="one")
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}  # noqa: RUF012 - as models declare it


class Employee(Person):
    __tablename__ = "employees"
    id: Mapped[UUID] = mapped_column(ForeignKey("persons.id"), primary_key=True)
    label: Mapped[str | None]
    __mapper_args__ = {"polymorphic_identity": "employee"}  # noqa: RUF012 - as models declare it


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = create_engine("sqlite://", poolclass=StaticPool)
    Base.metadata.create_all(made)
    yield made
    made.dispose()


@pytest.fixture
def sessions(engine: Engine, keyring: Keyring) -> sessionmaker[Session]:
    return bind(sessionmaker(engine), keyring)


@pytest.fixture
def updates(engine: Engine) -> list[tuple[str, Any]]:
    """The UPDATEs that reach the driver, with their parameters."""
    seen: list[tuple[str, Any]] = []

    @event.listens_for(engine, "before_cursor_execute")
    def note(_c: Any, _cur: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("UPDATE"):
            seen.append((statement, parameters))

    return seen


@pytest.fixture(params=[Note, Versioned, Employee], ids=lambda each: each.__name__)
def model(request: pytest.FixtureRequest) -> Any:
    return request.param


def add(sessions: Any, model: Any, count: int = 1) -> list[UUID]:
    with sessions.begin() as session:
        rows = [model() for _ in range(count)]
        session.add_all(rows)
        session.flush()
        return [row.id for row in rows]


def meanwhile(sessions: Any, model: Any, row: UUID, **fields: str) -> None:
    """Another session changes the row and commits."""
    with sessions.begin() as session:
        stored = session.get(model, row)
        for name, value in fields.items():
            setattr(stored, name, value)


def fields(sessions: Any, model: Any, row: UUID) -> tuple[str, str, str]:
    with sessions() as session:
        stored = session.get(model, row)
        return stored.author, stored.text, stored.body


@pytest.mark.parametrize("field", ["author", "text"])
@pytest.mark.parametrize("opened", [True, False])
def test_different_fields_of_one_envelope(
    sessions: Any, model: Any, field: str, *, opened: bool
) -> None:
    (row,) = add(sessions, model)
    with sessions() as session:
        stored = session.get(model, row)
        if opened:
            assert stored.text == "one"
        else:
            _ = stored.label
        meanwhile(sessions, model, row, text="two")
        setattr(stored, field, "mine")
        with pytest.raises(StaleDataError):
            session.commit()
        session.rollback()
        assert (stored.author, stored.text) == ("Ada", "two")
        setattr(stored, field, "mine")
        session.commit()
    expected = {"author": "Ada", "text": "two"} | {field: "mine"}
    assert fields(sessions, model, row) == (*expected.values(), "one")


def test_the_error_is_the_rooms_and_sqlalchemys(sessions: Any) -> None:
    (row,) = add(sessions, Note)
    with sessions() as session:
        stored = session.get(Note, row)
        stored.text = "Quartz & Obsidian"
        meanwhile(sessions, Note, row, author="Grace")
        with pytest.raises(StaleEnvelopeError, match=r"1 row\(s\) of notes.*found 0") as raised:
            session.flush()
    assert isinstance(raised.value, StaleDataError)
    assert "Quartz" not in str(raised.value)
    assert fields(sessions, Note, row) == ("Grace", "one", "one")


def test_a_deleted_row_is_stale(sessions: Any, model: Any) -> None:
    (row,) = add(sessions, model)
    with sessions() as session:
        stored = session.get(model, row)
        stored.text = "two"
        with sessions.begin() as other:
            other.delete(other.get(model, row))
        with pytest.raises(StaleDataError):
            session.flush()


def test_groups_and_columns_in_the_clear_do_not_disturb_each_other(sessions: Any) -> None:
    (row,) = add(sessions, Note)
    with sessions() as session:
        stored = session.get(Note, row)
        assert (stored.text, stored.body) == ("one", "one")
        meanwhile(sessions, Note, row, body="theirs", label="theirs")
        stored.text = "mine"
        session.commit()
        meanwhile(sessions, Note, row, text="theirs")
        stored.label = "mine"
        session.commit()
        assert stored.label == "mine"
    assert fields(sessions, Note, row) == ("Ada", "theirs", "theirs")


def test_a_blind_index_is_not_written_over_either(sessions: Any, model: Any) -> None:
    (row,) = add(sessions, model)
    with sessions() as session:
        stored = session.get(model, row)
        stored.author = "Grace"
        meanwhile(sessions, model, row, author="Hedy")
        with pytest.raises(StaleDataError):
            session.flush()
    with sessions() as session:
        assert session.scalars(select(model).where(model.author == "Hedy")).one().id == row
        assert not session.scalars(select(model).where(model.author == "Grace")).all()


def test_a_row_goes_on_being_changed(sessions: Any, model: Any) -> None:
    """What was written is what the next change replaces, flushed, committed and rolled back."""
    (row,) = add(sessions, model)
    with sessions() as session:
        stored = session.get(model, row)
        for number in range(3):
            stored.text = f"flushed {number}"
            session.flush()
            stored.author = f"author {number}"
            session.commit()
        stored.text = "undone"
        session.flush()
        session.rollback()
        stored.body = "two"
        with session.begin_nested() as inner:
            stored.text = "undone again"
            session.flush()
            inner.rollback()
        stored.author = "last"
        session.commit()
        assert session.scalars(select(model).where(model.author == "last")).one() is stored
    assert fields(sessions, model, row) == ("last", "flushed 2", "two")


def test_many_rows_are_one_statement_and_one_stale_row_stops_them(
    sessions: Any, updates: list[tuple[str, Any]]
) -> None:
    rows = add(sessions, Note, 5)
    with sessions() as session:
        for stored in session.scalars(select(Note)).all():
            stored.text = "two"
        del updates[:]
        session.commit()
        assert len(updates) == 1
        statement, parameters = updates[0]
        assert "AND notes.sealed = ?" in statement
        assert len(parameters) == 5
        for stored in session.scalars(select(Note)).all():
            stored.text = "three"
        meanwhile(sessions, Note, rows[3], author="Grace")
        with pytest.raises(StaleEnvelopeError, match=r"expected 5 row\(s\).*found 4"):
            session.commit()
    assert [fields(sessions, Note, row)[1] for row in rows] == ["two"] * 5


def test_drivers_that_count_one_row_at_a_time(
    engine: Engine, sessions: Any, updates: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = add(sessions, Note, 3)
    monkeypatch.setattr(engine.dialect, "supports_sane_multi_rowcount", False)
    with sessions() as session:
        for stored in session.scalars(select(Note)).all():
            stored.text = "two"
        del updates[:]
        session.commit()
        assert len(updates) == 3
        for stored in session.scalars(select(Note)).all():
            stored.text = "three"
        meanwhile(sessions, Note, rows[2], author="Grace")
        with pytest.raises(StaleEnvelopeError):
            session.commit()
    assert {fields(sessions, Note, row)[1] for row in rows} == {"two"}


def test_drivers_that_do_not_count_are_refused(
    engine: Engine, sessions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (row,) = add(sessions, Note)
    monkeypatch.setattr(engine.dialect, "supports_sane_rowcount", False)
    with sessions() as session:
        session.get(Note, row).text = "two"
        with pytest.raises(UnsealedWriteError, match="another driver"):
            session.commit()
        session.rollback()
        session.get(Note, row).label = "no envelope is written"
        session.commit()
    assert fields(sessions, Note, row)[1] == "one"


def test_envelopes_that_no_statement_compares_are_refused(
    sessions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard behind the guard: an UPDATE of another kind cannot write an envelope."""
    (row,) = add(sessions, Note)
    table: Any = Note.__table__
    plain = lambda: update(table)  # noqa: E731 - in place of a method
    monkeypatch.setattr(table, "update", plain)
    mapper = Note.__mapper__
    monkeypatch.setattr(mapper, "_memoized_values", {})
    with sessions() as session:
        session.get(Note, row).text = "two"
        with pytest.raises(UnsealedWriteError, match="which envelope it replaces"):
            session.commit()
    assert fields(sessions, Note, row)[1] == "one"


def test_the_tables_statement_is_an_ordinary_update_otherwise(sessions: Any) -> None:
    (row,) = add(sessions, Note)
    table: Any = Note.__table__
    assert type(table.update()) is CompareAndSwap
    with sessions.begin() as session:
        session.execute(table.update().where(table.c.id == row).values(label="by hand"))
        session.execute(update(Note).where(Note.id == row).values(label="by the ORM"))
        session.execute(update(Note), [{"id": row, "label": "in bulk"}])
        assert session.scalar(select(Note.label)) == "in bulk"
    small = Table("t", MetaData(), Column("id", Integer), Column("sealed", EnvelopeType()))
    guard_table(small)
    copied = pickle.loads(pickle.dumps(small.metadata)).tables["t"]  # noqa: S301 - made above
    assert type(copied.update()) is CompareAndSwap


def test_merging_what_was_changed_elsewhere(sessions: Any, model: Any) -> None:
    (row,) = add(sessions, model)
    with sessions() as session:
        detached = session.get(model, row)
        detached.text = "mine"
        session.expunge(detached)
    meanwhile(sessions, model, row, author="Grace")
    with sessions() as session:

        def merge() -> None:
            session.merge(detached)
            session.flush()

        with pytest.raises(StaleDataError):
            merge()
    assert fields(sessions, model, row) == ("Grace", "one", "one")


@pytest.mark.parametrize("read", [True, False])
def test_merging_a_new_instance_keeps_the_fields_that_it_does_not_have(
    sessions: Any, *, read: bool
) -> None:
    (row,) = add(sessions, Note)
    with sessions.begin() as session:
        if read:
            assert session.get(Note, row).text == "one"
        session.merge(Note(id=row, owner="north", text="merged"))
    assert fields(sessions, Note, row) == ("Ada", "merged", "one")


def test_a_row_that_is_replaced_within_one_flush(sessions: Any) -> None:
    """SQLAlchemy makes an UPDATE of it; nothing of the row that was deleted may stay."""
    (row,) = add(sessions, Note)
    meanwhile(sessions, Note, row, author="Grace", body="old")
    with sessions.begin() as session:
        session.delete(session.get(Note, row))
        session.add(Note(id=row, owner="south", text="new"))
    assert fields(sessions, Note, row) == ("Ada", "new", "one")
    with sessions() as session:
        assert session.scalars(select(Note).where(Note.author == "Ada")).one().id == row
        assert not session.scalars(select(Note).where(Note.author == "Grace")).all()
