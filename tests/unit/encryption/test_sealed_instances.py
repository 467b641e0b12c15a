"""Sealed fields on instances: written, read, changed, and every state that a session knows."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import msgspec
import pytest
from sqlalchemy import event, inspect, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import defer, load_only, make_transient, selectinload

from assay.core import DataKeyClass
from assay.encryption import (
    EnvelopeOpener,
    EnvelopeSealer,
    FrozenValueError,
    RowAddress,
    TamperedEnvelopeError,
    WrongKeyError,
    encode_row_id,
    envelope_key_id,
)
from assay.encryption.sqlalchemy import (
    KeyringNotBoundError,
    MissingFieldError,
    OwnerChangedError,
    OwnerMissingError,
    RowIdChangedError,
    RowIdMissingError,
    SealedValueError,
    StaleEnvelopeError,
    UnopenedError,
    UnsealedPickleError,
    UnsealedWriteError,
)

SECRET = "Quartz & Obsidian"


@pytest.fixture
def statements(library: Any) -> list[str]:
    """The statements that reach the database."""
    seen: list[str] = []
    event.listen(
        library.engine,
        "before_cursor_execute",
        lambda _c, _k, statement, *_: seen.append(statement),
    )
    return seen


def test_what_was_written_is_read_and_the_database_holds_envelopes(library: Any) -> None:
    row = library.add(text=SECRET, body=SECRET, owner_email="Ada@Example.com")

    with library.sessions() as session:
        document = session.get(library.Document, row)
        assert (document.text, document.body, document.owner_email, document.pages) == (
            SECRET, SECRET, "Ada@Example.com", 1,
        )  # fmt: skip
        assert document.number is None
    raw = b"".join(
        bytes(library.column(name, row)) for name in ("sealed", "sealed_content")
    ) + library.column("owner_email_index", row)
    for word in (SECRET, "Ada@", "ada@", "text", "owner_email"):
        assert word.encode() not in raw
    assert library.column("number_index", row) is None


def test_the_envelope_is_that_of_the_specification(library: Any) -> None:
    row = library.add(text=SECRET, owner_email="a@b")
    envelope = library.column("sealed", row)
    key = library.keyring.by_id("north", DataKeyClass.ROWS, envelope_key_id(envelope))
    address = RowAddress("north", "documents", "default", encode_row_id(row))

    assert EnvelopeOpener().open(key, address, envelope) == {
        "owner_email": "a@b", "text": SECRET, "pages": 1,
    }  # fmt: skip


def test_every_type_comes_back_as_it_was(library: Any) -> None:
    values = {
        "a_text": "ä",
        "some_bytes": b"\0\xff",
        "yes": False,
        "count": 2**70,
        "ratio": -0.25,
        "uuid": uuid4(),
        "price": Decimal("1.10"),
        "day": date(1815, 12, 10),
        "hour": time(12, 30, 1),
        "moment": datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin")),
        "mapping": {"a": [1, {"b": datetime(2026, 1, 1, tzinfo=UTC)}]},
        "items": [1, "two", None],
    }
    owner = uuid4()
    with library.sessions.begin() as session:
        session.add(library.Everything(part=1, name="full", owner=owner, **values))
        session.add(library.Everything(part=-1, name="", owner=owner))
    with library.sessions() as session:
        full = session.get(library.Everything, (1, "full", owner))
        empty = session.get(library.Everything, (-1, "", owner))
        for name, value in values.items():
            assert getattr(full, name) == value, name
            if name not in ("mapping", "items"):
                assert type(getattr(full, name)) is type(value), name
            assert getattr(empty, name) == ({} if name == "mapping" else None), name
        lengths = {
            len(row.sealed)
            for row in session.execute(select(library.Everything.__table__.c.sealed))
        }
        assert len(lengths) == 2


def test_dicts_and_lists_are_copied_and_cannot_be_changed_unnoticed(library: Any) -> None:
    given = {"a": [1]}
    thing = library.Everything(part=1, name="x", owner=uuid4(), mapping=given)
    given["a"].append(2)
    assert thing.mapping == {"a": [1]}
    with library.sessions() as session:
        session.add(thing)
        session.flush()
        with pytest.raises(FrozenValueError):
            thing.mapping["b"] = 1
        session.commit()
        with pytest.raises(FrozenValueError):
            thing.mapping["a"].append(1)
        thing.mapping = {**thing.mapping, "b": 2}
        session.commit()
        assert thing.mapping == {"a": [1], "b": 2}


def test_row_ids_of_different_lengths(library: Any) -> None:
    """What is kept from row to row is the place up to the row id, with the row id's length."""
    owner = uuid4()
    with library.sessions.begin() as session:
        for part in (9, 10, 1000, -1):
            session.add(library.Everything(part=part, name="x", owner=owner, a_text=f"{part}"))
    key = library.keyring.current(str(owner), DataKeyClass.ROWS)
    with library.engine.connect() as connection:
        table = library.Everything.__table__
        for part, envelope in connection.execute(select(table.c.part, table.c.sealed)):
            row_id = encode_row_id(part, "x", owner)
            address = RowAddress(str(owner), "everything", "default", row_id)
            assert EnvelopeOpener().open(key, address, envelope)["a_text"] == f"{part}"


