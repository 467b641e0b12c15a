"""Values that PostgreSQL takes for equal are still different plaintext: no envelope goes stale."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from assay.database import open_engine
from assay.encryption.adoption import Crew, Store, parts_in_transition
from assay.encryption.adoption import backfill as module
from assay.encryption.adoption.alembic import apply_migration, write_migration
from assay.encryption.adoption.expand import expansion
from assay.encryption.adoption.place import place_of
from assay.encryption.adoption.ranges import Checkpoint, Span
from assay.encryption.adoption.verify import verify
from assay.encryption.sqlalchemy import Sealed, bind, sealed
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService


class Base(DeclarativeBase):
    pass


class Thing(Sealed, Base):
    __tablename__ = "Things"  # needs quotes
    __owner__ = "tenant"
    __table_args__ = {"schema": "shop"}  # noqa: RUF012 - as models declare it

    part: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    name: Mapped[str | None] = sealed(plaintext="name")
    price: Mapped[Decimal | None] = sealed(plaintext="price")
    extra: Mapped[dict[str, Any] | None] = sealed(plaintext="extra")
    at: Mapped[datetime | None] = sealed(plaintext=mapped_column("at", nullable=True))
    raw: Mapped[bytes | None] = sealed(plaintext="raw")


CREATE = """
CREATE SCHEMA shop;
CREATE COLLATION shop.blurred (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE shop."Things" (
    part INTEGER, number TEXT, tenant TEXT NOT NULL, name TEXT COLLATE shop.blurred,
    price NUMERIC, extra JSON, at TIMESTAMP, raw BYTEA, PRIMARY KEY (part, number)
);
INSERT INTO shop."Things" VALUES
    (1, 'a', 'north', 'ada', 1.0, '{"a": 1}', '2026-01-01', 'x'), (1, 'b', 'north', NULL, NULL, NULL, NULL, NULL),
    (2, 'a', 'south', 'ada', 2.50, '{"b": [1, 2]}', '2026-01-01 10:00', '\\x00ff');
"""
SAME = [
    "name = 'ADA' WHERE name = 'ada'",
    "price = 1.00 WHERE price = 1.0",
    """extra = '{"a":1}' WHERE price = 1""",
    "name = NULL WHERE name = 'ada'",
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


def seal_all(store: Store, folder: Path) -> None:
    (part,) = parts_in_transition(Base)
    with ThreadPoolExecutor(1) as executor:
        crew = Crew(store, executor)
        report = module.backfill(
            store, part, crew, Checkpoint(folder / "c.json", part, place_of(part, store.engine))
        )
        assert (report.left, report.tally.done) == (0, 3)
        assert verify(store, part, crew).passed


def unsealed(engine: Engine) -> int:
    with engine.connect() as connection:
        asked = 'SELECT count(*) FROM shop."Things" WHERE sealed IS NULL'
        return int(connection.execute(text(asked)).scalar_one())


@pytest.mark.parametrize("change", SAME)
def test_the_trigger_compares_what_is_stored(store, engine, tmp_path, change):
    seal_all(store, tmp_path)
    assert unsealed(engine) == 0
    with engine.begin() as connection:
        changed = connection.exec_driver_sql(f'UPDATE shop."Things" SET {change}').rowcount  # noqa: S608 - of this test
    assert unsealed(engine) == changed > 0


@pytest.mark.parametrize("change", SAME)
def test_the_backfill_compares_what_is_stored(store, engine, monkeypatch, change):
    write = module._write

    def after_another_writer(engine, statement, rows):
        with engine.begin() as connection:
            connection.exec_driver_sql(f'UPDATE shop."Things" SET {change}')  # noqa: S608 - of this test
        return write(engine, statement, rows)

    monkeypatch.setattr(module, "_write", after_another_writer)
    (part,) = parts_in_transition(Base)
    tally = module.seal_span(store, part, Span(None, (9, "z")))
    assert tally.rows == 3
    assert tally.passed_over == unsealed(engine) > 0


def test_what_changes_nothing_leaves_the_envelope(store, engine, tmp_path):
    seal_all(store, tmp_path)
    with engine.begin() as connection:
        connection.exec_driver_sql('UPDATE shop."Things" SET name = name, price = price')
    assert unsealed(engine) == 0


def test_both_are_written_with_a_key_of_two_columns(store, engine, tmp_path):
    sessions = bind(sessionmaker(engine), store.keyring)
    with sessions.begin() as session:
        thing = session.get(Thing, (1, "a"))
        assert (thing.name, thing.price, dict(thing.extra)) == ("ada", Decimal("1.0"), {"a": 1})
        thing.name = "Ada"
    with engine.connect() as connection:
        asked = "SELECT name FROM shop.\"Things\" WHERE part = 1 AND number = 'a' AND sealed IS NOT NULL"
        assert connection.execute(text(asked)).scalar_one() == "Ada"
