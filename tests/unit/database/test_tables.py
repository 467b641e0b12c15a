from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from assay.database import (
    DatabaseUnreachableError,
    UnknownTableError,
    count_rows,
    open_engine,
    raw_joined_rows,
    raw_rows,
    real_tables,
)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    found = open_engine(f"sqlite:///{tmp_path / 'app.db'}")
    with found.begin() as connection:
        for statement in (
            'CREATE TABLE "select" ("order" TEXT, "a b" BLOB, n INTEGER, PRIMARY KEY (n, "order"))',
            "CREATE TABLE empty (id INTEGER PRIMARY KEY AUTOINCREMENT)",
            'CREATE TABLE "with.dot" (id INTEGER PRIMARY KEY)',
            "CREATE TABLE keyless (value TEXT)",
            'CREATE VIEW seen AS SELECT n FROM "select"',
            "CREATE VIRTUAL TABLE search USING fts5(body)",
        ):
            connection.execute(sa.text(statement))
        connection.execute(
            sa.text('INSERT INTO "select" VALUES (:o, :b, :n)'),
            [
                {"o": "b", "b": b"\x00\xff", "n": 2},
                {"o": "z", "b": None, "n": 1},
                {"o": "a", "b": b"", "n": 2},
            ],
        )
        connection.execute(sa.text('INSERT INTO "with.dot" VALUES (7)'))
        connection.execute(sa.text("INSERT INTO empty VALUES (1)"))
        connection.execute(sa.text("DELETE FROM empty"))
    yield found
    found.dispose()


def test_every_table_that_stores_rows_is_listed(engine: sa.Engine) -> None:
    found = real_tables(engine)
    assert found == tuple(sorted(found))
    assert {"select", "empty", "with.dot", "keyless", "search"} <= set(found)
    # The hidden tables of a full-text index hold text as well.
    assert "search_content" in found
    assert "seen" not in found
    assert not any(name.startswith("sqlite_") for name in found)


def test_a_database_without_tables_has_none(tmp_path: Path) -> None:
    assert real_tables(open_engine(f"sqlite:///{tmp_path / 'new.db'}")) == ()


def test_rows_come_raw_in_primary_key_order(engine: sa.Engine) -> None:
    rows = list(raw_rows(engine, "select", ["a b", "order", "n"]))
    assert rows == [(None, "z", 1), (b"", "a", 2), (b"\x00\xff", "b", 2)]
    assert all(type(row) is tuple for row in rows)
    assert list(raw_rows(engine, "with.dot", ["id"])) == [(7,)]
    assert list(raw_rows(engine, "keyless", ["value"])) == []


def test_rows_come_with_those_of_another_table(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text('CREATE TABLE "joined" (k INTEGER PRIMARY KEY, "a b" TEXT)'))
        connection.execute(sa.text("INSERT INTO joined VALUES (7, 'seven'), (8, 'eight')"))
    rows = list(raw_joined_rows(engine, "joined", ["a b", "k"], "with.dot", ["id"]))
    assert rows == [("seven", 7, 7), ("eight", 8, None)]
    for name, column in (("with.dot", "nothing"), ("nowhere", "id")):
        with pytest.raises(UnknownTableError):
            list(raw_joined_rows(engine, "joined", ["k"], name, [column]))


def test_rows_are_counted(engine: sa.Engine) -> None:
    assert count_rows(engine, "select") == 3
    assert count_rows(engine, "empty") == 0
    assert count_rows(engine, "with.dot") == 1


def test_rows_are_streamed(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'app.db'}")
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (id INTEGER PRIMARY KEY)"))
        connection.execute(sa.text("INSERT INTO t VALUES (:i)"), [{"i": i} for i in range(2000)])
    rows = raw_rows(engine, "t", ["id"])
    assert next(rows) == (0,)
    assert list(rows) == [(number,) for number in range(1, 2000)]


@pytest.mark.parametrize("name", ["gone", "main.gone", "gone.select", "", "sel"])
def test_an_unknown_table_is_refused_at_once(engine: sa.Engine, name: str) -> None:
    with pytest.raises(UnknownTableError):
        raw_rows(engine, name, ["n"])
    with pytest.raises(UnknownTableError):
        count_rows(engine, name)


def test_an_unknown_column_is_refused_at_once(engine: sa.Engine) -> None:
    with pytest.raises(UnknownTableError, match="none called gone; it has order, a b, n"):
        raw_rows(engine, "select", ["n", "gone"])
    with pytest.raises(UnknownTableError):
        raw_rows(engine, "select", [])


def test_a_database_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'gone' / 'app.db'}")
    for ask in (
        lambda: real_tables(engine),
        lambda: count_rows(engine, "t"),
        lambda: raw_rows(engine, "t", ["a"]),
    ):
        with pytest.raises(DatabaseUnreachableError, match="unable to open"):
            ask()
