"""Rows found through blind indexes, and by nothing else than what they hold."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    StaticPool,
    UniqueConstraint,
    create_engine,
    delete,
    func,
    insert,
    or_,
    select,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column, sessionmaker

from assay.core import DataKeyClass
from assay.encryption import BlindIndexError, UnsupportedValueError
from assay.encryption.sqlalchemy import (
    ApproximateSearchError,
    Buckets,
    DeclarationError,
    Equality,
    MappingError,
    Ngram,
    Prefix,
    Sealed,
    SealedExpressionError,
    bind,
    casefold,
    digits,
    exact,
    matching,
    sealed,
)
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

INDEXES = DataKeyClass.INDEXES


class Base(DeclarativeBase):
    pass


class Person(Sealed, Base):
    __tablename__ = "people"
    __owner__ = "tenant"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    tenant: Mapped[str]
    email: Mapped[str | None] = sealed(index=Equality(casefold, unique=True))
    name: Mapped[str | None] = sealed(index=[Equality(casefold), Prefix(casefold, lengths=(5, 2))])
    # So few bits that unrelated values collide all the time.
    town: Mapped[str | None] = sealed(index=Equality(casefold, bits=1))
    street: Mapped[str | None] = sealed(index=Prefix(exact, lengths=(1,), bits=1))
    title: Mapped[str | None] = sealed(index=Ngram(casefold))
    size: Mapped[int | None] = sealed(index=Buckets(boundaries=(10, 100, 1000)))
    born: Mapped[date | None] = sealed(index=Buckets(width=timedelta(days=100)))
    price: Mapped[Decimal | None] = sealed(index=Buckets(width=Decimal("2.5")))
    seen: Mapped[datetime | None] = sealed(
        index=Buckets(boundaries=(datetime(2026, 1, 1, tzinfo=UTC),))
    )
    note: Mapped[str | None] = sealed()


class World:
    """A database of people, and a keyring whose index keys settle at once."""

    def __init__(self) -> None:
        self.engine = create_engine("sqlite://", poolclass=StaticPool)
        self.keyring = Keyring(
            MemoryKeyService(), MemoryDataKeyTable(), cache_ttl_seconds=0, settling_seconds=0
        )
        self.sessions = bind(sessionmaker(self.engine), self.keyring)
        Base.metadata.create_all(self.engine)

    def add(self, *people: dict[str, Any], tenant: str = "north") -> None:
        with self.sessions.begin() as session:
            session.add_all(Person(tenant=tenant, **each) for each in people)

    def names(self, criterion: Any, tenant: str = "north") -> list[str]:
        statement = select(Person).where(Person.tenant == tenant, criterion)
        with self.sessions() as session:
            return sorted(str(each.name) for each in matching(session, statement))


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.engine.dispose()


NAMES = ["Lovelace", "LOVE", "lovell", "Lo", "Babbage", "Straße", "STRASSE 1", ""]


def test_beginnings_are_found_and_nothing_that_only_collides(world: World) -> None:
    world.add(*({"name": name} for name in NAMES), {"name": None})
    for start in ("lo", "LOV", "love", "lovel", "lovelace", "strass", "straß", "ba", "zz"):
        wanted = [n for n in NAMES if n.casefold().startswith(start.casefold())]
        assert world.names(Person.name.startswith(start)) == sorted(wanted), start
    assert world.names(Person.name.startswith("lo"), tenant="south") == []


def test_beginnings_are_taken_as_they_are(world: World) -> None:
    """LIKE would take these signs for others."""
    world.add({"name": "100% sure"}, {"name": "1000"}, {"name": "a_b"}, {"name": "axb"})
    assert world.names(Person.name.startswith("100%")) == ["100% sure"]
    assert world.names(Person.name.startswith("a_")) == ["a_b"]


def test_few_bits_find_candidates_that_are_compared(world: World) -> None:
    towns = [f"town {number}" for number in range(40)]
    world.add(*({"name": town, "town": town, "street": town[::-1]} for town in towns))
    with world.sessions() as session:
        values = session.scalars(select(Person.__table__.c.town_index)).all()
    assert len(set(values)) == 2, "the index must collide for this test to show anything"
    assert world.names(Person.town == "TOWN 7") == ["town 7"]
    assert world.names(Person.town.in_(["town 7", "town 8", "x"])) == ["town 7", "town 8"]
    assert world.names(Person.street.startswith("7 n")) == ["town 7"]
    with world.sessions() as session:
        statement = select(Person).where(Person.town == "town 7", Person.street.startswith("7"))
        assert [each.name for each in matching(session, statement)] == ["town 7"]


TITLES = [
    "Annual report 2025",
    "rep epo por ort",
    "REPORTER",
    "rapport",
    "port",
    "Straße",
    "re port",
    "po",
    "",
]


def test_pieces_are_found_and_nothing_that_only_has_the_same_n_grams(world: World) -> None:
    world.add(*({"name": title, "title": title} for title in TITLES))
    for piece in ("report", "port", "REP", "strasse", "ual rep", "zzz", "reportreport"):
        wanted = [t for t in TITLES if piece.casefold() in t.casefold()]
        assert world.names(Person.title.contains(piece)) == sorted(wanted), piece
    assert world.names(Person.title.contains("100%_")) == []
    assert world.names(Person.title.contains("port"), tenant="south") == []


def test_ranges_are_found_and_no_neighbours(world: World) -> None:
    sizes = [-5, 0, 9, 10, 11, 99, 100, 500, 1000, 10**30]
    world.add(*({"name": f"{size}", "size": size} for size in sizes), {"size": None})
    for edge in (-6, 9, 10, 11, 100, 999, 10**30):
        for criterion, wanted in (
            (Person.size < edge, [s for s in sizes if s < edge]),
            (Person.size <= edge, [s for s in sizes if s <= edge]),
            (Person.size > edge, [s for s in sizes if s > edge]),
            (Person.size >= edge, [s for s in sizes if s >= edge]),
            (Person.size.between(edge, 500), [s for s in sizes if edge <= s <= 500]),
        ):
            assert world.names(criterion) == sorted(str(each) for each in wanted)
    assert world.names((Person.size > 9) & (Person.size < 11)) == ["10"]


def test_a_range_has_a_thousand_buckets_and_no_more() -> None:
    index = Buckets(width=1)
    found = index.search("size", "between", (0, 999))
    assert found is not None
    assert len(found.terms) == 1000
    with pytest.raises(BlindIndexError, match="found 1001"):
        index.search("size", "between", (0, 1000))


def test_ranges_of_dates_moments_and_decimal_numbers(world: World) -> None:
    days = [date(1815, 12, 10), date(1906, 12, 9), date(1, 1, 1), date(1906, 12, 10)]
    world.add(*({"name": str(day), "born": day} for day in days))
    first, last = date(1815, 12, 1), date(1906, 12, 9)
    with pytest.raises(SealedExpressionError, match="at most 1000 buckets"):
        Person.born.between(date(1, 1, 1), date(9999, 1, 1))
    assert world.names(Person.born.between(first, last)) == ["1815-12-10", "1906-12-09"]
    with pytest.raises(SealedExpressionError, match="both ends"):
        Person.born < last  # noqa: B015 - it is refused
    world.add(
        *({"name": p, "price": Decimal(p)} for p in ("-0.01", "0.0", "2.5", "2.50", "7.4999"))
    )
    assert world.names(Person.price.between(Decimal(0), Decimal("2.5"))) == ["0.0", "2.5", "2.50"]
    assert world.names(Person.price.between(Decimal(7), Decimal("7.5"))) == ["7.4999"]
    moments = [
        datetime(2026, 1, 1, 0, 30, tzinfo=timezone(timedelta(hours=1))),  # still 2025 in UTC
        datetime(2026, 1, 1, tzinfo=UTC),
    ]
    world.add(*({"name": m.isoformat(), "seen": m} for m in moments))
    new_year = datetime(2026, 1, 1, tzinfo=UTC)
    assert world.names(Person.seen < new_year) == ["2026-01-01T00:30:00+01:00"]
    assert world.names(Person.seen >= new_year) == ["2026-01-01T00:00:00+00:00"]


def test_values_that_are_in_no_bucket_are_refused(world: World) -> None:
    for field, value in (
        ("price", Decimal("NaN")),
        ("price", Decimal("Infinity")),
        ("seen", datetime(2026, 1, 1)),  # noqa: DTZ001 - its boundaries have a zone
    ):
        with pytest.raises(UnsupportedValueError, match="expected"):
            world.add({field: value})
    for build in (
        lambda: Person.size < 1.5,
        lambda: Person.size < Person.size,
        lambda: Person.born.between("1", "2"),
        lambda: Person.size.between(1, None),
        lambda: Person.price < Decimal("NaN"),
        lambda: Person.size.between(1, 2, symmetric=True),
        lambda: Person.name < "x",
        lambda: Person.title.contains("ab"),
        lambda: Person.name.contains("abc"),
    ):
        with pytest.raises(SealedExpressionError, match="expected"):
            build()


def test_candidates_are_never_returned_as_results(world: World) -> None:
    world.add({"name": "Lovelace", "town": "London"})
    world.add({"title": "London", "size": 3})
    for criterion in (
        Person.name.startswith("lo"),
        Person.town == "London",
        Person.title.contains("ondon"),
        Person.size < 5,
    ):
        for statement in (
            select(Person).where(criterion),
            select(func.count()).select_from(Person).where(criterion),
            select(Person.id).where(criterion),
            delete(Person).where(criterion),
            select(Person).where(or_(criterion, Person.tenant == "x")),
        ):
            with (
                world.sessions() as session,
                pytest.raises(ApproximateSearchError, match="matching"),
            ):
                session.execute(statement).all()
    with world.sessions() as session:
        assert session.scalar(select(func.count()).select_from(Person)) == 2


def test_statements_in_which_candidates_cannot_be_told_apart_are_refused(world: World) -> None:
    other = aliased(Person)
    criterion = Person.name.startswith("lo")
    for statement in (
        select(Person).where(or_(criterion, Person.tenant == "x")),
        select(Person.id).where(criterion),
        select(Person, other).where(criterion),
        select(func.count()).select_from(Person).where(criterion),
        select(other).where(criterion),
        select(Person).where(Person.id.in_(select(Person.id).where(criterion))),
        select(Person).where(criterion).limit(3),
        select(Person).where(criterion).offset(3),
        select(Person).where(criterion).distinct(),
        select(Person).where(criterion).group_by(Person.tenant),
    ):
        with world.sessions() as session, pytest.raises(ApproximateSearchError, match="expected"):
            matching(session, statement)


def test_an_alias_can_be_matched_and_the_number_limited(world: World) -> None:
    world.add(*({"name": f"love {n}"} for n in range(5)))
    other = aliased(Person)
    with world.sessions() as session:
        statement = select(other).where(other.name.startswith("lov"))
        assert len(matching(session, statement)) == 5
        assert len(matching(session, statement, limit=3)) == 3
        assert len(matching(session, statement, limit=0)) == 0
        assert all(type(each) is Person for each in matching(session, statement))
        plain = select(Person).where(Person.name == "love 1")
        assert [each.name for each in matching(session, plain)] == ["love 1"]


def test_what_no_index_answers_is_refused_when_it_is_written(world: World) -> None:
    refused: list[tuple[Any, str]] = [
        (lambda: Person.note == "x", "Equality"),
        (lambda: Person.note.startswith("x"), "blind index"),
        (lambda: Person.email.startswith("x"), r"Prefix\("),
        (lambda: Person.street == "x", r"Equality\("),
        (lambda: Person.name.startswith("l"), "at least 2 characters"),
        (lambda: Person.name.startswith(7), "only with columns|such values only"),
        (lambda: Person.name.startswith("abc", autoescape=True), "load the rows"),
        (lambda: Person.name.startswith("abc", escape="/"), "load the rows"),
        (lambda: Person.name.istartswith("abc"), "load the rows"),
        (lambda: Person.name.like("abc%"), "load the rows"),
        (lambda: Person.name.endswith("abc"), "load the rows"),
        (lambda: Person.name + "x", "load the rows"),
        (lambda: ~Person.name.startswith("abc"), "would miss some"),
        (lambda: Person.town != "x", "would miss some"),
        (lambda: Person.town.not_in(["x"]), "would miss some"),
        (Person.name.desc, "load the rows"),
        (lambda: select(Person).order_by(Person.name), "to sort"),
    ]
    for number, (build, message) in enumerate(refused):
        with pytest.raises(SealedExpressionError, match=message) as raised:
            build()
        assert "abc" not in str(raised.value), number


def test_null_is_found_by_each_kind(world: World) -> None:
    world.add({"name": "a", "street": "x"}, {"name": "b", "street": None})
    with world.sessions() as session:
        for criterion, wanted in (
            (Person.street.is_(None), ["b"]),
            (Person.street == None, ["b"]),  # noqa: E711 - SQLAlchemy's own spelling
            (Person.street.is_not(None), ["a"]),
        ):
            assert [p.name for p in session.scalars(select(Person).where(criterion))] == wanted


def test_rows_that_change_are_found_by_what_they_hold_now(world: World) -> None:
    world.add({"name": "Lovelace"})
    with world.sessions.begin() as session:
        session.scalars(select(Person)).one().name = "Babbage"
    assert world.names(Person.name.startswith("lo")) == []
    assert world.names(Person.name.startswith("babb")) == ["Babbage"]
    with world.sessions.begin() as session:
        rows = [{"tenant": "north", "name": "Lovell"}, {"tenant": "south", "name": "Lovejoy"}]
        session.execute(insert(Person), rows)
    assert world.names(Person.name.startswith("lovel")) == ["Lovell"]
    assert world.names(Person.name.startswith("lovejoy"), tenant="south") == ["Lovejoy"]


def test_every_kind_is_searched_under_every_index_key(world: World) -> None:
    for number in (1, 2, 3):
        if number > 1:
            world.keyring.rotate("north", INDEXES)
        name = f"love {number}"
        world.add({"name": name, "town": "x", "title": name, "size": number})
    with world.engine.connect() as connection:
        stored = connection.scalars(select(Person.__table__.c.name_prefix_5)).all()
    assert sorted(value[2] for value in stored) == [1, 2, 3]
    wanted = ["love 1", "love 2", "love 3"]
    assert world.names(Person.name.startswith("love")) == wanted
    assert world.names(Person.town == "x") == wanted
    assert world.names(Person.title.contains("ove")) == wanted
    assert world.names(Person.size < 4) == wanted
    assert world.names(Person.name.in_(wanted)) == wanted


@given(st.lists(st.text(max_size=8), max_size=8), st.text(min_size=2, max_size=4))
@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
def test_exactly_the_texts_with_this_beginning_are_found(texts: list[str], start: str) -> None:
    world = World()
    try:
        world.add(*({"name": text} for text in texts if _is_unicode(text)))
        if not _is_unicode(start) or len(casefold(start).decode()) < 2:
            return
        wanted = [t for t in texts if _is_unicode(t) and casefold(t).startswith(casefold(start))]
        assert world.names(Person.name.startswith(start)) == sorted(wanted)
    finally:
        world.engine.dispose()


@given(
    st.lists(st.text("ab \u0130\u00df", max_size=9), max_size=8),
    st.text("ab\u00df", min_size=3, max_size=5),
)
@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
def test_exactly_the_texts_with_this_piece_are_found(texts: list[str], piece: str) -> None:
    world = World()
    try:
        world.add(*({"name": text, "title": text} for text in texts))
        wanted = [t for t in texts if casefold(piece) in casefold(t)]
        assert world.names(Person.title.contains(piece)) == sorted(wanted)
    finally:
        world.engine.dispose()


@given(st.integers(), st.integers(), st.integers(1, 50))
def test_a_range_looks_for_every_bucket_that_holds_one_of_its_values(
    low: int, value: int, width: int
) -> None:
    high = low + 40
    buckets = Buckets(width=width)
    found = buckets.search("f", "between", (low, high))
    assert found is not None
    assert found.accepts is not None
    for each in (low, high, low + abs(value) % 41):
        assert str(buckets.number(each)).encode() in found.terms
        assert found.accepts(each)
    assert found.accepts(value) is (low <= value <= high)
    assert buckets.number(value) == value // width


def _is_unicode(text: str) -> bool:
    return text.encode("utf-8", "ignore").decode() == text


def test_values_are_unique_for_an_owner(world: World) -> None:
    world.add({"email": "ada@example.com", "name": "one"}, {"email": None}, {"email": None})
    world.add({"email": "ada@example.com"}, tenant="south")
    for again in ("ada@example.com", "ADA@example.com"):
        with pytest.raises(IntegrityError) as raised:
            world.add({"email": again, "name": "a-secret-name"})
        shown = str(raised.value) + repr(raised.value)
        assert "secret" not in shown
        assert "example" not in shown
    with world.sessions() as session:
        assert session.scalar(select(func.count()).select_from(Person)) == 4
    table: Any = Person.__table__
    (constraint,) = [c for c in table.constraints if isinstance(c, UniqueConstraint)]
    assert [column.name for column in constraint.columns] == ["email_index", "tenant"]
    assert "email_index" not in {c.name for i in table.indexes for c in i.columns}


def test_values_stay_unique_while_rows_stand_under_several_index_keys(world: World) -> None:
    world.add({"email": "ada@example.com", "name": "one"}, {"email": "eve@example.com"})
    world.keyring.rotate("north", INDEXES)
    with pytest.raises(IntegrityError, match="DuplicateValueError") as raised:
        world.add({"email": "Ada@example.com", "name": "a-secret-name"})
    assert "secret" not in str(raised.value)
    assert "example" not in str(raised.value)
    with world.sessions() as session, pytest.raises(IntegrityError, match="DuplicateValueError"):
        session.execute(insert(Person), [{"tenant": "north", "email": "ADA@example.com"}])
    world.add({"email": "ada@example.com"}, tenant="south")
    mine = select(Person).where(Person.tenant == "north")
    with world.sessions() as session:
        eve = session.scalars(mine.where(Person.email == "eve@example.com")).one()
        eve.email = "ada@EXAMPLE.com"
        with pytest.raises(IntegrityError, match="DuplicateValueError"):
            session.flush()
    with world.sessions.begin() as session:
        ada = session.scalars(mine.where(Person.email == "ada@example.com")).one()
        ada.email = "Ada@Example.com"  # its own value, found under the older key
    with world.sessions.begin() as session:
        session.delete(session.scalars(mine.where(Person.email == "eve@example.com")).one())
    world.add({"email": "eve@example.com"})


def declare(index: Any, annotation: Any = Mapped[str]) -> Any:
    class Base(DeclarativeBase):
        pass

    members = {
        "__tablename__": "t",
        "__owner__": "tenant",
        "__module__": __name__,
        "id": mapped_column(primary_key=True, default=uuid4),
        "field": sealed(index=index),
        "__annotations__": {"id": Mapped[UUID], "tenant": Mapped[str], "field": annotation},
    }
    return type("T", (Sealed, Base), members)


class Colour(enum.Enum):
    RED = 1


@pytest.mark.parametrize("kind", [bool])
def test_types_of_few_values_need_a_reason(kind: type) -> None:
    annotation = Mapped[kind]  # type: ignore[valid-type]  # a parameter of the test
    with pytest.raises(DeclarationError, match=r"few values.*acknowledged"):
        declare(Equality(exact), annotation)
    model = declare(Equality(exact, acknowledged="who reads the table knows it anyway"), annotation)
    assert model.__sealed__.indexes["field"]["field_index"].bits == 128
    for empty in ("", "  "):
        with pytest.raises(BlindIndexError, match="the reason"):
            Equality(exact, acknowledged=empty)


def test_enumerations_need_a_reason_too() -> None:
    assert Equality(exact).refusal_of(Colour) is not None
    assert Equality(exact, acknowledged="it is public").refusal_of(Colour) is None


@pytest.mark.parametrize(
    ("index", "annotation", "message"),
    [
        (Prefix(casefold, lengths=(3,)), Mapped[bytes], "Mapped"),
        (Prefix(digits, lengths=(3,)), Mapped[int], "Mapped"),
        ([Equality(exact), Equality(casefold)], Mapped[str], "one index of each kind"),
        (Ngram(casefold), Mapped[int], "Mapped"),
        (Buckets(boundaries=(1, 2)), Mapped[str], "for buckets, found str"),
        (Buckets(boundaries=(1, 2)), Mapped[Decimal], "type Decimal"),
        (Buckets(width=1), Mapped[date], "timedelta"),
        (Buckets(width=timedelta(hours=1)), Mapped[date], "whole days"),
        (["x"], Mapped[str], "found str"),
        ("x", Mapped[str], "found str"),
    ],
)
def test_declarations_that_do_not_fit(index: Any, annotation: Any, message: str) -> None:
    with pytest.raises(MappingError, match=message):
        declare(index, annotation)


def test_kinds_that_could_not_keep_their_word() -> None:
    for build in (
        lambda: Equality(exact, unique=True, bits=127),
        lambda: Equality(exact, name="shared", bits=63),
        lambda: Equality(exact, name=""),
        lambda: Prefix(exact, lengths=()),
        lambda: Prefix(exact, lengths=(0,)),
        lambda: Prefix(exact, lengths=(True,)),
        lambda: Ngram(exact, size=1),
        lambda: Ngram(exact, bits=12),
        lambda: Ngram(exact, bits=0),
        Buckets,
        lambda: Buckets(boundaries=(1, 2), width=1),
        lambda: Buckets(boundaries=(2, 1)),
        lambda: Buckets(boundaries=(1, 1)),
        lambda: Buckets(boundaries=(1, Decimal(2))),
        lambda: Buckets(boundaries=tuple(range(1000))),
        lambda: Buckets(width=0),
        lambda: Buckets(width=-1),
        lambda: Buckets(width=timedelta()),
        lambda: Buckets(width=1.5),
    ):
        with pytest.raises(BlindIndexError, match="expected"):
            build()
    assert Prefix(exact, lengths=(5, 2, 5)).lengths == (2, 5)


def test_a_shared_index_is_computed_with_its_own_name() -> None:
    one = Equality(casefold, name="email").columns("people", "email")["email_index"]
    other = Equality(casefold, name="email").columns("invites", "address")["address_index"]
    assert (one.table, one.field) == ("", "email") == (other.table, other.field)
