"""No update is lost, on any server and at any isolation: writers race, and every one counts."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from sqlalchemy import Engine, String, create_engine, event, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker
from sqlalchemy.orm.exc import StaleDataError

from assay.core import AssayError, DataKeyClass
from assay.encryption.adoption.parts import all_parts
from assay.encryption.adoption.ranges import Span
from assay.encryption.adoption.rekey import rekey_span
from assay.encryption.adoption.store import Store
from assay.encryption.sqlalchemy import Equality, Sealed, bind, exact, sealed
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

ROWS, WRITERS, CHANGES = 2, 4, 25
FIELDS = ("one", "other", "apart")


class Base(DeclarativeBase):
    pass


class Tally(Sealed, Base):
    __tablename__ = "tallies"
    __owner__ = "owner"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    owner: Mapped[str] = mapped_column(String(20))
    hits: Mapped[int] = mapped_column(default=0)
    name: Mapped[str] = sealed(index=Equality(exact))
    one: Mapped[int] = sealed(default=0)
    other: Mapped[int] = sealed(default=0)
    apart: Mapped[int] = sealed(default=0, group="apart")


def engine_of(request: pytest.FixtureRequest, folder: Path, driver: str, level: str) -> Engine:
    dialect = driver.partition("+")[0]
    if dialect == "sqlite":
        engine = create_engine(f"sqlite:///{folder / 'tallies.db'}")

        @event.listens_for(engine, "connect")
        def _wal(connection: Any, _record: object) -> None:
            connection.execute("PRAGMA journal_mode=WAL")

        return engine
    url = str(request.getfixturevalue(f"fresh_{dialect}_url")).replace(dialect, driver, 1)
    return create_engine(url, isolation_level=level)


def count_up(sessions: Any, seed: int) -> Counter[tuple[int, str]]:
    """Change fields, each until it has worked; what was changed."""
    chance, done = random.Random(seed), Counter[tuple[int, str]]()  # noqa: S311 - no secret
    for _ in range(CHANGES):
        row, field = chance.randrange(ROWS), chance.choice([*FIELDS, "hits"])
        while True:
            try:
                with sessions.begin() as session:
                    change(session, row, field)
                break
            except (StaleDataError, DBAPIError):
                continue
        done[row, field] += 1
    return done


def change(session: Session, row: int, field: str) -> None:
    if field == "hits":
        session.execute(
            update(Tally).where(Tally.name == f"name {row}").values(hits=Tally.hits + 1)
        )
        return
    tally = session.get_one(Tally, row)
    setattr(tally, field, getattr(tally, field) + 1)


def rekey_all(store: Store, stop: Event) -> int:
    """Move the rows to new keys as long as they change, and once more when nobody does."""
    while not stop.wait(0.05):
        store.keyring.rotate("owner", DataKeyClass.ROWS)
        with suppress(AssayError, DBAPIError):  # a server may refuse it at its isolation level
            rekey_once(store)
    store.keyring.rotate("owner", DataKeyClass.ROWS)
    return rekey_once(store)


def rekey_once(store: Store) -> int:
    """How many rows were moved to the newest key."""
    return sum(rekey_span(store, part, Span(None, (ROWS,))).done for part in all_parts(Base))


@pytest.mark.parametrize(
    ("driver", "level"),
    [
        ("sqlite", ""),
        ("postgresql+psycopg", "READ COMMITTED"),
        ("postgresql+psycopg", "REPEATABLE READ"),
        ("postgresql+psycopg", "SERIALIZABLE"),
        ("mariadb+pymysql", "READ COMMITTED"),
        ("mariadb+pymysql", "REPEATABLE READ"),
    ],
)
def test_every_change_counts(
    request: pytest.FixtureRequest, tmp_path: Path, driver: str, level: str
) -> None:
    engine = engine_of(request, tmp_path, driver, level)
    Base.metadata.create_all(engine)
    keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())
    sessions = bind(sessionmaker(engine), keyring)
    with sessions.begin() as session:
        session.add_all([Tally(id=n, owner="owner", name=f"name {n}") for n in range(ROWS)])
    stop = Event()
    with ThreadPoolExecutor(WRITERS + 1) as threads:
        rekeying = threads.submit(rekey_all, Store(engine, keyring, Base), stop)
        writers = [threads.submit(count_up, sessions, seed) for seed in range(WRITERS)]
        done = sum((each.result() for each in writers), Counter[Any]())
        stop.set()
    with sessions() as session:
        found = {
            (each.id, name): getattr(each, name)
            for each in session.scalars(select(Tally))
            for name in (*FIELDS, "hits")
        }
    assert {key: value for key, value in found.items() if value} == dict(done)
    assert rekeying.result() == ROWS * len(all_parts(Base))
    engine.dispose()
