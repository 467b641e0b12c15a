"""What a flush may write into the tables of a hierarchy, nothing else may: not later, not beside it.

Also: nothing but a flush, or an INSERT of the ORM, makes rows whose envelopes stand in other tables.
"""

# ruff: noqa: RUF012 - declared as models are

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import (
    Computed,
    Connection,
    ForeignKey,
    bindparam,
    case,
    create_engine,
    event,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, column_property, mapped_column

from assay.encryption.sqlalchemy import (
    DeclarationError,
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
    region: Mapped[str | None]
    kind: Mapped[str]


class Driver(Sealed, Person):
    __tablename__ = "drivers"
    __owner__ = "region"
    __mapper_args__ = {"polymorphic_identity": "driver"}
    id: Mapped[int] = mapped_column(ForeignKey("people.id"), primary_key=True)
    truck: Mapped[str | None] = mapped_column(unique=True)
    licence: Mapped[str] = sealed()


class Trucker(Driver):
    __mapper_args__ = {"polymorphic_identity": "trucker"}


class Thing(Base):  # which class its rows are of by default is not for the database to say
    __tablename__ = "things"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "thing"}
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    owner: Mapped[str | None]
    kind: Mapped[str] = mapped_column(default="box")
    colour: Mapped[str] = mapped_column(server_default="red")


class Box(Sealed, Thing):
    __tablename__ = "boxes"
    __owner__ = "owner"
    __mapper_args__ = {"polymorphic_identity": "box"}
    id: Mapped[int] = mapped_column(ForeignKey("things.id"), primary_key=True)
    inside: Mapped[str] = sealed()


PEOPLE = Person.__table__
MOVE = update(PEOPLE).where(PEOPLE.c.id == bindparam("people_id"))


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def session(connection: Connection, keyring: Any) -> Iterator[Session]:
    with bind(Session(connection), keyring) as session:
        session.add(Person(id=1, region="x"))
        session.add_all(
            [Driver(id=n, region="x", truck=str(n), licence="B") for n in (4, 5)]
            + [Trucker(id=6, region="x", licence="C")]
        )
        session.flush()
        session.expunge_all()
        yield session


def opened(session: Session) -> list[tuple[int, str | None, str]]:
    session.expunge_all()
    found = session.scalars(select(Driver).order_by(Driver.id))
    return [(each.id, each.region, each.licence) for each in found]


STORED = [(4, "x", "B"), (5, "x", "B"), (6, "x", "C")]


@pytest.mark.parametrize("kind", ["driver", "trucker"])
@pytest.mark.parametrize(
    "write",
    [
        lambda s, k: s.execute(insert(PEOPLE), {"id": 9, "kind": k}),
        lambda s, k: s.connection().execute(insert(PEOPLE), [{"id": 9, "kind": k}]),
        lambda s, k: s.execute(insert(PEOPLE), [{"id": 8, "kind": "person"}, {"id": 9, "kind": k}]),
        lambda s, k: s.execute(insert(PEOPLE).values(id=9, kind=k)),
        lambda s, k: s.execute(insert(PEOPLE).values([{"id": 9, "kind": k}])),
        lambda s, k: s.execute(PEOPLE.insert(), {"id": 9, "kind": k}),
        lambda s, k: s.execute(
            sqlite.insert(PEOPLE).on_conflict_do_nothing(), {"id": 9, "kind": k}
        ),
        lambda s, k: s.execute(
            insert(PEOPLE).from_select(["id", "kind"], select(literal(9), literal(k)))
        ),
        lambda s, k: s.connection().execute(insert(Person), [{"id": 9, "kind": k}]),
        lambda s, k: s.connection().execute(insert(Driver), [{"id": 9, "kind": k}]),
        lambda s, k: s.bulk_insert_mappings(Person, [{"id": 9, "kind": k}]),
        lambda s, k: s.bulk_insert_mappings(Driver, [{"id": 9, "region": "x", "kind": k}]),
        lambda s, k: s.bulk_save_objects([Person(id=9, kind=k)]),
        lambda s, k: s.bulk_save_objects([(Trucker if k == "trucker" else Driver)(id=9)]),
    ],
)
def test_no_row_is_half_of_one(
    session: Session, write: Callable[[Session, str], Any], kind: str
) -> None:
    session.commit()
    with pytest.raises(UnsealedWriteError):
        write(session, kind)
    session.rollback()
    assert session.scalars(select(PEOPLE.c.id)).all() == [1, 4, 5, 6]
    assert opened(session) == STORED


def test_both_halves_are_inserted(session: Session) -> None:
    session.execute(
        insert(Driver),
        [{"id": 7, "region": "x", "licence": "D"}, {"id": 8, "region": "y", "licence": "E"}],
    )
    returned = session.scalars(
        insert(Trucker).returning(Trucker, sort_by_parameter_order=True),
        [{"id": n, "region": "x", "licence": str(n)} for n in (9, 10)],
    )
    assert [(each.id, each.licence) for each in returned] == [(9, "9"), (10, "10")]
    session.execute(insert(PEOPLE), {"id": 11, "kind": "person"})
    session.bulk_insert_mappings(Person, [{"id": 12, "region": "x"}])  # type: ignore[arg-type]  # as SQLAlchemy takes it
    session.add_all([Person(id=13), Driver(id=14, region="x", licence="F")])
    session.flush()
    assert opened(session)[3:] == [
        (7, "x", "D"), (8, "y", "E"), (9, "x", "9"), (10, "x", "10"), (14, "x", "F"),
    ]  # fmt: skip


def test_a_default_does_not_say_what_a_value_may_not(session: Session) -> None:
    table = Thing.__table__
    for rows in ({"id": 1}, {"id": 1, "owner": "x"}):
        with pytest.raises(UnsealedWriteError, match="value of Box"):
            session.execute(insert(table), rows)
    session.execute(insert(table), {"id": 1, "kind": "thing"})
    session.execute(insert(Thing), [{"id": 2}])
    session.add(Box(id=3, owner="x", inside="all"))
    session.flush()
    session.expunge_all()
    assert session.scalars(select(Box)).one().inside == "all"


def test_a_default_of_the_database_does_not_either(connection: Connection, keyring: Any) -> None:
    class Other(DeclarativeBase):
        pass

    class Bag(Other):
        __tablename__ = "bags"
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "bag"}
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        owner: Mapped[str | None]
        kind: Mapped[str] = mapped_column(server_default="sack")

    class Sack(Sealed, Bag):
        __owner__ = "owner"
        __mapper_args__ = {"polymorphic_identity": "sack"}
        inside: Mapped[str] = sealed()

    Other.metadata.create_all(connection)
    with pytest.raises(UnsealedWriteError, match="value of Sack"):
        connection.execute(insert(Bag.__table__), {"id": 1})
    with bind(Session(connection), keyring) as session:
        session.add_all([Bag(id=1), Sack(id=2, owner="x", inside="flour")])
        session.flush()


