"""A model that gets an index, or another one, later: the rows that are there get theirs too."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, create_engine, func, inspect, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.schema import CreateColumn

from assay.core import DataKeyClass
from assay.encryption.adoption import Crew, Options, Store
from assay.encryption.adoption.parts import all_parts
from assay.encryption.adoption.place import place_of
from assay.encryption.adoption.ranges import Checkpoint
from assay.encryption.adoption.rekey import RekeyReport, rekey, rotate_keys
from assay.encryption.sqlalchemy import (
    Equality,
    Ngram,
    Prefix,
    Sealed,
    bind,
    casefold,
    exact,
    sealed,
)
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

NAMES = ["Ada Lovelace", "ada lovelace", "Grace Hopper", None, ""]
OWNERS = ("north", "south")


def declare(**fields: Any) -> Any:
    """A model of people whose sealed fields are these."""

    class Base(DeclarativeBase):
        pass

    members = {
        "__module__": __name__,
        "__tablename__": "people",
        "__owner__": "owner",
        "__annotations__": {
            "id": Mapped[UUID], "owner": Mapped[str], **dict.fromkeys(fields, Mapped[str | None]),
        },
        "id": mapped_column(primary_key=True, default=uuid4),
        **fields,
    }  # fmt: skip
    return type("Person", (Sealed, Base), members)


class People:
    """A table that was filled by one release of a model and is used by the next."""

    def __init__(self, folder: Path, **fields: Any) -> None:
        self.folder = folder
        self.engine: Engine = create_engine(f"sqlite:///{folder / 'people.db'}")
        self.keys = MemoryKeyService(), MemoryDataKeyTable()
        self.restart()
        self.model = declare(**fields)
        self.model.metadata.create_all(self.engine)
        with self.session() as session, session.begin():
            for owner in OWNERS:
                session.add_all([self.model(owner=owner, name=name) for name in NAMES])

    def restart(self) -> None:
        """Begin another process, in which no key is cached."""
        self.keyring = Keyring(*self.keys, settling_seconds=0)

    def session(self) -> Session:
        return bind(Session(self.engine), self.keyring)

    def release(self, **fields: Any) -> None:
        """Use another model, whose new columns a migration has added."""
        self.model = declare(**fields)
        known = {each["name"] for each in inspect(self.engine).get_columns("people")}
        with self.engine.begin() as connection:
            for column in self.model.__table__.columns:
                if column.name not in known:
                    added = CreateColumn(column).compile(self.engine)
                    connection.execute(text(f"ALTER TABLE people ADD COLUMN {added}"))

    def rekey(self, *, rotate: bool = True) -> RekeyReport:
        """As ``assay rekey --rotate-indexes`` does it."""
        if rotate:
            rotate_keys(self.keyring, DataKeyClass.INDEXES, ())
        self.restart()
        store = Store(self.engine, self.keyring, self.model)
        (part,) = all_parts(self.model)
        with ThreadPoolExecutor(1) as executor:
            crew = Crew(store, executor, Options(batch_rows=3))
            checkpoint = Checkpoint(self.folder / "r.json", part, place_of(part, self.engine))
            return rekey(store, part, crew, checkpoint)

    def found(self, criterion: Any) -> list[str]:
        with self.session() as session:
            statement = select(self.model).where(self.model.owner == "north", criterion)
            return sorted(each.name for each in session.scalars(statement))


def test_a_first_index_is_computed_for_the_rows_that_are_there(tmp_path: Path) -> None:
    people = People(tmp_path, name=sealed())
    people.release(name=sealed(index=Equality(casefold)))
    assert people.found(people.model.name == "ada lovelace") == []
    assert people.rekey().tally.done == 8
    assert people.found(people.model.name == "ADA LOVELACE") == ["Ada Lovelace", "ada lovelace"]
    assert people.found(people.model.name == "") == [""]
    assert people.found(people.model.name.is_not(None)) == sorted(
        each for each in NAMES if each is not None
    )
    assert people.rekey(rotate=False).tally.done == 0


@pytest.mark.parametrize("rotate", [True, False])
def test_another_index_is_computed_too(tmp_path: Path, rotate: bool) -> None:
    equality = Equality(casefold)
    people = People(tmp_path, name=sealed(index=equality))
    people.release(name=sealed(index=[equality, Prefix(exact, lengths=(3,)), Ngram(casefold)]))
    assert people.rekey(rotate=rotate).tally.done == 8
    with people.engine.connect() as connection:
        for column in ("name_index", "name_prefix_3", "name_ngrams"):
            found = connection.scalar(text(f"SELECT count(*) FROM people WHERE {column} IS NULL"))  # noqa: S608 - of this test
            assert found == 2
    assert people.found(people.model.name == "grace hopper") == ["Grace Hopper"]
    assert people.rekey(rotate=False).tally.done == 0


def test_it_is_computed_where_the_application_has_rewritten_the_other_meanwhile(
    tmp_path: Path,
) -> None:
    people = People(tmp_path, name=sealed(index=Equality(exact)), town=sealed())
    people.release(name=sealed(index=Equality(exact)), town=sealed(index=Equality(exact)))
    rotate_keys(people.keyring, DataKeyClass.INDEXES, ())
    people.restart()
    with people.session() as session, session.begin():
        for each in session.scalars(select(people.model)):
            each.name = f"{each.name}, changed"  # under the new key, without the index of town
    with people.session() as session, session.begin():
        for each in session.scalars(select(people.model)).all()[:4]:
            each.town = "Ulm"
    with people.engine.begin() as connection:
        connection.execute(text("UPDATE people SET town_index = NULL"))  # as an older release does
    assert people.rekey(rotate=False).tally.done == 4
    with people.session() as session:
        counted = select(func.count()).select_from(people.model).where(people.model.town == "Ulm")
        assert session.scalar(counted) == 4


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Equality(casefold), Equality(casefold, name="person")),
        (Equality(exact), Equality(casefold)),
        (Equality(casefold, bits=64), Equality(casefold)),
    ],
    ids=["name", "transform", "bits"],
)
def test_an_index_that_is_made_otherwise_is_computed_anew(
    tmp_path: Path, before: Equality, after: Equality
) -> None:
    people = People(tmp_path, name=sealed(index=before))
    people.release(name=sealed(index=after))
    assert people.found(people.model.name == "ADA LOVELACE") == []
    assert people.rekey().tally.done == 8
    assert people.found(people.model.name == "ADA LOVELACE") == ["Ada Lovelace", "ada lovelace"]
    assert people.rekey(rotate=False).tally.done == 0


def test_a_name_that_is_added_lets_rows_be_joined(tmp_path: Path) -> None:
    people = People(tmp_path, name=sealed(index=Equality(casefold)), nick=sealed())
    with people.session() as session, session.begin():
        for each in session.scalars(select(people.model)):
            each.nick = each.name
    shared = Equality(casefold, name="person")
    people.release(name=sealed(index=shared), nick=sealed(index=shared))
    assert people.rekey().tally.done == 8
    with people.session() as session:
        same = select(people.model).where(people.model.name == people.model.nick)
        assert len(session.scalars(same).all()) == 8