def test_loading_opens_nothing_until_a_field_is_read(
    library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        library.add()
    opened: list[bytes] = []
    real = EnvelopeOpener.open_payload

    def counting(self: Any, key: Any, place: bytes, envelope: bytes) -> bytes:
        opened.append(envelope)
        return real(self, key, place, envelope)

    monkeypatch.setattr(EnvelopeOpener, "open_payload", counting)
    with library.sessions() as session:
        documents = session.scalars(select(library.Document)).all()
        assert [document.label for document in documents] == [None] * 3
        assert opened == []
        assert documents[0].text == documents[0].text == "Dear Ada"
        assert documents[0].owner_email == "ada@example.com"
        assert len(opened) == 1, "a group is opened once"
        assert documents[0].body is None
        assert len(opened) == 2, "another group is another envelope"


def test_changing_one_field_keeps_the_others_and_unknown_ones(library: Any) -> None:
    row, day = library.add(text="one", body="kept"), date(1815, 12, 10)
    key = library.keyring.current("north", DataKeyClass.ROWS)
    address = RowAddress("north", "documents", "default", encode_row_id(row))
    newer = EnvelopeSealer().seal(
        key,
        address,
        {"owner_email": "a@b", "text": "one", "pages": 9, "later": [1], "day": day, "uuid": row},
    )
    library.write("UPDATE documents SET sealed = :sealed", sealed=newer)
    content = library.column("sealed_content", row)

    with library.sessions.begin() as session:
        session.get(library.Document, row).text = "two"

    envelope = library.column("sealed", row)
    assert EnvelopeOpener().open(key, address, envelope) == {
        "owner_email": "a@b", "text": "two", "pages": 9, "later": [1], "day": day, "uuid": row,
    }  # fmt: skip
    assert envelope[:42] != newer[:42]
    assert library.column("sealed_content", row) == content, "the other group is left alone"


def test_only_what_changed_is_written(library: Any, statements: list[str]) -> None:
    row = library.add()
    with library.sessions() as session:
        document = session.get(library.Document, row)
        del statements[:]
        document.text = document.text + ""
        document.pages = 1
        session.commit()
        assert statements == [], "the same values, down to the type: nothing to write"
        document.pages = 2
        session.commit()
        assert [s.split(" WHERE")[0] for s in statements if s.startswith("UPDATE")] == [
            "UPDATE documents SET sealed=?"
        ]
        del statements[:]
        document.owner_email = "grace@example.com"
        session.commit()
        assert "UPDATE documents SET sealed=?, owner_email_index=?" in " ".join(statements)
        del statements[:]
        document.label = "plain"
        session.commit()
        assert "sealed=" not in " ".join(statements)


def test_indexes_follow_their_fields(library: Any) -> None:
    row = library.add(owner_email="Ada@Example.com", number="+49 30")
    first, number = library.column("owner_email_index", row), library.column("number_index", row)
    with library.sessions() as session:
        document = session.get(library.Document, row)
        document.owner_email = "ADA@example.com"
        session.commit()
        assert library.column("owner_email_index", row) == first
        document.owner_email = "grace@example.com"
        document.number = None
        session.commit()
    assert library.column("owner_email_index", row) not in (first, None)
    assert number is not None
    assert library.column("number_index", row) is None


def test_flushed_values_are_read_without_opening_and_after_a_commit_anew(library: Any) -> None:
    with library.sessions() as session:
        document = library.Document(tenant_id="north", owner_email="a@b", text="one")
        assert (document.text, document.body, document.pages) == ("one", None, None)
        session.add(document)
        session.flush()
        assert (document.text, document.pages) == ("one", 1)
        session.commit()
        assert inspect(document).dict.get("sealed") is None
        assert document.text == "one"


@pytest.mark.parametrize("flushed", [False, True])
def test_rolling_back_forgets_what_was_assigned(library: Any, flushed: bool) -> None:
    row = library.add(text="one")
    with library.sessions() as session:
        document = session.get(library.Document, row)
        document.text = "two"
        assert document.text == "two"
        if flushed:
            session.flush()
        session.rollback()
        assert document.text == "one"


def test_expire_and_refresh_forget_what_was_opened(library: Any) -> None:
    row = library.add(text="one")
    with library.sessions() as session, library.sessions() as other:
        document = session.get(library.Document, row)
        assert document.text == "one"
        other.get(library.Document, row).text = "two"
        other.commit()
        assert document.text == "one"
        session.refresh(document)
        assert document.text == "two"
        document.text = "three"
        session.expire(document)
        assert document.text == "two"
        document.text = "four"
        session.refresh(document, ["sealed"])
        assert document.text == "two"


def test_a_rolled_back_new_row_can_be_added_again_under_another_place(library: Any) -> None:
    taken = library.add()
    with library.sessions() as session:
        document = library.Document(id=taken, tenant_id="north", owner_email="a@b", text=SECRET)
        session.add(document)
        with pytest.raises(IntegrityError) as raised:
            session.flush()
        assert SECRET not in str(raised.value)
        session.rollback()
        document.id, document.tenant_id = uuid4(), "south"
        session.add(document)
        session.commit()
        row = document.id
        session.expunge_all()
        assert session.get(library.Document, row).text == SECRET
        assert session.get(library.Document, taken).text == "Dear Ada"


def test_detached_instances_show_what_was_opened_and_refuse_the_rest(library: Any) -> None:
    row = library.add(text="one", body="two")
    with library.sessions() as session:
        document = session.get(library.Document, row)
        assert document.text == "one"
    assert document.text == "one"
    assert document.pages == 1
    with pytest.raises(UnopenedError, match="detached"):
        _ = document.body
    with pytest.raises(UnopenedError, match="detached"):
        document.body = "three"
    document.text = "changed while detached"
    with library.sessions.begin() as session:
        merged = session.merge(document)
        assert merged.text == "changed while detached"
        assert merged.body == "two"
    with library.sessions() as session:
        assert session.get(library.Document, row).text == "changed while detached"


def test_merging_copies_and_does_not_share(library: Any) -> None:
    row = library.add(text="one")
    with library.sessions() as session:
        detached = session.get(library.Document, row)
        detached.text = "two"
        session.expunge(detached)
    with library.sessions() as session:
        merged = session.merge(detached)
        merged.text = "three"
        assert detached.text == "two"
        session.commit()
        assert detached.text == "two"
        assert merged.text == "three"


def test_merging_an_unread_instance_changes_nothing(library: Any, statements: list[str]) -> None:
    row = library.add(text="one")
    with library.sessions() as session:
        detached = session.get(library.Document, row)
    with library.sessions() as session:
        del statements[:]
        merged = session.merge(detached)
        assert not session.is_modified(merged)
        assert merged.text == "one"
        session.commit()
        assert not [s for s in statements if s.startswith("UPDATE")]


def test_merging_an_older_instance_undoes_nothing(library: Any) -> None:
    """Its envelope holds the fields as they were; put back, it would undo the change in between."""
    row = library.add(text="one")
    with library.sessions() as session:
        detached = session.get(library.Document, row)
    with library.sessions.begin() as session:
        session.get(library.Document, row).text = "two"
    with library.sessions() as session:
        session.merge(detached)
        with pytest.raises(StaleEnvelopeError):
            session.flush()
    with library.sessions() as session:
        assert session.get(library.Document, row).text == "two"


def test_a_transient_copy_is_sealed_anew_for_its_own_place(library: Any) -> None:
    row = library.add(text="one", body="two")
    with library.sessions() as session:
        document = session.get(library.Document, row)
        assert (document.text, document.body) == ("one", "two")
        session.expunge(document)
        make_transient(document)
        document.id = uuid4()
        session.add(document)
        session.commit()
        copied = document.id
    with library.sessions() as session:
        assert session.get(library.Document, copied).text == "one"
        assert session.get(library.Document, copied).body == "two"
    assert library.column("sealed", row) != library.column("sealed", copied)


def test_the_bytes_of_another_row_are_not_taken_over(library: Any) -> None:
    row = library.add()
    with library.sessions() as session:
        document = session.get(library.Document, row)
        session.expunge(document)
        make_transient(document)
        document.id = uuid4()
        session.add(document)
        with pytest.raises(TamperedEnvelopeError):
            session.flush()


def test_pickles_hold_no_plaintext(library: Any) -> None:
    row = library.add(text=SECRET)
    with library.sessions() as session:
        document = session.get(library.Document, row)
        assert document.text == SECRET
        session.expunge(document)
    pickled = pickle.dumps(document)
    assert SECRET.encode() not in pickled
    with library.sessions() as session:
        assert session.merge(pickle.loads(pickled)).text == SECRET  # noqa: S301 - made above

    for unflushed in (document, library.Document(tenant_id="north", text=SECRET)):
        unflushed.text = SECRET + "!"
        with pytest.raises(UnsealedPickleError, match="flush"):
            pickle.dumps(unflushed)


def test_nothing_shows_plaintext(library: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="sqlalchemy")
    library.engine.echo = "debug"
    shown: list[str] = []
    with library.sessions() as session:
        document = library.Document(tenant_id="north", owner_email=SECRET, text=SECRET)
        shown += [repr(document), repr(vars(document)), str(inspect(document).dict)]
        session.add(document)
        session.commit()
        assert document.text == SECRET
        shown += [repr(document), repr(vars(document)), repr(document.sealed)]
        found = session.scalars(
            select(library.Document).where(library.Document.owner_email == SECRET)
        ).all()
        assert found == [document]
        criterion = library.Document.owner_email == SECRET
        shown += [repr(criterion), str(criterion), str(select(library.Document).where(criterion))]
        document.text = SECRET + "!"
        shown += [repr(vars(document)), repr(inspect(document).attrs.sealed.history)]
        document.label = {"not": "text"}  # type: ignore[assignment]  # an error of the driver
        with pytest.raises(SQLAlchemyError) as raised:
            session.flush()
        shown += traceback.format_exception(raised.value)
    shown += [record.getMessage() for record in caplog.records]
    assert any("INSERT INTO documents" in line for line in shown)
    assert not [line for line in shown if SECRET in line]


class Word(StrEnum):
    HELLO = "hello"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("text", 5),
        ("text", b"bytes"),
        ("text", Word.HELLO),
        ("pages", True),
        ("pages", 1.0),
        ("pages", "1"),
    ],
)
def test_values_of_another_type_are_refused_when_assigned(
    library: Any, field: str, value: Any
) -> None:
    document = library.Document(tenant_id="north", owner_email="a@b", text="one")
    with pytest.raises(SealedValueError, match=f"sealed field '{field}'") as raised:
        setattr(document, field, value)
    assert repr(value) not in str(raised.value)
    assert document.text == "one"


