"""Models that look as if they worked: refused when they are made or mapped, with the way out."""

# ruff: noqa: RUF012 - declared as models are

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import Column, LargeBinary, String, Table, create_engine, insert, select
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    column_property,
    composite,
    mapped_column,
    registry,
)
from sqlalchemy.orm.exc import StaleDataError

from assay.encryption.sqlalchemy import DeclarationError, Equality, Sealed, bind, exact, sealed


@dataclass(frozen=True)
class Pair:
    one: str
    other: str


@pytest.fixture
def base() -> Iterator[Any]:
    class Attributed:
        def described(self) -> str:
            return "an attribute of the declarative base"

    class Base(Attributed, DeclarativeBase):
        pass

    yield Base
    Base.registry.dispose()  # what was refused is mapped by half


def declare(base: Any, *, name: str = "text", **members: Any) -> Any:
    members = {
        "__module__": __name__,
        "__tablename__": "papers",
        "__owner__": "owner",
        "__annotations__": {name: Mapped[str]},
        "id": mapped_column(String, primary_key=True),
        "owner": mapped_column(String),
        "label": mapped_column(String),
        name: sealed(index=Equality(exact)),
        **members,
    }
    return type("Paper", (Sealed, base), members)


@pytest.mark.parametrize(
    "name",
    [
        "metadata", "registry", "described", "__eq__", "__init__",
        "__mapper__", "_sa_registry", "_sa_instance_state", "__sealed_name__",
    ],
)  # fmt: skip
def test_fields_that_would_shadow_what_a_model_is_made_of_are_refused(base: Any, name: str) -> None:
    with pytest.raises(DeclarationError, match=f"another name .* found '{name}'"):
        declare(base, name=name)


@pytest.mark.parametrize("name", ["metadata", "registry"])
def test_they_are_refused_without_a_declarative_base_too(name: str) -> None:
    with pytest.raises(DeclarationError, match=f"another name .* found '{name}'"):
        registry().mapped(declare(object, name=name))


def test_fields_of_an_abstract_base_are_no_attributes_of_it() -> None:
    class Base(DeclarativeBase):
        pass

    class Noted(Sealed, Base):
        __abstract__ = True
        note: Mapped[str] = sealed()

    members = {
        "__module__": __name__,
        "__tablename__": "papers",
        "__owner__": "owner",
        "id": mapped_column(String, primary_key=True),
        "owner": mapped_column(String),
    }
    assert set(type("Paper", (Noted,), members).__sealed__.fields) == {"note"}


def test_fields_of_a_declarative_base_are_those_of_its_models(keyring: Any) -> None:
    class Base(Sealed, DeclarativeBase):
        __owner__ = "owner"
        id: Mapped[str] = mapped_column(primary_key=True)
        owner: Mapped[str]
        note: Mapped[str] = sealed()

    class Paper(Base):
        __tablename__ = "papers"
        text: Mapped[str] = sealed()

    class Bill(Base):
        __tablename__ = "bills"
        amount: Mapped[int]

    assert [set(each.__sealed__.fields) for each in (Paper, Bill)] == [{"note", "text"}, {"note"}]
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with bind(Session(engine), keyring) as session:
        session.add_all(
            [
                Paper(id="1", owner="a", note="n", text="t"),
                Bill(id="1", owner="a", note="b", amount=1),
            ]
        )
        session.commit()
        assert (session.get_one(Paper, "1").note, session.get_one(Bill, "1").note) == ("n", "b")
    engine.dispose()


def test_dataclasses_that_are_mapped_are_refused() -> None:
    with pytest.raises(DeclarationError, match="found the dataclass Paper"):

        @registry().mapped
        @dataclass
        class Paper(Sealed):
            __tablename__ = "papers"
            __owner__ = "owner"
            id: Mapped[str] = mapped_column(primary_key=True)  # noqa: RUF009 - as models do
            owner: Mapped[str] = mapped_column()  # noqa: RUF009 - as above
            text: Mapped[str] = sealed()  # noqa: RUF009 - as above


def test_subclasses_that_are_dataclasses_are_refused() -> None:
    mappers = registry()

    @mappers.mapped
    class Paper(Sealed):
        __tablename__ = "papers"
        __owner__ = "owner"
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "paper"}
        id: Mapped[str] = mapped_column(primary_key=True)
        owner: Mapped[str]
        kind: Mapped[str]
        text: Mapped[str] = sealed()

    with pytest.raises(DeclarationError, match="found the dataclass Bill"):

        @mappers.mapped_as_dataclass
        class Bill(Paper):
            __mapper_args__ = {"polymorphic_identity": "bill"}
            amount: Mapped[int] = mapped_column()


