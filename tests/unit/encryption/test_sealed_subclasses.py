"""Hierarchies of which only some classes are sealed: what may be written to the rows of which class.

What an envelope of a subclass is bound to stands in a table that may have no envelope itself, and
which class a row is of decides which envelopes it must have.
"""

# ruff: noqa: RUF012 - declared as models are

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import ForeignKey, bindparam, create_engine, func, insert, select, update
from sqlalchemy import text as sql
from sqlalchemy.exc import SAWarning
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.orm.attributes import flag_modified

from assay.encryption.sqlalchemy import (
    OwnerChangedError,
    Sealed,
    UnsealedWriteError,
    bind,
    move_to_owner,
    sealed,
)


class Base(DeclarativeBase):
    pass


class Person(Base):
    __tablename__ = "people"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    firm: Mapped[str | None]
    region: Mapped[str | None]
    kind: Mapped[str]


class Patient(Sealed, Person):  # in the table of its parent
    __owner__ = "firm"
    __mapper_args__ = {"polymorphic_identity": "patient"}
    illness: Mapped[str] = sealed()


class Employee(Person):  # in a table of its own, and not sealed
    __tablename__ = "employees"
    __mapper_args__ = {"polymorphic_identity": "employee"}
    id: Mapped[int] = mapped_column(ForeignKey("people.id"), primary_key=True)
    desk: Mapped[str | None]


class Driver(Sealed, Employee):  # joined to both
    __tablename__ = "drivers"
    __owner__ = "region"
    __mapper_args__ = {"polymorphic_identity": "driver"}
    id: Mapped[int] = mapped_column(ForeignKey("employees.id"), primary_key=True)
    licence: Mapped[str] = sealed()


class Trucker(Driver):  # adds nothing that is sealed
    __mapper_args__ = {"polymorphic_identity": "trucker"}


class Courier(Sealed, Person):  # with a key of another name
    __tablename__ = "couriers"
    __owner__ = "city"
    __mapper_args__ = {"polymorphic_identity": "courier"}
    courier_id: Mapped[int] = mapped_column(ForeignKey("people.id"), primary_key=True)
    city: Mapped[str]
    bicycle: Mapped[str] = sealed()


class Guest(Sealed, Person):  # whose owner stands in a column that other classes do not have
    __owner__ = "host"
    __mapper_args__ = {"polymorphic_identity": "guest"}
    host: Mapped[str | None]
    allergy: Mapped[str] = sealed()


class Place(Base):  # nothing says which class its rows are of
    __tablename__ = "places"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    holder: Mapped[str]


class Cellar(Sealed, Place):
    __tablename__ = "cellars"
    __owner__ = "holder"
    id: Mapped[int] = mapped_column(ForeignKey("places.id"), primary_key=True)
    wine: Mapped[str] = sealed()


PEOPLE, EMPLOYEES = Person.__table__, Employee.__table__


@pytest.fixture
def session(keyring: Any) -> Iterator[Session]:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with bind(Session(engine), keyring) as session:
        session.add_all(
            [
                Person(id=1, firm="a", region="x"),
                Patient(id=2, firm="a", region="x", illness="flu"),
                Employee(id=3, firm="a", region="x", desk="1"),
                Driver(id=4, firm="a", region="x", licence="B"),
                Trucker(id=5, firm="a", region="x", licence="C"),
            ]
        )
        session.commit()
        session.expunge_all()
        yield session
    engine.dispose()


def opened(session: Session) -> list[Any]:
    session.expunge_all()
    assert session.get_one(Patient, 2).illness == "flu"
    assert [one.licence for one in session.scalars(select(Driver).order_by(Driver.id))] == [
        "B", "C",
    ]  # fmt: skip
    return [*session.execute(sql("SELECT id, firm, region, kind FROM people ORDER BY id")).all()]


_APART = {
    "values": lambda name, value: (update(PEOPLE).values({name: value}), {}),
    "parameters": lambda name, value: (update(PEOPLE).where(PEOPLE.c.id == 4), {name: value}),
    "many": lambda name, value: (
        update(PEOPLE).where(PEOPLE.c.id == bindparam("people_id")),
        [{"people_id": 1, name: value}, {"people_id": 4, name: value}],
    ),
    "model": lambda name, value: (update(Person).values({name: value}), {}),
    "subclass": lambda name, value: (update(Trucker).values({name: value}), {}),
    "by key": lambda name, value: (update(Person), [{"id": 4, name: value}]),
    "expression": lambda name, _: (update(PEOPLE).values({name: PEOPLE.c.kind}), {}),
}


@pytest.mark.parametrize("form", _APART)
@pytest.mark.parametrize("owner", ["firm", "region"])
def test_the_owner_in_the_table_of_a_parent_stays(session: Session, form: str, owner: str) -> None:
    before = opened(session)
    statement, rows = _APART[form](owner, "b")
    with pytest.raises(UnsealedWriteError, match="the owner"):
        session.execute(statement, rows)
    assert opened(session) == before


