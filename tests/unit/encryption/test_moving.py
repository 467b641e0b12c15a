"""A row goes to another owner as a whole, or not at all."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event, select
from sqlalchemy.orm.exc import StaleDataError

from assay.core import DataKeyClass
from assay.encryption import TamperedEnvelopeError, envelope_key_id
from assay.encryption.sqlalchemy import (
    DeclarationError,
    KeyringNotBoundError,
    OwnerChangedError,
    OwnerMissingError,
    RowIdChangedError,
    UnopenedError,
    move_to_owner,
)
from assay.encryption.sqlalchemy.moving import MOVE

SECRET = "Quartz & Obsidian"


def stored(library: Any, session: Any, row: UUID) -> Any:
    return session.get(library.Document, row)


def test_everything_moves_in_one_update(library: Any) -> None:
    row = library.add(text=SECRET, body="long", number="040 123")
    statements: list[str] = []
    event.listen(
        library.engine,
        "before_cursor_execute",
        lambda _c, _cur, statement, *_: statements.append(statement),
    )
    with library.sessions.begin() as session:
        document = stored(library, session, row)
        move_to_owner(document, "south")
        assert (document.tenant_id, document.text, document.body) == ("south", SECRET, "long")
    (update,) = [each for each in statements if each.startswith("UPDATE")]
    for column in ("tenant_id", "sealed", "sealed_content", "owner_email_index", "number_index"):
        assert f"{column}=?" in update
    assert update.count("sealed = ?") == update.count("sealed_content = ?") == 1
    key = library.keyring.current("south", DataKeyClass.ROWS)
    for column in ("sealed", "sealed_content"):
        assert envelope_key_id(library.column(column, row)) == key.key_id
    document = library.Document
    with library.sessions() as session:
        moved = stored(library, session, row)
        assert (moved.tenant_id, moved.owner_email) == ("south", "ada@example.com")
        assert (moved.text, moved.body, moved.number) == (SECRET, "long", "040 123")
        for criterion in (document.owner_email == "ADA@example.com", document.number == "040123"):
            found = select(document).where(criterion)
            assert session.scalars(found.where(document.tenant_id == "south")).one() is moved
            assert not session.scalars(found.where(document.tenant_id == "north")).all()


def test_fields_that_were_assigned_move_along(library: Any) -> None:
    row = library.add(text="one", body="one")
    with library.sessions.begin() as session:
        document = stored(library, session, row)
        document.text = "before"
        move_to_owner(document, "south")
        document.body = "after"
        document.owner_email = "grace@example.com"
        document.label = "in the clear"
    with library.sessions() as session:
        moved = stored(library, session, row)
        assert (moved.text, moved.body, moved.label) == ("before", "after", "in the clear")
        found = select(library.Document).where(library.Document.owner_email == "grace@example.com")
        assert session.scalars(found).one() is moved


def test_a_row_moves_there_and_back(library: Any) -> None:
    row = library.add(text=SECRET)
    with library.sessions.begin() as session:
        document = stored(library, session, row)
        move_to_owner(document, "south")
        move_to_owner(document, "north")
    with library.sessions.begin() as session:
        document = stored(library, session, row)
        move_to_owner(document, "south")
        session.flush()
        move_to_owner(document, "north")
    with library.sessions() as session:
        document = stored(library, session, row)
        assert (document.tenant_id, document.text) == ("north", SECRET)


def test_moving_to_the_same_owner_changes_nothing(library: Any) -> None:
    row = library.add()
    before = library.column("sealed", row)
    with library.sessions.begin() as session:
        document = stored(library, session, row)
        move_to_owner(document, "north")
        assert not session.is_modified(document)
    assert library.column("sealed", row) == before


def test_a_move_that_is_rolled_back_leaves_the_row(library: Any) -> None:
    row = library.add(text=SECRET)
    with library.sessions() as session:
        document = stored(library, session, row)
        move_to_owner(document, "south")
        session.flush()
        session.rollback()
        assert (document.tenant_id, document.text) == ("north", SECRET)


def test_another_session_was_first(library: Any) -> None:
    row = library.add(text="one", body="one")
    for change in ("text", "body"):
        with library.sessions() as session:
            document = stored(library, session, row)
            move_to_owner(document, "south")
            with library.sessions.begin() as other:
                setattr(stored(library, other, row), change, "two")
            with pytest.raises(StaleDataError):
                session.flush()
    with library.sessions() as session:
        document = stored(library, session, row)
        assert (document.tenant_id, document.text, document.body) == ("north", "two", "two")


def test_a_change_of_a_row_that_was_moved_is_stale(library: Any) -> None:
    row = library.add(text="one")
    with library.sessions() as session:
        document = stored(library, session, row)
        document.text = "two"
        with library.sessions.begin() as other:
            move_to_owner(stored(library, other, row), "south")
        with pytest.raises(StaleDataError):
            session.flush()


def test_assigning_the_owner_stays_an_error_that_names_the_way(library: Any) -> None:
    row = library.add()
    with library.sessions() as session:
        document = stored(library, session, row)
        with pytest.raises(OwnerChangedError, match="move_to_owner"):
            document.tenant_id = "south"
        document.tenant = session.get(library.Tenant, "south")
        with pytest.raises(OwnerChangedError, match="move_to_owner"):
            session.flush()


def test_half_a_move_is_refused(library: Any) -> None:
    """Whatever gets past the guard of the owner is caught when the row is sealed."""
    from sqlalchemy.orm.attributes import set_attribute

    row = library.add(body="long")
    with library.sessions() as session:
        document = stored(library, session, row)
        set_attribute(document, "tenant_id", "south", initiator=MOVE)
        with pytest.raises(OwnerChangedError, match="left behind"):
            session.flush()


def test_new_rows_are_simply_assigned(library: Any) -> None:
    document = library.Document(tenant_id="north", owner_email="a", text="b")
    move_to_owner(document, "south")
    assert document.tenant_id == "south"


def test_what_cannot_be_moved(library: Any) -> None:
    row = library.add(body="long")
    with pytest.raises(DeclarationError, match="sealed model"):
        move_to_owner(library.Tenant(id="x"), "south")
    with library.sessions() as session:
        document = stored(library, session, row)
        for nobody in (None, "", 1.5):
            with pytest.raises(OwnerMissingError):
                move_to_owner(document, nobody)
        with pytest.raises(OwnerMissingError, match="of type str"):
            move_to_owner(document, uuid4())
        assert document.tenant_id == "north"
        assert not session.is_modified(document)
        everything = library.Everything(part=1, name="x", owner=uuid4(), a_text="x")
        session.add(everything)
        session.flush()
        with pytest.raises(RowIdChangedError, match="a part"):
            move_to_owner(everything, uuid4())
    with pytest.raises(UnopenedError):
        move_to_owner(document, "south")
    with library.unbound() as session:
        with pytest.raises(KeyringNotBoundError):
            move_to_owner(stored(library, session, row), "south")


def test_a_row_that_does_not_open_is_not_moved(library: Any) -> None:
    row, other = library.add(text="one"), library.add(text="two")
    library.write(
        "UPDATE documents SET sealed_content = (SELECT sealed_content FROM documents "
        "WHERE id = :other) WHERE id = :row",
        other=other.hex,
        row=row.hex,
    )
    with library.sessions() as session:
        document = stored(library, session, row)
        with pytest.raises(TamperedEnvelopeError):
            move_to_owner(document, "south")
        assert document.tenant_id == "north"
        assert not session.is_modified(document)
