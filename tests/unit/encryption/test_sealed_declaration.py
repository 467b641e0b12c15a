"""What can be declared, and what is refused when the class is made, with the way out."""

# ruff: noqa: RUF012 - declared as models are

from __future__ import annotations

import enum
import sys
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, Optional
from uuid import UUID, uuid4

import pytest
from sqlalchemy import (
    CHAR,
    NCHAR,
    Column,
    FetchedValue,
    Float,
    ForeignKey,
    Identity,
    Integer,
    MetaData,
    Sequence,
    String,
    Table,
    TypeDecorator,
    Uuid,
    create_engine,
    func,
    inspect,
    select,
    text,
)
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    registry,
    relationship,
)

from assay.encryption import BlindIndexError
from assay.encryption.sqlalchemy import (
    DeclarationError,
    Equality,
    Sealed,
    Transform,
    bind,
    casefold,
    digits,
    exact,
    sealed,
    sealed_tables,
)


class Colour(enum.Enum):
    RED = 1


class Word(enum.StrEnum):
    HELLO = "hello"


class Mixed(enum.Enum):
    ONE = 1
    TWO = "two"


@dataclass
class Point:
    x: int


@dataclass(frozen=True)
class Place:
    x: int


@pytest.fixture
def base() -> Any:
    class Base(DeclarativeBase):
        pass

    return Base


def declare(base: Any, annotation: Any = Mapped[str], field: Any = None, **members: Any) -> Any:
    """A model with one sealed field, and whatever else."""
    members = {
        "__tablename__": "documents",
        "__owner__": "tenant_id",
        "id": mapped_column(Uuid, primary_key=True, default=uuid4),
        "tenant_id": mapped_column(String),
        "text": sealed() if field is None else field,
        **members,
    }
    members = {name: value for name, value in members.items() if value is not ...}
    annotations = {} if annotation is None else {"text": annotation}
    members |= {"__annotations__": annotations, "__module__": __name__}
    return type("Document", (Sealed, base), members)