def test_a_moment_is_no_date(library: Any) -> None:
    with pytest.raises(SealedValueError, match="expected date"):
        library.Everything(day=datetime(2026, 1, 1, tzinfo=UTC))


def test_values_within_a_dict_that_cannot_be_sealed_are_refused(library: Any) -> None:
    from assay.encryption import UnsupportedValueError

    with library.sessions() as session:
        session.add(
            library.Everything(part=1, name="x", owner=uuid4(), mapping={"a": {Word.HELLO}})
        )
        with pytest.raises(UnsupportedValueError, match="'mapping'"):
            session.flush()


def test_required_fields_must_have_a_value(library: Any) -> None:
    for fields in ({}, {"text": None}, {"text": "x"}):
        with library.sessions() as session:
            session.add(library.Document(tenant_id="north", **fields))
            with pytest.raises(SealedValueError, match="expected a value"):
                session.flush()
    row = library.add()
    with library.sessions() as session:
        session.get(library.Document, row).text = None
        with pytest.raises(SealedValueError, match="'text'"):
            session.flush()


def test_fields_that_the_model_got_later(library: Any) -> None:
    row = library.add()
    key = library.keyring.current("north", DataKeyClass.ROWS)
    address = RowAddress("north", "documents", "default", encode_row_id(row))
    older = EnvelopeSealer().seal(key, address, {"owner_email": "a@b"})
    library.write("UPDATE documents SET sealed = :sealed", sealed=older)

    with library.sessions() as session:
        document = session.get(library.Document, row)
        assert document.owner_email == "a@b"
        assert document.pages is None
        with pytest.raises(MissingFieldError, match="'text'"):
            _ = document.text
        document.text = "now it has one"
        session.commit()
        assert document.text == "now it has one"