@pytest.mark.parametrize("table", [PEOPLE, EMPLOYEES])
def test_the_primary_key_in_the_table_of_a_parent_stays(session: Session, table: Any) -> None:
    before = opened(session)
    with pytest.raises(UnsealedWriteError, match="primary key"):
        session.execute(update(table).where(table.c.id == 4).values(id=9))
    assert opened(session) == before


def test_older_bulk_updates_are_refused(session: Session) -> None:
    with pytest.raises(UnsealedWriteError, match="the owner"):
        session.bulk_update_mappings(Person, [{"id": 4, "region": "y"}])  # type: ignore[arg-type]  # as SQLAlchemy takes it
    session.rollback()
    assert opened(session)


def test_rows_move_whose_owner_stands_in_the_table_of_a_parent(session: Session) -> None:
    for key, owner in ((2, "b"), (4, "y"), (5, "z")):
        move_to_owner(session.get_one(Person, key), owner)
    session.flush()
    assert [row[1:3] for row in opened(session)] == [
        ("a", "x"), ("b", "x"), ("a", "x"), ("a", "y"), ("a", "z"),
    ]  # fmt: skip


def test_a_move_permits_no_other_row(session: Session) -> None:
    move_to_owner(session.get_one(Person, 4), "y")
    session.flush()
    for key in (4, 5):
        with pytest.raises(UnsealedWriteError, match="the owner"):
            session.execute(
                update(PEOPLE).where(PEOPLE.c.id == bindparam("people_id")),
                [{"people_id": key, "region": "y"}],
            )


def test_instances_of_classes_that_are_not_sealed_change(session: Session) -> None:
    session.get_one(Person, 1).firm = "b"
    employee = session.get_one(Employee, 3)
    employee.firm, employee.region = "b", "y"
    session.flush()
    person = session.get_one(Person, 1)
    person.id = 11
    session.flush()
    assert [row[:3] for row in opened(session)][-1] == (11, "b", "x")


def test_instances_of_sealed_classes_do_not(session: Session) -> None:
    with pytest.raises(OwnerChangedError):
        session.get_one(Driver, 4).region = "y"
    driver = session.get_one(Driver, 4)
    driver.firm = "b"  # which is not what its envelope is bound to
    session.flush()
    assert opened(session)[3][1] == "b"


def test_rows_are_replaced(session: Session) -> None:
    for old in (session.get_one(Person, 4), session.get_one(Person, 2)):
        session.delete(old)
    session.add_all(
        [
            Driver(id=4, firm="a", region="y", licence="B"),
            Patient(id=2, firm="b", region="x", illness="flu"),
        ]
    )
    session.flush()
    assert [row[1:3] for row in opened(session)][1:4] == [("b", "x"), ("a", "x"), ("a", "y")]


def test_a_row_with_a_key_of_another_name_is_replaced(session: Session) -> None:
    session.add(Courier(id=6, city="here", bicycle="red"))
    session.flush()
    session.delete(session.get_one(Courier, 6))
    session.add(Courier(id=6, city="there", bicycle="blue"))
    session.flush()
    session.expunge_all()
    assert session.get_one(Courier, 6).bicycle == "blue"


def test_an_owner_that_other_classes_do_not_have(session: Session) -> None:
    session.add(Guest(id=7, host="a", allergy="nuts"))
    session.get_one(Person, 1).firm = "b"
    session.flush()
    with pytest.raises(UnsealedWriteError, match=r"the owner people\.host"):
        session.execute(update(PEOPLE).values(host="b"))
    move_to_owner(session.get_one(Guest, 7), "b")
    session.flush()
    session.expunge_all()
    assert (session.get_one(Guest, 7).host, session.get_one(Guest, 7).allergy) == ("b", "nuts")


def test_a_row_may_be_one_of_a_class_that_nothing_names(session: Session) -> None:
    session.add(Cellar(id=1, holder="a", wine="red"))
    session.commit()
    session.expunge_all()
    place = session.get_one(Place, 1)
    assert type(place) is Place
    place.holder = "b"
    with pytest.raises(UnsealedWriteError, match="the owner"):
        session.flush()
    session.rollback()
    assert session.get_one(Cellar, 1).wine == "red"


def test_an_owner_that_changes_past_its_attribute_is_refused(session: Session) -> None:
    driver = session.get_one(Driver, 4)
    vars(driver)["region"] = "y"
    flag_modified(driver, "region")
    with pytest.raises(OwnerChangedError, match="left behind"):
        session.flush()
    session.rollback()
    assert opened(session)


def test_all_rows_of_an_update_are_permitted_or_none(session: Session) -> None:
    session.add_all([Cellar(id=n, holder="a", wine="red") for n in (1, 2)])
    session.commit()
    session.expunge_all()
    moving, place = session.get_one(Cellar, 1), session.get_one(Place, 2)
    move_to_owner(moving, "b")
    place.holder = "b"  # written together with the one that moves
    with pytest.raises(UnsealedWriteError, match="the owner"):
        session.flush()
    session.rollback()
    assert [each.wine for each in session.scalars(select(Cellar))] == ["red", "red"]


