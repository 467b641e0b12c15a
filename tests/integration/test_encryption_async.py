"""Asynchronous sessions: what waits for the database may be awaited, and nothing else waits for it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import ForeignKey, delete, insert, select, text, update
from sqlalchemy.exc import MissingGreenlet, StatementError
from sqlalchemy.ext.asyncio import (
    AsyncAttrs,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    WriteOnlyMapped,
    defer,
    mapped_column,
    relationship,
    selectinload,
)

from assay.encryption import RolledBackEnvelopeError
from assay.encryption.sqlalchemy import (
    Equality,
    Prefix,
    Sealed,
    SealedOperatorError,
    StaleEnvelopeError,
    bind,
    casefold,
    exact,
    matching,
    sealed,
)
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

SECRET = "Dear Ada, do not tell"
pytestmark = [
    # What SQLAlchemy could not wait for is left behind: coroutines, and connections to be closed.
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings(
        "ignore:.*deleted (before being closed|while still open):ResourceWarning"
    ),
]


class Base(AsyncAttrs, DeclarativeBase):
    pass


class Folder(Base):
    __tablename__ = "folders"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    papers: Mapped[list[Paper]] = relationship(back_populates="folder", order_by="Paper.page")
    stream: WriteOnlyMapped[Paper] = relationship(viewonly=True, order_by="Paper.page")


class Paper(Sealed, Base):
    __tablename__ = "papers"
    __owner__ = "owner"
    __sealed_versions__ = True

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    owner: Mapped[str]
    page: Mapped[int] = mapped_column(default=0)
    folder_id: Mapped[int | None] = mapped_column(ForeignKey("folders.id"))
    text: Mapped[str] = sealed(index=[Equality(exact), Prefix(casefold, lengths=(3,))])
    body: Mapped[str | None] = sealed(group="content")
    folder: Mapped[Folder | None] = relationship(back_populates="papers")


Sessions = async_sessionmaker[AsyncSession]
DRIVERS = ["sqlite+aiosqlite", "postgresql+psycopg", "postgresql+asyncpg"]


@asynccontextmanager
async def library(url: str) -> AsyncIterator[Sessions]:
    """A folder with two papers."""
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    sessions = bind(async_sessionmaker(engine), Keyring(MemoryKeyService(), MemoryDataKeyTable()))
    async with sessions.begin() as session:
        papers = [Paper(owner="north", page=n, text=f"{SECRET} {n}", body="b") for n in range(2)]
        session.add(Folder(id=1, papers=papers))
    yield sessions
    await engine.dispose()


@pytest.fixture(params=DRIVERS)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., None]:
    """Runs a test with the sessions of a driver."""
    dialect = request.param.partition("+")[0]
    url = (
        f"{request.param}:///{tmp_path / 'papers.db'}"
        if dialect == "sqlite"
        else str(request.getfixturevalue(f"fresh_{dialect}_url")).replace(dialect, request.param, 1)
    )

    async def within(work: Callable[[Sessions], Coroutine[Any, Any, None]]) -> None:
        async with library(url) as sessions:
            await work(sessions)

    return lambda work: asyncio.run(within(work))


def first(session: AsyncSession, *options: Any) -> Coroutine[Any, Any, Any]:
    """The first paper of the folder."""
    return session.scalar(select(Paper).where(Paper.page == 0).options(*options))


def test_what_is_awaited_is_loaded_and_opened(run: Callable[..., None]) -> None:
    async def work(sessions: Sessions) -> None:
        async with sessions() as session:
            folder = await session.get_one(Folder, 1)
            papers = await folder.awaitable_attrs.papers
            assert [each.text for each in papers] == [f"{SECRET} 0", f"{SECRET} 1"]
            await session.commit()
            assert await papers[0].awaitable_attrs.text == f"{SECRET} 0"  # it had expired
            assert papers[0].body == "b"  # and was loaded as a whole
        async with sessions() as session:
            for option in (defer(Paper.sealed), defer(Paper.sealed_content), defer(Paper.owner)):  # type: ignore[attr-defined]  # the envelopes' columns
                paper = await first(session, option)
                assert await paper.awaitable_attrs.body == "b"
                assert await paper.awaitable_attrs.text == f"{SECRET} 0"
                assert await (await paper.awaitable_attrs.folder).awaitable_attrs.papers
                session.expunge_all()

    run(work)


def test_what_is_loaded_waits_for_nothing(run: Callable[..., None]) -> None:
    async def work(sessions: Sessions) -> None:
        async with sessions(expire_on_commit=False) as session:
            folder = await session.get_one(Folder, 1, options=[selectinload(Folder.papers)])
            assert [each.body for each in folder.papers] == ["b", "b"]
            folder.papers[0].text = "changed"
            await session.commit()
            assert folder.papers[0].text == "changed"
        async with sessions() as session:
            assert (await first(session)).text == "changed"

    run(work)


_REACHES: dict[str, Callable[[Any], Any]] = {
    "read": lambda paper: paper.text,
    "other group": lambda paper: paper.body,
    "assign": lambda paper: setattr(paper, "text", "changed"),
    "column": lambda paper: paper.page,
    "relationship": lambda paper: paper.folder.papers,
}


@pytest.mark.parametrize("reach", _REACHES)
def test_what_would_wait_is_refused_as_for_any_column(run: Callable[..., None], reach: str) -> None:
    async def work(sessions: Sessions) -> None:
        async with sessions() as session:
            paper = await first(session)
            for connected in (False, True):
                await session.commit()
                if connected:
                    await session.execute(text("SELECT 1"))
                with pytest.raises((MissingGreenlet, StatementError)) as caught:
                    _REACHES[reach](paper)
                assert isinstance(getattr(caught.value, "orig", caught.value), MissingGreenlet)
                assert "greenlet_spawn" in str(caught.value)
                assert SECRET not in str(caught.value)
                await session.rollback()
                del caught
                gc.collect()  # what was left behind
            await session.refresh(paper)
            assert paper.text == f"{SECRET} 0"

    run(work)


@pytest.mark.parametrize("connected", [True, False])
def test_a_version_that_was_loaded_apart_says_to_refresh(
    run: Callable[..., None], connected: bool
) -> None:
    async def work(sessions: Sessions) -> None:
        async with sessions(expire_on_commit=False) as session:
            paper = await first(session, defer(Paper.sealed))  # type: ignore[attr-defined]  # the envelope's column
            await session.commit()
            async with sessions.begin() as other:
                (await first(other)).text = "changed"
            await session.refresh(paper, ["sealed"])
            if not connected:
                await session.commit()
            with pytest.raises(RolledBackEnvelopeError, match=r"await session\.refresh"):
                _ = paper.text
            gc.collect()  # what was left behind
            assert await paper.awaitable_attrs.text == "changed"

    run(work)


def test_streams(run: Callable[..., None]) -> None:
    async def work(sessions: Sessions) -> None:
        async with sessions() as session:
            rows = [{"owner": "south", "page": n, "text": f"s {n}"} for n in range(50)]
            await session.execute(insert(Paper), rows)
            mine = select(Paper).where(Paper.owner == "south").order_by(Paper.page)
            by_tens = mine.execution_options(yield_per=10)
            found = [each.text async for each in await session.stream_scalars(by_tens)]
            assert found == [f"s {n}" for n in range(50)]
            result = await session.stream(mine.where(Paper.text.in_(["s 7", "s 9"])))
            assert [(each.text, each.page) async for (each,) in result] == [("s 7", 7), ("s 9", 9)]
            partitions = (await session.stream(mine)).scalars().partitions(20)
            assert [len([each.text for each in part]) async for part in partitions] == [20, 20, 10]
            statement = insert(Paper).returning(Paper)
            new = await session.scalars(statement, [{"owner": "east", "text": SECRET}])
            assert [each.text for each in new] == [SECRET]
            with pytest.raises(SealedOperatorError):
                await session.stream(select(Paper.text))
            folder = await session.get_one(Folder, 1)
            pages = await session.stream_scalars(folder.stream.select())
            assert [each.text async for each in pages] == [f"{SECRET} 0", f"{SECRET} 1"]

    run(work)


def test_what_runs_within_a_session(run: Callable[..., None]) -> None:
    async def work(sessions: Sessions) -> None:
        async with sessions() as session:
            begins = select(Paper).where(Paper.owner == "north", Paper.text.startswith("dear"))
            found = await session.run_sync(partial(matching, statement=begins))
            assert {each.text for each in found} == {f"{SECRET} 0", f"{SECRET} 1"}
            changed = update(Paper).where(Paper.text == f"{SECRET} 1").values(page=9)
            await session.execute(changed)
            assert sorted(each.page for each in found) == [0, 9]
            removed = delete(Paper).where(Paper.text == f"{SECRET} 1").returning(Paper.page)
            assert (await session.scalars(removed)).all() == [9]
            merged = await session.merge(Paper(id=found[0].id, owner="north", text="merged"))
            await session.flush()
            assert (merged.text, merged.body) == ("merged", "b")

    run(work)


def test_no_update_is_lost(run: Callable[..., None]) -> None:
    async def work(sessions: Sessions) -> None:
        async with sessions(expire_on_commit=False) as session, sessions() as other:
            mine = await first(session)
            await session.commit()
            theirs = await first(other)
            assert (mine.text, theirs.text) == (f"{SECRET} 0", f"{SECRET} 0")
            theirs.text = "theirs"
            await other.commit()
            mine.text = "mine"
            with pytest.raises(StaleEnvelopeError):
                await session.commit()

    run(work)


def test_tasks_with_sessions_of_their_own(run: Callable[..., None]) -> None:
    async def add(sessions: Sessions, number: int) -> str:
        async with sessions.begin() as session:
            session.add(Paper(owner=f"owner {number % 3}", page=number, text=f"task {number}"))
        async with sessions() as session:
            statement = select(Paper).where(Paper.text == f"task {number}")
            return str((await session.scalars(statement)).one().text)

    async def work(sessions: Sessions) -> None:
        found = await asyncio.gather(*(add(sessions, number) for number in range(12)))
        assert found == [f"task {number}" for number in range(12)]

    run(work)
