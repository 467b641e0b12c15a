"""Whoever writes to the database past the mapping is noticed, each time by name."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from assay.core import DataKeyClass
from assay.encryption import (
    EncryptionError,
    EnvelopeSealer,
    MalformedPayloadError,
    MissingEnvelopeError,
    RowAddress,
    RowIdError,
    TamperedEnvelopeError,
    TruncatedEnvelopeError,
    UnknownSuiteError,
    UnknownVersionError,
    WrongKeyError,
    encode_row_id,
)
from assay.encryption.sqlalchemy import (
    DeclarationError,
    OwnerMissingError,
    RowIdMissingError,
    SealedTable,
    open_row,
    sealed_tables,
)
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

SECRET = "Quartz & Obsidian"


class Pair:
    """Two rows, and a way to read one through the mapping and past it."""

    def __init__(self, library: Any) -> None:
        self.library = library
        self.one = library.add(text=SECRET, body=SECRET)
        self.other = library.add(text="other", body="other")
        self.south = library.add("south", text="south", body="south")

    def set(self, value: object, column: str = "sealed") -> None:
        self.library.write(
            f"UPDATE documents SET {column} = :value WHERE id = :id",  # noqa: S608 - of this test
            value=value,
            id=self.one.hex,
        )

    def get(self, row: UUID, column: str = "sealed") -> bytes:
        return bytes(self.library.column(column, row))

    def refused(self, error: type[Exception], group: str = "default") -> None:
        document = self.library.Document
        field = "text" if group == "default" else "body"
        with self.library.sessions() as session:
            for _ in range(2):
                with pytest.raises(EncryptionError) as raised:
                    getattr(session.get(document, self.one), field)
                assert type(raised.value) is error
                assert SECRET not in str(raised.value)
            stored = session.get(document, self.one)
            with pytest.raises(error):
                setattr(stored, field, "overwritten")
        with self.library.engine.connect() as connection:
            table = document.__table__
            row = connection.execute(select(table).where(table.c.id == self.one)).mappings().one()
        with pytest.raises(EncryptionError) as raised:
            open_row(self.library.keyring, document, row, group)
        assert type(raised.value) is error


@pytest.fixture
def pair(library: Any) -> Pair:
    return Pair(library)


def test_envelopes_of_other_places_are_refused(pair: Pair) -> None:
    original = pair.get(pair.one)
    pair.set(pair.get(pair.other))
    pair.refused(TamperedEnvelopeError)
    pair.set(pair.get(pair.one, "sealed_content"))
    pair.refused(TamperedEnvelopeError)
    pair.set(pair.get(pair.south))
    pair.refused(WrongKeyError)
    everything = pair.library.Everything
    with pair.library.sessions.begin() as session:
        session.add(everything(part=1, name="x", owner=uuid4(), a_text="x"))
    with pair.library.engine.connect() as connection:
        pair.set(connection.scalar(select(everything.__table__.c.sealed)))
    pair.refused(WrongKeyError)
    pair.set(original)
    with pair.library.sessions() as session:
        assert session.get(pair.library.Document, pair.one).text == SECRET


def test_the_same_tenant_key_and_row_id_in_another_table(pair: Pair) -> None:
    key = pair.library.keyring.current("north", DataKeyClass.ROWS)
    address = RowAddress("north", "papers", "default", encode_row_id(pair.one))
    pair.set(EnvelopeSealer().seal(key, address, {"owner_email": "a", "text": "b"}))
    pair.refused(TamperedEnvelopeError)


def test_moving_a_row_to_another_tenant_is_refused(pair: Pair) -> None:
    pair.library.write("UPDATE documents SET tenant_id = 'south' WHERE id = :id", id=pair.one.hex)
    pair.refused(WrongKeyError)


def test_every_part_of_the_envelope_is_guarded(pair: Pair) -> None:
    original = pair.get(pair.one)
    for position, error in (
        (0, UnknownVersionError),
        (1, UnknownSuiteError),
        (2, WrongKeyError),
        (17, WrongKeyError),
        (18, TamperedEnvelopeError),
        (41, TamperedEnvelopeError),
        (42, TamperedEnvelopeError),
        (len(original) - 1, TamperedEnvelopeError),
    ):
        changed = bytearray(original)
        changed[position] ^= 0x80
        pair.set(bytes(changed))
        pair.refused(error)
    for wrong, error in (
        (b"", TruncatedEnvelopeError),
        (original[:57], TruncatedEnvelopeError),
        (original[:-1], TamperedEnvelopeError),
        (original + b"\0", TamperedEnvelopeError),
        (SECRET.encode(), TruncatedEnvelopeError),
        (SECRET.encode() * 9, UnknownVersionError),
        (SECRET, MissingEnvelopeError),
        (7, MissingEnvelopeError),
    ):
        pair.set(wrong)
        pair.refused(error)


def test_groups_are_guarded_one_by_one(pair: Pair) -> None:
    pair.set(pair.get(pair.other, "sealed_content"), "sealed_content")
    pair.refused(TamperedEnvelopeError, "content")
    with pair.library.sessions() as session:
        assert session.get(pair.library.Document, pair.one).text == SECRET


def test_an_authentic_envelope_without_fields_is_refused(pair: Pair) -> None:
    key = pair.library.keyring.current("north", DataKeyClass.ROWS)
    address = RowAddress("north", "documents", "default", encode_row_id(pair.one))
    pair.set(EnvelopeSealer().seal_payload(key, address.associated_data(), b"\xc0"))
    pair.refused(MalformedPayloadError)


def test_another_keyring_opens_nothing(pair: Pair) -> None:
    pair.library.keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())
    from assay.encryption.sqlalchemy import bind

    bind(pair.library.sessions, pair.library.keyring)
    pair.refused(WrongKeyError)


def test_a_missing_envelope_is_refused(library: Any) -> None:
    row = library.add()
    with library.engine.connect() as connection:
        table = library.Document.__table__
        stored = dict(connection.execute(select(table)).mappings().one())
    for wrong in (None, ...):
        changed = {**stored, "sealed": wrong}
        if wrong is ...:
            del changed["sealed"]
        with pytest.raises(MissingEnvelopeError, match="NULL"):
            open_row(library.keyring, library.Document, changed)
    assert open_row(library.keyring, library.Document, stored)["text"] == "Dear Ada"
    assert row == stored["id"]


def test_rows_are_opened_as_sqlalchemy_or_the_driver_gives_them(library: Any) -> None:
    row = library.add(text=SECRET, body="two")
    stored = {
        "tenant_id": "north",
        "sealed": library.column("sealed", row),
        "sealed_content": memoryview(library.column("sealed_content", row)),
    }
    for key in (row, row.hex, str(row), row.bytes):
        opened = open_row(library.keyring, library.Document, {**stored, "id": key})
        assert opened == {"owner_email": "ada@example.com", "text": SECRET, "pages": 1}
    content = open_row(library.keyring, library.Document, {**stored, "id": row}, "content")
    assert content == {"body": "two", "number": None}
    for key in ("no uuid", b"short"):
        with pytest.raises(RowIdError, match="UUID"):
            open_row(library.keyring, library.Document, {**stored, "id": key})
    with pytest.raises(RowIdMissingError):
        open_row(library.keyring, library.Document, stored)
    with pytest.raises(OwnerMissingError):
        open_row(library.keyring, library.Document, {**stored, "id": row, "tenant_id": None})


def test_sealed_tables_are_listed(library: Any) -> None:
    documents, everything = sealed_tables(library.Base)
    assert sealed_tables(library.Base.registry) == [documents, everything]
    assert documents == SealedTable(
        name="documents",
        model=library.Document,
        owner_column="tenant_id",
        groups={"default": "sealed", "content": "sealed_content"},
        fields={
            "owner_email": "default",
            "text": "default",
            "pages": "default",
            "body": "content",
            "number": "content",
        },
        index_columns={"owner_email_index": "owner_email", "number_index": "number"},
        owner_table="documents",
        models={"default": library.Document, "content": library.Document},
        only_for={},
    )
    assert everything.name == "everything"
    for wrong in (object(), library.Document.__table__, None):
        with pytest.raises(DeclarationError, match="declarative base"):
            sealed_tables(wrong)
