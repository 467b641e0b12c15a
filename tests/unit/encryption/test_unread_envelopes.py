"""Writes over envelopes that a session has not read, or has read before they changed: none is lost."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import ForeignKey, create_engine, select, text, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, defer, load_only, mapped_column
from sqlalchemy.orm.exc import StaleDataError

from assay.encryption.sqlalchemy import (
    Equality,
    Sealed,
    StaleEnvelopeError,
    UnsealedWriteError,
    bind,
    exact,
    sealed,
)


class Base(DeclarativeBase):
    pass


class Paper(Sealed, Base):
    __tablename__ = "papers"
    __owner__ = "owner"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "paper"}  # noqa: RUF012 - as models declare it
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    owner: Mapped[str]
    kind: Mapped[str]
    text: Mapped[str | None] = sealed()
    more: Mapped[str | None] = sealed()


class Person(Sealed, Base):
    __tablename__ = "people"
    __owner__ = "owner"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    owner: Mapped[str]
    email: Mapped[str | None] = sealed(plaintext="email", index=Equality(exact))
    note: Mapped[str | None] = sealed(plaintext="note")


class Deed(Paper):
    __tablename__ = "deeds"
    __mapper_args__ = {"polymorphic_identity": "deed"}  # noqa: RUF012 - as above
    id: Mapped[int] = mapped_column(ForeignKey("papers.id"), primary_key=True)
    street: Mapped[str | None] = sealed()
    house: Mapped[str | None] = sealed()


class Letter(Paper):
    __mapper_args__ = {"polymorphic_identity": "letter"}  # noqa: RUF012 - as above
    city: Mapped[str | None] = sealed()
    land: Mapped[str | None] = sealed()


@pytest.mark.parametrize("unread", ["deferred", "expired", "not selected", "by option"])
def test_merging_into_a_row_whose_envelope_is_not_loaded_keeps_its_other_fields(
    library: Any, unread: str
) -> None:
    key, document = library.add(text="old", pages=7, body="b", number="5"), library.Document
    given = {"id": key, "tenant_id": "north", "text": "merged"}
    with library.sessions() as session:
        options = {
            "deferred": [defer(document.sealed)],
            "not selected": [load_only(document.label)],
        }
        loaded = None
        if unread != "by option":
            statement = select(document).options(*options.get(unread, ()))
            loaded = session.scalars(statement).one()
        if unread == "expired":
            session.expire(loaded, ["sealed"])
        by_option = [defer(document.sealed)] if unread == "by option" else []
        session.merge(document(**given), options=by_option)
        session.commit()
    with library.sessions() as session:
        found = session.scalars(select(document).where(document.owner_email == "ada@example.com"))
        one = found.one()
        assert (one.text, one.pages, one.body, one.number) == ("merged", 7, "b", "5")


def test_merging_into_rows_of_a_hierarchy_keeps_their_other_fields(keyring: Any) -> None:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with bind(Session(engine), keyring) as session:
        for number in (1, 2):
            one = {"id": number, "owner": "north", "text": f"t{number}", "more": f"m{number}"}
            session.add(Deed(**one, street=f"s{number}", house=f"h{number}"))
            session.add(Letter(**{**one, "id": number + 2}, city="c", land="l"))
        session.commit()
    with bind(Session(engine), keyring) as session:
        unread = [defer(getattr(Deed, name)) for name in ("sealed", "sealed_deed")]
        held: list[Any] = [*session.scalars(select(Deed).options(*unread))]
        held += session.scalars(select(Letter).options(defer(Letter.sealed_letter)))  # type: ignore[attr-defined]  # the envelope's column
        session.merge(Deed(id=1, owner="north", text="changed", street="changed"))
        session.merge(Letter(id=3, owner="north", city="changed"))
        session.commit()
        found: list[Any] = [*session.scalars(select(Paper).order_by(Paper.id))]
        assert [(each.text, each.more) for each in found] == [
            ("changed", "m1"), ("t2", "m2"), ("t1", "m1"), ("t2", "m2"),
        ]  # fmt: skip
        assert [(each.street, each.house) for each in found[:2]] == [
            ("changed", "h1"), ("s2", "h2"),
        ]  # fmt: skip
        assert [(each.city, each.land) for each in found[2:]] == [("changed", "l"), ("c", "l")]
        assert len(held) == 4
    engine.dispose()


@pytest.mark.parametrize("unread", [[], ["sealed"], ["note_plaintext"]])
@pytest.mark.parametrize("is_sealed", [True, False])
def test_merging_into_a_row_in_transition_keeps_its_other_fields(
    keyring: Any, unread: list[str], is_sealed: bool
) -> None:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with bind(Session(engine), keyring) as session:
        session.add(Person(id=1, owner="north", email="ada@x", note="n"))
        session.commit()
        if not is_sealed:
            session.execute(text("UPDATE people SET sealed = NULL, email_index = NULL"))
            session.commit()
        statement = select(Person).options(*(defer(getattr(Person, name)) for name in unread))
        held = session.scalars(statement).one()
        session.merge(Person(id=1, owner="north", note="merged"))
        if unread == ["note_plaintext"] and not is_sealed:
            with pytest.raises(StaleDataError):  # nobody knows what was in the clear
                session.commit()
            session.rollback()
            assert (held.email, held.note) == ("ada@x", "n")
            return
        session.commit()
        assert (held.email, held.note) == ("ada@x", "merged")
        assert session.scalars(select(Person).where(Person.email == "ada@x")).one() is held
        assert session.execute(text("SELECT email, note FROM people")).all() == [
            ("ada@x", "merged")
        ]
    engine.dispose()


def test_merging_into_a_row_that_is_gone_is_refused(library: Any) -> None:
    key, document = library.add(), library.Document
    with library.sessions() as session:
        held = session.scalars(select(document).options(defer(document.sealed))).one()
        session.merge(document(id=key, tenant_id="north", text="merged"))
        library.write("DELETE FROM documents")
        with pytest.raises(StaleEnvelopeError, match="found none"):
            session.flush()
        assert held in session


def test_columns_that_are_written_unchanged_undo_nothing(library: Any) -> None:
    key, document = library.add(text="old"), library.Document
    with library.sessions() as session:
        mine = session.get(document, key)
        assert (mine.text, mine.body) == ("old", None)
        session.expunge(mine)
        session.rollback()
        session.bulk_save_objects([mine], update_changed_only=False)  # they are as they were
        session.commit()
        with library.sessions.begin() as other:
            other.get(document, key).text = "theirs"
        with pytest.raises(StaleEnvelopeError):
            session.bulk_save_objects([mine], update_changed_only=False)
        session.rollback()
        assert session.get(document, key).text == "theirs"


@pytest.mark.parametrize("form", ["rows", "values"])
def test_the_envelope_of_an_instance_is_no_value(library: Any, form: str) -> None:
    key, other, document = library.add(text="old"), library.add(text="other"), library.Document
    with library.sessions() as session:
        one = session.get(document, other)
        assert one.text == "other"
        given: dict[str, tuple[Any, Any]] = {
            "rows": (update(document), [{"id": key, "sealed": one.sealed}])
        }
        given["values"] = (update(document).values({document.sealed: one.sealed}), {})
        with pytest.raises(UnsealedWriteError, match="belongs to its own row"):
            session.execute(*given[form])
        session.rollback()
        assert session.get(document, key).text == "old"
