"""One suite of the mapping over every supported driver, synchronous and asynchronous."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import (
    ForeignKey,
    LargeBinary,
    String,
    create_engine,
    delete,
    func,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, defer, mapped_column, relationship

from assay.encryption import MissingEnvelopeError, TamperedEnvelopeError
from assay.encryption.sqlalchemy import (
    Equality,
    Sealed,
    StaleEnvelopeError,
    UnsealedWriteError,
    bind,
    casefold,
    exact,
    matching,
    move_to_owner,
    sealed,
)
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

SECRET = "Quartz & Obsidian"
LONG = "\N{SNOWMAN}" * 100_000  # more than 64 KiB, and more than one byte for each character


class Base(DeclarativeBase):
    pass


class Folder(Base):
    __tablename__ = "folders"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    papers: Mapped[list[Paper]] = relationship(back_populates="folder", order_by="Paper.number")


class Paper(Sealed, Base):
    __tablename__ = "papers"
    __owner__ = "owner"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    owner: Mapped[str] = mapped_column(String(40))
    kind: Mapped[str] = mapped_column(String(10), default="paper")
    label: Mapped[str | None] = mapped_column(String(40))
    folder_id: Mapped[int | None] = mapped_column(ForeignKey("folders.id"))
    version: Mapped[int] = mapped_column()
    email: Mapped[str | None] = sealed(index=Equality(casefold))
    text: Mapped[str] = sealed()
    number: Mapped[int] = mapped_column("No. of paper")
    price: Mapped[Decimal | None] = sealed()
    at: Mapped[datetime | None] = sealed()
    settings: Mapped[dict[str, Any] | None] = sealed()
    body: Mapped[str | None] = sealed(group="content")
    folder: Mapped[Folder | None] = relationship(back_populates="papers")
    __mapper_args__ = {  # noqa: RUF012 - as models declare it
        "polymorphic_on": kind,
        "polymorphic_identity": "paper",
        "version_id_col": version,
    }


class Letter(Paper):
    __mapper_args__ = {"polymorphic_identity": "letter"}  # noqa: RUF012 - as models declare it
    city: Mapped[str] = sealed()


class Deed(Paper):
    __tablename__ = "deeds"
    __mapper_args__ = {"polymorphic_identity": "deed"}  # noqa: RUF012 - as models declare it

    id: Mapped[UUID] = mapped_column(ForeignKey("papers.id"), primary_key=True)
    signed: Mapped[date] = sealed(index=Equality(exact))


class Place(Sealed, Base):
    """A natural key of two columns, one of them text that a collation may take for another."""

    __tablename__ = "places"
    __owner__ = "owner"

    country: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    owner: Mapped[str] = mapped_column(String(40))
    secret: Mapped[str] = sealed()


class Box(Sealed, Base):
    """UUIDs everywhere: a driver may give them as a type of its own."""

    __tablename__ = "boxes"
    __owner__ = "owner"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    owner: Mapped[UUID]
    other: Mapped[UUID | None] = sealed(index=Equality(exact))


def paper(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": UUID(int=number + 1),
        "owner": ("north", "south")[number % 2],
        "number": number,
        "email": f"{number}@example.com",
        "text": f"{SECRET} {number}",
        "price": Decimal("1.50"),
        "at": datetime(2026, 1, 1, 12, tzinfo=UTC),
        "settings": {"n": [number]},
        **more,
    }


def rows_come_back(session: Session) -> None:
    session.add(Folder(id=1, papers=[Paper(**paper(0, body=LONG)), Letter(**paper(1, city="Ulm"))]))
    session.add(Deed(**paper(2, signed=date(2026, 2, 3))))
    session.add(Place(country=1, name="Straße", owner="north", secret=SECRET))
    session.flush()
    session.execute(insert(Paper), [paper(n, version=1) for n in range(10, 20)])
    session.execute(insert(Letter), [paper(n, version=1, city="Bonn") for n in range(20, 23)])
    returned = session.scalars(
        insert(Place).returning(Place),
        [{"country": n, "name": "x", "owner": "south", "secret": f"{n}"} for n in (5, 6)],
    ).all()
    assert {one.secret for one in returned} == {"5", "6"}
    session.commit()
    folder = session.get(Folder, 1)
    assert folder is not None
    first, letter = folder.papers
    assert (first.body, first.price, first.settings) == (LONG, Decimal("1.50"), {"n": [0]})
    assert first.at == datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert (type(letter), letter.city) == (Letter, "Ulm")
    deed = session.scalars(select(Deed).where(Deed.signed == date(2026, 2, 3))).one()
    assert deed.text == f"{SECRET} 2"
    place = session.get(Place, (1, "Straße"))
    assert place is not None
    assert place.secret == SECRET


def rows_are_found(session: Session) -> None:
    for statement, numbers in (
        (select(Paper).where(Paper.email == "11@EXAMPLE.com"), [11]),
        (select(Paper).where(Paper.email.in_(["0@example.com", "2@example.com"])), [0, 2]),
        (select(Letter).where(Letter.owner == "south", Letter.email == "21@example.com"), [21]),
        (select(Paper).where(Paper.email.is_(None)), []),
        (select(Paper).where(Paper.owner == "south", Paper.number < 12, Paper.email != "x"), [1, 11]),
    ):  # fmt: skip
        assert sorted(one.number for one in session.scalars(statement)) == numbers
        assert sorted(one.number for one in matching(session, statement)) == numbers
    streamed = session.scalars(select(Paper).order_by(Paper.id).execution_options(yield_per=3))
    assert [one.text for one in streamed] == [
        f"{SECRET} {n}" for n in (0, 1, 2, *range(10, 20), *range(20, 23))
    ]
    session.expunge_all()
    one = session.scalars(
        select(Paper).where(Paper.email == "10@example.com").options(defer(Paper.sealed_content))  # type: ignore[attr-defined]  # the envelope's column
    ).one()
    assert (one.body, one.text) == (None, f"{SECRET} 10")


def rows_change(session: Session) -> None:
    one = session.get_one(Paper, UUID(int=11))
    one.text = "outer"
    session.flush()
    savepoint = session.begin_nested()
    one.text, one.email = "inner", "inner@example.com"
    session.flush()
    savepoint.rollback()
    one.body = "body"
    session.commit()
    session.refresh(one)
    assert (one.text, one.body, one.version) == ("outer", "body", 3)
    pickled = pickle.dumps(one)
    session.expunge_all()
    merged = session.merge(pickle.loads(pickled))  # noqa: S301 - made here
    merged.email = "merged@example.com"
    session.commit()
    found = select(Paper).where(Paper.email == "merged@example.com")
    assert session.scalars(found).one().text == "outer"
    for deed in session.scalars(select(Deed)):
        move_to_owner(deed, "west")
        deed.text = "moved"
    for letter in session.scalars(select(Letter)):
        letter.city += "!"
    session.commit()
    deed = session.scalars(
        select(Deed).where(Deed.owner == "west", Deed.signed == date(2026, 2, 3))
    )
    assert deed.one().text == "moved"
    assert {one.city for one in session.scalars(select(Letter))} == {"Ulm!", "Bonn!"}
    session.execute(
        update(Paper).where(Paper.email == "12@example.com").values(label=func.upper("a"))
    )
    session.execute(delete(Paper).where(Paper.email == "13@example.com"))
    session.commit()
    assert session.get_one(Paper, UUID(int=13)).label == "A"
    assert session.get(Paper, UUID(int=14)) is None


def uuids_are_uuids(session: Session) -> None:
    session.add(Box(id=UUID(int=1), owner=UUID(int=2), other=UUID(int=3)))
    session.commit()
    box = session.scalars(select(Box).where(Box.owner == UUID(int=2))).one()
    assert box.other == UUID(int=3)
    session.add(Box(owner=box.owner, other=box.id))
    session.execute(insert(Box), [{"owner": box.owner, "other": box.id}])
    session.commit()
    found = select(Box).where(Box.owner == box.owner, Box.other == box.id)
    boxes = session.scalars(found).all()
    assert {type(each.other) for each in boxes} == {UUID}
    assert len(boxes) == 2
    move_to_owner(box, UUID(int=9))
    move_to_owner(boxes[0], box.owner)
    session.commit()
    owners = session.scalars(select(Box).where(Box.other.in_([UUID(int=1), box.id]))).all()
    assert sorted(each.owner for each in owners) == [UUID(int=2), UUID(int=9)]


def no_change_is_lost(session: Session) -> None:
    one = session.get_one(Paper, UUID(int=16))
    assert one.text
    with Session(session.connection(), info=session.info) as other:
        same = other.get_one(Paper, UUID(int=16))
        same.price = Decimal("9.9")
        other.flush()
    one.text = "too late"
    with pytest.raises(StaleEnvelopeError):
        session.flush()
    session.rollback()
    for place in session.scalars(select(Place)):  # several rows, and no version of their own
        place.secret += "?"
    session.commit()
    assert {one.secret for one in session.scalars(select(Place))} == {SECRET + "?", "5?", "6?"}


def nothing_else_is_written(session: Session) -> None:
    upserts: dict[str, Callable[[], Any]] = {
        "sqlite": lambda: sqlite.insert(Place).on_conflict_do_nothing(),
        "postgresql": lambda: postgresql.insert(Place).on_conflict_do_nothing(),
        "mysql": lambda: insert(Place).prefix_with("IGNORE"),
    }
    dialect = session.get_bind().dialect.name
    row = {"country": 5, "name": "x", "owner": "south", "secret": SECRET}
    session.execute(upserts["mysql" if dialect == "mariadb" else dialect](), [row])
    session.commit()
    assert session.get_one(Place, (5, "x")).secret == "5?"
    with pytest.raises(IntegrityError) as raised:
        session.execute(insert(Place), [row])
    assert SECRET not in str(raised.value)
    session.rollback()
    table = Place.__table__
    literal_bytes = literal(SECRET.encode(), LargeBinary)
    for statement in (
        update(table).values(sealed=SECRET.encode()),
        update(table).values(sealed=literal_bytes),
        update(table).values(owner="west"),
        update(table.alias()).values(sealed=literal_bytes),
        update(Paper.__table__).where(Paper.id == 15).values({table.c.sealed: literal_bytes}),
        insert(table).values(country=9, name="x", owner="north"),
        update(Place).values(sealed=func.concat(SECRET)),
        mysql.insert(table).on_duplicate_key_update(sealed=literal_bytes),
    ):
        with pytest.raises(UnsealedWriteError):
            session.execute(statement)
        session.rollback()
    stored = repr(session.execute(text("SELECT * FROM places")).all())
    stored += repr(session.execute(text("SELECT * FROM papers")).all())
    assert "Quartz" not in stored
    assert "example.com" not in stored


def rows_that_are_there_already(session: Session) -> None:
    dialect = session.get_bind().dialect.name
    statement: Any
    if dialect in ("mysql", "mariadb"):
        statement = mysql.insert(Paper)
        statement = statement.on_duplicate_key_update(label=statement.inserted.label)
    else:
        statement = {"sqlite": sqlite, "postgresql": postgresql}[dialect].insert(Paper)
        statement = statement.on_conflict_do_update(
            index_elements=["id"], set_={"label": statement.excluded.label}
        )
    upserted = [paper(n, version=1, label="upserted", text="new") for n in (15, 30)]
    session.execute(statement, upserted)
    found = session.scalars(select(Paper).where(Paper.label == "upserted").order_by(Paper.id)).all()
    assert [one.text for one in found] == [f"{SECRET} 15", "new"]


def tampering_is_refused(session: Session) -> None:
    session.execute(text("UPDATE places SET country = 7 WHERE country = 6"))
    with pytest.raises(TamperedEnvelopeError):
        _ = session.get_one(Place, (7, "x")).secret
    session.rollback()
    session.execute(text("UPDATE papers SET sealed_letter = NULL WHERE kind = 'letter'"))
    letter = session.scalars(select(Letter).limit(1)).one()
    with pytest.raises(MissingEnvelopeError):
        _ = letter.city
    session.rollback()


def whole_suite(session: Session) -> None:
    for part in (
        rows_come_back,
        rows_are_found,
        rows_change,
        uuids_are_uuids,
        no_change_is_lost,
        nothing_else_is_written,
        rows_that_are_there_already,
        tampering_is_refused,
    ):
        part(session)
        session.rollback()
        session.expunge_all()


def address(request: pytest.FixtureRequest, folder: Path, driver: str) -> str:
    dialect = driver.partition("+")[0]
    if dialect == "sqlite":
        return f"{driver}:///{folder / 'papers.db'}"
    return str(request.getfixturevalue(f"fresh_{dialect}_url")).replace(dialect, driver, 1)


@pytest.mark.parametrize("driver", ["sqlite", "postgresql+psycopg", "mariadb+pymysql"])
def test_synchronous_drivers(request: pytest.FixtureRequest, tmp_path: Path, driver: str) -> None:
    engine = create_engine(address(request, tmp_path, driver))
    Base.metadata.create_all(engine)
    with bind(Session(engine), Keyring(MemoryKeyService(), MemoryDataKeyTable())) as session:
        whole_suite(session)
    engine.dispose()


@pytest.mark.parametrize("driver", ["sqlite+aiosqlite", "postgresql+psycopg", "postgresql+asyncpg"])
def test_asynchronous_drivers(request: pytest.FixtureRequest, tmp_path: Path, driver: str) -> None:
    async def work() -> None:
        engine = create_async_engine(address(request, tmp_path, driver))
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())
        async with bind(AsyncSession(engine), keyring) as session:
            await session.run_sync(whole_suite)
        await engine.dispose()

    asyncio.run(work())