@pytest.mark.parametrize(
    ("annotation", "kind", "nullable"),
    [
        (Mapped[str], str, False),
        ("Mapped[str]", str, False),
        (Mapped["str | None"], str, True),
        (Mapped[Optional[Decimal]], Decimal, True),  # noqa: UP045 - the older spelling counts too
        ("Mapped[UUID | None]", UUID, True),
        (Mapped[dict[str, Any]], dict, False),
        (Mapped[list[int] | None], list, True),
        (Mapped[Annotated[str, "note"]], str, False),
        (Mapped[Colour], int, False),
        (Mapped[Word | None], str, True),
        (Mapped[Place], dict, False),
    ],
)
def test_annotations(base: Any, annotation: Any, kind: type, nullable: bool) -> None:
    field = declare(base, annotation).__sealed__.fields["text"]
    assert (field.kind, field.nullable) == (kind, nullable)


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (Mapped[Point], r"dataclass\(frozen=True\)"),
        (Mapped[Mixed], "all text, or all integers"),
        (Mapped[Colour | Word], "convert it in a property"),
        (Mapped[Any], "convert it in a property"),
        (Mapped[object], "convert it in a property"),
        (Mapped[timedelta], "convert it in a property"),
        (Mapped[tuple[int, int]], "convert it in a property"),
        (Mapped[set[int]], "convert it in a property"),
        (Mapped[Literal["a"]], "convert it in a property"),
        (Mapped[str | int], "convert it in a property"),
        (Mapped[None], "convert it in a property"),
        (str, "Mapped"),
        ("str", "Mapped"),
        (None, "found none"),
        ("Mapped[Fraction]", "TYPE_CHECKING"),
    ],
)
def test_types_that_cannot_be_sealed(base: Any, annotation: Any, message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        declare(base, annotation)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"__owner__": ...}, "__owner__"),
        ({"__owner__": 5}, "__owner__"),
        ({"__owner__": "nobody"}, "'nobody'"),
        ({"__owner__": "text"}, "'text'"),
        ({"tenant_id": mapped_column(Float)}, "to be text, a UUID or an integer"),
        ({"__tablename__": ...}, "__tablename__"),
        ({"sealed": mapped_column(String)}, "'sealed'"),
        ({"id": mapped_column(Integer, primary_key=True)}, "autoincrement=False"),
        ({"id": mapped_column(Integer, Identity(), primary_key=True)}, "database makes"),
        ({"id": mapped_column(Integer, Sequence("s"), primary_key=True)}, "database makes"),
        (
            {"id": mapped_column(Uuid, primary_key=True, server_default=text("gen()"))},
            "database makes",
        ),
        ({"id": mapped_column(Uuid, primary_key=True, default=func.gen())}, "database makes"),
        ({"id": mapped_column(Float, primary_key=True, default=1.0)}, "UUID, an integer or text"),
    ],
)
def test_models_that_cannot_be_sealed(base: Any, members: dict[str, Any], message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        declare(base, **members)


@pytest.mark.parametrize("key", [Uuid, String, Integer])
def test_keys_that_are_assigned(base: Any, key: Any) -> None:
    model = declare(base, id=mapped_column(key, primary_key=True, autoincrement=False))
    assert model.__sealed__.key == ("id",)


@pytest.mark.parametrize(
    ("annotation", "transform"),
    [
        (Mapped[bytes], casefold),
        (Mapped[int], digits),
        (Mapped[float], exact),
        (Mapped[dict], exact),
        (Mapped[Colour], exact),
        (Mapped[Word], exact),
        (Mapped[Place], exact),
    ],
)
def test_indexes_that_do_not_fit(base: Any, annotation: Any, transform: Transform) -> None:
    with pytest.raises(DeclarationError, match=r"transform|gives them away"):
        declare(base, annotation, sealed(index=Equality(transform)))


def test_index_lengths_that_do_not_exist(base: Any) -> None:
    with pytest.raises(BlindIndexError):
        declare(base, field=sealed(index=Equality(exact, bits=257)))


def test_names_that_are_taken_by_an_index(base: Any) -> None:
    with pytest.raises(DeclarationError, match="text_index"):
        declare(base, field=sealed(index=Equality(exact)), text_index=mapped_column(String))


@pytest.mark.parametrize("order", ["base first", "no Sealed", "no base"])
def test_a_class_on_which_nothing_would_be_sealed_is_refused(base: Any, order: str) -> None:
    """SQLAlchemy would make an ordinary column of the annotation."""
    bases = {"base first": (base, Sealed), "no Sealed": (base,), "no base": (object,)}[order]
    with pytest.raises((DeclarationError, RuntimeError)) as raised:
        type(
            "Document",
            bases,
            {
                "__tablename__": "documents",
                "__owner__": "id",
                "__module__": __name__,
                "__annotations__": {"text": Mapped[str]},
                "id": mapped_column(Uuid, primary_key=True, default=uuid4),
                "text": sealed(),
            },
        )
    error = raised.value if sys.version_info >= (3, 12) else raised.value.__cause__
    assert isinstance(error, DeclarationError)
    assert "class Document(Sealed, Base)" in str(error)
    assert base.metadata.tables == {}


def test_a_field_that_is_put_on_a_class_later_is_refused(base: Any) -> None:
    class Texts(Sealed):
        pass

    Texts.more = sealed()  # type: ignore[attr-defined]  # where nobody sees it
    members = {"__tablename__": "texts", "__owner__": "id", "__module__": __name__}
    with pytest.raises(DeclarationError, match="found none; write for example"):
        type("Document", (Texts, base), members)


def test_a_class_that_is_mapped_imperatively_is_refused() -> None:
    class Document(Sealed):
        text: Mapped[str] = sealed()

    mappers = registry()
    table = Table("documents", mappers.metadata, Column("id", Integer, primary_key=True))
    with pytest.raises(DeclarationError, match="'text', found it mapped in another way"):
        mappers.map_imperatively(Document, table)


def test_tables_made_elsewhere_are_refused(base: Any) -> None:
    table = declare(base).__table__
    with pytest.raises(DeclarationError, match="__table"):
        declare(base, __table__=table, __tablename__=...)


def test_groups_and_columns(base: Any) -> None:
    class Document(Sealed, base):
        __tablename__ = "documents"
        __owner__ = "tenant_id"
        id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
        email: Mapped[str] = sealed(index=Equality(casefold, bits=72))
        tenant_id: Mapped[str]
        text: Mapped[str] = sealed(group="content")
        label: Mapped[str | None]

    table = Document.__table__
    assert [column.name for column in table.columns] == [
        "id", "tenant_id", "label", "sealed", "sealed_content", "email_index",
    ]  # fmt: skip
    assert [table.c[name].nullable for name in ("sealed", "sealed_content", "email_index")] == [
        False, False, True,
    ]  # fmt: skip
    assert [index.columns.keys() for index in table.indexes] == [["email_index"]]
    assert {name: group.column for name, group in Document.__sealed__.groups.items()} == {
        "default": "sealed", "content": "sealed_content",
    }  # fmt: skip


def test_names_in_associated_data(base: Any) -> None:
    assert declare(base).__sealed__.name == "documents"

    class Base(DeclarativeBase):
        metadata = MetaData(schema="shop")

    class Other(DeclarativeBase):
        pass

    class Third(DeclarativeBase):
        pass

    assert declare(Base).__sealed__.name == "shop.documents"
    assert declare(Other, __table_args__={"schema": "x"}).__sealed__.name == "x.documents"
    renamed = declare(Third, __sealed_name__="papers", field=sealed(index=Equality(exact)))
    assert renamed.__sealed__.name == "papers"
    assert renamed.__sealed__.indexes["text"]["text_index"].table == "papers"
    assert [table.name for table in sealed_tables(Third)] == ["documents"]


def test_a_registry_without_a_declarative_base(keyring: Any) -> None:
    mappers = registry()

    @mappers.mapped
    class Document(Sealed):
        __tablename__ = "documents"
        __owner__ = "tenant_id"
        id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
        tenant_id: Mapped[int]
        text: Mapped[str] = sealed()

    engine = create_engine("sqlite://")
    mappers.metadata.create_all(engine)
    with bind(Session(engine), keyring) as session:
        session.add(Document(tenant_id=7, text="one"))
        session.commit()
        assert session.scalars(select(Document)).one().text == "one"
    assert keyring.owners("rows") == ["7"]
    assert [table.model for table in sealed_tables(mappers)] == [Document]
    engine.dispose()


def test_inheritance(base: Any, keyring: Any) -> None:
    class Document(Sealed, base):
        __tablename__ = "documents"
        __owner__ = "tenant_id"
        id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
        tenant_id: Mapped[str]
        kind: Mapped[str]
        text: Mapped[str] = sealed(index=Equality(exact))
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "document"}

    class Memo(Document):
        __mapper_args__ = {"polymorphic_identity": "memo"}

    class Letter(Document):
        __tablename__ = "letters"
        id: Mapped[UUID] = mapped_column(ForeignKey("documents.id"), primary_key=True)
        city: Mapped[str]
        __mapper_args__ = {"polymorphic_identity": "letter"}

    engine = create_engine("sqlite://")
    base.metadata.create_all(engine)
    with bind(Session(engine), keyring) as session:
        session.add_all(
            [
                Document(tenant_id="a", text="one"),
                Memo(tenant_id="a", text="two"),
                Letter(tenant_id="a", text="three", city="Paris"),
            ]
        )
        session.commit()
        found = session.scalars(select(Document)).all()
        assert {(type(each), each.text) for each in found} == {
            (Document, "one"), (Memo, "two"), (Letter, "three"),
        }  # fmt: skip
        assert session.scalars(select(Letter).where(Letter.text == "three")).one().city == "Paris"
        assert session.scalars(select(Memo).where(Memo.text == "three")).all() == []
        assert (
            session.scalars(
                select(Letter).where(Document.tenant_id == "a", Letter.text == "three")
            ).one()
            is found[2]
        )
        letter = session.scalars(select(Letter)).one()
        letter.text = "four"
        session.commit()
        assert session.scalars(select(Document).where(Document.text == "four")).one() is letter
    assert [table.name for table in sealed_tables(base)] == ["documents"]
    engine.dispose()