def test_a_field_whose_type_was_declared_anew_is_refused(library: Any) -> None:
    row = library.add()
    key = library.keyring.current("north", DataKeyClass.ROWS)
    address = RowAddress("north", "documents", "default", encode_row_id(row))
    other = EnvelopeSealer().seal(key, address, {"owner_email": "a@b", "text": 5})
    library.write("UPDATE documents SET sealed = :sealed", sealed=other)
    with library.sessions() as session:
        document = session.get(library.Document, row)
        with pytest.raises(SealedValueError, match=r"documents\.text"):
            _ = document.text


@pytest.mark.parametrize("owner", [None, ""])
def test_rows_of_nobody_are_refused(library: Any, owner: str | None) -> None:
    with library.sessions() as session:
        session.add(library.Document(tenant_id=owner, owner_email="a@b", text="x"))
        with pytest.raises(OwnerMissingError, match="tenant_id"):
            session.flush()


def test_the_owner_may_come_through_a_relationship(library: Any) -> None:
    with library.sessions.begin() as session:
        tenant = session.get(library.Tenant, "south")
        tenant.documents.append(library.Document(owner_email="a@b", text="x"))
        session.add(library.Document(tenant=library.Tenant(id="west"), owner_email="a@b", text="y"))
    with library.sessions() as session:
        tenants = session.scalars(
            select(library.Tenant).options(selectinload(library.Tenant.documents))
        ).all()
        found = {tenant.id: [each.text for each in tenant.documents] for tenant in tenants}
        assert found == {"north": [], "south": ["x"], "west": ["y"]}


