"""Whatever SQLAlchemy's own API is asked for: no plaintext is stored, and every row stays readable.

Each attempt may be refused, by an error with the way out. When it is not, the database holds no
value in the clear, every envelope opens for its row, and every blind index finds it.
"""

# ruff: noqa: RUF012 - declared as models are

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import pytest
from sqlalchemy import (
    ForeignKey,
    StaticPool,
    String,
    bindparam,
    case,
    cast,
    create_engine,
    delete,
    event,
    exists,
    func,
    insert,
    literal,
    literal_column,
    null,
    select,
    tuple_,
    type_coerce,
    union,
    update,
)
from sqlalchemy import text as sql
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext import baked, serializer
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import (
    Bundle,
    DeclarativeBase,
    Mapped,
    Session,
    aliased,
    attribute_keyed_dict,
    contains_eager,
    defer,
    immediateload,
    joinedload,
    mapped_column,
    query_expression,
    relationship,
    selectin_polymorphic,
    selectinload,
    sessionmaker,
    subqueryload,
    synonym,
    with_expression,
    with_polymorphic,
)
from sqlalchemy.orm.attributes import flag_modified, set_attribute, set_committed_value

from assay.encryption.errors import EncryptionError
from assay.encryption.sqlalchemy import (
    Equality,
    Sealed,
    SealedExpressionError,
    UnresolvedCriterionError,
    UnsealedPickleError,
    UnsealedWriteError,
    bind,
    exact,
    sealed,
)
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

SECRET = "Dear Ada, do not tell"


class Base(DeclarativeBase):
    pass


class Shelf(Base):
    __tablename__ = "shelves"
    id: Mapped[int] = mapped_column(primary_key=True)
    papers: Mapped[dict[str, Paper]] = relationship(
        collection_class=attribute_keyed_dict("text"), back_populates="shelf"
    )


class Paper(Sealed, Base):
    __tablename__ = "papers"
    __owner__ = "owner"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    owner: Mapped[str] = mapped_column(default="north")
    kind: Mapped[str] = mapped_column(default="paper")
    label: Mapped[str | None]
    shelf_id: Mapped[int | None] = mapped_column(ForeignKey("shelves.id"))
    text: Mapped[str] = sealed(index=Equality(exact))
    body: Mapped[str | None] = sealed(group="content")
    seen: Mapped[Any] = query_expression()
    given = synonym("text")
    shelf: Mapped[Shelf | None] = relationship(back_populates="papers")
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "paper"}

    @hybrid_property
    def loud(self) -> Any:
        return func.upper(self.label)

    @loud.inplace.update_expression
    @classmethod
    def _set_loud(cls, value: Any) -> Any:
        return [(cls.label, value), (cls.text, value)]


class Letter(Paper):
    __mapper_args__ = {"polymorphic_identity": "letter"}
    city: Mapped[str] = sealed()


class Deed(Paper):
    __tablename__ = "deeds"
    __mapper_args__ = {"polymorphic_identity": "deed"}
    id: Mapped[int] = mapped_column(ForeignKey("papers.id"), primary_key=True)
    street: Mapped[str] = sealed()


TABLE: Any = Paper.__table__
COLUMN: Any = Paper


class Library:
    def __init__(self) -> None:
        self.engine = create_engine("sqlite://", poolclass=StaticPool)
        Base.metadata.create_all(self.engine)
        keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())
        self.sessions = bind(sessionmaker(self.engine), keyring)
        with self.sessions.begin() as session:
            session.add_all(
                [
                    Shelf(id=1),
                    Paper(id=1, owner="north", text="one", body="b", label="l1", shelf_id=1),
                    Letter(id=2, owner="north", text="two", city="c", label="l2", shelf_id=1),
                    Deed(id=3, owner="south", text="three", street="s", label="l3"),
                ]
            )

    def check(self) -> None:
        """No plaintext, no envelope that does not open, no index that does not find its row."""
        with self.engine.connect() as connection:
            raw: Any = connection.connection.driver_connection
            assert SECRET.encode() not in raw.serialize()
        with self.sessions() as session:
            for each in session.scalars(select(Paper)).all():
                for name in type(each).__sealed__.fields:
                    assert isinstance(getattr(each, name), str | None)
                mine = select(Paper.id).where(Paper.owner == each.owner, Paper.text == each.text)
                assert each.id in session.scalars(mine).all()


