"""Versions of rows where a class shares its table, is joined to another, or moves to new keys."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, ForeignKey, create_engine, insert, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from assay.controls.checks.sealed_rows import _read_table
from assay.core import DataKeyClass
from assay.encryption import RolledBackEnvelopeError
from assay.encryption.adoption import Crew, Store, all_parts
from assay.encryption.adoption.place import place_of
from assay.encryption.adoption.ranges import Checkpoint
from assay.encryption.adoption.rekey import rekey
from assay.encryption.sqlalchemy import Sealed, bind, open_row, sealed, sealed_tables
from assay.keys import Keyring


class Base(DeclarativeBase):
    pass


class Record(Sealed, Base):
    __tablename__ = "records"
    __owner__ = "tenant_id"
    __sealed_versions__ = True
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "record"}  # noqa: RUF012 - as models declare it

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    tenant_id: Mapped[str] = mapped_column(default="north")
    kind: Mapped[str]
    title: Mapped[str] = sealed()


class Memo(Record):  # in the table of its parent
    __mapper_args__ = {"polymorphic_identity": "memo"}  # noqa: RUF012 - as above
    reader: Mapped[str] = sealed()


class Letter(Record):  # in a table of its own
    __tablename__ = "letters"
    __mapper_args__ = {"polymorphic_identity": "letter"}  # noqa: RUF012 - as above
    id: Mapped[UUID] = mapped_column(ForeignKey("records.id"), primary_key=True)
    city: Mapped[str] = sealed()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = create_engine(f"sqlite:///{tmp_path / 'app.db'}")
    Base.metadata.create_all(made)
    yield made
    made.dispose()


@pytest.fixture
def session(engine: Engine, keyring: Keyring) -> Iterator[Session]:
    with bind(Session(engine), keyring) as session:
        session.add_all(
            [Record(title="r"), Memo(title="m", reader="Ada"), Letter(title="l", city="Paris")]
        )
        session.commit()
        yield session


def stored(session: Session, table: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in session.execute(text(f"SELECT * FROM {table}"))]  # noqa: S608 - of this test


PLACES = [
    (Record, "title", "records", "sealed"),
    (Memo, "title", "records", "sealed"),
    (Memo, "reader", "records", "sealed_memo"),
    (Letter, "title", "records", "sealed"),
    (Letter, "city", "letters", "sealed_letter"),
]


def test_rows_of_other_classes_have_neither_envelope_nor_version(session: Session) -> None:
    rows = session.execute(
        text("SELECT kind, sealed_version, sealed_memo IS NULL, sealed_memo_version FROM records")
    ).all()
    assert sorted(tuple(row) for row in rows) == [
        ("letter", 1, 1, None), ("memo", 1, 0, 1), ("record", 1, 1, None),
    ]  # fmt: skip


@pytest.mark.parametrize("stands", PLACES)
def test_an_older_envelope_is_refused(
    session: Session, engine: Engine, stands: tuple[Any, str, str, str]
) -> None:
    cls, field, table, column = stands
    row = session.scalars(select(cls).where(cls.kind == cls.__name__.lower())).one()
    row_id, before = row.id, getattr(row, field)
    place = {"id": row_id.hex}
    read = text(f"SELECT {column}, {column}_version FROM {table} WHERE id = :id")  # noqa: S608 - of this test
    old, version = session.execute(read, place).one()
    setattr(row, field, "changed")
    session.commit()
    assert version == 1
    assert session.execute(read, place).one()[1] == version + 1
    with engine.begin() as connection:
        connection.execute(
            text(f"UPDATE {table} SET {column} = :old WHERE id = :id"),  # noqa: S608 - of this test
            {"old": old, **place},
        )
    session.expire_all()
    with pytest.raises(RolledBackEnvelopeError):
        getattr(session.get(cls, row_id), field)
    with engine.begin() as connection:
        connection.execute(
            text(f"UPDATE {table} SET {column}_version = 1 WHERE id = :id"),  # noqa: S608 - of this test
            place,
        )
    session.expire_all()
    assert getattr(session.get(cls, row_id), field) == before  # what no version can notice


def test_statements_insert_rows_of_subclasses(session: Session) -> None:
    session.execute(insert(Memo), [{"tenant_id": "north", "title": "n", "reader": "Grace"}])
    memo = session.scalars(select(Memo).order_by(Memo.id)).all()
    assert {each.reader for each in memo} == {"Ada", "Grace"}
    assert {(each.sealed_version, each.sealed_memo_version) for each in memo} == {(1, 1)}


def test_rows_move_to_new_keys_and_keep_their_versions(
    session: Session, engine: Engine, keyring: Keyring, tmp_path: Path
) -> None:
    memo = session.scalars(select(Memo)).one()
    memo.reader = "Grace"
    session.commit()
    before = stored(session, "records"), stored(session, "letters")
    session.rollback()
    keyring.rotate("north", DataKeyClass.ROWS)
    store = Store(engine, keyring, Base)
    with ThreadPoolExecutor(1) as executor:
        for number, part in enumerate(all_parts(Base, ["records"])):
            report = rekey(
                store,
                part,
                Crew(store, executor),
                Checkpoint(tmp_path / f"{number}.json", part, place_of(part, engine)),
            )
            assert (report.left, report.tally.refused) == (0, {})
    after = stored(session, "records"), stored(session, "letters")
    assert before != after

    def numbers(tables: Any) -> Any:
        return [[v for v in row if isinstance(v, int)] for table in tables for row in table]

    assert numbers(before) == numbers(after)
    session.expire_all()
    assert {row.title for row in session.scalars(select(Record))} == {"r", "m", "l"}
    assert memo.reader == "Grace"
    assert session.scalars(select(Letter)).one().city == "Paris"


def test_the_check_of_sealed_rows_reads_versions(
    session: Session, engine: Engine, keyring: Keyring
) -> None:
    def read() -> dict[str, dict[str, int]]:
        tables = sealed_tables(Base)
        return {t.name: dict(_read_table(t, engine, keyring, None).refused) for t in tables}  # type: ignore[arg-type]  # no progress for so few

    assert read() == {"letters": {}, "records": {}}
    with engine.begin() as connection:
        connection.execute(text("UPDATE letters SET sealed_letter_version = 2"))
        connection.execute(text("UPDATE records SET sealed_version = 9 WHERE kind = 'memo'"))
    assert read() == {
        "letters": {"RolledBackEnvelopeError": 1}, "records": {"RolledBackEnvelopeError": 1},
    }  # fmt: skip
    row = session.execute(select(Memo.__table__).where(text("kind = 'memo'"))).mappings().one()
    assert open_row(keyring, Memo, row, "memo") == {"reader": "Ada"}
    with pytest.raises(RolledBackEnvelopeError):
        open_row(keyring, Memo, row)
