"""Models that are dataclasses, of every style: what their constructors take, show and compare."""

# ruff: noqa: RUF012 - declared as models are

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import traceback
from collections.abc import Iterator
from dataclasses import InitVar, dataclass
from enum import Enum
from functools import partial
from typing import Any, dataclass_transform
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, ForeignKey, create_engine, insert, select, update
from sqlalchemy import text as sql
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    Session,
    mapped_as_dataclass,
    mapped_column,
    registry,
    relationship,
    sessionmaker,
    unmapped_dataclass,
    validates,
)
from sqlalchemy.orm.exc import StaleDataError

from assay.encryption.sqlalchemy import (
    DeclarationError,
    Equality,
    OwnerChangedError,
    Prefix,
    Sealed,
    SealedValueError,
    UnopenedError,
    UnsealedPickleError,
    bind,
    casefold,
    exact,
    matching,
    sealed,
)

SECRET = "Dear Ada, do not tell"


@dataclass_transform(field_specifiers=(mapped_column, relationship, sealed))
class AsDataclass(MappedAsDataclass):
    """Tells type checkers that `sealed` declares a field, as `mapped_column` does."""


class Base(AsDataclass, DeclarativeBase):
    pass


class Colour(Enum):
    RED = "red"


class Document(Sealed, Base):
    __tablename__ = "documents"
    __owner__ = "owner"

    owner: Mapped[str]
    text: Mapped[str] = sealed(index=[Equality(exact), Prefix(casefold, lengths=(3,))])
    id: Mapped[UUID] = mapped_column(primary_key=True, default_factory=uuid4)
    label: Mapped[str | None] = mapped_column(default=None)
    pages: Mapped[int] = sealed(default=1, index=Equality(exact))
    tags: Mapped[list[Any]] = sealed(default_factory=list)
    words: Mapped[dict[str, Any]] = sealed(default={"a": 1})
    colour: Mapped[Colour] = sealed(default=Colour.RED, kw_only=True)
    read: Mapped[int | None] = sealed(init=False, group="content")
    state: Mapped[str] = sealed(init=False, default="new", group="content")
    seen: Mapped[int | None] = sealed(default=None, compare=False, group="content")
    note: Mapped[str | None] = sealed(default="nothing yet", kw_only=True)


class Shelf(Base):
    __tablename__ = "shelves"
    id: Mapped[int] = mapped_column(primary_key=True)
    books: Mapped[list[Book]] = relationship(back_populates="shelf", default_factory=list)


class Book(Sealed, Base, kw_only=True, order=True):
    """Ordered, with functions that look at what is assigned."""

    __tablename__ = "books"
    __owner__ = "owner"
    __sealed_versions__ = True

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    owner: Mapped[str] = mapped_column(default="north")
    kind: Mapped[str] = mapped_column(init=False)
    title: Mapped[str] = sealed()
    upper: Mapped[str | None] = sealed(default="x")
    shelf_id: Mapped[int | None] = mapped_column(ForeignKey("shelves.id"), default=None)
    shelf: Mapped[Shelf | None] = relationship(back_populates="books", default=None)
    shout: InitVar[bool] = False
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "book"}

    def __post_init__(self, shout: bool) -> None:
        if shout:
            self.title = self.title.upper()

    @validates("title", "upper")
    def _check(self, name: str, value: str) -> str:
        assert isinstance(value, str), "a validator sees what is assigned, and no mark"
        return value.strip()


class Novel(Book, kw_only=True):
    __mapper_args__ = {"polymorphic_identity": "novel"}
    hero: Mapped[str | None] = sealed(default="Ada")


class Atlas(Book, kw_only=True):
    __tablename__ = "atlases"
    __mapper_args__ = {"polymorphic_identity": "atlas"}
    id: Mapped[int] = mapped_column(ForeignKey("books.id"), primary_key=True)
    scale: Mapped[int] = sealed()


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def sessions(engine: Engine, keyring: Any) -> Any:
    return bind(sessionmaker(engine), keyring)


