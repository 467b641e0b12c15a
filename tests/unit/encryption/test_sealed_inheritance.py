"""Sealed fields of mixins, parents and subclasses: where they stand, and what is refused."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Enum as SqlEnum
from sqlalchemy import ForeignKey, String, create_engine, insert, inspect, select, text
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    registry,
    with_polymorphic,
)
from sqlalchemy.orm.exc import StaleDataError

from assay.controls.checks.sealed_rows import _read_table
from assay.core import DataKeyClass
from assay.encryption import (
    EnvelopeOpener,
    MissingEnvelopeError,
    RowAddress,
    TamperedEnvelopeError,
    encode_row_id,
)
from assay.encryption.adoption import AdoptionBlockedError, Crew, Store, all_parts
from assay.encryption.adoption.place import place_of
from assay.encryption.adoption.ranges import Checkpoint
from assay.encryption.adoption.rekey import rekey
from assay.encryption.sqlalchemy import (
    DeclarationError,
    Equality,
    Sealed,
    SealedValueError,
    UnsealedWriteError,
    bind,
    casefold,
    exact,
    move_to_owner,
    open_row,
    sealed,
    sealed_tables,
)
from assay.encryption.sqlalchemy.attributes import SealedAttribute


class Base(DeclarativeBase):
    pass


class Noted(Sealed):
    note: Mapped[str | None] = sealed(group="notes")


class Record(Noted, Base):
    __tablename__ = "records"
    __owner__ = "tenant_id"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "record"}  # noqa: RUF012 - as models declare it

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    tenant_id: Mapped[str]
    kind: Mapped[str]
    title: Mapped[str] = sealed(index=Equality(casefold))


class Memo(Record):  # in the table of its parent
    __mapper_args__ = {"polymorphic_identity": "memo"}  # noqa: RUF012 - as above
    reader: Mapped[str] = sealed(index=Equality(casefold))
    urgent: Mapped[bool] = sealed(default=False)


class Alarm(Memo):
    __mapper_args__ = {"polymorphic_identity": "warning"}  # noqa: RUF012 - as above
    level: Mapped[int] = sealed(group="warned")


class Letter(Record):  # in a table of its own
    __tablename__ = "letters"
    __mapper_args__ = {"polymorphic_identity": "letter"}  # noqa: RUF012 - as above
    id: Mapped[UUID] = mapped_column(ForeignKey("records.id"), primary_key=True)
    stamp: Mapped[int | None]
    city: Mapped[str] = sealed(index=Equality(exact))


class Postcard(Letter):  # in the table of the letters
    __mapper_args__ = {"polymorphic_identity": "postcard"}  # noqa: RUF012 - as above
    picture: Mapped[bytes] = sealed()


@pytest.fixture
def session(keyring: Any, tmp_path: Path) -> Iterator[Session]:
    engine = create_engine(f"sqlite:///{tmp_path / 'app.db'}")
    Base.metadata.create_all(engine)
    with bind(Session(engine), keyring) as session:
        yield session
    engine.dispose()


def everybody() -> list[Any]:
    return [
        Record(tenant_id="a", title="T-record", note="n"),
        Memo(tenant_id="a", title="T-memo", reader="Ada"),
        Alarm(tenant_id="a", title="T-warning", reader="Grace", level=3, urgent=True),
        Letter(tenant_id="a", title="T-letter", city="Paris", stamp=5),
        Postcard(tenant_id="b", title="T-postcard", city="Rome", picture=b"x"),
    ]


@pytest.fixture
def stored(session: Session) -> Session:
    session.add_all(everybody())
    session.commit()
    session.expunge_all()
    return session


def test_columns_and_addresses() -> None:
    assert [column.name for column in Record.__table__.columns] == [
        "id", "tenant_id", "kind", "sealed_notes", "sealed", "title_index",
        "sealed_memo", "reader_index", "sealed_warned",
    ]  # fmt: skip
    letters = inspect(Letter).local_table
    assert [column.name for column in letters.columns] == [
        "id", "stamp", "sealed_letter", "city_index", "sealed_postcard",
    ]  # fmt: skip
    nullable = {
        column.name: column.nullable
        for table in (Record.__table__, letters)
        for column in table.columns
        if column.name.startswith("sealed")
    }
    assert nullable == {
        "sealed_notes": False, "sealed": False, "sealed_memo": True, "sealed_warned": True,
        "sealed_letter": False, "sealed_postcard": True,
    }  # fmt: skip
    places = {
        group.column: (group.table, group.name)
        for model in (Alarm, Postcard)
        for group in model.__sealed__.groups.values()
    }
    assert places == {
        "sealed": ("records", "default"),
        "sealed_notes": ("records", "notes"),
        "sealed_memo": ("records", "memo"),
        "sealed_warned": ("records", "warned"),
        "sealed_letter": ("letters", "letter"),
        "sealed_postcard": ("letters", "postcard"),
    }
    assert Letter.__sealed__.indexes["city"]["city_index"].table == "letters"
    assert Memo.__sealed__.indexes["reader"]["reader_index"].table == "records"


def test_every_class_is_written_and_read(stored: Session) -> None:
    found = {type(each): each for each in stored.scalars(select(Record))}
    assert {each.title for each in found.values()} == {
        "T-record", "T-memo", "T-warning", "T-letter", "T-postcard",
    }  # fmt: skip
    assert found[Record].note == "n"
    assert (found[Memo].reader, found[Memo].urgent, found[Memo].note) == ("Ada", False, None)
    warning = found[Alarm]
    assert (warning.reader, warning.urgent, warning.level) == ("Grace", True, 3)
    assert (found[Letter].city, found[Letter].stamp) == ("Paris", 5)
    assert (found[Postcard].city, found[Postcard].picture) == ("Rome", b"x")


def test_fields_of_every_class_are_changed_and_found(stored: Session) -> None:
    postcard = stored.scalars(select(Postcard)).one()
    postcard.city, postcard.title = "Oslo", "card"
    memo = stored.scalars(select(Memo).where(Memo.reader == "ADA")).one()
    memo.reader = "Alan"
    stored.commit()
    stored.expunge_all()
    assert stored.scalars(select(Letter).where(Letter.city == "Oslo")).one().title == "card"
    assert stored.scalars(select(Postcard).where(Postcard.title == "CARD")).one().city == "Oslo"
    assert stored.scalars(select(Record).where(Record.title == "card")).one().picture == b"x"
    assert stored.scalars(select(Memo).where(Memo.reader.in_(["alan", "grace"]))).all()
    assert stored.scalars(select(Memo).where(Memo.reader == "ada")).all() == []
    assert stored.scalars(select(Postcard).where(Letter.city == "Paris")).all() == []


def test_rows_of_every_class_are_given_to_another_owner(stored: Session, keyring: Any) -> None:
    for each in stored.scalars(select(Record)).all():
        move_to_owner(each, "c")
    stored.commit()
    stored.expunge_all()
    assert {type(each): each.title for each in stored.scalars(select(Record))}[Alarm] == "T-warning"
    card = stored.scalars(select(Postcard).where(Letter.city == "Rome")).one()
    assert (card.tenant_id, card.picture, card.note) == ("c", b"x", None)
    key = keyring.current("c", DataKeyClass.ROWS)
    for table, column in (("letters", "sealed_postcard"), ("records", "sealed_warned")):
        envelopes = stored.execute(text(f"SELECT {column} FROM {table}")).scalars()  # noqa: S608 - of this test
        assert [raw[2:18] for raw in envelopes if raw is not None] == [key.key_id]


@pytest.mark.parametrize(("model", "name"), [(Postcard, "city"), (Alarm, "level")])
def test_no_update_of_a_subclass_is_lost(
    stored: Session, keyring: Any, model: Any, name: str
) -> None:
    mine = stored.scalars(select(model)).one()
    kind = type(getattr(mine, name))
    stored.expire_on_commit = False
    stored.commit()  # SQLite has one writer; what was read stays read
    with bind(Session(stored.get_bind()), keyring) as session:
        setattr(session.scalars(select(model)).one(), name, kind(7))
        session.commit()
    setattr(mine, name, kind(9))
    with pytest.raises(StaleDataError):
        stored.flush()


def test_polymorphic_loads(stored: Session) -> None:
    every = with_polymorphic(Record, "*")
    found = stored.scalars(
        select(every).where((every.Letter.city == "Paris") | (every.Memo.reader == "grace"))
    ).all()
    assert {type(each) for each in found} == {Letter, Alarm}
    for each in stored.scalars(select(with_polymorphic(Record, [Letter]))):
        assert each.title
        assert each.city if isinstance(each, Letter) else True


def test_rows_of_statements(session: Session) -> None:
    session.execute(
        insert(Memo), [{"tenant_id": "a", "title": "m", "reader": "Ada", "kind": "memo"}]
    )
    session.execute(
        insert(Postcard),
        [{"tenant_id": "a", "title": "p", "city": "Rome", "picture": b"y", "kind": "postcard"}],
    )
    session.commit()
    assert session.scalars(select(Postcard).where(Letter.city == "Rome")).one().picture == b"y"
    assert session.scalars(select(Record).where(Record.title == "m")).one().reader == "Ada"
    with pytest.raises(SealedValueError, match="'reader'"):
        session.execute(insert(Memo), [{"tenant_id": "a", "title": "m", "kind": "memo"}])


def test_envelopes_are_those_of_the_specification(stored: Session, keyring: Any) -> None:
    key = keyring.current("b", DataKeyClass.ROWS)
    card = stored.scalars(select(Postcard)).one().id
    letters = inspect(Letter).local_table
    row = stored.execute(select(letters).where(letters.c.id == card)).mappings().one()
    opener = EnvelopeOpener()
    for column, group, fields in (
        ("sealed_letter", "letter", {"city": "Rome"}),
        ("sealed_postcard", "postcard", {"picture": b"x"}),
    ):
        address = RowAddress("b", "letters", group, encode_row_id(card))
        assert opener.open(key, address, row[column]) == fields
        assert open_row(keyring, Postcard, {**row, "tenant_id": "b"}, group) == fields


def test_envelopes_of_another_class_or_group_are_refused(stored: Session) -> None:
    stored.execute(text("UPDATE records SET sealed_memo = sealed"))
    stored.execute(text("UPDATE letters SET sealed_postcard = sealed_letter"))
    stored.commit()
    for model, name in ((Memo, "reader"), (Postcard, "picture")):
        with pytest.raises(TamperedEnvelopeError):
            getattr(stored.scalars(select(model)).first(), name)
    stored.execute(text("UPDATE records SET sealed_memo = NULL"))
    stored.commit()
    with pytest.raises(MissingEnvelopeError):
        _ = stored.scalars(select(Memo)).first().reader


def test_columns_of_subclasses_take_envelopes_only(stored: Session) -> None:
    table = Record.__table__
    for values in ({"sealed_memo": b"x"}, {"sealed_memo": None}, {"reader_index": b"x"}):
        with pytest.raises(UnsealedWriteError):
            stored.execute(table.update().values(values))


def test_tables_are_listed_with_all_their_classes(stored: Session) -> None:
    letters, records = sealed_tables(Base)
    assert (records.model, records.owner_table) == (Record, "records")
    assert records.groups == {
        "default": "sealed", "notes": "sealed_notes", "memo": "sealed_memo",
        "warned": "sealed_warned",
    }  # fmt: skip
    assert records.models["warned"] is Alarm
    assert records.index_columns == {"title_index": "title", "reader_index": "reader"}
    assert (letters.model, letters.owner_table, letters.owner_column) == (
        Letter, "records", "tenant_id",
    )  # fmt: skip
    assert letters.groups == {"letter": "sealed_letter", "postcard": "sealed_postcard"}
    needs = {
        kind: [group for group in records.groups if records.needs_envelope(group, {"kind": kind})]
        for kind in ("record", "memo", "warning")
    }
    assert needs == {
        "record": ["default", "notes"],
        "memo": ["default", "notes", "memo"],
        "warning": ["default", "notes", "memo", "warned"],
    }


def rows_checked(session: Session, keyring: Any) -> dict[str, Any]:
    context: Any = SimpleNamespace(progress=SimpleNamespace(advance=lambda *_: None))
    engine: Any = session.get_bind()
    tables = sealed_tables(Base)
    return {each.name: _read_table(each, engine, keyring, context) for each in tables}


def test_a_check_opens_the_rows_of_every_class(stored: Session, keyring: Any) -> None:
    for facts, rows in zip(rows_checked(stored, keyring).values(), (2, 5), strict=True):
        assert (facts.rows, facts.read, facts.bad_rows, facts.refused) == (rows, rows, 0, {})
    stored.execute(text("UPDATE records SET sealed_memo = NULL"))
    stored.execute(
        text("UPDATE letters SET sealed_letter = sealed_postcard WHERE sealed_postcard IS NOT NULL")
    )
    stored.commit()
    found = rows_checked(stored, keyring)
    assert found["records"].refused == {"no envelope": 2}
    assert found["letters"].refused == {"TamperedEnvelopeError": 1}


def test_rows_of_classes_that_share_a_table_move_to_new_keys(
    stored: Session, keyring: Any, tmp_path: Path
) -> None:
    engine: Any = stored.get_bind()
    parts = {part.name: part for part in all_parts(Base)}
    assert list(parts) == [
        "letters:letter", "letters:postcard",
        "records", "records:notes", "records:memo", "records:warned",
    ]  # fmt: skip
    before = {row.sealed_memo for row in stored.execute(select(Record.__table__))}
    keyring.rotate("a", DataKeyClass.ROWS)
    stored.rollback()
    with ThreadPoolExecutor(1) as executor:
        crew = Crew(Store(engine, keyring, Base), executor)
        for name, moved in (("records", 4), ("records:memo", 2), ("records:warned", 1)):
            part = parts[name]
            report = rekey(
                crew.opener,
                part,
                crew,
                Checkpoint(tmp_path / "r.json", part, place_of(part, engine)),
            )
            assert (report.tally.done, report.tally.refused) == (moved, {})
        for name in ("letters:letter", "letters:postcard"):
            part = parts[name]
            with pytest.raises(AdoptionBlockedError, match="found it in records"):
                rekey(
                    crew.opener,
                    part,
                    crew,
                    Checkpoint(tmp_path / "r.json", part, place_of(part, engine)),
                )
    after = {row.sealed_memo for row in stored.execute(select(Record.__table__))}
    assert before & after == {None}
    assert {each.reader for each in stored.scalars(select(Memo))} == {"Ada", "Grace"}


@pytest.fixture
def base() -> Any:
    class Other(DeclarativeBase):
        pass

    return Other


def hierarchy(base: Any, **more: Any) -> Any:
    members = {
        "__tablename__": "records",
        "__owner__": "tenant_id",
        "__module__": __name__,
        "__mapper_args__": {"polymorphic_on": "kind", "polymorphic_identity": "record"},
        "__annotations__": {"title": Mapped[str]},
        "id": mapped_column(String, primary_key=True),
        "tenant_id": mapped_column(String),
        "other": mapped_column(String),
        "kind": mapped_column(String),
        "title": sealed(),
        **more,
    }
    return type("Record", (Sealed, base), members)


def subclass(parent: Any, *mixins: Any, **members: Any) -> Any:
    members = {
        "__module__": __name__,
        "__mapper_args__": {"polymorphic_identity": "memo"},
        "__annotations__": {"reader": Mapped[str]},
        "reader": sealed(),
        **members,
    }
    return type("Memo", (*mixins, parent), members)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            {
                "title": sealed(group="more"),
                "__annotations__": {"title": Mapped[str], "reader": Mapped[str]},
            },
            "'title'",
        ),
        ({"title": mapped_column(String)}, "to stay sealed"),
        ({"title": "a constant"}, "to stay sealed"),
        ({"__annotations__": {"title": Mapped[str], "reader": Mapped[str]}}, "to stay sealed"),
        ({"reader": sealed(group="default")}, "groups of their own"),
        ({"__owner__": "other"}, "one owner"),
        ({"reader": sealed(index=Equality(exact, unique=True))}, "first model"),
        ({"reader": sealed(plaintext="reader")}, "first model"),
        (
            {
                "__tablename__": "memos",
                "__mapper_args__": {"concrete": True, "polymorphic_identity": "memo"},
                "id": mapped_column(String, primary_key=True),
            },
            "concrete",
        ),
        ({"__tablename__": 5}, "__tablename__ of text"),
    ],
)
def test_subclasses_that_cannot_be_sealed(base: Any, members: Any, message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        subclass(hierarchy(base), **members)


def test_a_concrete_subclass_without_sealed_fields_is_refused_too(base: Any) -> None:
    parent = hierarchy(base)
    with pytest.raises(DeclarationError, match="concrete"):
        type(
            "Memo",
            (parent,),
            {
                "__module__": __name__,
                "__tablename__": "memos",
                "__mapper_args__": {"concrete": True, "polymorphic_identity": "memo"},
                "id": mapped_column(String, primary_key=True),
                "tenant_id": mapped_column(String),
            },
        )


def test_names_of_tables_are_not_inherited(base: Any) -> None:
    parent = hierarchy(base, __sealed_name__="papers")
    memo = subclass(parent)
    letter = type(
        "Letter",
        (parent,),
        {
            "__module__": __name__,
            "__tablename__": "letters",
            "__annotations__": {"city": Mapped[str]},
            "__mapper_args__": {"polymorphic_identity": "letter"},
            "id": mapped_column(ForeignKey("records.id"), primary_key=True),
            "city": sealed(),
        },
    )
    assert memo.__sealed__.groups["memo"].table == "papers"
    assert letter.__sealed__.groups["letter"].table == "letters"
    assert letter.__sealed__.groups["default"].table == "papers"


def test_mixins_and_abstract_bases(base: Any, keyring: Any) -> None:
    class Named(Sealed):
        name: Mapped[str] = sealed()

    class Dated(Sealed, base):
        __abstract__ = True
        __owner__ = "tenant_id"
        tenant_id: Mapped[str]
        remark: Mapped[str | None] = sealed(group="remarks")

    class One(Named, Dated):
        __tablename__ = "ones"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)

    class Two(Named, Dated):
        __tablename__ = "twos"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        name: Mapped[bytes] = sealed()  # type: ignore[assignment]  # a model has the last word

    assert not {"name", "remark"} & set(One.__table__.columns.keys())
    assert Two.__sealed__.fields["name"].kind is bytes
    assert One.__sealed__.fields["name"].kind is str
    assert One.__sealed__.groups["default"].table == "ones"
    engine = create_engine("sqlite://")
    base.metadata.create_all(engine)
    with bind(Session(engine), keyring) as session:
        session.add_all(
            [One(id=1, tenant_id="a", name="x", remark="y"), Two(id=1, tenant_id="a", name=b"z")]
        )
        session.commit()
        session.expunge_all()
        one, two = session.get_one(One, 1), session.get_one(Two, 1)
        assert (one.name, one.remark, two.name, two.remark) == ("x", "y", b"z", None)
        raw = session.execute(select(One.__table__)).one()
        assert "x" not in raw
    engine.dispose()


def test_a_mixin_is_not_taken_twice(base: Any) -> None:
    class Named(Sealed):
        name: Mapped[str] = sealed()

    parent = hierarchy(base)
    memo = subclass(parent, Named)
    sub = type(
        "Sub",
        (memo,),
        {"__module__": __name__, "__mapper_args__": {"polymorphic_identity": "sub"}},
    )
    assert set(memo.__sealed__.own_groups["memo"].fields) == set(
        sub.__sealed__.own_groups["memo"].fields
    )
    assert isinstance(vars(memo)["name"], SealedAttribute)
    assert "name" not in vars(sub)


def test_a_sealed_subclass_of_an_ordinary_model(base: Any, keyring: Any) -> None:
    class Person(base):  # type: ignore[misc]  # a fixture's class
        __tablename__ = "people"
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}  # noqa: RUF012 - as above
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        firm: Mapped[str]
        kind: Mapped[str]

    class Patient(Sealed, Person):
        __owner__ = "firm"
        __mapper_args__ = {"polymorphic_identity": "patient"}  # noqa: RUF012 - as above
        illness: Mapped[str] = sealed()

    class Driver(Sealed, Person):
        __tablename__ = "drivers"
        __owner__ = "firm"
        __mapper_args__ = {"polymorphic_identity": "driver"}  # noqa: RUF012 - as above
        id: Mapped[int] = mapped_column(ForeignKey("people.id"), primary_key=True)
        licence: Mapped[str] = sealed()

    engine = create_engine("sqlite://")
    base.metadata.create_all(engine)
    with bind(Session(engine), keyring) as session:
        session.add_all(
            [
                Person(id=1, firm="a"),
                Patient(id=2, firm="a", illness="flu"),
                Driver(id=3, firm="a", licence="B"),
            ]
        )
        session.commit()
        session.expunge_all()
        person, patient, driver = session.scalars(select(Person).order_by(Person.id)).all()
        assert (person.kind, patient.illness, driver.licence) == ("person", "flu", "B")
        assert set(session.execute(select(Person.__table__.c.sealed_patient)).scalars()) > {None}
    engine.dispose()


def test_classes_of_an_enumeration(base: Any) -> None:
    class Kind(enum.Enum):
        RECORD = "r"
        MEMO = "m"

    parent = hierarchy(
        base,
        kind=mapped_column(SqlEnum(Kind)),
        __mapper_args__={"polymorphic_on": "kind", "polymorphic_identity": Kind.RECORD},
    )
    subclass(parent, __mapper_args__={"polymorphic_identity": Kind.MEMO})
    (table,) = sealed_tables(base)
    for kind in ("MEMO", Kind.MEMO):
        assert table.needs_envelope("memo", {"kind": kind})
    assert not table.needs_envelope("memo", {"kind": "RECORD"})


def test_a_registry_without_a_declarative_base(keyring: Any) -> None:
    mappers = registry()

    @mappers.mapped
    class Paper(Sealed):
        __tablename__ = "papers"
        __owner__ = "tenant_id"
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "paper"}  # noqa: RUF012 - as above
        id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
        tenant_id: Mapped[str]
        kind: Mapped[str]

    @mappers.mapped
    class Bill(Paper):
        __mapper_args__ = {"polymorphic_identity": "bill"}  # noqa: RUF012 - as above
        amount: Mapped[int] = sealed()

    engine = create_engine("sqlite://")
    mappers.metadata.create_all(engine)
    with bind(Session(engine), keyring) as session:
        session.add(Bill(tenant_id="a", amount=5))
        session.commit()
        assert session.scalars(select(Paper)).one().amount == 5
    engine.dispose()