def test_defaults(base: Any, keyring: Any) -> None:
    class Document(Sealed, base):
        __tablename__ = "documents"
        __owner__ = "tenant_id"
        id: Mapped[str] = mapped_column(primary_key=True, default=lambda: "first")
        tenant_id: Mapped[str] = mapped_column(default="house")
        text: Mapped[str] = sealed(default="empty")
        tags: Mapped[list[str]] = sealed(default=list)

    engine = create_engine("sqlite://")
    base.metadata.create_all(engine)
    with bind(Session(engine), keyring) as session:
        session.add(Document())
        session.commit()
        one = session.scalars(select(Document)).one()
        assert (one.id, one.tenant_id, one.text, one.tags) == ("first", "house", "empty", [])
    engine.dispose()


def test_a_default_of_another_type_is_refused(base: Any, keyring: Any) -> None:
    from assay.encryption.sqlalchemy import SealedValueError

    model = declare(base, field=sealed(default=5))
    engine = create_engine("sqlite://")
    base.metadata.create_all(engine)
    with bind(Session(engine), keyring) as session:
        session.add(model(tenant_id="a"))
        with pytest.raises(SealedValueError, match="expected str"):
            session.flush()
    engine.dispose()


def test_a_model_without_sealed_fields_is_an_ordinary_model(base: Any) -> None:
    class Plain(Sealed, base):
        __tablename__ = "plain"
        id: Mapped[int] = mapped_column(primary_key=True)

    engine = create_engine("sqlite://")
    base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Plain())
        session.commit()
    assert sealed_tables(base) == []
    engine.dispose()