def stored(engine: Engine) -> bytes:
    """Everything that the database holds."""
    with engine.connect() as connection:
        raw: Any = connection.connection.driver_connection
        return bytes(raw.serialize())


def test_the_constructor_takes_what_dataclasses_take() -> None:
    parameters = inspect.signature(Document).parameters
    assert [*parameters] == [
        "owner", "text", "id", "label", "pages", "tags", "words", "seen", "colour", "note",
    ]  # fmt: skip
    assert parameters["text"].default is inspect.Parameter.empty
    assert parameters["colour"].kind is inspect.Parameter.KEYWORD_ONLY
    assert [each.name for each in dataclasses.fields(Document) if not each.compare] == ["seen"]
    with pytest.raises(TypeError, match="read"):
        Document("north", SECRET, read=1)  # type: ignore[call-arg]  # what is refused


def test_defaults_are_there_at_once_and_in_the_row(sessions: Any, engine: Engine) -> None:
    one = Document("north", SECRET)
    expected: tuple[Any, ...] = (1, [], {"a": 1}, Colour.RED, None, "new", None, "nothing yet")
    with sessions() as session:
        for _ in ("new", "flushed", "committed", "loaded"):
            found = (
                one.pages, one.tags, one.words, one.colour,
                one.read, one.state, one.seen, one.note,
            )  # fmt: skip
            assert found == expected
            session.add(one)
            session.commit()
        session.expunge_all()
        one = session.scalars(select(Document).where(Document.pages == 1)).one()
        assert (one.text, one.note, one.state) == (SECRET, "nothing yet", "new")
    assert SECRET.encode() not in stored(engine)
    assert b"nothing yet" not in stored(engine)


def test_what_is_given_goes_before_defaults(sessions: Any) -> None:
    with sessions() as session:
        session.add(Document("north", "a", pages=7, tags=["x"], note=None, words={}))
        session.commit()
        found = session.scalars(select(Document)).one()
        assert (found.pages, found.tags, found.note, found.words) == (7, ["x"], None, {})


def test_a_factory_makes_a_value_for_each() -> None:
    one, other = Document("north", "a"), Document("north", "b")
    one.tags = ["x"]
    assert other.tags == []


def test_no_repr_shows_a_sealed_field(sessions: Any) -> None:
    one = Document("north", SECRET, note="hidden", label="shown")
    with sessions() as session:
        assert "shown" in repr(one)
        session.add(one)
        session.commit()
        loaded = session.get_one(Document, one.id, populate_existing=True)
        assert loaded.text == SECRET
        for each in (repr(one), repr(loaded), str(loaded)):
            assert SECRET not in each
            assert "hidden" not in each
            assert "text" not in each
    with pytest.raises(TypeError, match="repr"):
        sealed(repr=True)  # type: ignore[call-arg]  # what is refused


def test_equality_compares_sealed_values(sessions: Any) -> None:
    one = Document("north", SECRET)
    same = Document("north", SECRET, id=one.id, seen=5)
    other = Document("north", SECRET + "!", id=one.id)
    assert one == same
    assert one != other
    with sessions() as session:
        session.add(one)
        session.commit()
    with sessions() as session:
        assert session.get(Document, same.id) == same
        assert session.get(Document, same.id) != other
    assert getattr(Document, "__hash__", 1) is None  # as of any such dataclass
    assert Book(id=1, title="a") < Book(id=1, title="b")
    changed = dataclasses.replace(same, text="else")
    assert (changed.text, changed.id, same.text) == ("else", same.id, SECRET)


def test_unread_and_detached_it_is_not_compared(sessions: Any) -> None:
    with sessions() as session:
        session.add(Document("north", SECRET))
        session.commit()
        one = session.scalars(select(Document)).one()
        session.expunge(one)
    with pytest.raises(UnopenedError):
        assert one == Document("north", SECRET, id=one.id)