def test_a_stored_row_keeps_its_owner_and_its_key(library: Any) -> None:
    row = library.add()
    with library.sessions() as session:
        document = session.get(library.Document, row)
        document.tenant_id = "north"
        session.flush()
        for expired in (False, True):
            if expired:
                session.expire(document)
                document.tenant_id = "north"
                session.expire(document)
            with pytest.raises(OwnerChangedError, match=r"Document\.tenant_id"):
                document.tenant_id = "south"
            with pytest.raises(OwnerChangedError):
                document.tenant_id = None
            with pytest.raises(RowIdChangedError, match=r"Document\.id"):
                document.id = uuid4()
        south = session.get(library.Tenant, "south")
        document.tenant = south
        with pytest.raises(OwnerChangedError):
            session.flush()
        session.rollback()
        assert document.text == "Dear Ada"
    with pytest.raises(OwnerChangedError):
        document.tenant_id = "south"


def test_a_key_that_is_not_there_is_refused(library: Any) -> None:
    with library.sessions() as session:
        session.add(library.Everything(part=1, name=None, owner=uuid4()))
        with pytest.raises(RowIdMissingError, match="part, name, owner"):
            session.flush()


def test_sessions_without_a_keyring_write_and_open_nothing(library: Any) -> None:
    row = library.add()
    with library.unbound() as session:
        session.add(library.Document(tenant_id="north", owner_email="a@b", text=SECRET))
        with pytest.raises(KeyringNotBoundError, match="bind"):
            session.flush()
        session.rollback()
        document = session.get(library.Document, row)
        assert document.label is None
        with pytest.raises(KeyringNotBoundError, match="bind"):
            _ = document.text
        with pytest.raises(KeyringNotBoundError, match="bind"):
            document.text = "x"


