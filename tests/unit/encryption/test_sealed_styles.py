"""The ways in which people write models: what they name their tables by, hybrids, synonyms, mixins."""

# ruff: noqa: N805, RUF012 - declared as models are

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import ForeignKey, create_engine, insert, select, update
from sqlalchemy import text as sql
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    declared_attr,
    has_inherited_table,
    mapped_column,
    synonym,
)

from assay.encryption.sqlalchemy import (
    DeclarationError,
    Equality,
    Sealed,
    SealedExpressionError,
    SealedOperatorError,
    UnsealedWriteError,
    bind,
    exact,
    sealed,
)


class Base(DeclarativeBase):
    pass


class Note(Sealed, Base):
    __tablename__ = "notes"
    __owner__ = "owner"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    owner: Mapped[str]
    label: Mapped[str | None]
    first: Mapped[str] = sealed(index=Equality(exact))
    last: Mapped[str | None] = sealed()
    given = synonym("first")

    @hybrid_property
    def whole(self) -> str:
        return self.first + " " + str(self.last)

    @hybrid_property
    def short(self) -> str:
        return self.first[:1]

    @hybrid_property
    def is_last(self) -> bool:
        return self.last == "last"

    @hybrid_property
    def heading(self) -> str | None:
        return self.label

    @heading.inplace.bulk_dml
    @classmethod
    def _set_heading(cls, row: Any, value: Any) -> None:
        if isinstance(value, dict):
            row.update(value)
        else:
            row["label"] = value


@pytest.fixture
def session(keyring: Any) -> Iterator[Session]:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with bind(Session(engine), keyring) as session:
        session.add(Note(id=1, owner="x", first="Ada", last="Lovelace"))
        session.commit()
        yield session
    engine.dispose()


def row(number: int, **more: Any) -> dict[str, Any]:
    return {"id": number, "owner": "x", "first": f"Grace {number}", **more}


def test_hybrids_that_only_instances_have_do_not_hinder_rows_in_bulk(session: Session) -> None:
    session.execute(insert(Note), [row(2, last="Hopper"), row(3, last="Hopper")])
    returned = session.scalars(
        insert(Note).returning(Note, sort_by_parameter_order=True), [row(5), row(4)]
    )
    assert [(each.id, each.whole) for each in returned] == [
        (5, "Grace 5 None"),
        (4, "Grace 4 None"),
    ]
    session.execute(update(Note), [{"id": 2, "label": "x"}, {"id": 3, "heading": "y"}])
    session.bulk_update_mappings(Note, [{"id": 4, "label": "z"}])  # type: ignore[arg-type]  # as SQLAlchemy takes it
    found = session.scalars(select(Note).order_by(Note.id)).all()
    assert [each.label for each in found] == [None, "x", "y", "z", None]
    assert [each.short for each in found] == ["A", "G", "G", "G", "G"]


@pytest.mark.parametrize("name", ["whole", "short", "is_last"])
def test_they_are_refused_in_statements(name: str) -> None:
    with pytest.raises(SealedOperatorError) as caught:
        getattr(Note, name)
    assert isinstance(caught.value, SealedExpressionError)
    with pytest.raises(InvalidRequestError, match=name):
        select(Note).filter_by(**{name: "x"})


@pytest.mark.parametrize(
    "change", [{"first": "Eve"}, {"last": "Eve"}, {"owner": "y"}, {"id": 9}, {"last": None}]
)
@pytest.mark.parametrize(
    "write",
    [
        lambda s, v: s.execute(insert(Note), [row(2, heading=v)]),
        lambda s, v: s.execute(update(Note), [{"id": 1, "heading": v}]),
        lambda s, v: s.bulk_update_mappings(Note, [{"id": 1, "heading": v}]),
        lambda s, v: s.bulk_insert_mappings(Note, [{"id": 2, "owner": "x", "heading": v}]),
    ],
)
def test_setters_of_rows_in_bulk_leave_alone_what_is_sealed(
    session: Session, write: Callable[[Session, Any], Any], change: dict[str, Any]
) -> None:
    with pytest.raises(
        UnsealedWriteError, match=f"bulk_dml of Note.heading .*'{next(iter(change))}'"
    ):
        write(session, change)
    session.rollback()
    assert session.execute(sql("SELECT id, owner FROM notes")).all() == [(1, "x")]
    assert session.get_one(Note, 1).whole == "Ada Lovelace"