def test_a_flush_permits_nothing_that_it_does_not_write(session: Session) -> None:
    session.get_one(Driver, 4).firm = "b"
    session.flush()
    with pytest.raises(UnsealedWriteError, match="primary key"):
        session.execute(
            update(EMPLOYEES).where(EMPLOYEES.c.id == bindparam("employees_id")),
            [{"employees_id": 4, "id": 9}],
        )


def test_the_database_computes_for_classes_that_are_not_sealed(session: Session) -> None:
    session.get_one(Person, 1).firm = func.upper("b")
    session.flush()
    session.execute(
        insert(EMPLOYEES).from_select(["id"], select(PEOPLE.c.id).where(PEOPLE.c.id == 1))
    )
    assert opened(session)[0][1] == "B"


def test_what_is_not_bound_is_updated(session: Session) -> None:
    session.execute(update(Employee.__table__).values(desk="2"))
    session.execute(update(PEOPLE).values(region=PEOPLE.c.region))
    session.execute(insert(PEOPLE), {"id": 8, "firm": "c", "kind": "person"})
    assert opened(session)


_OTHER_CLASSES = ["patient", "driver", "trucker"]


@pytest.mark.parametrize("kind", _OTHER_CLASSES)
@pytest.mark.parametrize("model", [Person, Employee])
def test_new_instances_are_of_their_own_class(session: Session, model: Any, kind: str) -> None:
    session.add(model(id=9, firm="a", region="x", kind=kind))
    with pytest.raises(UnsealedWriteError, match="of the class"):
        session.flush()


@pytest.mark.parametrize("kind", _OTHER_CLASSES)
@pytest.mark.parametrize("key", [1, 3])
def test_stored_instances_stay_of_their_class(session: Session, key: int, kind: str) -> None:
    session.get_one(Person, key).kind = kind
    with pytest.raises(UnsealedWriteError, match="class"):
        session.flush()
    session.rollback()
    assert opened(session)[key - 1].kind != kind


@pytest.mark.parametrize("kind", ["person", "driver", "employee"])
def test_sealed_instances_stay_of_their_class(session: Session, kind: str) -> None:
    session.get_one(Patient, 2).kind = kind
    with pytest.raises(UnsealedWriteError, match="class"):
        session.flush()


def test_classes_that_have_the_same_envelopes_may_take_turns(session: Session) -> None:
    session.get_one(Driver, 4).kind = "trucker"
    session.flush()
    session.get_one(Person, 1).kind = "other"  # a class that nobody knows has no envelopes
    with pytest.warns(SAWarning, match="incompatible polymorphic identity"):
        session.flush()
    kinds = session.execute(sql("SELECT kind FROM people ORDER BY id")).scalars().all()
    assert kinds == ["other", "patient", "employee", "trucker", "trucker"]


@pytest.mark.parametrize(
    ("statement", "rows"),
    [
        (insert(Person), [{"id": 9, "firm": "a", "kind": "patient"}]),
        (insert(Person), [{"id": 9, "firm": "a"}, {"id": 10, "firm": "a", "kind": "driver"}]),
        (insert(Person), {"id": 9, "firm": "a", "kind": "patient"}),
        (insert(Person).values(id=9, firm="a", kind="patient"), {}),
        (insert(Person).values(id=9, firm="a", kind="driver"), {}),
        (insert(Person).values(id=9, firm="a", kind=PEOPLE.c.firm), {}),
        (insert(Employee), [{"id": 9, "firm": "a", "kind": "trucker"}]),
        (insert(PEOPLE), [{"id": 9, "kind": "person"}, {"id": 10, "kind": "patient"}]),
        (insert(PEOPLE).values([{"id": 9, "kind": "patient"}]), {}),
        (insert(PEOPLE).from_select(["id", "kind"], select(9, PEOPLE.c.kind)), {}),
        (update(PEOPLE).where(PEOPLE.c.id == 1).values(kind="patient"), {}),
        (update(PEOPLE).where(PEOPLE.c.id == 1).values(kind="driver"), {}),
        (update(PEOPLE).where(PEOPLE.c.id == 1).values(kind=PEOPLE.c.firm), {}),
        (update(PEOPLE).where(PEOPLE.c.id == 1), {"kind": "trucker"}),
        (update(Person).where(Person.id == 1).values(kind="patient"), {}),
        (update(Person), [{"id": 1, "kind": "person"}, {"id": 3, "kind": "driver"}]),
    ],
)
def test_statements_make_no_rows_of_sealed_classes(
    session: Session, statement: Any, rows: Any
) -> None:
    before = opened(session)
    with pytest.raises(UnsealedWriteError, match=r"class|the database would compute"):
        session.execute(statement, rows)
    assert opened(session) == before


def test_statements_make_rows_of_other_classes(session: Session) -> None:
    session.execute(insert(Person), [{"id": 9, "firm": "a"}])
    session.execute(insert(Patient), [{"id": 10, "firm": "a", "illness": "cold"}])
    session.execute(insert(Driver), [{"id": 11, "region": "x", "licence": "D", "kind": "trucker"}])
    session.execute(update(Person).where(Person.id == 9).values(kind="person"))
    session.expunge_all()
    assert session.get_one(Patient, 10).illness == "cold"
    assert session.get_one(Trucker, 11).licence == "D"