def fails_late(session: Session) -> None:
    """A flush that fails once a row was permitted to change its owner."""
    moved, changed = session.get_one(Driver, 4), session.get_one(Driver, 5)
    move_to_owner(moved, "y")
    changed.licence = "not sealed"
    listened = (Driver, "before_update", refuse_five)
    event.listen(*listened)
    try:
        with pytest.raises(ZeroDivisionError):
            session.flush()
    finally:
        event.remove(*listened)


def refuse_five(_mapper: object, _connection: object, target: Driver) -> None:
    if target.id == 5:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "write",
    [
        lambda s: s.connection().execute(MOVE, [{"people_id": 4, "region": "y"}]),
        lambda s: s.execute(update(Person), [{"id": 4, "region": "y"}]),
        lambda s: s.bulk_update_mappings(Person, [{"id": 4, "region": "y"}]),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_a_flush_that_failed_permits_nothing(
    session: Session, nested: bool, write: Callable[[Session], Any]
) -> None:
    session.commit()
    if nested:
        with session.begin_nested() as savepoint:
            fails_late(session)
            savepoint.rollback()
    else:
        fails_late(session)
        session.rollback()
    with pytest.raises(UnsealedWriteError, match="the owner"):
        write(session)
    session.rollback()
    assert opened(session) == STORED


def test_another_session_of_the_connection_may_not(
    connection: Connection, session: Session, keyring: Any
) -> None:
    session.commit()
    other = bind(Session(connection, join_transaction_mode="create_savepoint"), keyring)
    with session.begin_nested():
        fails_late(session)
    with pytest.raises(UnsealedWriteError, match="the owner"):
        other.execute(update(Person), [{"id": 4, "region": "y"}])
    other.close()


@pytest.mark.parametrize("moment", ["before_update", "after_update"])
def test_a_listener_within_the_flush_may_not(session: Session, moment: str) -> None:
    """Nor does it use up what the flush itself is permitted."""
    seen = []

    def write(_mapper: object, connection: Connection, target: Driver) -> None:
        with pytest.raises(UnsealedWriteError, match="the owner"):
            connection.execute(MOVE, [{"people_id": target.id, "region": "y"}])
        with pytest.raises(UnsealedWriteError, match="envelopes"):
            connection.execute(insert(PEOPLE), {"id": 9, "kind": "driver"})
        seen.append(target.id)

    event.listen(Driver, moment, write)
    try:
        move_to_owner(session.get_one(Driver, 4), "y")
        session.add(Driver(id=9, region="x", licence="D"))
        session.flush()
    finally:
        event.remove(Driver, moment, write)
    assert seen == [4]
    assert opened(session) == [(4, "y", "B"), *STORED[1:], (9, "x", "D")]


def test_a_savepoint_within_the_flush_takes_nothing_away(session: Session) -> None:
    def save(_mapper: object, _connection: object, _target: object) -> None:
        with session.begin_nested():
            session.execute(select(literal(1)))

    event.listen(Driver, "before_update", save)
    try:
        for key in (4, 5):
            move_to_owner(session.get_one(Driver, key), "y")
        session.flush()
    finally:
        event.remove(Driver, "before_update", save)
    assert opened(session)[:2] == [(4, "y", "B"), (5, "y", "B")]


def test_nested_flushes_of_two_sessions_on_one_connection(
    connection: Connection, session: Session, keyring: Any
) -> None:
    other = bind(Session(connection, join_transaction_mode="create_savepoint"), keyring)

    def move_another(_mapper: object, _connection: object, target: Driver) -> None:
        if target.id == 4:
            move_to_owner(other.get_one(Driver, 5), "z")
            other.flush()
            other.commit()

    event.listen(Driver, "before_update", move_another)
    try:
        move_to_owner(session.get_one(Driver, 4), "y")
        session.flush()
    finally:
        event.remove(Driver, "before_update", move_another)
    other.close()
    assert opened(session)[:2] == [(4, "y", "B"), (5, "z", "B")]


def test_asynchronous_flushes_are_no_different(keyring: Any) -> None:
    async def run() -> None:
        engine = create_async_engine("sqlite+aiosqlite://")
        async with engine.connect() as connection:
            await connection.run_sync(Base.metadata.create_all)
            await connection.commit()
            async with bind(AsyncSession(connection), keyring) as session:
                session.add_all(
                    [Driver(id=n, region="x", truck=str(n), licence="B") for n in (4, 5)]
                )
                await session.commit()
                async with session.begin_nested():
                    await session.run_sync(fails_late)
                with pytest.raises(UnsealedWriteError, match="the owner"):
                    await session.execute(update(Person), [{"id": 4, "region": "y"}])
                await session.rollback()
                await session.run_sync(lambda s: move_to_owner(s.get_one(Driver, 4), "y"))
                session.add(Trucker(id=6, region="x", licence="C"))
                await session.commit()
                found = await session.run_sync(opened)
                assert found == [(4, "y", "B"), (5, "x", "B"), (6, "x", "C")]
        await engine.dispose()

    asyncio.run(run())


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("form", ["expression", "property", "computed"])
def test_a_computed_class_has_no_envelopes_of_its_own(form: str, joined: bool) -> None:
    class Other(DeclarativeBase):
        pass

    class Vehicle(Sealed, Other):
        __tablename__ = "vehicles"
        __owner__ = "owner"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        owner: Mapped[str]
        wheels: Mapped[str] = mapped_column()
        kind: Mapped[str] = mapped_column(Computed("upper(wheels)"))
        computed = column_property(case((wheels == "2", "bicycle"), else_="vehicle"))
        plate: Mapped[str] = sealed()
        __mapper_args__ = {
            "polymorphic_identity": "vehicle",
            "polymorphic_on": {
                "expression": case((wheels == "2", "bicycle"), else_="vehicle"),
                "property": computed,
                "computed": kind,
            }[form],
        }

    class Bicycle(Vehicle):  # has its envelopes from its parent
        __mapper_args__ = {"polymorphic_identity": "bicycle"}

    members: dict[str, Any] = {
        "__module__": __name__,
        "__mapper_args__": {"polymorphic_identity": "tandem"},
        "__annotations__": {"riders": Mapped[str]},
        "riders": sealed(),
    }
    if joined:
        key = mapped_column(ForeignKey("vehicles.id"), primary_key=True)
        members |= {"__tablename__": "tandems", "id": key}
    with pytest.raises(DeclarationError, match="declare polymorphic_on as a column"):
        type("Tandem", (Vehicle,), members)


def test_the_class_is_guarded_where_a_class_of_the_middle_names_it(keyring: Any) -> None:
    class Other(DeclarativeBase):
        pass

    class Root(Other):
        __tablename__ = "roots"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        owner: Mapped[str | None]

    class Middle(Root):
        __tablename__ = "middles"
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "middle"}
        id: Mapped[int] = mapped_column(ForeignKey("roots.id"), primary_key=True)
        kind: Mapped[str]

    class Leaf(Sealed, Middle):
        __tablename__ = "leaves"
        __owner__ = "owner"
        __mapper_args__ = {"polymorphic_identity": "leaf"}
        id: Mapped[int] = mapped_column(ForeignKey("middles.id"), primary_key=True)
        secret: Mapped[str] = sealed()

    engine = create_engine("sqlite://")
    Other.metadata.create_all(engine)
    with bind(Session(engine), keyring) as session:
        session.add_all([Middle(id=1), Leaf(id=2, owner="x", secret="y"), Root(id=3)])
        session.commit()
        for write in (
            lambda: session.execute(update(Middle.__table__).values(kind="leaf")),
            lambda: session.execute(insert(Middle.__table__), {"id": 3, "kind": "leaf"}),
            lambda: setattr(session.get_one(Middle, 1), "kind", "leaf") or session.flush(),
        ):
            with pytest.raises(UnsealedWriteError, match="class"):
                write()
            session.rollback()
        assert session.scalars(select(Leaf)).one().secret == "y"
    engine.dispose()