def test_setters_of_rows_in_bulk_set_the_rest(session: Session) -> None:
    session.execute(insert(Note), [row(2, heading="new")])
    session.execute(update(Note), [{"id": 1, "heading": "old"}])
    assert session.scalars(select(Note.label).order_by(Note.id)).all() == ["old", "new"]


def test_a_session_says_whether_a_model_with_synonyms_is_modified(session: Session) -> None:
    note = session.get_one(Note, 1)
    assert not session.is_modified(note)
    note.given = "Augusta"
    assert session.is_modified(note)
    session.commit()
    assert not session.is_modified(note)
    assert session.scalars(select(Note).where(Note.given == "Augusta")).one().first == "Augusta"


def test_an_envelope_is_not_deleted(session: Session) -> None:
    note = session.get_one(Note, 1)
    del note.sealed
    with pytest.raises(UnsealedWriteError, match="to be left alone"):
        session.flush()
    session.rollback()
    assert note.whole == "Ada Lovelace"


def test_a_function_names_the_tables(keyring: Any) -> None:
    class Named(DeclarativeBase):
        @declared_attr.directive
        def __tablename__(cls) -> str | None:
            return None if cls.__name__.startswith("Same") else cls.__name__.lower()

    class Owned(Sealed):
        __owner__ = "owner"
        owner: Mapped[str]
        note: Mapped[str | None] = sealed()

    class Letter(Owned, Named):
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "letter"}
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        kind: Mapped[str]
        text: Mapped[str] = sealed()

    class SameLetter(Letter):
        __mapper_args__ = {"polymorphic_identity": "same"}
        city: Mapped[str] = sealed()

    class Joined(Letter):
        __mapper_args__ = {"polymorphic_identity": "joined"}
        id: Mapped[int] = mapped_column(ForeignKey("letter.id"), primary_key=True)
        street: Mapped[str] = sealed()

    assert {name: [*table.c.keys()] for name, table in Named.metadata.tables.items()} == {
        "letter": ["id", "kind", "owner", "sealed", "sealed_sameletter"],
        "joined": ["id", "sealed_joined"],
    }
    engine = create_engine("sqlite://")
    Named.metadata.create_all(engine)
    with bind(Session(engine), keyring) as session:
        session.add(Letter(id=1, owner="x", text="a", note="n"))
        session.add(SameLetter(id=2, owner="x", text="b", city="Ulm"))
        session.add(Joined(id=3, owner="x", text="c", street="Neue"))
        session.commit()
        session.expunge_all()
        found = session.scalars(select(Letter).order_by(Letter.id)).all()
        assert [each.text for each in found] == ["a", "b", "c"]
        assert (found[0].note, found[1].city, found[2].street) == ("n", "Ulm", "Neue")
    engine.dispose()


def test_the_function_may_stand_on_the_model_or_on_a_mixin(keyring: Any) -> None:
    class Other(DeclarativeBase):
        pass

    class Tabled:
        @declared_attr.directive
        def __tablename__(cls) -> str | None:
            return None if has_inherited_table(cls) else cls.__name__.lower()

    class Sheet(Tabled, Sealed, Other):
        __owner__ = "owner"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        owner: Mapped[str]
        text: Mapped[str] = sealed()

    class Page(Sealed, Other):
        @declared_attr.directive
        def __tablename__(cls) -> str:
            return "pages"

        __owner__ = "owner"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        owner: Mapped[str]
        text: Mapped[str] = sealed()

    engine = create_engine("sqlite://")
    Other.metadata.create_all(engine)
    with bind(Session(engine), keyring) as session:
        session.add_all([Sheet(id=1, owner="x", text="a"), Page(id=1, owner="x", text="b")])
        session.commit()
        assert session.get_one(Sheet, 1).text + session.get_one(Page, 1).text == "ab"
    assert {*Other.metadata.tables} == {"sheet", "pages"}
    engine.dispose()


def test_a_sealed_field_is_no_function() -> None:
    class Other(DeclarativeBase):
        pass

    class Texts(Sealed):
        __owner__ = "owner"

        @declared_attr
        def text(cls) -> Mapped[str]:
            return sealed()  # type: ignore[no-any-return]  # what is refused

    with pytest.raises(DeclarationError, match=r"declared itself.*write text: Mapped"):
        type(
            "Paper",
            (Texts, Other),
            {
                "__module__": __name__,
                "__tablename__": "papers",
                "id": mapped_column(primary_key=True),
                "__annotations__": {"id": Mapped[str], "owner": Mapped[str]},
            },
        )
    Other.registry.dispose()
