"""A keyring belongs to sessions, and to nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import StaticPool, create_engine, insert, select, true
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import Session, scoped_session, sessionmaker

import assay.encryption
import assay.encryption.sqlalchemy
from assay.core import DataKeyClass, WrappedDataKey
from assay.encryption.sqlalchemy import KeyringNotBoundError, bind
from assay.encryption.sqlalchemy.session_keys import SessionKeys
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService, data_key_id


@pytest.mark.parametrize(
    "make",
    [
        sessionmaker,
        lambda engine: sessionmaker(engine, info={"other": 1}),
        lambda engine: scoped_session(sessionmaker(engine)),
    ],
)
def test_factories(library: Any, keyring: Keyring, make: Callable[[Any], Any]) -> None:
    row = library.add(text="one")
    factory = make(library.engine)
    early = factory()
    assert bind(factory, keyring) is factory
    with factory() as session:
        assert session.get(library.Document, row).text == "one"
    if isinstance(factory, scoped_session):
        assert SessionKeys.of(early).keyring is keyring
        factory.remove()
    else:
        with pytest.raises(KeyringNotBoundError):
            SessionKeys.of(early)
        assert set(factory().info) - {"assay.encryption.keys"} == set(early.info)
    early.close()


def test_single_sessions(library: Any, keyring: Keyring) -> None:
    row = library.add(text="one")
    with bind(Session(library.engine), keyring) as session, Session(library.engine) as other:
        assert session.get(library.Document, row).text == "one"
        with pytest.raises(KeyringNotBoundError):
            _ = other.get(library.Document, row).text


def test_asynchronous_factories_hand_it_to_their_sessions(keyring: Keyring) -> None:
    factory = async_sessionmaker()
    bind(factory, keyring)
    assert SessionKeys.of(factory().sync_session).keyring is keyring
    session = bind(AsyncSession(), keyring)
    assert SessionKeys.of(session.sync_session).keyring is keyring
    scoped = async_scoped_session(async_sessionmaker(), scopefunc=lambda: 1)
    assert SessionKeys.of(bind(scoped, keyring)().sync_session).keyring is keyring


def test_nothing_else_can_be_bound_to(library: Any, keyring: Keyring) -> None:
    for wrong in (library.engine, Session, None):
        with pytest.raises(KeyringNotBoundError, match="sessionmaker"):
            bind(wrong, keyring)


def test_two_factories_with_two_keyrings_do_not_mix(library: Any) -> None:
    other_keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())
    other = bind(sessionmaker(library.engine), other_keyring)
    row = library.add(text="one")
    with other() as session, pytest.raises(assay.encryption.WrongKeyError):
        _ = session.get(library.Document, row).text
    with library.sessions() as session:
        assert session.get(library.Document, row).text == "one"


def test_threads_share_a_factory(library: Any, tmp_path: Path, keyring: Keyring) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'threads.db'}", connect_args={"timeout": 60})
    shared = type(library)(engine, keyring)

    def work(thread: int) -> list[str]:
        owner = ("north", "south")[thread % 2]
        rows = [shared.add(owner, text=f"{thread} {n}") for n in range(10)]
        with shared.sessions() as session:
            return [session.get(shared.Document, row).text for row in rows]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, range(4)))
    assert results == [[f"{thread} {n}" for n in range(10)] for thread in range(4)]
    nonces = set()
    with engine.connect() as connection:
        table = shared.Document.__table__
        for row in connection.execute(select(table.c.sealed, table.c.sealed_content)):
            nonces |= {envelope[2:42] for envelope in row}
    assert len(nonces) == 80
    engine.dispose()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_goes_on_with_other_nonces(
    library: Any, tmp_path: Path, keyring: Keyring
) -> None:
    path = tmp_path / "fork.db"
    engine = create_engine(f"sqlite:///{path}", poolclass=StaticPool)
    shared = type(library)(engine, keyring)
    shared.add(text="before")
    engine.dispose()
    child = os.fork()
    if child == 0:
        try:
            shared.add(text="child")
            engine.dispose()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    shared.add(text="parent")
    with shared.sessions() as session:
        stored = session.scalars(select(shared.Document)).all()
        assert {each.text for each in stored} == {"before", "child", "parent"}
    with engine.connect() as connection:
        envelopes = connection.scalars(select(shared.Document.__table__.c.sealed)).all()
    assert len({envelope[2:42] for envelope in envelopes}) == 3
    assert len({envelope[18:30] for envelope in envelopes}) == 2
    engine.dispose()


def test_keys_are_asked_for_once_however_many_rows(library: Any) -> None:
    service = MemoryKeyService()
    keyring = Keyring(service, MemoryDataKeyTable())
    sessions = bind(sessionmaker(library.engine), keyring)
    rows = [{"tenant_id": "north", "owner_email": "a@b", "text": f"{n}"} for n in range(200)]
    with sessions.begin() as session:
        session.execute(insert(library.Document), rows)
    with sessions() as session:
        assert len({each.text for each in session.scalars(select(library.Document))}) == 200
    assert (service.generated, service.unwrapped) == (2, 0)


class Rotating:
    """A keyring whose owner gets a second version of each key."""

    def __init__(self) -> None:
        self.now = 0.0
        self.service, self.table = MemoryKeyService(), MemoryDataKeyTable()
        self.keyring = Keyring(self.service, self.table, monotonic=lambda: self.now)

    def rotate(self, owner: str, key_class: DataKeyClass) -> None:
        context = {"owner": owner, "class": key_class.value, "version": "2"}
        material, wrapped = self.service.generate_data_key(context)
        key_id = data_key_id(material)
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        self.table.add(
            WrappedDataKey(owner, key_class, 2, key_id, self.service.uri, wrapped, moment)
        )
        self.now += 1000  # what is cached expires


def test_rows_of_both_keys_are_read_after_a_rotation(library: Any) -> None:
    keys = Rotating()
    bind(library.sessions, keys.keyring)
    before = library.add(text="before")
    keys.rotate("north", DataKeyClass.ROWS)
    after = library.add(text="after")
    ids = {bytes(library.column("sealed", row))[2:18] for row in (before, after)}
    assert len(ids) == 2
    with library.sessions() as session:
        found = session.scalars(
            select(library.Document).where(library.Document.owner_email == "ada@example.com")
        ).all()
        assert {each.text for each in found} == {"before", "after"}
        session.get(library.Document, before).text = "resealed"
        session.commit()
        assert session.get(library.Document, before).text == "resealed"
    assert (
        bytes(library.column("sealed", before))[2:18]
        == bytes(library.column("sealed", after))[2:18]
    )


def test_a_search_after_a_rotation_finds_the_rows_of_every_index_key(library: Any) -> None:
    keys = Rotating()
    bind(library.sessions, keys.keyring)
    before = library.add()
    keys.rotate("north", DataKeyClass.INDEXES)
    after = library.add()
    other = library.add(owner_email="eve@example.com")
    assert bytes(library.column("owner_email_index", before))[:3] == b"\x01\x00\x01"
    assert bytes(library.column("owner_email_index", after))[:3] == b"\x01\x00\x02"
    document = library.Document
    with library.sessions() as session:
        for named in (True, False):
            of_owner = document.tenant_id == "north" if named else true()
            equal = select(document.id).where(document.owner_email == "ada@example.com", of_owner)
            assert set(session.scalars(equal)) == {before, after}
            unequal = select(document.id).where(document.owner_email != "ada@example.com", of_owner)
            assert set(session.scalars(unequal)) == {other}


def test_a_row_that_changes_after_a_rotation_moves_to_the_newest_index_key(library: Any) -> None:
    keys = Rotating()
    bind(library.sessions, keys.keyring)
    row = library.add()
    keys.rotate("north", DataKeyClass.INDEXES)
    with library.sessions.begin() as session:
        session.get(library.Document, row).owner_email = "eve@example.com"
    assert bytes(library.column("owner_email_index", row))[:3] == b"\x01\x00\x02"


def test_importing_the_room_is_light() -> None:
    """Sealing must not need SQLAlchemy, and nothing of the room the web or a network."""
    program = (
        "import sys, assay.encryption\n"
        "heavy = {'sqlalchemy', 'fastapi', 'boto3', 'pkcs11', 'yaml', 'rich', 'typer', 'asyncio'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("room", [assay.encryption, assay.encryption.sqlalchemy])
def test_everything_public_is_there_and_explained(room: Any) -> None:
    assert len(set(room.__all__)) == len(room.__all__)
    for name in room.__all__:
        assert getattr(room, name) is not None
    documented = [n for n in room.__all__ if not n.isupper()]
    assert [n for n in documented if not (getattr(room, n).__doc__ or "").strip()] == []


def test_the_example_of_the_room_runs() -> None:
    import doctest

    assert doctest.testmod(assay.encryption).failed == 0
    assert doctest.testmod(assay.encryption).attempted >= 6