def test_assigning_to_the_column_itself_is_refused(library: Any) -> None:
    row = library.add()
    for wrong in (b"plain bytes", bytearray(b"x"), "text", None, 5):
        with library.sessions() as session:
            session.get(library.Document, row).sealed = wrong
            with pytest.raises((UnsealedWriteError, WrongKeyError, Exception)) as raised:
                session.flush()
            assert type(raised.value).__module__.startswith("assay.encryption"), raised.value
    with library.sessions() as session:
        assert session.get(library.Document, row).text == "Dear Ada"


def test_deferring_and_loading_some_columns(library: Any, statements: list[str]) -> None:
    row = library.add(body="two")
    with library.sessions() as session:
        document = session.scalars(
            select(library.Document).options(defer(library.Document.sealed_content))
        ).one()
        assert document.text == "Dear Ada"
        del statements[:]
        assert document.body == "two"
        assert len(statements) == 1
        session.expunge_all()
        partial = session.scalars(
            select(library.Document).options(load_only(library.Document.label))
        ).one()
        assert partial.text == "Dear Ada"
        assert partial.id == row


def test_fields_are_emptied_by_assigning_none(library: Any) -> None:
    row = library.add(body="two")
    with library.sessions() as session:
        document = session.get(library.Document, row)
        with pytest.raises(AttributeError, match="assign None"):
            del document.body
        document.body = None
        session.commit()
        assert document.body is None


def test_what_is_held_cannot_be_turned_into_json(library: Any) -> None:
    row = library.add(text=SECRET)
    with library.sessions() as session:
        document = session.get(library.Document, row)
        assert document.text == SECRET
        held = vars(document)["sealed"]
        for encode in (msgspec.json.encode, json.dumps):
            with pytest.raises(TypeError):
                encode(held)
        assert not hasattr(held, "__dict__")
        assert type(copy.copy(held)) is bytes


def test_streaming_with_yield_per(library: Any) -> None:
    for number in range(25):
        library.add(text=str(number))
    with library.sessions() as session:
        rows = session.scalars(select(library.Document).execution_options(yield_per=10))
        assert {int(document.text) for document in rows} == set(range(25))


def test_sealed_fields_are_shown_by_inspection(library: Any) -> None:
    described = inspect(library.Document).all_orm_descriptors
    assert described["text"].extension_type.name == "SEALED_FIELD"
    assert isinstance(row := library.add(), UUID)
    assert row
