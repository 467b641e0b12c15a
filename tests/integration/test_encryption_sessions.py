"""What only a server does to sealed rows: two-phase commits, cursors, padding, cascades."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import pytest
from sqlalchemy import (
    CHAR,
    Engine,
    ForeignKey,
    LargeBinary,
    String,
    create_engine,
    delete,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    relationship,
    selectinload,
    sessionmaker,
)
from sqlalchemy.orm.exc import StaleDataError

from assay.core import DataKeyClass
from assay.encryption import TamperedEnvelopeError, WrongKeyError
from assay.encryption.sqlalchemy import (
    DeclarationError,
    Equality,
    OwnerMissingError,
    Sealed,
    UnsealedWriteError,
    bind,
    casefold,
    mapping,
    move_to_owner,
    sealed,
)
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

SECRET = "Quartz & Obsidian"


class Base(DeclarativeBase):
    pass


class Firm(Base):
    __tablename__ = "firms"

    id: Mapped[str] = mapped_column(primary_key=True)
    papers: Mapped[list[Paper]] = relationship(back_populates="firm")


class Paper(Sealed, Base):
    __tablename__ = "papers"
    __owner__ = "firm_id"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    firm_id: Mapped[str] = mapped_column(ForeignKey("firms.id"))
    email: Mapped[str] = sealed(index=Equality(casefold))
    text: Mapped[str] = sealed()
    body: Mapped[str | None] = sealed(group="content")
    firm: Mapped[Firm] = relationship(back_populates="papers")


@pytest.fixture
def keyring() -> Keyring:
    return Keyring(MemoryKeyService(), MemoryDataKeyTable())


@pytest.fixture
def engine(fresh_postgresql_url: str) -> Iterator[Engine]:
    made = create_engine(fresh_postgresql_url.replace("postgresql://", "postgresql+psycopg://"))
    Base.metadata.create_all(made)
    with made.begin() as connection:
        connection.execute(insert(Firm.__table__), [{"id": "north"}, {"id": "south"}])
    yield made
    made.dispose()


def paper(number: int, firm: str = "north") -> dict[str, Any]:
    email, text = f"person-{number % 10}@x", f"{SECRET} {number}"
    return {"id": number, "firm_id": firm, "email": email, "text": text, "body": str(number)}


def texts(sessions: Any, email: str = "PERSON-1@x") -> list[str]:
    with sessions() as session:
        found = session.scalars(select(Paper).where(Paper.email == email).order_by(Paper.id))
        return [each.text for each in found]


def test_what_was_prepared_is_committed_or_rolled_back(engine: Engine, keyring: Keyring) -> None:
    two = bind(sessionmaker(engine, twophase=True), keyring)
    one = bind(sessionmaker(engine), keyring)
    with two() as session:
        session.add(Paper(**paper(1)))
        session.execute(insert(Paper), [paper(11)])
        session.prepare()
        assert texts(one) == []
        session.commit()
    assert texts(one) == [f"{SECRET} 1", f"{SECRET} 11"]
    with two() as session:
        session.get_one(Paper, 1).text = "changed"
        move_to_owner(session.get_one(Paper, 11), "south")
        session.add(Paper(**paper(21, "south")))
        session.prepare()
        session.rollback()
    assert texts(one) == [f"{SECRET} 1", f"{SECRET} 11"]
    with two() as session:
        session.get_one(Paper, 1).text = "changed"
        move_to_owner(session.get_one(Paper, 11), "south")
        session.commit()  # which prepares first
        with one() as other:
            assert other.get_one(Paper, 11).firm_id == "south"
    assert texts(one) == ["changed", f"{SECRET} 11"]


def test_no_update_of_a_prepared_transaction_is_lost(engine: Engine, keyring: Keyring) -> None:
    two = bind(sessionmaker(engine, twophase=True, expire_on_commit=False), keyring)
    with two() as session, two() as other:
        session.add(Paper(**paper(1)))
        session.commit()
        mine, theirs = session.get_one(Paper, 1), other.get_one(Paper, 1)
        theirs.email = "other@x"
        other.prepare()
        other.commit()
        mine.text = "changed"
        with pytest.raises(StaleDataError):
            session.prepare()
        session.rollback()
    assert texts(two, "other@x") == [f"{SECRET} 1"]


def test_a_prepared_transaction_outlives_its_process(engine: Engine, keyring: Keyring) -> None:
    session = bind(Session(engine, twophase=True), keyring)
    session.add(Paper(**paper(1)))
    connection = session.connection()
    session.prepare()
    connection.invalidate()  # as when the process ends here
    session.close()
    with engine.connect() as connection:
        (found,) = connection.recover_twophase()
        connection.rollback()
        connection.commit_prepared(found, recover=True)
    assert texts(bind(sessionmaker(engine), keyring)) == [f"{SECRET} 1"]


def test_no_write_hides_in_a_search(engine: Engine, keyring: Keyring) -> None:
    sessions = bind(sessionmaker(engine), keyring)
    with sessions.begin() as session:
        session.add(Paper(**paper(1)))
    table = Paper.__table__
    plain = literal(SECRET.encode(), LargeBinary)
    write = update(table).values(sealed=plain).returning(table.c.firm_id).cte()
    for statement in (
        select(Firm.id).where(Firm.id.in_(select(write.c.firm_id))),
        select(Firm.id).add_cte(write),
    ):
        with sessions() as session, pytest.raises(UnsealedWriteError):
            session.execute(statement)
    assert texts(sessions) == [f"{SECRET} 1"]


def test_rows_stream_from_asyncpg(fresh_postgresql_url: str, keyring: Keyring) -> None:
    async def stream() -> None:
        made = create_async_engine(
            fresh_postgresql_url.replace("postgresql://", "postgresql+asyncpg://")
        )
        async with made.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
            await connection.execute(insert(Firm.__table__), [{"id": "north"}, {"id": "south"}])
        sessions = bind(async_sessionmaker(made), keyring)
        async with sessions.begin() as session:
            rows = [paper(number, ("north", "south")[number % 2]) for number in range(300)]
            await session.execute(insert(Paper), rows)
        keyring.rotate("north", DataKeyClass.INDEXES)
        async with sessions.begin() as session:
            session.add(Paper(**paper(302)))
        async with sessions() as session:
            statement = select(Paper).order_by(Paper.id).execution_options(yield_per=7)
            found = [
                (each.text, each.body) async for each in await session.stream_scalars(statement)
            ]
            assert found[:300] == [(f"{SECRET} {number}", str(number)) for number in range(300)]
            by_email = statement.where(Paper.email == "Person-2@x")
            partitions = (await session.stream_scalars(by_email)).partitions(4)
            found_by = [[each.id for each in part] async for part in partitions]
            assert [*chain(*found_by)] == [*range(2, 300, 10), 302]
            assert {len(part) for part in found_by[:-1]} == {4}
            nested = select(Firm).options(selectinload(Firm.papers).selectinload(Paper.firm))
            firms = await session.stream_scalars(nested.execution_options(yield_per=1))
            held = {each.id: {one.text for one in each.papers} async for each in firms}
            assert {name: len(some) for name, some in held.items()} == {"north": 151, "south": 150}
            raw = await session.stream(select(Paper.__table__.c.sealed))
            assert all([SECRET.encode() not in one async for (one,) in raw])
        await made.dispose()

    asyncio.run(stream())


class Remade(DeclarativeBase):
    pass


def remade(name: str, key: Any, owner: Callable[[], Any]) -> Any:
    members = {
        "__module__": __name__,
        "__tablename__": name,
        "__owner__": "owner",
        "__annotations__": {"text": Mapped[str]},
        "id": mapped_column(key, primary_key=True),
        "owner": mapped_column(*owner()),
        "text": sealed(),
    }
    return type(name, (Sealed, Remade), members)


def test_refused_keys_and_owners_would_not_open(
    engine: Engine, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason of `refuse_remade`: without it, these rows are lost."""
    declared: dict[str, tuple[Any, Callable[[], Any]]] = {
        "padded_owners": (String, lambda: [CHAR(8)]),
        "padded_here": (String, lambda: [String().with_variant(CHAR(8), "postgresql")]),
        "padded_keys": (CHAR(8), lambda: [String]),
        "cascading": (String, lambda: [String, ForeignKey("firms.id", onupdate="CASCADE")]),
        "orphaned": (String, lambda: [String, ForeignKey("firms.id", ondelete="SET NULL")]),
    }
    Firm.__table__.to_metadata(Remade.metadata)
    for name, (key, owner) in declared.items():
        with pytest.raises(DeclarationError, match="as it was written"):
            remade(name, key, owner)
    Remade.metadata.clear()
    Remade.registry.dispose()
    monkeypatch.setattr(mapping, "refuse_remade", lambda *_: None)
    Firm.__table__.to_metadata(Remade.metadata)
    models = {name: remade(name, *each) for name, each in declared.items()}
    Remade.metadata.create_all(engine)
    refused = {
        "padded_owners": WrongKeyError,
        "padded_here": WrongKeyError,
        "padded_keys": TamperedEnvelopeError,
        "cascading": WrongKeyError,
        "orphaned": OwnerMissingError,
    }
    with bind(Session(engine), keyring) as session:
        owners = {"cascading": "south", "orphaned": "north"}
        session.add_all(
            [model(id="1", owner=owners.get(name, "x"), text="x") for name, model in models.items()]
        )
        session.commit()
        session.execute(update(Firm.__table__).where(text("id = 'south'")).values(id="east"))
        session.execute(delete(Firm.__table__).where(text("id = 'north'")))
        session.commit()
        session.expunge_all()
        for name, error in refused.items():
            stored = session.scalars(select(models[name])).one()
            with pytest.raises(error):
                _ = stored.text