@pytest.fixture
def library() -> Iterator[Library]:
    library = Library()
    yield library
    library.engine.dispose()


def _one(session: Any) -> Any:
    return session.get_one(Paper, 1)


def _two(session: Any) -> Any:
    two = session.get_one(Paper, 2)
    assert two.text == "two"
    return two


def _assign(name: str, value: Callable[[Any], Any], *also: str) -> Callable[[Any], Any]:
    def attempt(session: Any) -> None:
        one = _one(session)
        for each in also:
            setattr(one, each, "changed")
        setattr(one, name, value(session))
        session.flush()

    return attempt


def _commit(name: str, value: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def attempt(session: Any) -> None:
        one = _one(session)
        set_committed_value(one, name, value(session))
        one.label, one.body = "changed", "changed"
        session.flush()
        one.text = "changed"
        session.flush()

    return attempt


def _raw(session: Any, name: str) -> None:
    one = _one(session)
    one.__dict__[name] = SECRET.encode() if name == "sealed" else SECRET
    flag_modified(one, name if name == "sealed" else "label")
    session.flush()


def insert_by(strategy: str, session: Any) -> None:
    session.execute(insert(Paper), [ROW], execution_options={"dml_strategy": strategy})


def insert_rows(row: dict[str, Any], session: Any) -> None:
    session.execute(insert(Paper), [row])


ROW = {"id": 11, "owner": "north", "text": SECRET}

WRITES: dict[str, Callable[[Any], Any]] = {
    "set committed field": _commit("text", lambda _: SECRET),
    "set committed bytes": _commit("sealed", lambda _: SECRET.encode()),
    "set committed of another row": _commit("sealed", lambda s: _two(s).sealed),
    "set committed index": _commit("text_index", lambda s: _two(s).text_index),
    "attribute of another row": _assign("sealed", lambda s: _two(s).sealed),
    "other group": _assign("sealed_content", lambda s: _one(s).sealed),
    "set_attribute": lambda s: set_attribute(_one(s), "text", SECRET),
    "envelope expression": _assign("sealed", lambda _: literal(SECRET)),
    "index bytes": _assign("text_index", lambda _: SECRET.encode()),
    "index of another row": _assign("text_index", lambda s: _two(s).text_index),
    "index and field": _assign("text_index", lambda s: _two(s).text_index, "text"),
    "index nothing": _assign("text_index", lambda _: None),
    "index expression": _assign("text_index", lambda _: func.upper("x"), "text"),
    "owner expression": _assign("owner", lambda _: func.upper("north")),
    "class expression": _assign("kind", lambda _: func.lower("LETTER")),
    "class literal": _assign("kind", lambda _: literal("letter")),
    "other class": _assign("kind", lambda _: "letter"),
    "new class expression": lambda s: s.add(Paper(**ROW, kind=func.lower("LETTER"))),
    "label of a field": _assign("label", lambda _: literal("x") + Paper.text),
    "raw field": lambda s: _raw(s, "text"),
    "raw envelope": lambda s: _raw(s, "sealed"),
    "flag envelope": lambda s: flag_modified(_one(s), "sealed"),
    "flag field": lambda s: flag_modified(_one(s), "text"),
    "new owner expression": lambda s: s.add(Paper(**{**ROW, "owner": literal("north")})),
    "new key expression": lambda s: s.add(Paper(**{**ROW, "id": func.abs(-11)})),
    "new with foreign index": lambda s: s.add(Paper(**ROW, text_index=_two(s).text_index)),
    "bulk update field": lambda s: s.bulk_update_mappings(Paper, [{"id": 1, "text": SECRET}]),
    "bulk update envelope": lambda s: s.bulk_update_mappings(
        Paper, [{"id": 1, "sealed": SECRET.encode()}]
    ),
    "bulk update owner": lambda s: s.bulk_update_mappings(Paper, [{"id": 1, "owner": "south"}]),
    "bulk update class": lambda s: s.bulk_update_mappings(Paper, [{"id": 1, "kind": "letter"}]),
    **{
        f"rows with expression for {name}": partial(insert_rows, {**ROW, name: value})
        for name, value in {
            "kind": func.lower("LETTER"),
            "owner": func.lower("NORTH"),
            "id": func.abs(-11),
            "text": func.lower(SECRET),
            "sealed": literal(SECRET.encode()),
            "text_index": literal(SECRET.encode()),
        }.items()
    },
    "bulk insert": lambda s: s.bulk_insert_mappings(Paper, [ROW]),
    "bulk insert with nulls": lambda s: s.bulk_insert_mappings(Paper, [ROW], render_nulls=True),
    "bulk save": lambda s: s.bulk_save_objects([Paper(**ROW)]),
    "rows by synonym": lambda s: s.execute(
        insert(Paper), [{"id": 11, "owner": "north", "given": SECRET}]
    ),
    "update by synonym": lambda s: s.execute(update(Paper).values(given=SECRET)),
    "update rows by synonym": lambda s: s.execute(update(Paper), [{"id": 1, "given": SECRET}]),
    "update by hybrid": lambda s: s.execute(update(Paper).values(loud=SECRET)),
    "update by alias": lambda s: s.execute(update(aliased(Paper)).values(text=SECRET)),
    "update to expression": lambda s: s.execute(update(Paper).values(label=Paper.text)),
    "update by case": lambda s: s.execute(
        update(Paper).values({COLUMN.sealed: case((Paper.id == 1, SECRET.encode()))})
    ),
    "update to other envelope": lambda s: s.execute(
        update(Paper).values({COLUMN.sealed: COLUMN.sealed_content})
    ),
    "update to null": lambda s: s.execute(update(Paper).values({COLUMN.sealed: null()})),
    "core null": lambda s: s.execute(update(TABLE).values(sealed_letter=None)),
    "coerced": lambda s: s.execute(
        update(Paper).values({COLUMN.sealed: type_coerce(SECRET, TABLE.c.sealed.type)})
    ),
    "query update": lambda s: s.query(Paper).update({Paper.text: SECRET}),
    "query update by name": lambda s: s.query(Paper).update({"text": SECRET}),
    "insert values": lambda s: s.execute(insert(Paper).values(**ROW)),
    "insert many values": lambda s: s.execute(insert(Paper).values([ROW])),
    "values beside rows": lambda s: s.execute(
        insert(Paper).values(text=SECRET), [{"id": 11, "owner": "north"}]
    ),
    "from select": lambda s: s.execute(
        insert(Paper).from_select(["id", "sealed"], select(Paper.id + 10, COLUMN.sealed))
    ),
    "from select of core": lambda s: s.execute(
        insert(TABLE).from_select([*TABLE.c], select(TABLE.c.id + 10, *[*TABLE.c][1:]))
    ),
    "inserting CTE": lambda s: s.execute(
        select(insert(TABLE).values(id=11, sealed=SECRET.encode()).returning(TABLE.c.id).cte().c.id)
    ),
    "connection": lambda s: s.connection().execute(insert(Paper), [ROW]),
    "core strategy": lambda s: s.execute(
        update(Paper),
        [{"id": 1, "text": SECRET, "label": "x"}],
        execution_options={"dml_strategy": "core_only"},
    ),
    "text with the type": lambda s: s.execute(
        sql("UPDATE papers SET sealed = :x").bindparams(
            bindparam("x", SECRET.encode(), type_=TABLE.c.sealed.type)
        )
    ),
    "text": lambda s: s.scalars(
        select(Paper).from_statement(sql("SELECT *, 'x' AS text FROM papers"))
    ).all(),
    **{f"insert by {each}": partial(insert_by, each) for each in ("raw", "bulk", "orm", "auto")},
}  # fmt: skip


@contextmanager
def not_showing(secret: str, *kinds: type[Exception]) -> Iterator[None]:
    """Nothing of it stands in an error that comes through here."""
    try:
        yield
    except kinds as exc:
        if secret in str(exc):
            raise AssertionError(
                "expected an error that shows no value, found one that does"
            ) from exc
        raise


@pytest.mark.filterwarnings("ignore:Flushing object .* with incompatible polymorphic identity")
@pytest.mark.parametrize("attempt", WRITES)
def test_what_is_written_is_sealed_or_refused(library: Library, attempt: str) -> None:
    with library.sessions() as session:
        refusals = EncryptionError, InvalidRequestError
        with suppress(*refusals), not_showing(SECRET, *refusals):
            WRITES[attempt](session)
            session.commit()
    library.check()


READS: dict[str, Callable[[Any], Any]] = {
    "bundle": lambda s: s.execute(select(Bundle("b", Paper.text))),
    "expression": lambda s: s.scalars(
        select(Paper).options(with_expression(Paper.seen, Paper.text))
    ),
    "comparison as expression": lambda s: s.scalars(
        select(Paper).options(with_expression(Paper.seen, Paper.text == "one"))
    ),
    "tuple": lambda s: s.scalars(select(Paper).where(tuple_(Paper.id, Paper.text).in_([(1, "one")]))),
    "reversed": lambda s: s.scalars(select(Paper).where(literal("one") == Paper.text)),
    "returning": lambda s: s.execute(update(Paper).values(label="x").returning(Paper.text)),
    "returning of rows": lambda s: s.execute(insert(Paper).returning(Paper.text), [ROW]),
    "aggregate": lambda s: s.execute(select(func.max(Paper.text))),
    "window": lambda s: s.execute(select(func.rank().over(order_by=Paper.text))),
    "values": lambda s: s.query(Paper).with_entities(Paper.text).all(),
    "cast": lambda s: s.execute(select(cast(Paper.text, String))),
    "correlated": lambda s: s.execute(select(select(Paper.text).scalar_subquery())),
    "alias": lambda s: s.execute(select(aliased(Paper).text)),
    "join condition": lambda s: s.execute(
        select(Paper.id).join(Shelf, Paper.text == literal_column("shelves.id"))
    ),
}  # fmt: skip


@pytest.mark.parametrize("attempt", READS)
def test_what_the_database_cannot_read_is_refused(library: Library, attempt: str) -> None:
    with library.sessions() as session:
        with pytest.raises((SealedExpressionError, UnresolvedCriterionError)) as caught:
            READS[attempt](session)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("mode", [False, "fetch", "evaluate", "auto"])
def test_statements_that_search_change_the_rows_that_they_mean(library: Library, mode: Any) -> None:
    with library.sessions() as session:
        one, two = session.get_one(Paper, 1), session.get_one(Paper, 2)
        options = {"synchronize_session": mode}
        changed = update(Paper).where(Paper.text == "one").values(label="seen")
        session.execute(changed, execution_options=options)
        if mode:
            assert (one.label, two.label) == ("seen", "l2")
        gone = delete(Paper).where(Paper.text == "two", ~exists().where(Shelf.id == 9))
        session.execute(gone, execution_options=options)
        session.commit()
        assert session.scalars(select(Paper.label).order_by(Paper.id)).all() == ["seen", "l3"]
    library.check()


def test_returned_instances_are_whole(library: Library) -> None:
    with library.sessions() as session:
        session.get_one(Paper, 1).label = "unflushed"
        statement = update(Paper).where(Paper.owner == "north").values(label="z").returning(Paper)
        found = session.scalars(statement, execution_options={"populate_existing": True}).all()
        assert sorted((each.id, each.text, each.label) for each in found) == [
            (1, "one", "z"), (2, "two", "z"),
        ]  # fmt: skip
        gone = session.scalars(delete(Paper).where(Paper.text == "one").returning(Paper)).all()
        assert [each.text for each in gone] == ["one"]


_LOADED: dict[str, Callable[[], Any]] = {
    "lazy": lambda: select(Shelf),
    "joined": lambda: select(Shelf).options(joinedload(Shelf.papers)),
    "selectin": lambda: select(Shelf).options(selectinload(Shelf.papers)),
    "subquery": lambda: select(Shelf).options(subqueryload(Shelf.papers)),
    "immediate": lambda: select(Shelf).options(immediateload(Shelf.papers)),
    "contains": lambda: select(Shelf).join(Shelf.papers).options(contains_eager(Shelf.papers)),
    "polymorphic": lambda: select(Shelf).options(
        selectinload(Shelf.papers).selectin_polymorphic([Letter, Deed])
    ),
}


@pytest.mark.parametrize("form", _LOADED)
def test_collections_may_be_keyed_by_a_sealed_field(library: Library, form: str) -> None:
    with library.sessions() as session:
        shelf = session.scalars(_LOADED[form]()).unique().one()
        assert {key: each.text for key, each in shelf.papers.items()} == {
            "one": "one",
            "two": "two",
        }


def test_polymorphic_loads(library: Library) -> None:
    every = with_polymorphic(Paper, "*")
    for statement in (
        select(Paper).order_by(Paper.id).options(selectin_polymorphic(Paper, [Letter, Deed])),
        select(every).where(every.text.in_(["one", "two", "three"])).order_by(every.id),
        select(Paper).from_statement(sql("SELECT * FROM papers ORDER BY id")),
        select(Paper).from_statement(
            union(select(Paper).where(Paper.text == "one"), select(Paper).where(Paper.id > 1))
        ),
    ):
        with library.sessions() as session:
            found: list[Any] = sorted(session.scalars(statement), key=lambda each: each.id)
            assert [each.text for each in found] == ["one", "two", "three"]
            assert (found[1].city, found[2].street) == ("c", "s")


def test_an_envelope_that_must_not_be_loaded_says_so(library: Library) -> None:
    with library.sessions() as session:
        option = defer(COLUMN.sealed, raiseload=True)
        paper = session.scalars(select(Paper).where(Paper.id == 1).options(option)).one()
        for reach in (lambda: paper.text, lambda: setattr(paper, "text", "changed")):
            with pytest.raises(InvalidRequestError, match=r"Paper\.sealed.*raiseload"):
                reach()
    library.check()


def test_baked_queries_search(library: Library) -> None:
    make: Any = baked.bakery
    bakery = make()
    query = bakery(lambda session: session.query(Paper))
    query.add_criteria(lambda query: query.filter(Paper.text == "one"))
    with library.sessions() as session:
        assert [each.id for each in query(session).all()] == [1]


def test_what_a_late_listener_compares_is_not_resolved(library: Library) -> None:
    with library.sessions() as session:

        @event.listens_for(session, "do_orm_execute")
        def _narrow(execution: Any) -> None:
            execution.statement = execution.statement.where(Paper.text == SECRET)

        with pytest.raises(UnresolvedCriterionError) as caught:
            session.scalars(select(Paper))
        assert SECRET not in str(caught.value)


def test_a_pickle_of_a_statement_shows_no_value() -> None:
    dump: Any = serializer.dumps
    assert dump(select(Paper).where(Paper.label == "x"))
    with pytest.raises(UnsealedPickleError, match="'text'") as caught:
        dump(select(Paper).where(Paper.text == SECRET))
    assert SECRET not in str(caught.value)


def test_rows_are_those_of_the_owner_that_the_statement_names(library: Library) -> None:
    row = {"text": SECRET}
    with library.sessions() as session:
        session.execute(insert(Paper).values(owner="east"), [{"id": 11, **row}, {"id": 12, **row}])
        session.execute(insert(Paper).values(owner="east"), {"id": 13, "owner": "west", **row})
        by_row = insert(Paper).values(owner=bindparam("whose"), id=bindparam("number"))
        session.execute(by_row, [{"whose": "east", "number": 14, **row}])
        session.execute(insert(Paper).values({Paper.id: 15, Paper.label: "x"}), [row])
        session.commit()
        found = session.scalars(select(Paper).where(Paper.id > 10).order_by(Paper.id)).all()
        assert [(each.id, each.owner) for each in found] == [
            (11, "east"), (12, "east"), (13, "west"), (14, "east"), (15, "north"),
        ]  # fmt: skip
        assert {each.text for each in found} == {SECRET}
        mine = select(Paper.id).where(Paper.owner == "east", Paper.text == SECRET)
        assert session.scalars(mine.order_by(Paper.id)).all() == [11, 12, 14]
        for name, value in (
            ("owner", func.lower("EAST")),
            ("id", select(func.max(Paper.id)).scalar_subquery()),
        ):
            given = insert(Paper).values({name: value})
            with pytest.raises(UnsealedWriteError, match=f"value for Paper.{name}, for which"):
                session.execute(given, [{"id": 16, "owner": "east", **row}])
    library.check()


def test_a_key_of_the_mapper_alone_is_guarded_as_well() -> None:
    class Other(DeclarativeBase):
        pass

    class Tag(Sealed, Other):
        __tablename__ = "tags"
        __owner__ = "owner"
        __mapper_args__ = {"primary_key": ["slug"]}
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        slug: Mapped[str] = mapped_column(unique=True)
        owner: Mapped[str]
        text: Mapped[str] = sealed()

    engine = create_engine("sqlite://")
    Other.metadata.create_all(engine)
    keyring, table = Keyring(MemoryKeyService(), MemoryDataKeyTable()), Tag.__table__
    with bind(Session(engine), keyring) as session:
        session.add(Tag(id=1, slug="a", owner="north", text=SECRET))
        session.commit()
        for statement in (update(Tag), update(table)):  # type: ignore[arg-type]  # a table
            with pytest.raises(UnsealedWriteError, match="slug"):
                session.execute(statement.values(slug="b"))
            session.rollback()
        assert session.get_one(Tag, "a").text == SECRET
    engine.dispose()
