"""Sealed models on a real PostgreSQL, synchronous and asynchronous."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, create_engine, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from assay.core import DataKeyClass
from assay.encryption import MissingEnvelopeError, TamperedEnvelopeError, WrongKeyError
from assay.encryption.sqlalchemy import (
    Equality,
    Sealed,
    UnresolvedCriterionError,
    UnsealedWriteError,
    bind,
    casefold,
    exact,
    open_row,
    sealed,
)
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

SECRET = "Quartz & Obsidian"


class Base(DeclarativeBase):
    pass


class Document(Sealed, Base):
    __tablename__ = "documents"
    __owner__ = "tenant_id"
    __table_args__ = {"schema": "shop"}  # noqa: RUF012 - as models declare it

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    tenant_id: Mapped[str]
    label: Mapped[str | None]
    owner_email: Mapped[str] = sealed(index=Equality(casefold))
    text: Mapped[str] = sealed()
    at: Mapped[datetime | None] = sealed()
    body: Mapped[str | None] = sealed(group="content")
    number: Mapped[int | None] = sealed(group="content", index=Equality(exact))


@pytest.fixture
def keyring() -> Keyring:
    return Keyring(MemoryKeyService(), MemoryDataKeyTable())


@pytest.fixture
def url(fresh_postgresql_url: str) -> str:
    return fresh_postgresql_url.replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    made = create_engine(url)
    with made.begin() as connection:
        connection.execute(text("CREATE SCHEMA shop"))
    Base.metadata.create_all(made)
    yield made
    made.dispose()


def row(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "tenant_id": ("north", "south")[number % 2],
        "owner_email": f"person-{number}@example.com",
        "text": f"{SECRET} {number}",
        "at": datetime(2026, 1, 1, number % 24, tzinfo=UTC),
        "body": None,
        "number": number,
        **fields,
    }


def test_rows_are_written_read_changed_and_found(engine: Engine, keyring: Keyring) -> None:
    sessions = bind(sessionmaker(engine), keyring)
    with sessions.begin() as session:
        session.add_all([Document(**row(number)) for number in range(50)])
        session.execute(insert(Document), [row(number) for number in range(50, 100)])
    with sessions() as session:
        stored = session.scalars(select(Document)).all()
        assert {each.text for each in stored} == {f"{SECRET} {number}" for number in range(100)}
        assert all(each.at == datetime(2026, 1, 1, each.number % 24, tzinfo=UTC) for each in stored)
        one = session.scalars(
            select(Document).where(Document.owner_email == "PERSON-7@example.com")
        ).one()
        assert one.number == 7
        one.text = "changed"
        session.commit()
        assert session.scalars(select(Document).where(Document.number.in_([7, 8]))).all()
        assert one.text == "changed"
        assert one.body is None
        counted = select(func.count()).where(
            Document.tenant_id == "south", Document.owner_email != "person-7@example.com"
        )
        assert session.scalar(counted) == 49
    with engine.connect() as connection:
        raw = connection.exec_driver_sql("SELECT * FROM shop.documents").all()
    assert SECRET not in repr(raw)
    assert "person-" not in repr(raw)
    assert len(raw) == 100


def test_what_lies_in_the_files_of_the_server(engine: Engine, keyring: Keyring) -> None:
    """Positive control included: the same words written past the mapping are found."""
    sessions = bind(sessionmaker(engine), keyring)
    with sessions.begin() as session:
        session.execute(insert(Document), [row(number) for number in range(20)])
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("CHECKPOINT"))

        def pages() -> bytes:
            path = connection.scalar(text("SELECT pg_relation_filepath('shop.documents')"))
            return bytes(
                connection.scalar(text("SELECT pg_read_binary_file(:path)"), {"path": path})
            )

        assert len(pages()) >= 8192
        assert SECRET.encode() not in pages()
        connection.execute(text("UPDATE shop.documents SET label = :label"), {"label": SECRET})
        connection.execute(text("CHECKPOINT"))
        assert SECRET.encode() in pages()


def test_upserts_and_returning(engine: Engine, keyring: Keyring) -> None:
    sessions = bind(sessionmaker(engine), keyring)
    key = uuid4()
    nothing = pg_insert(Document).on_conflict_do_nothing(index_elements=["id"])
    other = pg_insert(Document)
    update_it = other.on_conflict_do_update(
        index_elements=["id"], set_={"sealed": other.excluded.sealed}
    )
    with sessions.begin() as session:
        session.execute(nothing, [row(1, id=key), row(1, id=key, text="second")])
        with pytest.raises(UnsealedWriteError, match="on conflict"):
            session.execute(update_it, [row(1, id=key, text="third")])
        returned = session.scalars(insert(Document).returning(Document), [row(2), row(3)]).all()
        assert {each.number for each in returned} == {2, 3}
    with sessions() as session:
        stored = session.get(Document, key)
        assert stored is not None
        assert stored.text == f"{SECRET} 1"
        with pytest.raises(IntegrityError) as raised:
            session.execute(insert(Document), [row(1, id=key)])
        assert SECRET not in str(raised.value)


def test_nothing_unsealed_reaches_the_server(
    engine: Engine, keyring: Keyring, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="sqlalchemy")
    sessions = bind(sessionmaker(engine), keyring)
    with sessions.begin() as session:
        session.execute(insert(Document), [row(1)])
    with pytest.raises(UnsealedWriteError):
        update(Document).values(text=SECRET)
    for statement in (
        update(Document.__table__).values(sealed=SECRET.encode()),
        update(Document.__table__).values(owner_email_index=SECRET.encode()),
        insert(Document.__table__).values(id=uuid4(), tenant_id="north"),
    ):
        with sessions() as session, pytest.raises(UnsealedWriteError):
            session.execute(statement)
    with engine.connect() as connection, pytest.raises(UnresolvedCriterionError):
        connection.execute(select(Document).where(Document.owner_email == SECRET))
    assert SECRET not in caplog.text


def test_tampering_is_noticed(engine: Engine, keyring: Keyring) -> None:
    sessions = bind(sessionmaker(engine), keyring)
    with sessions.begin() as session:
        session.execute(insert(Document), [row(number) for number in range(4)])
    swaps = {
        "sealed = (SELECT sealed FROM shop.documents WHERE id = :other)": TamperedEnvelopeError,
        "sealed = sealed_content": TamperedEnvelopeError,
        "sealed = set_byte(sealed, 50, get_byte(sealed, 50) # 1)": TamperedEnvelopeError,
        "sealed = sealed || '\\x00'": TamperedEnvelopeError,
        "tenant_id = 'south'": WrongKeyError,
    }
    with sessions() as session:
        north = session.scalars(select(Document.id).where(Document.tenant_id == "north")).all()
    for change, error in swaps.items():
        with engine.connect() as connection, sessions(bind=connection) as session:
            connection.execute(
                text(f"UPDATE shop.documents SET {change} WHERE id = :one"),  # noqa: S608 - of this test
                {"one": north[0], "other": north[1]},
            )
            changed = session.get(Document, north[0])
            assert changed is not None
            with pytest.raises(error):
                _ = changed.text
            raw = connection.exec_driver_sql(
                "SELECT * FROM shop.documents WHERE id = %s", (north[0],)
            )
            with pytest.raises(error):
                open_row(keyring, Document, raw.mappings().one())
            connection.rollback()
    with engine.connect() as connection:
        raw = connection.exec_driver_sql("SELECT * FROM shop.documents").mappings().all()
    assert {open_row(keyring, Document, each)["text"] for each in raw} == {
        f"{SECRET} {number}" for number in range(4)
    }
    with pytest.raises(MissingEnvelopeError):
        open_row(keyring, Document, {**raw[0], "sealed": None})


def test_asynchronous_sessions(engine: Engine, keyring: Keyring, url: str) -> None:
    async def work() -> None:
        async_engine = create_async_engine(url)
        sessions = bind(async_sessionmaker(async_engine, expire_on_commit=False), keyring)
        async with sessions.begin() as session:
            session.add(Document(**row(1)))
            await session.execute(insert(Document), [row(number) for number in range(2, 20)])
        async with sessions() as session:
            found = await session.scalars(
                select(Document).where(Document.owner_email == "person-5@example.com")
            )
            one = found.one()
            assert one.text == f"{SECRET} 5"
            one.text = "changed"
            await session.commit()
            assert one.text == "changed"
            await session.refresh(one)
            assert one.text == "changed"
            stream = await session.stream_scalars(select(Document).execution_options(yield_per=5))
            assert len([each.text async for each in stream]) == 19
            with pytest.raises(UnsealedWriteError):
                await session.execute(update(Document.__table__).values(sealed=SECRET.encode()))
        await async_engine.dispose()

    asyncio.run(work())
    assert keyring.owners(DataKeyClass.ROWS) == ["north", "south"]
