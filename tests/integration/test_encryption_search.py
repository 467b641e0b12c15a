"""Every kind of blind index on real servers: found by it, and through the database's own index."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from sqlalchemy import Engine, String, create_engine, func, insert, inspect, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, sessionmaker

from assay.core import DataKeyClass
from assay.encryption.sqlalchemy import (
    Buckets,
    Equality,
    Ngram,
    Prefix,
    Sealed,
    bind,
    casefold,
    matching,
    sealed,
)
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService


class Base(DeclarativeBase):
    pass


class Paper(Sealed, Base):
    __tablename__ = "papers"
    __owner__ = "tenant"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str] = mapped_column(String(40))
    email: Mapped[str | None] = sealed(index=Equality(casefold, unique=True))
    title: Mapped[str | None] = sealed(index=[Prefix(casefold, lengths=(3,)), Ngram(casefold)])
    day: Mapped[date | None] = sealed(index=Buckets(boundaries=(date(2000, 1, 1),)))


class Author(Sealed, Base):
    __tablename__ = "authors"
    __owner__ = "tenant"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str] = mapped_column(String(40))
    email: Mapped[str | None] = sealed(index=Equality(casefold, name="email"))
    letters: Mapped[list[Letter]] = relationship(
        primaryjoin=lambda: Author.email == Letter.email,
        foreign_keys="Letter.email_index",
        order_by="Letter.id",
        viewonly=True,
    )


class Letter(Sealed, Base):
    __tablename__ = "letters"
    __owner__ = "tenant"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str] = mapped_column(String(40))
    email: Mapped[str | None] = sealed(index=Equality(casefold, name="email"))


TITLES = ["Annual report", "Reporters", "Straße", "Rapport", "\N{KEY}\N{LOCK}\N{KEY}\N{LOCK}", ""]


def paper(number: int, title: str | None) -> dict[str, Any]:
    return {
        "id": number,
        "tenant": "north",
        "email": f"{number}@example.com",
        "title": title,
        "day": date(1990 + number * 3, 1, 1),
    }


@pytest.fixture
def keyring() -> Keyring:
    service, table = MemoryKeyService(), MemoryDataKeyTable()
    return Keyring(service, table, cache_ttl_seconds=0, settling_seconds=0)


@pytest.fixture(params=["postgresql", "mariadb"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    url = str(request.getfixturevalue(f"fresh_{request.param}_url"))
    driver = {"postgresql": "postgresql+psycopg", "mariadb": "mariadb+pymysql"}[request.param]
    made = create_engine(url.replace(f"{request.param}://", f"{driver}://"))
    Base.metadata.create_all(made)
    yield made
    made.dispose()


def titles(session: Any, *criteria: Any) -> list[Any]:
    return sorted(each.title for each in matching(session, select(Paper).where(*criteria)))


def check_all_kinds(sessions: Any, keyring: Keyring) -> None:
    with sessions.begin() as session:
        session.execute(insert(Paper), [paper(n, title) for n, title in enumerate(TITLES)])
    keyring.rotate("north", DataKeyClass.INDEXES)
    with sessions.begin() as session:
        session.add(Paper(**paper(99, "Reporting")))
        session.add(Paper(**paper(100, None)))
    with sessions() as session:
        assert titles(session, Paper.title.contains("REPORT")) == [
            "Annual report", "Reporters", "Reporting",
        ]  # fmt: skip
        assert titles(session, Paper.title.contains(TITLES[4][:3])) == [TITLES[4]]
        assert titles(session, Paper.title.contains("rep")) == [
            "Annual report", "Reporters", "Reporting",
        ]  # fmt: skip
        assert titles(session, Paper.title.contains("zzz")) == []
        assert titles(session, Paper.title.startswith("strass")) == ["Straße"]
        assert titles(session, Paper.title.startswith("rep")) == ["Reporters", "Reporting"]
        assert titles(session, Paper.day < date(1994, 1, 1)) == ["Annual report", "Reporters"]
        assert [p.id for p in session.scalars(select(Paper).where(Paper.title.is_(None)))] == [100]
        found = session.scalars(select(Paper).where(Paper.email == "99@EXAMPLE.com")).one()
        assert found.id == 99
    for email in ("99@example.com", "1@example.com"):  # under the newest key, and under the first
        with sessions() as session, pytest.raises(IntegrityError) as raised:
            session.execute(insert(Paper), [{**paper(200, "a-secret"), "email": email}])
        assert "example" not in str(raised.value)
        assert "secret" not in str(raised.value)
    with sessions.begin() as session:
        session.get(Paper, 99).title = "Nothing"
        session.delete(session.get(Paper, 0))
    with sessions() as session:
        assert titles(session, Paper.title.contains("report")) == ["Reporters"]


def test_all_kinds_find_what_they_shall(engine: Engine, keyring: Keyring) -> None:
    check_all_kinds(bind(sessionmaker(engine), keyring), keyring)


def test_what_is_read_of_a_column_is_what_was_computed(engine: Engine, keyring: Keyring) -> None:
    sessions = bind(sessionmaker(engine), keyring)
    with sessions.begin() as session:
        session.add(Paper(**paper(1, "Annual report")))
    index = Paper.__sealed__.indexes["title"]["title_ngrams"]
    expected = index.compute(keyring.current("north", DataKeyClass.INDEXES), "Annual report")
    with engine.connect() as connection:
        stored = connection.execute(select(Paper.__table__.c.title_ngrams)).scalar_one()
    assert bytes(stored) == bytes(expected or b"")


def test_postgresql_finds_n_grams_by_an_index(fresh_postgresql_url: str, keyring: Keyring) -> None:
    engine = create_engine(fresh_postgresql_url.replace("postgresql://", "postgresql+psycopg://"))
    Base.metadata.create_all(engine)
    sessions = bind(sessionmaker(engine), keyring)
    with sessions.begin() as session:
        session.execute(insert(Paper), [paper(n, f"title number {n}") for n in range(300)])
    (index,) = [i for i in inspect(engine).get_indexes("papers") if "ngrams" in str(i["name"])]
    assert index["dialect_options"]["postgresql_using"] == "gin"
    with engine.connect() as connection:
        hashes = connection.execute(
            text("SELECT title_ngrams[2:4] FROM papers WHERE id = 7")
        ).scalar_one()
        connection.execute(text("SET enable_seqscan = off"))
        plan = connection.execute(
            text("EXPLAIN SELECT id FROM papers WHERE title_ngrams @> :wanted"), {"wanted": hashes}
        ).scalars()
        assert "ix_papers_title_ngrams" in "\n".join(plan)
    engine.dispose()


def test_asynchronous_sessions_match_too(fresh_postgresql_url: str, keyring: Keyring) -> None:
    async def run() -> None:
        url = fresh_postgresql_url.replace("postgresql://", "postgresql+asyncpg://")
        engine = create_async_engine(url)
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        sessions = bind(async_sessionmaker(engine), keyring)
        async with sessions.begin() as session:
            await session.execute(insert(Paper), [paper(n, t) for n, t in enumerate(TITLES)])
        async with sessions() as session:
            for criterion, wanted in (
                (Paper.title.contains("report"), ["Annual report", "Reporters"]),
                (Paper.title.startswith("rap"), ["Rapport"]),
            ):
                statement = select(Paper).where(Paper.tenant == "north", criterion)
                found = await session.run_sync(matching, statement)
                assert sorted(each.title for each in found) == wanted
            assert await session.scalar(select(func.count()).select_from(Paper)) == len(TITLES)
        await engine.dispose()

    asyncio.run(run())


def test_sealed_fields_are_joined_within_one_owner(engine: Engine, keyring: Keyring) -> None:
    sessions = bind(sessionmaker(engine), keyring)
    rows = [("north", "Ada@x"), ("south", "ada@X"), ("north", "bob@x"), ("north", None)]
    with sessions.begin() as session:
        for number, (tenant, email) in enumerate(rows):
            session.add(Author(id=number, tenant=tenant, email=email))
            session.add(Letter(id=number + 10, tenant=tenant, email=email and email.upper()))
        session.add(Letter(id=20, tenant="south", email="bob@x"))
        session.add(Letter(id=21, tenant="north", email="ada@x"))
    pairs = [(0, 10), (0, 21), (1, 11), (2, 12)]
    joined = select(Author.id, Letter.id).join(Letter, Author.email == Letter.email)
    ordered = joined.order_by(Author.id, Letter.id)
    with sessions() as session:
        assert [*map(tuple, session.execute(ordered))] == pairs
        assert [*map(tuple, session.execute(ordered.where(Letter.email == "ADA@X")))] == pairs[:3]
        authors = session.scalars(select(Author).order_by(Author.id)).all()
        assert [(each.id, letter.id) for each in authors for letter in each.letters] == pairs