def test_merging_a_new_instance_leaves_alone_what_nobody_gave(sessions: Any) -> None:
    with sessions() as session:
        session.add(one := Document("north", "first", pages=7, note="kept"))
        one.state, key = "kept", one.id
        session.commit()
    with sessions() as session:
        session.merge(Document("north", "second", id=key))
        session.commit()
        found = session.get_one(Document, key)
        assert (found.text, found.pages, found.note, found.state) == ("second", 7, "kept", "kept")
        session.merge(Document("north", "third", id=key, pages=1))
        session.commit()
        assert (found.text, found.pages) == ("third", 1)
        with pytest.raises(OwnerChangedError):
            session.merge(Document("south", "x", id=key))


def test_refresh_expire_and_rollback(sessions: Any) -> None:
    with sessions() as session:
        session.add(one := Document("north", "first"))
        session.commit()
        one.text, one.pages = "second", 2
        session.refresh(one)
        assert (one.text, one.pages) == ("first", 1)
        one.pages = 3
        session.expire(one)
        assert one.pages == 1
        one.pages = 4
        session.rollback()
        assert one.pages == 1


def test_no_update_is_lost(sessions: Any) -> None:
    with sessions() as session:
        session.add(one := Document("north", "first"))
        session.commit()
        with sessions() as other:
            mine, theirs = one, other.get_one(Document, one.id)
            theirs.pages = 9
            assert mine.text == "first"
            other.commit()
            mine.text = "second"
            with pytest.raises(StaleDataError):
                session.commit()


def test_pickles_and_copies(sessions: Any) -> None:
    one = Document("north", SECRET)
    with pytest.raises(UnsealedPickleError):
        pickle.dumps(one)
    with sessions() as session:
        session.add(one)
        session.commit()
        assert one.text == SECRET
        data = pickle.dumps(one)
        assert SECRET.encode() not in data
        copied = copy.copy(one)
        assert (copied.text, copied) == (SECRET, one)
    again = pickle.loads(data)  # noqa: S301 - of this test
    with sessions() as session:
        session.add(again)
        assert (again.text, again.pages) == (SECRET, 1)
        again.text = "changed"
        session.commit()
        assert again.text == "changed"


def test_a_copy_of_a_new_instance_has_values_of_its_own() -> None:
    one = Document("north", "one")
    other = copy.copy(one)
    other.text = "other"
    assert (one.text, other.text, other.pages) == ("one", "other", 1)


def test_rows_in_bulk_get_the_defaults(sessions: Any) -> None:
    with sessions() as session:
        session.execute(insert(Document), [{"id": uuid4(), "owner": "north", "text": "a"}])
        found = session.scalars(select(Document)).one()
        assert (found.pages, found.tags, found.colour, found.note) == (
            1, [], Colour.RED, "nothing yet",
        )  # fmt: skip
        session.execute(update(Document).where(Document.text == "a").values(label="x"))
        assert found.label == "x"


def test_instances_that_have_no_hash_are_searched(sessions: Any) -> None:
    with sessions() as session:
        session.add_all([Document("north", "report one"), Document("north", "reply")])
        session.commit()
        statement = select(Document).where(Document.owner == "north")
        found = matching(session, statement.where(Document.text.startswith("repo")))
        assert [each.text for each in found] == ["report one"]


def test_values_of_another_type_are_refused_and_not_shown() -> None:
    for make in (
        partial(Document, "north", SECRET.encode()),  # type: ignore[arg-type]  # what is refused
        partial(Document, "north", "x", pages=SECRET),  # type: ignore[arg-type]  # what is refused
    ):
        with pytest.raises(SealedValueError) as caught:
            make()
        assert SECRET not in str(caught.value)
        shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        of_the_room = [each for each in shown.stack if "assay" in each.filename]
        assert [each for each in of_the_room if SECRET in str(each.locals)] == []


