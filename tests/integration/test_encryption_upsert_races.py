"""Upserts that race with each other, with changed fields and with deletions, in several processes.

A row is there already or it is not, and whoever comes second updates what is not sealed. The row
keeps its own envelopes, so no update is lost, and every blind index belongs to what its envelope
holds.
"""

from __future__ import annotations

import multiprocessing
import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, String, create_engine, delete, event, func, select
from sqlalchemy import text as sql
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker
from sqlalchemy.orm.exc import StaleDataError

from assay.core import DataKeyClass
from assay.encryption.sqlalchemy import Equality, Sealed, bind, exact, sealed
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

PROCESSES, THREADS, ROUNDS = 2, 2, 25
OWNERS, EMAILS = ("north", "south"), ("ada@x.example", "bob@x.example", "eve@x.example")


class Base(DeclarativeBase):
    pass


class Visitor(Sealed, Base):
    """A row for each owner and e-mail address, which is there once: its blind index is unique."""

    __tablename__ = "visitors"
    __owner__ = "owner"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=lambda: uuid4().hex)
    owner: Mapped[str] = mapped_column(String(20))
    visits: Mapped[int] = mapped_column(default=1)
    email: Mapped[str] = sealed(index=Equality(exact, unique=True))
    name: Mapped[str] = sealed(index=Equality(exact))
    purchases: Mapped[int] = sealed(default=0)
    note: Mapped[str | None] = sealed(group="apart", index=Equality(exact))


def open_database(url: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": 60} if url.startswith("sqlite") else {})

    @event.listens_for(engine, "connect")
    def _wal(connection: Any, _record: object) -> None:
        if engine.dialect.name == "sqlite":
            connection.execute("PRAGMA journal_mode=WAL")

    return engine


def upsert(dialect: str, session: Session, row: dict[str, Any]) -> None:
    """Insert a visitor, or count one more visit of the one who is there."""
    more = {"visits": Visitor.visits + 1}
    if dialect == "mysql":
        session.execute(mysql.insert(Visitor).on_duplicate_key_update(more), [row])
        return
    made: Any = sqlite.insert(Visitor) if dialect == "sqlite" else postgresql.insert(Visitor)
    where = [Visitor.email_index, Visitor.owner]  # type: ignore[attr-defined]  # the index's column
    session.execute(made.on_conflict_do_update(index_elements=where, set_=more), [row])


def buy(session: Session, owner: str, email: str, chance: random.Random) -> bool:
    """Change sealed fields of a visitor; whether there was one."""
    mine = select(Visitor).where(Visitor.owner == owner, Visitor.email == email)
    found = session.scalars(mine).one_or_none()
    if found is None:
        return False
    found.purchases += 1
    found.name = f"name {chance.randrange(5)}"
    found.note = f"note {chance.randrange(5)}"
    return True


def race(sessions: Any, seed: int, *, removes: bool) -> Counter[tuple[str, str, str]]:
    """Do one thing after the other, each until it has worked; what was done."""
    chance, done = random.Random(seed), Counter[tuple[str, str, str]]()  # noqa: S311 - no secret
    for _ in range(ROUNDS):
        owner, email = chance.choice(OWNERS), chance.choice(EMAILS)
        act = chance.choice(["visit", "visit", "buy", "remove" if removes else "buy"])
        while True:
            try:
                with sessions.begin() as session:
                    dialect = session.get_bind().dialect.name
                    if act == "visit":
                        row = {"owner": owner, "email": email, "name": "new"}
                        upsert("mysql" if dialect == "mariadb" else dialect, session, row)
                        counts = True
                    elif act == "buy":
                        counts = buy(session, owner, email, chance)
                    else:
                        gone = delete(Visitor).where(Visitor.owner == owner, Visitor.email == email)
                        session.execute(gone, execution_options={"synchronize_session": False})
                        counts = True
                break
            except (StaleDataError, DBAPIError):
                continue  # another writer was first, or a deadlock was broken
        done[act, owner, email] += counts
    return done


_PROCESS: dict[str, Any] = {}


def begin(url: str, keyring: Keyring) -> None:
    """Give a process its connections; it has got the keys by fork."""
    _PROCESS["sessions"] = bind(sessionmaker(open_database(url)), keyring)


def work(seed: int, removes: bool) -> Counter[tuple[str, str, str]]:
    """What the threads of a process have done."""
    with ThreadPoolExecutor(THREADS) as threads:
        seeds = range(seed * THREADS, (seed + 1) * THREADS)
        done = [threads.submit(race, _PROCESS["sessions"], s, removes=removes) for s in seeds]
        return sum((each.result() for each in done), Counter[Any]())


def race_all(url: str, keyring: Keyring, *, removes: bool) -> Counter[tuple[str, str, str]]:
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(
        PROCESSES, mp_context=fork, initializer=begin, initargs=(url, keyring)
    ) as processes:
        done = [processes.submit(work, seed, removes) for seed in range(PROCESSES)]
        return sum((each.result() for each in done), Counter[Any]())


@pytest.fixture(params=["sqlite", "postgresql+psycopg", "mariadb+pymysql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    dialect = request.param.partition("+")[0]
    if dialect == "sqlite":
        return f"sqlite:///{tmp_path / 'visitors.db'}"
    found: Callable[[str], Any] = request.getfixturevalue
    return str(found(f"fresh_{dialect}_url")).replace(dialect, request.param, 1)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("removes", [False, True], ids=["counted", "with deletions"])
def test_no_upsert_mixes_or_loses(url: str, removes: bool) -> None:
    engine = open_database(url)
    Base.metadata.create_all(engine)
    keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())
    for owner in OWNERS:
        for kind in (DataKeyClass.ROWS, DataKeyClass.INDEXES):
            keyring.current(owner, kind)
    engine.dispose()  # no connection is shared by fork
    done = race_all(url, keyring, removes=removes)
    with bind(Session(engine), keyring) as session:
        stored = session.scalars(select(Visitor)).all()
        assert len({(each.owner, each.email) for each in stored}) == len(stored) > 0
        for each in stored:
            mine = select(Visitor).where(Visitor.owner == each.owner)
            assert session.scalars(mine.where(Visitor.email == each.email)).one() is each
            for field in (Visitor.name, Visitor.note):
                value = getattr(each, field.field.name)
                criterion = field.is_(None) if value is None else field == value
                assert each in session.scalars(mine.where(criterion)).all()
            others = [f"name {n}" for n in range(5) if f"name {n}" != each.name]
            assert each not in session.scalars(mine.where(Visitor.name.in_(others))).all()
            if not removes:
                key = each.owner, each.email
                assert each.visits == done["visit", *key]
                assert each.purchases == done["buy", *key]
        if not removes:
            assert len(stored) == len(
                {key[1:] for key, n in done.items() if n and key[0] == "visit"}
            )
        raw = session.execute(sql("SELECT sealed, sealed_apart, email_index FROM visitors")).all()
        assert not any(b"x.example" in bytes(part) for row in raw for part in row if part)
        assert session.scalar(select(func.count()).select_from(Visitor)) == len(stored)
    engine.dispose()
