"""PostgreSQL gets a batch of envelopes as one document: every value arrives as it is."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from assay.database import open_engine
from assay.encryption.adoption import Crew, Options, Store, parts_in_transition, writing
from assay.encryption.adoption import backfill as module
from assay.encryption.adoption.alembic import apply_migration, write_migration
from assay.encryption.adoption.expand import expansion
from assay.encryption.adoption.place import place_of
from assay.encryption.adoption.ranges import Checkpoint, Span
from assay.encryption.adoption.verify import verify
from assay.encryption.sqlalchemy import Equality, Ngram, Sealed, bind, casefold, matching, sealed
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService


class Base(DeclarativeBase):
    pass


class Note(Sealed, Base):
    __tablename__ = "notes"
    __owner__ = "tenant"

    code: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    email: Mapped[str] = sealed(plaintext="email", index=Equality(casefold, unique=True))
    body: Mapped[str | None] = sealed(plaintext="body", index=Ngram(casefold))


CREATE = "CREATE TABLE notes (code VARCHAR(40), id UUID, tenant TEXT, email TEXT, body TEXT, PRIMARY KEY (code, id))"
ODD = [
    "plain",
    "",
    "quotes \" and ' and `",
    "back\\slash \\n \\u0041 \\x41",
    "control \x01\x1f\x7f\t\r\n",
    "{braces}, [brackets], null, true, 1e5",
    "äöü ß 漢字 🙂 \u2028 \ufeff",
    "  spaces  ",
]


@pytest.fixture
def engine(fresh_postgresql_url: str) -> Iterator[Engine]:
    engine = open_engine(fresh_postgresql_url)
    with engine.begin() as connection:
        connection.exec_driver_sql(CREATE)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine, tmp_path: Path) -> Store:
    (part,) = parts_in_transition(Base)
    with engine.connect() as connection:
        steps = expansion(part, connection)
    apply_migration(engine, write_migration(tmp_path / "versions", steps), "alembic_version")
    return Store(engine, Keyring(MemoryKeyService(), MemoryDataKeyTable()), Base)


def write(engine: Engine, rows: list[tuple[str, str, str | None]]) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO notes VALUES (:code, :id, 'north', :email, :body)"),
            [{"code": c, "id": uuid4(), "email": e, "body": b} for c, e, b in rows],
        )


def seal_all(store: Store, folder: Path) -> module.BackfillReport:
    (part,) = parts_in_transition(Base)
    with ThreadPoolExecutor(1) as executor:
        crew = Crew(store, executor, Options(batch_rows=5))
        return module.backfill(
            store, part, crew, Checkpoint(folder / "c.json", part, place_of(part, store.engine))
        )


def is_right(store: Store) -> bool:
    (part,) = parts_in_transition(Base)
    with ThreadPoolExecutor(1) as executor:
        return verify(store, part, Crew(store, executor)).passed


@pytest.mark.parametrize("document_bytes", [1, 700, 2**22])
def test_odd_values_are_sealed_and_found(store, engine, tmp_path, monkeypatch, document_bytes):
    monkeypatch.setattr(writing, "_DOCUMENT_BYTES", document_bytes)
    rows = [(odd, f"{number}{odd}@x", odd) for number, odd in enumerate(ODD)]
    write(engine, [*rows, ("none", "none@x", None)])
    report = seal_all(store, tmp_path)
    assert (report.tally.done, report.left, report.tally.refused) == (len(ODD) + 1, 0, {})
    assert is_right(store)
    sessions = bind(sessionmaker(engine), store.keyring)
    with sessions() as session:
        for code, email, _ in rows:
            asked = select(Note).where(Note.tenant == "north", Note.email == email)
            assert session.scalars(asked).one().code == code
        asked = select(Note).where(Note.tenant == "north", Note.body.contains("brackets"))
        assert [each.code for each in matching(session, asked)] == [ODD[5]]


def test_what_must_be_unique_is_refused_row_by_row(store, engine, tmp_path):
    write(engine, [("a", "ada@x", None), ("b", "ADA@x", None), ("c", "bob@x", None)])
    report = seal_all(store, tmp_path)
    assert (report.tally.done, report.left) == (2, 1)
    assert report.tally.refused == {"a value that must be unique is there already": 1}


@pytest.mark.parametrize("change", ["body = 'other' || code", "sealed = '\\x00'", "label = 'new'"])
def test_a_batch_that_waits_for_another_writer_looks_again(store, engine, change):
    write(engine, [(code, f"{code}@x", "body") for code in "abc"])
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE notes ADD COLUMN label TEXT")
    (part,) = parts_in_transition(Base)
    found = []
    with engine.connect() as other:
        other.exec_driver_sql(f"UPDATE notes SET {change} WHERE code = 'b'")  # noqa: S608 - of this test
        span = Span(None, ("z", uuid4()))
        thread = threading.Thread(target=lambda: found.append(module.seal_span(store, part, span)))
        thread.start()
        deadline = time.monotonic() + 30
        while not waiting(engine) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not found
        other.commit()
        thread.join(30)
    kept = change.startswith("label")  # nothing that is sealed
    assert (found[0].rows, found[0].done, found[0].passed_over) == (3, 2 + kept, 1 - kept)
    with engine.connect() as connection:
        asked = "SELECT code FROM notes WHERE length(sealed) > 58 ORDER BY code"
        assert connection.execute(text(asked)).scalars().all() == (
            list("abc") if kept else ["a", "c"]
        )


def waiting(engine: Engine) -> bool:
    with engine.connect() as connection:
        asked = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        return bool(connection.execute(text(asked)).scalar_one())


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_an_asynchronous_application_goes_through_the_transition(
    store, engine, tmp_path, fresh_postgresql_url, driver
):
    url = fresh_postgresql_url.replace("postgresql", f"postgresql+{driver}", 1)

    async def change(session, code, body):
        note = (await session.scalars(select(Note).where(Note.code == code))).one()
        found = (note.email, note.body)
        note.body = body
        await session.commit()
        return found

    async def work():
        application = create_async_engine(url)
        seen = []
        async with bind(AsyncSession(application), store.keyring) as session:
            session.add(Note(code="new", id=uuid4(), tenant="north", email="n@x", body="n1"))
            await session.commit()
            # Before the backfill, and after old code wrote again.
            seen += [await change(session, code, f"{code} 2") for code in ("old", "new")]
            with engine.begin() as old:
                old.exec_driver_sql("UPDATE notes SET body = body || ' by old code'")
            session.expire_all()
            await asyncio.to_thread(seal_all, store, tmp_path)
            seen += [await change(session, code, f"{code} 3") for code in ("old", "new")]
            asked = select(Note).where(Note.tenant == "north", Note.email == "O@X")
            seen.append((await session.scalars(asked)).one().code)
        await application.dispose()
        return seen

    write(engine, [("old", "o@x", "o1")])
    assert asyncio.run(work()) == [
        ("o@x", "o1"), ("n@x", "n1"), ("o@x", "old 2 by old code"), ("n@x", "new 2 by old code"),
        "old",
    ]  # fmt: skip
    assert is_right(store)
    with engine.connect() as old:  # whose code still reads what the new one writes
        bodies = old.execute(text("SELECT body FROM notes ORDER BY code")).scalars().all()
    assert bodies == ["new 3", "old 3"]