def test_relationships_to_a_sealed_model(base: Any) -> None:
    class Owner(base):
        __tablename__ = "owners"
        id: Mapped[str] = mapped_column(primary_key=True)

    class Document(Sealed, base):
        __tablename__ = "documents"
        __owner__ = "owner_id"
        id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
        owner_id: Mapped[str] = mapped_column(ForeignKey("owners.id"))
        text: Mapped[str] = sealed()
        owner = relationship(Owner)

    assert set(inspect(Document).relationships.keys()) == {"owner"}


def test_annotated_declarations_are_refused() -> None:
    with pytest.raises(DeclarationError, match="within Annotated"):
        Annotated[str, sealed()]  # type: ignore[misc]  # the point


class Silent(TypeDecorator[str]):
    impl = String
    cache_ok = True


class Padded(TypeDecorator[str]):
    impl = CHAR
    cache_ok = True

    @property
    def python_type(self) -> type:
        return str


class Stripped(Padded):
    def process_result_value(self, value: Any, dialect: Any) -> Any:
        del dialect
        return value and value.rstrip()


def bound(base: Any, place: str, column: Any) -> Any:
    """A model whose owner or primary key is a column."""
    given = {"owner": mapped_column(String), "id": mapped_column(String, primary_key=True)}
    given[place] = column
    given[place].column.primary_key = place == "id"
    members = {
        "__tablename__": "bound",
        "__owner__": "owner",
        "__annotations__": {"owner": Mapped[str], "id": Mapped[str], "text": Mapped[str]},
        "text": sealed(),
        **given,
    }
    return type("Bound", (Sealed, base), members)


def referring(rule: str | None, ondelete: str | None = None) -> Any:
    return mapped_column(String, ForeignKey("x.id", onupdate=rule, ondelete=ondelete))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (lambda: mapped_column(CHAR(5)), "found CHAR"),
        (lambda: mapped_column(NCHAR(5)), "found CHAR"),
        (lambda: mapped_column(Padded(5)), "found CHAR"),
        (lambda: mapped_column(String().with_variant(CHAR(5), "postgresql")), "found CHAR"),
        (lambda: mapped_column(Uuid(as_uuid=False)), "several spellings"),
        (lambda: mapped_column(String, onupdate="other"), "onupdate"),
        (lambda: mapped_column(String, server_onupdate=FetchedValue()), "onupdate"),
        (lambda: referring("CASCADE"), "ON UPDATE"),
        (lambda: referring("set null"), "ON UPDATE"),
        (lambda: referring(None, "SET NULL"), "ON DELETE"),
        (lambda: referring("RESTRICT", "set default"), "ON DELETE"),
    ],
)
@pytest.mark.parametrize("place", ["owner", "id"])
def test_what_rows_are_bound_to_is_read_as_it_was_written(
    base: Any, column: Any, message: str, place: str
) -> None:
    with pytest.raises(DeclarationError, match=message):
        bound(base, place, column())


@pytest.mark.parametrize(
    "column",
    [
        lambda: mapped_column(Stripped(5)),
        lambda: referring(None),
        lambda: referring("RESTRICT"),
        lambda: referring("no action"),
        lambda: referring(None, "CASCADE"),
        lambda: referring(None, "RESTRICT"),
    ],
)
@pytest.mark.parametrize("place", ["owner", "id"])
def test_what_is_read_as_it_was_written_is_taken(base: Any, column: Any, place: str) -> None:
    assert bound(base, place, column()).__sealed__.owner == "owner"


@pytest.mark.parametrize("place", ["owner", "id"])
def test_a_reference_to_a_later_table_names_its_type(base: Any, place: str) -> None:
    with pytest.raises(DeclarationError, match=r"mapped_column\(String, ForeignKey"):
        bound(base, place, mapped_column(ForeignKey("later.id")))


@pytest.mark.parametrize("place", ["owner", "id"])
def test_a_type_of_ones_own_says_what_it_gives(base: Any, place: str) -> None:
    with pytest.raises(DeclarationError, match="declare the property python_type on it"):
        bound(base, place, mapped_column(Silent(5)))
