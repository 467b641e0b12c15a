from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from assay import database
from assay.database import DatabaseUnreachableError, DatabaseUrlError, open_engine
from assay.database.engine import sqlite_file


def pragma(engine: sa.Engine, name: str) -> object:
    with engine.connect() as connection:
        return connection.execute(sa.text(f"PRAGMA {name}")).scalar_one()


def test_a_new_sqlite_database_has_careful_settings(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'new.db'}")
    assert pragma(engine, "journal_mode") == "wal"
    assert pragma(engine, "foreign_keys") == 1
    assert pragma(engine, "busy_timeout") == 5000
    assert pragma(engine, "synchronous") == 2


def test_an_existing_sqlite_database_keeps_its_journal_mode(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (a)")
    connection.close()
    engine = open_engine(f"sqlite:///{path}")
    assert pragma(engine, "journal_mode") == "delete"
    assert pragma(engine, "foreign_keys") == 1


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_is_spoken_to_by_psycopg_3(scheme: str) -> None:
    engine = open_engine(f"{scheme}://ada:secret@db.example/app")
    assert (engine.dialect.name, engine.driver) == ("postgresql", "psycopg")
    assert engine.hide_parameters


@pytest.mark.parametrize(
    "url",
    [
        "",
        "app.db",
        "nosuch://hunter2@host/db",
        "sqlite+nosuch:///a",
        "postgresql://u:hunter2@h:x/d",
    ],
)
def test_other_urls_are_refused_without_quoting_them(url: str) -> None:
    with pytest.raises(DatabaseUrlError, match="expected a") as caught:
        open_engine(url)
    assert "hunter2" not in str(caught.value)


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(DatabaseUrlError, match=r"install assay\[postgresql\]"):
        open_engine("postgresql://ada@db.example/app")


def test_a_missing_file_is_refused_when_it_must_exist(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'gone.db'}"
    with pytest.raises(DatabaseUnreachableError, match="found no file"):
        open_engine(url, must_exist=True)
    assert not (tmp_path / "gone.db").exists()
    open_engine(url).connect().close()
    open_engine(url, must_exist=True)
    open_engine("sqlite://", must_exist=True)


def test_an_error_never_shows_parameters(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'a.db'}")
    with engine.connect() as connection, pytest.raises(sa.exc.OperationalError) as caught:
        connection.execute(sa.text("SELECT * FROM gone WHERE a = :a"), {"a": "hunter2"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///a.db", Path("a.db")),
        ("sqlite:////srv/a.db", Path("/srv/a.db")),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
        ("sqlite:///file:a.db?uri=true", Path("a.db")),
        ("sqlite:///file::memory:?uri=true", None),
        ("sqlite:///file:x?mode=memory&uri=true", None),
        ("postgresql://h/a", None),
    ],
)
@pytest.mark.filterwarnings("ignore:Selection of the SingletonThreadPool")
def test_the_file_of_an_engine(url: str, path: Path | None) -> None:
    assert sqlite_file(open_engine(url)) == path


def test_the_room_exports_what_it_promises() -> None:
    for name in database.__all__:
        assert getattr(database, name) is not None
