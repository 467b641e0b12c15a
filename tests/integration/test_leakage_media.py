"""The search on media that real software writes."""

from __future__ import annotations

import base64
import email.message
import gzip
import io
import logging
import logging.handlers
import secrets
import sqlite3
import tarfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from assay.leakage import (
    Canary,
    CanaryKind,
    FileState,
    LeakyTwin,
    Matcher,
    Medium,
    Search,
    load_matcher,
    make_canaries,
    missing_forms,
    patterns,
    search_files,
)

FIELDS = {
    "text": CanaryKind.TEXT,
    "email": CanaryKind.EMAIL,
    "number": CanaryKind.NUMBER,
    "control": CanaryKind.TEXT,
}


@pytest.fixture
def canaries() -> tuple[Canary, ...]:
    return make_canaries(FIELDS, secrets.SystemRandom())


@pytest.fixture
def matcher(canaries: tuple[Canary, ...]) -> Matcher:
    return load_matcher(patterns(canaries))


def _found(search: Search) -> set[tuple[int, str]]:
    return {(hit.canary, hit.transform) for hit in search.hits}


@contextmanager
def _sqlite(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        yield connection


def test_sqlite_rows_and_the_write_ahead_log(
    tmp_path: Path, canaries: tuple[Canary, ...], matcher: Matcher
) -> None:
    with _sqlite(tmp_path / "app.db") as connection:
        connection.execute("CREATE TABLE t (text TEXT, email TEXT, number INTEGER)")
        row = (canaries[0].value, canaries[1].value.upper(), int(canaries[2].value))
        connection.execute("INSERT INTO t VALUES (?, ?, ?)", row)
        found = search_files([Medium("database", (tmp_path,))], matcher)
    assert {file.path.split("/")[-1] for file in found.files} == {
        "app.db",
        "app.db-shm",
        "app.db-wal",
    }
    assert {hit.path.split("/")[-1] for hit in found.hits} == {"app.db-wal"}
    assert {(0, "UTF-8"), (1, "UTF-8 upper case"), (2, "64-bit integer big endian")} <= _found(
        found
    )


def test_what_sqlite_deleted_and_its_full_text_index_are_found(
    tmp_path: Path, canaries: tuple[Canary, ...], matcher: Matcher
) -> None:
    with _sqlite(tmp_path / "app.db") as connection:
        try:
            connection.execute("CREATE VIRTUAL TABLE search USING fts5(body, content='')")
        except sqlite3.OperationalError:
            pytest.skip("this SQLite has no full-text search")
        connection.execute("INSERT INTO search (body) VALUES (?)", (canaries[0].value.title(),))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        found = search_files([Medium("database", (tmp_path / "app.db",))], matcher)
    # The index keeps words, so the whole value is nowhere. It drops what a word has in common with
    # the word before it, so not every shard is there, but some are.
    pieces = {hit.piece for hit in found.hits}
    assert pieces
    assert "whole" not in pieces


def test_overflow_pages_tear_a_value_but_not_all_of_its_shards(
    tmp_path: Path, canaries: tuple[Canary, ...], matcher: Matcher
) -> None:
    with _sqlite(tmp_path / "app.db") as connection:
        connection.execute("CREATE TABLE t (body TEXT)")
        for shift in range(0, 60, 3):
            body = "x" * (4096 * 3 - 100 + shift) + canaries[0].value + "y" * 9000
            connection.execute("INSERT INTO t VALUES (?)", (body,))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        found = search_files([Medium("database", (tmp_path / "app.db",))], matcher)
    assert found.hits_total >= 20 * 3


def test_a_database_that_is_written_meanwhile(
    tmp_path: Path, canaries: tuple[Canary, ...], matcher: Matcher
) -> None:
    with _sqlite(tmp_path / "app.db") as connection:
        connection.execute("CREATE TABLE t (body BLOB)")
        connection.execute("INSERT INTO t VALUES (?)", (canaries[0].value,))
        stop = threading.Event()

        def write() -> None:
            with closing(sqlite3.connect(tmp_path / "app.db", isolation_level=None)) as other:
                while not stop.is_set():
                    other.execute("INSERT INTO t VALUES (randomblob(200000))")

        writer = threading.Thread(target=write)
        writer.start()
        try:
            searches = [search_files([Medium("m", (tmp_path,))], matcher) for _ in range(5)]
        finally:
            stop.set()
            writer.join()
    for found in searches:
        assert (0, "UTF-8") in _found(found)
        states = {file.state for file in found.files}
        assert states <= {FileState.SEARCHED, FileState.MISSING}


def test_logs_that_are_rotated_and_compressed(
    tmp_path: Path, canaries: tuple[Canary, ...], matcher: Matcher
) -> None:
    path = tmp_path / "app.log"
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=20_000, backupCount=3)
    handler.namer = lambda name: f"{name}.gz"

    def pack(source: str, target: str) -> None:
        Path(target).write_bytes(gzip.compress(Path(source).read_bytes()))
        Path(source).unlink()

    handler.rotator = pack
    logger = logging.getLogger("test-leakage-rotated")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    logger.info("mail to %s", canaries[1].value)
    for n in range(900):
        logger.info("request %d took %d ms and returned 200", n, n * 7 % 31)
    logger.removeHandler(handler)
    handler.close()
    with LeakyTwin(tmp_path, canaries[3]):
        found = search_files([Medium("logs", (tmp_path,))], matcher)
    assert missing_forms(found, "logs", 3) == ()
    leaks = [hit for hit in found.hits if hit.canary == 1]
    assert {hit.container for hit in leaks} == {"gzip"}
    assert all(hit.path.endswith(".gz") for hit in leaks)