def test_a_named_table_that_is_mapped_imperatively_is_refused() -> None:
    mappers = registry()
    table = Table(
        "papers",
        mappers.metadata,
        Column("id", String, primary_key=True),
        Column("owner", String),
        Column("text", LargeBinary),
    )
    members = {
        "__tablename__": "papers",
        "__owner__": "owner",
        "__module__": __name__,
        "__annotations__": {"text": Mapped[str]},
        "text": sealed(),
    }
    with pytest.raises(DeclarationError, match="map it declaratively"):
        mappers.map_imperatively(type("Paper", (Sealed,), members), table)


@pytest.mark.parametrize(
    "attributes",
    [lambda _: ("text", "label"), lambda _: ("label", "text"), lambda text: (text, "label")],
)
def test_composites_of_sealed_fields_are_refused(base: Any, attributes: Any) -> None:
    text: Any = sealed()
    with pytest.raises(DeclarationError, match=r"a composite of columns, found .*property"):
        declare(base, text=text, pair=composite(Pair, *attributes(text)))


def test_composites_of_other_columns_work(base: Any, keyring: Any) -> None:
    model = declare(base, pair=composite(Pair, "label", "owner"))
    engine = create_engine("sqlite://")
    base.metadata.create_all(engine)
    with bind(Session(engine), keyring) as session:
        session.add(model(id="1", pair=Pair("a", "north"), text="Dear Ada"))
        session.commit()
        found = session.scalars(select(model)).one()
        assert (found.pair, found.text, found.owner) == (Pair("a", "north"), "Dear Ada", "north")
    engine.dispose()


@pytest.mark.parametrize("place", ["later", "other class", "subquery"])
def test_column_properties_that_compare_sealed_fields_are_refused(base: Any, place: str) -> None:
    model = declare(base)
    if place == "later":
        model.found = column_property(model.text == "secret")
    else:
        expression = model.text == "secret"
        if place == "subquery":
            expression = select(model.id).where(expression).scalar_subquery()
        type(
            "Other",
            (base,),
            {
                "__tablename__": "others",
                "id": mapped_column(String, primary_key=True),
                "found": column_property(expression),
            },
        )
    with pytest.raises(DeclarationError, match="hybrid_property") as raised:
        base.registry.configure()
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("attribute", ["owner", "id"])
def test_defaults_that_ask_for_the_statement_are_refused(
    base: Any, keyring: Any, attribute: str
) -> None:
    def from_label(context: Any) -> Any:
        return context.get_current_parameters()["label"]

    primary = attribute == "id"
    column = mapped_column(String, default=from_label, primary_key=primary)
    model = declare(base, **{attribute: column})
    engine = create_engine("sqlite://")
    base.metadata.create_all(engine)
    given = {"id": "1", "owner": "north", "label": "x", "text": "Dear Ada"}
    del given[attribute]
    with bind(Session(engine), keyring) as session:
        session.add(model(**given))
        with pytest.raises(DeclarationError, match="get_current_parameters"):
            session.flush()
        session.rollback()
        with pytest.raises(DeclarationError, match="get_current_parameters"):
            session.execute(insert(model), [given])
        session.add(model(**given, **{attribute: "assigned"}))
        session.commit()
        assert session.scalars(select(model)).one().text == "Dear Ada"
    engine.dispose()


def test_a_copy_of_a_new_instance_has_values_of_its_own(library: Any) -> None:
    one = library.Document(tenant_id="north", owner_email="ada@x", text="one", body="b")
    other = copy.copy(one)
    one.text, one.body = "changed", "changed"
    assert (other.text, other.body, other.owner_email) == ("one", "b", "ada@x")
    other.text, other.owner_email = "other", "other@x"
    assert (one.text, one.owner_email) == ("changed", "ada@x")
    with library.sessions() as session:
        session.add(one)
        session.commit()
        assert (one.text, one.body, one.owner_email) == ("changed", "changed", "ada@x")


def test_a_copy_of_a_stored_instance_shows_what_it_showed(library: Any) -> None:
    key = library.add(text="one")
    with library.sessions() as session:
        one = session.get(library.Document, key)
        assert one.text == "one"
        other = copy.copy(one)
        one.text = "changed"
        again = copy.copy(one)
        one.text = "again"
        assert (other.text, again.text) == ("one", "changed")
        session.commit()
        assert session.get(library.Document, key).text == "again"


def test_a_copy_of_a_changed_instance_undoes_nothing(library: Any) -> None:
    key, document = library.add(text="one"), library.Document
    with library.sessions() as session:
        mine = session.get(document, key)
        mine.text = "mine"
        copied = copy.copy(mine)
        session.rollback()
    with library.sessions.begin() as session:
        session.get(document, key).owner_email = "theirs@x"
    with library.sessions() as session:
        session.merge(copied)
        with pytest.raises(StaleDataError):
            session.flush()
    with library.sessions() as session:
        assert session.get(document, key).owner_email == "theirs@x"