def test_functions_that_validate_see_what_is_given_and_no_default(sessions: Any) -> None:
    book = Book(id=1, title=" a ")
    assert (book.title, book.upper, Book(id=2, title=" b ", shout=True).title) == ("a", "x", "B")
    with sessions() as session:
        session.add(book)
        session.commit()
        assert (book.owner, book.upper) == ("north", "x")


def test_hierarchies(sessions: Any, engine: Engine) -> None:
    with sessions() as session:
        novel = Novel(id=1, title="n", owner="south")
        shelf = Shelf(id=1, books=[Atlas(id=2, title="a", scale=5), novel])
        session.add(shelf)
        assert (novel.hero, novel.upper) == ("Ada", "x")
        session.commit()
        session.expunge_all()
        found: list[Any] = session.get_one(Shelf, 1).books
        assert [(type(each), each.title) for each in found] == [(Novel, "n"), (Atlas, "a")]
        assert (found[0].hero, found[0].owner, found[1].scale) == ("Ada", "south", 5)
        found[1].title = "changed"
        session.commit()
        assert found[1].title == "changed"
        session.merge(Novel(id=1, title="again", owner="south"))
        session.commit()
        assert (found[0].title, found[0].upper) == ("again", "x")


@pytest.mark.parametrize("style", ["method", "function"])
def test_a_registry_makes_dataclasses(keyring: Any, style: str) -> None:
    mappers = registry()
    decorate: Any = (
        mappers.mapped_as_dataclass if style == "method" else mapped_as_dataclass(mappers)
    )

    @decorate
    class Paper(Sealed):
        __tablename__ = "papers"
        __owner__ = "owner"
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "paper"}
        id: Mapped[str] = mapped_column(primary_key=True)
        owner: Mapped[str]
        text: Mapped[str] = sealed()
        kind: Mapped[str] = mapped_column(init=False)
        size: Mapped[int] = sealed(default=4)

    @decorate
    class Bill(Paper):
        __mapper_args__ = {"polymorphic_identity": "bill"}
        amount: Mapped[int] = sealed(default=3)

    make: Any = Paper  # type checkers take fields for arguments when a specifier says so
    make_bill: Any = Bill
    engine = create_engine("sqlite://")
    mappers.metadata.create_all(engine)
    with bind(Session(engine), keyring) as session:
        paper = make("1", "north", SECRET)
        assert SECRET not in repr(paper)
        session.add_all([paper, make_bill("2", "north", SECRET, 5)])
        session.commit()
        bill = session.get_one(Bill, "2")
        assert (paper.text, paper.size, bill.size, bill.amount) == (SECRET, 4, 5, 3)
        assert SECRET.encode() not in stored(engine)
    engine.dispose()


def test_a_mixin_may_be_a_dataclass(keyring: Any) -> None:
    class Other(AsDataclass, DeclarativeBase):
        pass

    class Titled(Sealed, AsDataclass):
        __owner__ = "owner"
        owner: Mapped[str]
        title: Mapped[str] = sealed()

    decorate: Any = unmapped_dataclass

    @decorate
    class Sized(Sealed):
        size: Mapped[int] = sealed()

    class Plain(Sealed):
        last: Mapped[int] = sealed(default=9)

    class Paper(Plain, Sized, Titled, Other):
        __tablename__ = "papers"
        id: Mapped[str] = mapped_column(primary_key=True)

    assert [*inspect.signature(Paper).parameters] == ["owner", "title", "size", "id", "last"]
    model: Any = Paper  # type checkers do not know of the last one
    engine = create_engine("sqlite://")
    Other.metadata.create_all(engine)
    with bind(Session(engine), keyring) as session:
        session.add(model("north", SECRET, 5, "1"))
        session.commit()
        found = session.get_one(model, "1")
        assert (found.title, found.size, found.last) == (SECRET, 5, 9)
        assert SECRET.encode() not in stored(engine)
    engine.dispose()