def test_backups_and_mail(tmp_path: Path, canaries: tuple[Canary, ...], matcher: Matcher) -> None:
    message = email.message.EmailMessage()
    message["To"] = "someone@example.com"
    message.set_content("intro\n" * 9 + canaries[0].value + "\nend", cte="base64")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, data in {
            "spool/1.eml": bytes(message),
            "rows.csv": b"id,mail\n1," + base64.b64encode(canaries[1].value.encode()) + b"\n",
        }.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    (tmp_path / "backup.tar.gz").write_bytes(archive.getvalue())
    found = search_files([Medium("backups", (tmp_path,))], matcher)
    assert {hit.canary for hit in found.hits} == {0, 1}
    assert {hit.container for hit in found.hits} <= {"gzip", "gzip > line breaks"}


def test_postgresql_files(
    fresh_postgresql_url: str, canaries: tuple[Canary, ...], matcher: Matcher
) -> None:
    text, mail, number = (canary.value for canary in canaries[:3])
    with psycopg.connect(fresh_postgresql_url, autocommit=True) as connection:
        row = connection.execute("SHOW data_directory").fetchone()
        assert row is not None
        data = Path(str(row[0]))
        connection.execute(
            "CREATE TABLE t (a text, b jsonb, c bytea, d numeric, e bigint, f tsvector)"
        )
        connection.execute(
            "INSERT INTO t VALUES (%s, jsonb_build_object('mail', %s::text), %s, %s, %s,"
            " to_tsvector('english', %s))",
            (text, mail, text.encode("utf-16-le"), int(number), int(number), text.upper()),
        )
        connection.execute("CHECKPOINT")
        base = next(iter(connection.execute("SELECT pg_relation_filepath('t')")))[0]
        found = search_files([Medium("table", (data / str(base),))], matcher)
        assert {
            (0, "UTF-8"),
            (0, "UTF-16LE"),
            (1, "UTF-8"),
            (2, "numeric little endian"),
            (2, "64-bit integer little endian"),
        } <= _found(found)
        log = search_files([Medium("write-ahead log", (data / "pg_wal",))], matcher)
        assert {hit.canary for hit in log.hits} >= {0, 1, 2}
