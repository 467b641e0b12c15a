from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
import sqlalchemy as sa

from assay.database import DatabaseUnreachableError, StorageUnreachableError, open_engine, storage
from assay.database.storage import _refuse_other_server, _walk, storage_files


def test_all_files_of_an_sqlite_database(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'app.db'}")
    (tmp_path / "app.db-backup").write_text("another file")
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (a)"))
        connection.execute(sa.text("INSERT INTO t VALUES ('canary-in-the-log')"))
    found = storage_files(engine)
    assert found.dialect == "sqlite"
    assert [path.name for path in found.files] == ["app.db", "app.db-shm", "app.db-wal"]
    assert any(b"canary-in-the-log" in path.read_bytes() for path in found.files)
    assert "write-ahead log" in found.explanation


def test_a_relative_path_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    engine = open_engine("sqlite:///app.db")
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (a)"))
    assert tmp_path / "app.db" in storage_files(engine).files


def test_attached_databases_are_included(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'app.db'}")

    @sa.event.listens_for(engine, "connect")
    def attach(connection: object, _: object) -> None:
        connection.execute(f"ATTACH '{tmp_path / 'more.db'}' AS more")

    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE more.t (a)"))
    assert {"app.db", "more.db"} <= {path.name for path in storage_files(engine).files}


def test_a_database_in_memory_has_no_storage() -> None:
    with pytest.raises(StorageUnreachableError, match="in memory"):
        storage_files(open_engine("sqlite://"))


def test_an_unreadable_file_is_an_error_and_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'app.db'}")
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (a)"))
    # For root everything is readable, so the system's answer is made up.
    monkeypatch.setattr(storage.os, "access", lambda path, _: path.name != "app.db")
    with pytest.raises(StorageUnreachableError, match=r"app\.db closed to this user"):
        storage_files(engine)


def test_other_databases_are_an_error() -> None:
    engine = sa.create_mock_engine("mysql://", lambda *_: None)
    with pytest.raises(StorageUnreachableError, match="found mysql"):
        storage_files(engine)  # type: ignore[arg-type] # nothing but its dialect is asked


def test_a_server_that_does_not_answer_is_named() -> None:
    engine = open_engine("postgresql://ada:hunter2@127.0.0.1:1/app?connect_timeout=2")
    with pytest.raises(DatabaseUnreachableError) as caught:
        storage_files(engine)
    assert "hunter2" not in str(caught.value)


def cluster(folder: Path, identifier: int) -> Path:
    (folder / "global").mkdir(parents=True)
    (folder / "global" / "pg_control").write_bytes(struct.pack("=Q", identifier) + bytes(100))
    return folder


def test_another_servers_directory_is_refused(tmp_path: Path) -> None:
    folder = cluster(tmp_path / "data", 7)
    _refuse_other_server(folder, 7)
    with pytest.raises(StorageUnreachableError, match="another server's"):
        _refuse_other_server(folder, 8)
    (folder / "global" / "pg_control").write_bytes(b"short")
    with pytest.raises(StorageUnreachableError, match="another server's"):
        _refuse_other_server(folder, 7)
    with pytest.raises(StorageUnreachableError, match="on the server's machine"):
        _refuse_other_server(tmp_path / "gone", 7)


def test_links_out_of_the_directory_are_followed_once(tmp_path: Path) -> None:
    folder, space = tmp_path / "data", tmp_path / "space"
    (folder / "pg_tblspc").mkdir(parents=True)
    space.mkdir()
    (space / "16385").write_text("rows")
    (folder / "pg_tblspc" / "16384").symlink_to(space)
    (folder / "loop").symlink_to(folder)
    assert [path.name for path in _walk(folder)] == ["16385"]


def test_a_folder_that_cannot_be_listed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "base").mkdir()

    def scandir(path: str) -> object:
        if path.endswith("base"):
            raise PermissionError(13, "Permission denied", path)
        return original(path)

    original = os.scandir
    monkeypatch.setattr(storage.os, "scandir", scandir)
    with pytest.raises(StorageUnreachableError, match="Permission denied"):
        list(_walk(tmp_path))