def test_a_mixin_may_be_a_dataclass_first() -> None:
    class Other(AsDataclass, DeclarativeBase):
        pass

    class Titled(AsDataclass, Sealed):
        title: Mapped[str] = sealed()
        body: Mapped[str | None] = sealed(init=False, default="b")

    class Paper(Titled, Other):
        __tablename__ = "papers"
        __owner__ = "owner"
        id: Mapped[str] = mapped_column(primary_key=True)
        owner: Mapped[str]

    assert [*inspect.signature(Paper).parameters] == ["title", "id", "owner"]
    model: Any = Paper
    assert model(SECRET, "1", "north").body == "b"


def test_columns_in_the_clear_are_left_out(keyring: Any) -> None:
    class Other(AsDataclass, DeclarativeBase):
        pass

    class Person(Sealed, Other):
        __tablename__ = "people"
        __owner__ = "owner"
        id: Mapped[str] = mapped_column(primary_key=True)
        owner: Mapped[str]
        email: Mapped[str] = sealed(plaintext="email")
        phone: Mapped[str | None] = sealed(default="none", plaintext=mapped_column("tel"))

    assert [*inspect.signature(Person).parameters] == ["id", "owner", "email", "phone"]
    engine = create_engine("sqlite://")
    Other.metadata.create_all(engine)
    with bind(Session(engine), keyring) as session:
        session.add(one := Person("1", "north", "ada@x"))
        assert "ada@x" not in repr(one)
        session.commit()
        assert "ada@x" not in repr(one)
        assert session.execute(sql("SELECT email, tel FROM people")).one() == ("ada@x", "none")
        session.execute(sql("INSERT INTO people (id, owner, email) VALUES ('2', 'north', 'b@x')"))
        old = session.get_one(Person, "2")
        assert (old.email, old.phone) == ("b@x", None)
        assert old == Person("2", "north", "b@x", None)
    engine.dispose()


def test_what_is_for_dataclasses_is_refused_on_ordinary_models() -> None:
    class Other(DeclarativeBase):
        pass

    with pytest.raises(DeclarationError, match=r"sealed\(init=….* on an ordinary model; leave"):

        class Paper(Sealed, Other):
            __tablename__ = "papers"
            __owner__ = "owner"
            id: Mapped[str] = mapped_column(primary_key=True)
            owner: Mapped[str]
            text: Mapped[str] = sealed(init=False)

    Other.registry.dispose()


def test_one_default_is_enough() -> None:
    with pytest.raises(DeclarationError, match="both default and default_factory"):
        sealed(default=1, default_factory=int)


def test_defaults_of_another_type_are_refused() -> None:
    class Other(AsDataclass, DeclarativeBase):
        pass

    with pytest.raises(SealedValueError, match="expected int for the sealed field 'pages'"):

        class Paper(Sealed, Other):
            __tablename__ = "papers"
            __owner__ = "owner"
            id: Mapped[str] = mapped_column(primary_key=True)
            owner: Mapped[str]
            pages: Mapped[int] = sealed(default="one")

    Other.registry.dispose()


def test_a_dataclass_of_a_mapped_model_hides_no_field(keyring: Any) -> None:
    class Other(DeclarativeBase):
        pass

    class Paper(Sealed, Other):
        __tablename__ = "papers"
        __owner__ = "owner"
        id: Mapped[str] = mapped_column(primary_key=True)
        owner: Mapped[str] = mapped_column()
        text: Mapped[str | None] = sealed()

    engine = create_engine("sqlite://")
    Other.metadata.create_all(engine)
    model: Any = dataclass(init=False)(
        Paper
    )  # too late for SQLAlchemy, and no harm to what is sealed
    with bind(Session(engine), keyring) as session:
        one = model()
        one.id, one.owner, one.text = "1", "north", SECRET
        session.add(one)
        session.commit()
        assert session.get_one(Paper, "1").text == SECRET
        assert SECRET not in repr(one)
    engine.dispose()
