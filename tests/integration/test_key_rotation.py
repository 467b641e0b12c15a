"""Data keys move and rotate while an application writes, and whoever does it is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from assay.core import DataKeyClass, WrappedDataKey
from assay.database import SqlDataKeyTable, open_engine
from assay.encryption.sqlalchemy import Equality, Sealed, bind, casefold, sealed
from assay.keys import Keyring, KeyService, SuccessorKeyService, create_key, open_key_service
from assay.keys.embedded import EmbeddedProvider
from assay.keys.embedded_format import SMALLEST_N, ScryptParameters

OLD, NEW = (f"embedded:keys.json?object={name}" for name in ("old", "new"))
OWNERS = 100
ENOUGH_SECONDS = 60.0
ASSAY = [sys.executable, "-m", "assay", "keys"]


class Base(DeclarativeBase):
    pass


class Note(Sealed, Base):
    __tablename__ = "notes"
    __owner__ = "tenant"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    text: Mapped[str] = sealed(index=Equality(casefold))


class Company:
    """A database with sealed notes and their keys, and a programme about it."""

    def __init__(self, folder: Path, url: str, key_url: str) -> None:
        self.folder = folder
        self.environment = {**os.environ, "ASSAY_PASSPHRASE": "correct horse battery"}
        self.environment |= {"DATABASE_URL": url, "KEY_DATABASE_URL": key_url}
        self._end = ExitStack()
        self.engine, self.keys_engine = open_engine(url), open_engine(key_url)
        self._end.callback(self.engine.dispose)
        self._end.callback(self.keys_engine.dispose)
        self._end.callback(self._await_upkeep)
        provider = EmbeddedProvider(ScryptParameters(n=SMALLEST_N))
        for uri in (OLD, NEW):
            provider.create_key(uri, folder, self.environment)
        Base.metadata.create_all(self.engine)
        self.table = SqlDataKeyTable(self.keys_engine)
        self.old, self.new = self.service(OLD), self.service(NEW)
        self.programme(OLD)
        self.write(self.old, range(OWNERS))

    def close(self) -> None:
        self._end.close()

    def _await_upkeep(self) -> None:
        """The thread that tends to keyrings may have a connection; it ends when they are empty."""
        for thread in threading.enumerate():
            if thread.name == "assay-key-upkeep":
                thread.join(timeout=5)

    def programme(self, keys: str, *formers: str, more: str = "") -> None:
        (self.folder / "assay.yaml").write_text(
            f'organisation: Shop\nkeys: "{keys}"\nformer_keys: {json.dumps(formers)}\n'
            f'log: {{store: log, signer: "{OLD}", origin: shop.example/assay}}\n'
            "assets: [{id: shop, kind: datastore, url: 'env:DATABASE_URL', models: 'm:Base', "
            f"key_table: 'env:KEY_DATABASE_URL'}}]\n{more}"
        )

    def service(self, uri: str) -> KeyService:
        service = open_key_service(uri, directory=self.folder, environment=self.environment)
        self._end.callback(service.close)
        return service

    def sessions(self, service: KeyService) -> tuple[Any, Keyring]:
        sessions = sessionmaker(self.engine)
        keyring = Keyring(service, self.table, watch_seconds=0.05)
        self._end.callback(keyring.close)
        bind(sessions, keyring)
        return sessions, keyring

    def write(self, service: KeyService, numbers: range) -> None:
        sessions, keyring = self.sessions(service)
        with sessions.begin() as session:
            session.add_all(Note(id=n, tenant=f"person-{n}", text=f"Note {n}") for n in numbers)
        keyring.close()

    def read(self, service: KeyService) -> int:
        """Opens every row and finds each by its text; how many there are."""
        sessions, keyring = self.sessions(service)
        with sessions() as session:
            notes = session.scalars(select(Note)).all()
            assert all(note.text == f"Note {note.id}" for note in notes)
            for note in notes[::20]:
                found = session.scalars(select(Note).where(Note.text == note.text.upper())).all()
                assert [each.id for each in found] == [note.id]
        keyring.close()
        return len(notes)

    def begin(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*ASSAY, *words, "--json"],
            cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, *words: str) -> dict[str, Any]:
        process = self.begin(*words)
        shown, _ = process.communicate(timeout=ENOUGH_SECONDS)
        document: dict[str, Any] = json.loads(shown)
        assert document["exit_code"] == process.returncode
        return document

    def kill_when(self, enough: Callable[[list[WrappedDataKey]], bool], *words: str) -> None:
        """Runs a command and kills it as soon as it has got so far; it must not be at its end."""
        process = self.begin(*words)
        deadline = time.monotonic() + ENOUGH_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            if enough(list(self.table.each())):
                process.kill()
                break
        process.communicate()
        assert process.returncode == -9, "expected it to be killed in the middle"

    def under(self, kek: KeyService) -> int:
        return sum(row.kek == kek.uri for row in self.table.each())


@pytest.fixture(params=["sqlite", "postgresql"])
def company(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Company]:
    if request.param == "postgresql":
        url = key_url = request.getfixturevalue("fresh_postgresql_url")
    else:
        url, key_url = (f"sqlite:///{tmp_path / name}.db" for name in ("shop", "keys"))
    found = Company(tmp_path, url, key_url)
    yield found
    found.close()


def test_a_rewrap_that_is_killed_again_and_again_loses_no_key(company: Company) -> None:
    company.programme(NEW, OLD)
    both = SuccessorKeyService(company.new, [company.old])
    moved = 0
    for _ in range(2):
        before = moved
        company.kill_when(
            lambda rows, before=before: sum(row.kek == company.new.uri for row in rows) > before,
            "rewrap",
        )
        moved = company.under(company.new)
        assert before < moved < 2 * OWNERS
    assert company.read(both) == OWNERS
    (report,) = company.run("rewrap")["key_tables"]
    assert (report["already"], report["done"]) == (moved, 2 * OWNERS - moved)
    assert (report["refused"], report["left"]) == ({}, 0)
    assert company.read(company.new) == OWNERS
    assert company.under(company.old) == 0


def test_an_application_writes_for_new_owners_while_keys_move(company: Company) -> None:
    company.programme(NEW, OLD)
    both, ended = SuccessorKeyService(company.new, [company.old]), threading.Event()

    def write() -> int:
        number = OWNERS
        while not ended.is_set():
            company.write(both, range(number, number + 5))
            number += 5
        return number

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        try:
            document = company.run("rewrap")
        finally:
            ended.set()
        written = writing.result()
    (report,) = document["key_tables"]
    assert (document["exit_code"], report["refused"], report["left"]) == (0, {}, 0)
    assert report["done"] == 2 * OWNERS
    assert written > OWNERS
    assert company.read(company.new) == written


def test_two_rewraps_at_the_same_time_share_the_work(company: Company) -> None:
    company.programme(NEW, OLD)
    processes = [company.begin("rewrap") for _ in range(2)]
    reports = [
        json.loads(process.communicate(timeout=ENOUGH_SECONDS)[0])["key_tables"][0]
        for process in processes
    ]
    assert [process.returncode for process in processes] == [0, 0]
    assert sum(report["done"] for report in reports) == 2 * OWNERS
    for report in reports:
        assert report["done"] + report["already"] == 2 * OWNERS
        assert (report["refused"], report["left"]) == ({}, 0)
    assert company.read(company.new) == OWNERS


def test_a_rotation_that_is_killed_goes_on_and_rotates_nothing_twice(company: Company) -> None:
    words = ("rotate", "--class", "rows", "--made-before", datetime.now(UTC).isoformat())
    company.kill_when(lambda rows: any(row.version == 2 for row in rows), *words)
    made = sum(row.version == 2 for row in company.table.each())
    assert 0 < made < OWNERS
    assert company.read(company.old) == OWNERS
    (report,) = company.run(*words)["key_tables"]
    assert (report["made"], report["kept"]) == ({"rows": OWNERS - made}, OWNERS + made)
    newest = {row.owner: row.version for row in company.table.each() if row.key_class == "rows"}
    assert list(newest.values()) == [2] * OWNERS
    assert company.read(company.old) == OWNERS
    company.write(company.old, range(OWNERS, OWNERS + 1))


def test_what_is_due_is_told_and_rotated(company: Company) -> None:
    assert company.run("status")["exit_code"] == 0
    sessions, keyring = company.sessions(company.old)
    with sessions.begin() as session:
        session.get(Note, 3).text = "Note 3 "
        session.flush()
        session.get(Note, 3).text = "Note 3"
    keyring.close()
    company.programme(OLD, more="key_rotation: {rows: {messages: 3}}\n")
    found = company.run("status")
    rows = found["key_tables"][0]["classes"]["rows"]
    assert (found["exit_code"], rows["due"]) == (1, {"used for 3 messages or more": 1})
    assert company.run("rotate", "--due")["key_tables"][0]["made"] == {"rows": 1}
    assert company.run("status")["exit_code"] == 0
    assert company.table.versions("person-3", DataKeyClass.ROWS)[-1].version == 2
    assert company.read(company.old) == OWNERS


def test_keys_move_onto_a_token_and_back(
    tmp_path: Path, softhsm_token: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in softhsm_token.environment.items():
        monkeypatch.setenv(name, value)
    url, key_url = (f"sqlite:///{tmp_path / name}.db" for name in ("shop", "keys"))
    company = Company(tmp_path, url, key_url)
    token = softhsm_token.uri("kek")
    create_key(token, directory=tmp_path, environment=company.environment)
    on_token = company.service(token)
    company.programme(token, OLD)
    (report,) = company.run("rewrap")["key_tables"]
    assert (report["done"], report["refused"], report["left"]) == (2 * OWNERS, {}, 0)
    assert company.under(on_token) == 2 * OWNERS
    assert company.read(on_token) == OWNERS
    company.programme(token)
    assert company.run("status")["kek"]["fidelity"] == "emulated"
    (back,) = company.run("rewrap", "--to", OLD)["key_tables"]
    assert back["done"] == 2 * OWNERS
    assert company.read(company.old) == OWNERS
    found = company.run("status")
    assert (found["exit_code"], found["key_tables"][0]["to_rewrap"]) == (1, 2 * OWNERS)
    company.close()
