"""Rows that may be there already: what an INSERT may do with them, and what it may not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import LargeBinary, insert, literal, select
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.sql.base import SyntaxExtension
from sqlalchemy.sql.elements import ClauseElement

from assay.encryption.sqlalchemy import Sealed, UnsealedWriteError, bind, sealed
from assay.encryption.sqlalchemy.core_writes import refuse_unsealed

SECRET = "Quartz & Obsidian"


def row(**more: Any) -> dict[str, Any]:
    given = {"id": uuid4(), "tenant_id": "north", "owner_email": "new@x", "text": SECRET}
    return {**given, "label": "new", **more}


def test_what_is_not_sealed_is_updated_on_conflict(library: Any) -> None:
    known, document = library.add(label="old"), library.Document
    upsert = sqlite.insert(document)
    by_label = upsert.on_conflict_do_update(
        index_elements=["id"], set_={"label": upsert.excluded.label}
    )
    with library.sessions() as session:
        stored = session.scalars(
            by_label.returning(document, sort_by_parameter_order=False), [row(id=known), row()]
        ).all()
        found = {(one.text, one.label, one.owner_email) for one in stored}
        assert found == {("Dear Ada", "new", "ada@example.com"), (SECRET, "new", "new@x")}
        session.commit()
        for email in ("ada@example.com", "new@x"):
            one = session.scalars(select(document).where(document.owner_email == email)).one()
            assert one.owner_email == email


@pytest.mark.parametrize(("email", "label"), [("ADA@example.com", "new"), ("bob@x", "old")])
def test_a_sealed_field_says_which_rows_are_updated(library: Any, email: str, label: str) -> None:
    known, document = library.add(label="old"), library.Document
    upsert = sqlite.insert(document).on_conflict_do_update(
        index_elements=["id"], set_={document.label: "new"}, where=document.owner_email == email
    )
    with library.sessions() as session:
        session.execute(upsert, [row(id=known)])
        assert session.get(document, known).label == label


_SEALED = {
    "field": lambda _: {"text": SECRET},
    "envelope": lambda excluded: {"sealed": excluded.sealed},
    "bytes": lambda _: {"sealed": literal(SECRET.encode(), LargeBinary)},
    "other group": lambda excluded: {"label": "x", "sealed_content": excluded.sealed_content},
    "index": lambda excluded: {"owner_email_index": excluded.owner_email_index},
    "owner": lambda excluded: {"tenant_id": excluded.tenant_id},
    "primary key": lambda _: {"id": uuid4()},
    "everything": dict,
}  # fmt: skip

_FORMS: dict[str, Callable[[Any, Any], Any]] = {
    "sqlite": lambda model, update: (made := sqlite.insert(model)).on_conflict_do_update(
        index_elements=["id"], set_=update(made.excluded)
    ),
    "first of two": lambda model, update: (made := sqlite.insert(model))
    .on_conflict_do_update(index_elements=["id"], set_=update(made.excluded))
    .on_conflict_do_nothing(),
    "second of two": lambda model, update: (made := sqlite.insert(model))
    .on_conflict_do_nothing(index_elements=["label"])
    .on_conflict_do_update(index_elements=["id"], set_=update(made.excluded)),
    "postgresql": lambda model, update: (made := postgresql.insert(model)).on_conflict_do_update(
        index_elements=["id"], set_=update(made.excluded)
    ),
    "mariadb": lambda model, update: (made := mysql.insert(model)).on_duplicate_key_update(
        update(made.inserted)
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", _FORMS)
@pytest.mark.parametrize("update", _SEALED)
def test_what_is_sealed_is_not(library: Any, form: str, update: str) -> None:
    known, document = library.add(), library.Document
    before = library.column("sealed", known)
    statement = _FORMS[form](document, _SEALED[update])
    with library.sessions() as session:
        with pytest.raises(UnsealedWriteError, match="on conflict only what is not sealed"):
            session.execute(statement, [row(id=known)])
    assert library.column("sealed", known) == before
    if update != "field":  # which is no column at all
        core = _FORMS[form](document.__table__, _SEALED[update])
        with library.engine.connect() as connection, pytest.raises(UnsealedWriteError):
            refuse_unsealed(connection, core, [], {}, {})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("email_plaintext", "the plaintext column of 'email'"),
        ("sealed_version", "not sealed, found sealed_version"),
    ],
)
def test_what_is_written_along_with_it_is_not(library: Any, name: str, message: str) -> None:
    class Base(DeclarativeBase):
        pass

    class Note(Sealed, Base):
        __tablename__ = "notes"
        __owner__ = "owner"
        __sealed_versions__ = name == "sealed_version"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        owner: Mapped[str]
        email: Mapped[str] = sealed(plaintext=None if __sealed_versions__ else "e_mail")

    Base.metadata.create_all(library.engine)
    given = {"id": 1, "owner": "north", "email": "ada@x"}
    with bind(Session(library.engine), library.keyring) as session:
        session.execute(insert(Note), [given])
        statement = sqlite.insert(Note).on_conflict_do_update(
            index_elements=["id"], set_={getattr(Note, name): 5}
        )
        with pytest.raises(UnsealedWriteError, match=message):
            session.execute(statement, [given])
        assert session.scalars(select(Note)).one().email == "ada@x"


class Anything(SyntaxExtension, ClauseElement):
    """A clause of a dialect that is not known here."""

    _traverse_internals = []  # noqa: RUF012 - SQLAlchemy's own

    def apply_to_insert(self, statement: Any) -> None:
        statement.apply_syntax_extension_point(lambda existing: [*existing, self], "post_values")


def test_a_clause_that_nobody_knows_is_refused(library: Any) -> None:
    statement = insert(library.Document).ext(Anything())
    with library.sessions() as session, pytest.raises(UnsealedWriteError, match="Anything"):
        session.execute(statement, [row()])
