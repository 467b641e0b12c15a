"""An older envelope of the very same row is noticed, when the table has versions."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, StaticPool, create_engine, insert, select, update
from sqlalchemy import text as sql
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    defer,
    load_only,
    make_transient,
    mapped_column,
    sessionmaker,
)

from assay.core import DataKeyClass
from assay.encryption import (
    EnvelopeOpener,
    EnvelopeSealer,
    MalformedPayloadError,
    RolledBackEnvelopeError,
    RowAddress,
    RowVersionError,
    TamperedEnvelopeError,
)
from assay.encryption.row_version import put_version, take_version
from assay.encryption.sqlalchemy import (
    DeclarationError,
    Equality,
    Sealed,
    StaleEnvelopeError,
    UnsealedWriteError,
    bind,
    exact,
    move_to_owner,
    open_row,
    sealed,
)
from assay.keys import DataKey, Keyring, data_key_id

SECRET = "Quartz & Obsidian"
KEY = DataKey("north", DataKeyClass.ROWS, 1, data_key_id(bytes(32)), bytes(32))
SEALER, OPENER = EnvelopeSealer(), EnvelopeOpener()


def address(version: int | None) -> RowAddress:
    return RowAddress("north", "notes", "default", b"7", version)


# --- the format -----------------------------------------------------------------------------------


@given(st.integers(1, 2**63 - 1), st.integers(1, 2**63 - 1), st.binary(max_size=40))
def test_only_the_very_version_is_taken(one: int, other: int, payload: bytes) -> None:
    stamped = put_version(one, payload)
    assert take_version(one, stamped) == payload
    if one != other:
        with pytest.raises(RolledBackEnvelopeError):
            take_version(other, stamped)


@pytest.mark.parametrize("version", [0, -1, 2**63, True, None, "1", 1.0])
def test_versions_that_no_row_can_have(version: Any) -> None:
    with pytest.raises(RowVersionError, match="from 1 to"):
        put_version(version, b"")


@pytest.mark.parametrize("version", [None, "1", 1.0, True, b"\1", 0, -1, 2**64])
def test_whatever_stands_beside_the_envelope_is_compared(version: Any) -> None:
    with pytest.raises(RolledBackEnvelopeError):
        take_version(version, put_version(1, b"payload"))
    for length in range(8):
        with pytest.raises(MalformedPayloadError):
            take_version(1, bytes(length))


def test_neither_kind_of_row_opens_as_the_other() -> None:
    plain = SEALER.seal(KEY, address(None), {"text": SECRET})
    versioned = SEALER.seal(KEY, address(1), {"text": SECRET})

    assert OPENER.open(KEY, address(None), plain) == {"text": SECRET}
    assert OPENER.open(KEY, address(1), versioned) == {"text": SECRET}
    with pytest.raises(TamperedEnvelopeError):
        OPENER.open(KEY, address(None), versioned)
    with pytest.raises(RolledBackEnvelopeError, match="before its table had"):
        OPENER.open(KEY, address(1), plain)
    for wrong in (plain, versioned):
        broken = wrong[:-1] + bytes([wrong[-1] ^ 1])
        with pytest.raises(TamperedEnvelopeError):
            OPENER.open(KEY, address(1), broken)


def test_a_version_costs_eight_bytes_and_is_not_in_the_clear() -> None:
    version = 0x1122334455667788
    envelope = SEALER.seal(KEY, address(version), {})
    assert len(envelope) == len(SEALER.seal(KEY, address(None), {})) + 8
    assert version.to_bytes(8, "big") not in envelope


# --- the mapping ----------------------------------------------------------------------------------


class Base(DeclarativeBase):
    pass


class Note(Sealed, Base):
    __tablename__ = "notes"
    __owner__ = "owner"
    __sealed_versions__ = True
    __sealed_padding__ = True
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    owner: Mapped[str] = mapped_column(default="north")
    label: Mapped[str | None]
    author: Mapped[str] = sealed(default="Ada", index=Equality(exact))
    text: Mapped[str] = sealed(default="one")
    body: Mapped[str | None] = sealed(group="content", default="one")


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = create_engine("sqlite://", poolclass=StaticPool)
    Base.metadata.create_all(made)
    yield made
    made.dispose()


@pytest.fixture
def sessions(engine: Engine, keyring: Keyring) -> sessionmaker[Session]:
    return bind(sessionmaker(engine), keyring)


@pytest.fixture
def row(sessions: Any) -> UUID:
    with sessions.begin() as session:
        note = Note()
        session.add(note)
        session.flush()
        return note.id


def change(sessions: Any, row: UUID, **fields: str) -> None:
    with sessions.begin() as session:
        note = session.get(Note, row)
        for name, value in fields.items():
            setattr(note, name, value)


def raw(engine: Engine) -> dict[str, Any]:
    with engine.connect() as connection:
        return dict(connection.execute(select(Note.__table__)).mappings().one())


def write(engine: Engine, **columns: object) -> None:
    assignments = ", ".join(f"{name} = :{name}" for name in columns)
    with engine.begin() as connection:
        connection.execute(sql(f"UPDATE notes SET {assignments}"), columns)  # noqa: S608 - of this test


def versions(engine: Engine) -> tuple[int, int]:
    stored = raw(engine)
    return stored["sealed_version"], stored["sealed_content_version"]


def refused(sessions: Any, engine: Engine, keyring: Keyring, row: UUID, field: str) -> None:
    with sessions() as session:
        note = session.get(Note, row)
        for _ in range(2):
            with pytest.raises(RolledBackEnvelopeError):
                getattr(note, field)
        with pytest.raises(RolledBackEnvelopeError):
            setattr(note, field, "overwritten")
        with pytest.raises(RolledBackEnvelopeError):
            move_to_owner(note, "south")
    with pytest.raises(RolledBackEnvelopeError):
        open_row(keyring, Note, raw(engine), "default" if field == "text" else "content")


def test_versions_count_the_changes_of_each_group(
    sessions: Any, engine: Engine, row: UUID, keyring: Keyring
) -> None:
    assert versions(engine) == (1, 1)
    change(sessions, row, text="two")
    assert versions(engine) == (2, 1)
    change(sessions, row, body="two", author="Grace")
    assert versions(engine) == (3, 2)
    change(sessions, row, label="in the clear", text="two")
    assert versions(engine) == (3, 2)
    with sessions.begin() as session:
        note = session.get(Note, row)
        for number in range(3):
            note.text = f"flushed {number}"
            session.flush()
        move_to_owner(note, "south")
    assert versions(engine) == (7, 3)
    with sessions() as session:
        note = session.scalars(select(Note).where(Note.author == "Grace")).one()
        assert (note.owner, note.text, note.body) == ("south", "flushed 2", "two")
    assert open_row(keyring, Note, raw(engine))["text"] == "flushed 2"
    assert open_row(keyring, Note, raw(engine), "content")["body"] == "two"


def test_an_older_envelope_is_refused(
    sessions: Any, engine: Engine, row: UUID, keyring: Keyring
) -> None:
    before = raw(engine)
    change(sessions, row, text="two", body="two")
    after = raw(engine)
    write(engine, sealed=before["sealed"])
    refused(sessions, engine, keyring, row, "text")
    with sessions() as session:
        assert session.get(Note, row).body == "two"
    write(engine, sealed=after["sealed"], sealed_content=before["sealed_content"])
    refused(sessions, engine, keyring, row, "body")
    write(engine, sealed_content=after["sealed_content"])
    with sessions() as session:
        assert (session.get(Note, row).text, session.get(Note, row).body) == ("two", "two")


@pytest.mark.parametrize("version", [0, 1, 3, -2, 2**63 - 1, "two", b"\2"])
def test_another_version_beside_the_envelope_is_refused(
    sessions: Any, engine: Engine, row: UUID, keyring: Keyring, version: object
) -> None:
    change(sessions, row, text="two")
    write(engine, sealed_version=version)
    refused(sessions, engine, keyring, row, "text")


def test_what_versions_do_not_detect(sessions: Any, engine: Engine, row: UUID) -> None:
    """As the specification says: the envelope together with its version."""
    before = raw(engine)
    change(sessions, row, text="two")
    write(engine, sealed=before["sealed"], sealed_version=before["sealed_version"])
    with sessions() as session:
        assert session.get(Note, row).text == "one"


def test_an_envelope_from_before_there_were_versions(
    sessions: Any, engine: Engine, row: UUID, keyring: Keyring
) -> None:
    key = keyring.current("north", DataKeyClass.ROWS)
    place = RowAddress("north", "notes", "default", row.bytes)
    write(engine, sealed=SEALER.seal(key, place, {"text": SECRET, "author": "Ada"}))
    refused(sessions, engine, keyring, row, "text")


def test_statements_that_insert_rows(sessions: Any, engine: Engine) -> None:
    with sessions.begin() as session:
        session.execute(insert(Note), [{"text": "two", "owner": "north", "sealed_version": 9}])
    assert versions(engine) == (1, 1)
    with sessions() as session:
        assert session.scalars(select(Note)).one().text == "two"


def test_nobody_else_writes_versions(sessions: Any, engine: Engine, row: UUID) -> None:
    with sessions() as session:
        for statement, rows in (
            (update(Note).values(sealed_version=5), None),
            (update(Note), [{"id": row, "sealed_content_version": 5}]),
        ):
            with pytest.raises(UnsealedWriteError, match="versions"):
                session.execute(statement, rows)
        note = session.get(Note, row)
        note.sealed_version = 5
        with pytest.raises(StaleEnvelopeError, match="left alone"):
            session.flush()
        session.rollback()
        note.text = "two"
        note.sealed_version = 5
        with pytest.raises(StaleEnvelopeError, match="left alone"):
            session.flush()
    assert versions(engine) == (1, 1)


def test_an_envelope_and_a_version_that_were_loaded_apart(sessions: Any, row: UUID) -> None:
    """Another session changed the row in between: that is no attack."""
    for option in (defer(Note.sealed), defer(Note.sealed_version), load_only(Note.sealed)):
        change(sessions, row, text="one")
        with sessions() as session:
            note = session.scalars(select(Note).options(option)).one()
            _ = note.label
            change(sessions, row, text="two")
            assert note.text == "two"
            note.text = "three"
            session.commit()


def test_merged_pickled_and_copied_instances(sessions: Any, engine: Engine, row: UUID) -> None:
    with sessions() as session:
        detached = session.get(Note, row)
        assert detached.text == "one"
    unread = pickle.loads(pickle.dumps(detached))  # noqa: S301 - made above
    for copy in (detached, unread):
        with sessions.begin() as session:
            merged = session.merge(copy)
            assert merged.text == "one"
            assert not session.is_modified(merged)
    assert versions(engine) == (1, 1)
    detached.text = "two"
    with sessions.begin() as session:
        session.merge(detached)
    assert versions(engine) == (2, 1)
    for copy in (detached, unread):
        with sessions() as session:
            session.merge(copy)
            with pytest.raises(StaleEnvelopeError):
                session.flush()
    with sessions.begin() as session:
        session.merge(Note(id=row, owner="north", author="Grace"))
    assert versions(engine) == (3, 1)
    with sessions() as session:
        note = session.get(Note, row)
        assert (note.author, note.text) == ("Grace", "two")


@pytest.mark.parametrize("read", [True, False])
def test_a_row_that_is_made_anew_begins_anew(
    sessions: Any, engine: Engine, row: UUID, *, read: bool
) -> None:
    change(sessions, row, text="two")
    with sessions.begin() as session:
        note = session.get(Note, row)
        if read:
            assert (note.text, note.body) == ("two", "one")
        _ = note.label
        session.delete(note)
        session.flush()
        make_transient(note)
        session.add(note)
    assert versions(engine) == (1, 1)
    with sessions.begin() as session:
        assert (session.get(Note, row).text, session.get(Note, row).body) == ("two", "one")
    change(sessions, row, text="three")
    with sessions.begin() as session:
        session.delete(session.get(Note, row))
        session.add(Note(id=row, text="four"))
    with sessions.begin() as session:
        assert (session.get(Note, row).text, session.get(Note, row).body) == ("four", "one")
    assert versions(engine) == (1, 1)


def test_versions_are_chosen_while_the_table_holds_no_envelopes() -> None:
    with pytest.raises(DeclarationError, match="__sealed_versions__"):

        class Adopted(Sealed, Base):
            __tablename__ = "adopted"
            __owner__ = "owner"
            __sealed_versions__ = True
            id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
            owner: Mapped[str]
            text: Mapped[str] = sealed(plaintext="text")
