"""A search of sealed fields finds what the same search of fields in the clear finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    ForeignKey,
    StaticPool,
    and_,
    create_engine,
    delete,
    exists,
    not_,
    or_,
    select,
    union,
    update,
)
from sqlalchemy import text as sql
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    aliased,
    joinedload,
    lazyload,
    mapped_column,
    relationship,
    selectinload,
    sessionmaker,
    with_loader_criteria,
)

from assay.encryption import UnsupportedValueError
from assay.encryption.sqlalchemy import (
    ApproximateSearchError,
    Buckets,
    Equality,
    Prefix,
    Sealed,
    UnresolvedCriterionError,
    bind,
    exact,
    matching,
    sealed,
)
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService


class Base(DeclarativeBase):
    pass


class Worker(Sealed, Base):
    __tablename__ = "workers"
    __owner__ = "tenant"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    boss_id: Mapped[int | None] = mapped_column(ForeignKey("workers.id"))
    name: Mapped[str | None] = sealed(index=Equality(exact))
    town: Mapped[str | None] = sealed(index=Equality(exact, bits=4))
    place: Mapped[str | None] = sealed(group="more", index=Prefix(exact, lengths=(1,), bits=4))
    seen: Mapped[datetime | None] = sealed(index=Buckets(width=timedelta(days=1)))
    boss: Mapped[Worker | None] = relationship(remote_side="Worker.id", back_populates="staff")
    staff: Mapped[list[Worker]] = relationship(back_populates="boss")

    @hybrid_property
    def is_ada(self) -> Any:
        return self.name == "ada"


class Clear(Base):
    __tablename__ = "clear_workers"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    boss_id: Mapped[int | None] = mapped_column(ForeignKey("clear_workers.id"))
    name: Mapped[str | None]
    boss: Mapped[Clear | None] = relationship(remote_side="Clear.id", back_populates="staff")
    staff: Mapped[list[Clear]] = relationship(back_populates="boss")


NAMES = [None, "ada", "bob", "eve"]
TENANTS = ["north", "south"]


class Workers:
    """The same workers in a sealed table and in one in the clear."""

    def __init__(self) -> None:
        self.keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())
        self.engine = create_engine("sqlite://", poolclass=StaticPool)
        Base.metadata.create_all(self.engine)
        self.sessions = bind(sessionmaker(self.engine), self.keyring)
        with self.sessions.begin() as session:
            for number in range(24):
                row = {
                    "id": number,
                    "tenant": TENANTS[number % 2],
                    "name": NAMES[(number // 2) % 4],
                    "boss_id": None if number < 3 else (number * 7) % 3 + (number > 12) * 4,
                }
                session.add_all([Worker(**row), Clear(**row)])

    def ids(self, statement: Any) -> list[int]:
        with self.sessions() as session:
            return sorted(session.scalars(statement).all())


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    made = Workers()
    yield made
    made.engine.dispose()


Criterion = Callable[[Any], Any]

values = st.sampled_from(["ada", "bob", "eve", "nobody"])
plain: st.SearchStrategy[Criterion] = st.one_of(
    values.map(lambda v: lambda m: m.name == v),
    values.map(lambda v: lambda m: m.name != v),
    st.lists(values, max_size=3).map(lambda v: lambda m: m.name.in_(v)),
    st.lists(values, max_size=3).map(lambda v: lambda m: m.name.not_in(v)),
    st.booleans().map(lambda v: lambda m: m.name.is_(None) if v else m.name.is_not(None)),
    st.sampled_from(TENANTS).map(lambda v: lambda m: m.tenant == v),
    st.sampled_from(TENANTS).map(lambda v: lambda m: m.tenant != v),
    st.lists(st.sampled_from(TENANTS), min_size=1).map(lambda v: lambda m: m.tenant.in_(v)),
)


def joined(inner: st.SearchStrategy[Criterion]) -> st.SearchStrategy[Criterion]:
    def within(one: Criterion) -> Criterion:
        def subquery(m: Any) -> Any:
            other = aliased(m)
            return m.id.in_(select(other.boss_id).where(one(other), other.boss_id.is_not(None)))

        return subquery

    def without_alias(one: Criterion) -> Criterion:
        return lambda m: m.id.in_(select(m.boss_id).where(one(m), m.boss_id.is_not(None)))

    def alias(one: Criterion) -> Criterion:
        def correlated(m: Any) -> Any:
            other = aliased(m)
            return exists().where(other.boss_id == m.id, one(other))

        return correlated

    return st.one_of(
        st.tuples(inner, inner).map(lambda p: lambda m: and_(p[0](m), p[1](m))),
        st.tuples(inner, inner).map(lambda p: lambda m: or_(p[0](m), p[1](m))),
        inner.map(lambda one: lambda m: not_(one(m))),
        inner.map(lambda one: lambda m: m.staff.any(one(m))),
        inner.map(lambda one: lambda m: m.boss.has(one(m))),
        inner.map(within),
        inner.map(without_alias),
        inner.map(alias),
    )


@given(st.recursive(plain, joined, max_leaves=6), plain)
@settings(deadline=None, max_examples=150)
def test_every_statement_finds_what_it_finds_in_the_clear(
    workers: Workers, criterion: Criterion, beside: Criterion
) -> None:
    def statements(m: Any) -> list[Any]:
        other = aliased(m)
        lower = select(m.id).where(criterion(m), beside(m))
        cte = select(other.id).where(criterion(other)).cte()
        return [
            select(m.id).where(criterion(m)),
            lower,
            select(other.id).join(m, other.boss_id == m.id).where(criterion(m), beside(other)),
            select(m.id).outerjoin(other, and_(other.boss_id == m.id, criterion(other))),
            select(m.id).join(cte, cte.c.id == m.id).where(beside(m)),
            union(lower, select(m.id).where(beside(m))),
            select(lower.subquery().c.id),
        ]

    found = [workers.ids(each) for each in statements(Worker)]
    assert found == [workers.ids(each) for each in statements(Clear)]


def test_relationships_to_the_same_table_are_not_mixed_up(workers: Workers) -> None:
    with workers.sessions() as session:
        everybody = session.scalars(select(Worker)).all()
        bosses = sorted(w.id for w in everybody if any(s.name == "ada" for s in w.staff))
        of_ada = sorted(w.id for w in everybody if w.boss is not None and w.boss.name == "ada")
        same = [w.id for w in everybody if w.name == "ada"]
    assert workers.ids(select(Worker.id).where(Worker.staff.any(Worker.name == "ada"))) == bosses
    assert workers.ids(select(Worker.id).where(Worker.staff.any(name="ada"))) == bosses
    assert workers.ids(select(Worker.id).where(Worker.boss.has(Worker.name == "ada"))) == of_ada
    other = aliased(Worker)
    of_alias = select(other.id).where(other.boss.has(Worker.name == "ada"))
    assert workers.ids(of_alias) == of_ada
    of_type = select(Worker.id).where(Worker.staff.of_type(other).any(other.name == "ada"))
    assert workers.ids(of_type) == bosses
    assert workers.ids(select(Worker.id).where(Worker.is_ada)) == same
    assert bosses not in (of_ada, same)


def test_candidates_within_relationships_are_refused(workers: Workers) -> None:
    statement = select(Worker).where(Worker.staff.any(Worker.town == "York"))
    with workers.sessions() as session:
        with pytest.raises(ApproximateSearchError):
            session.scalars(statement)
        with pytest.raises(ApproximateSearchError):
            matching(session, statement)


@pytest.mark.parametrize(
    "option",
    [
        lambda: with_loader_criteria(Worker, Worker.name == "ada"),
        lambda: with_loader_criteria(Worker, lambda cls: cls.name == "ada"),
        lambda: selectinload(Worker.staff.and_(Worker.name == "ada")),
        lambda: joinedload(Worker.staff.and_(Worker.name == "ada")),
        lambda: lazyload(Worker.staff.and_(Worker.name == "ada")),
    ],
)
def test_loader_options_are_refused_and_filter_nothing_silently(
    workers: Workers, option: Any
) -> None:
    with (
        workers.sessions() as session,
        pytest.raises(UnresolvedCriterionError, match="loader option"),
    ):
        _ = [w.staff for w in session.scalars(select(Worker).options(option())).unique()]


def test_only_matching_may_ask_for_candidates(workers: Workers) -> None:
    statement = select(Worker).where(Worker.town == "York")
    for value in (True, 1, object()):
        with workers.sessions() as session, pytest.raises(ApproximateSearchError):
            session.scalars(statement.execution_options(assay_matching=value))


@pytest.mark.parametrize(
    "change", [lambda s: s.limit(1), lambda s: s.offset(1), lambda s: s.fetch(1)]
)
def test_the_database_does_not_count_candidates(workers: Workers, change: Any) -> None:
    with workers.sessions() as session, pytest.raises(ApproximateSearchError, match="FETCH"):
        matching(session, change(select(Worker).where(Worker.town == "York")))


@pytest.fixture
def fresh() -> Iterator[Workers]:
    made = Workers()
    yield made
    made.engine.dispose()


@pytest.mark.parametrize("how", ["auto", "evaluate", "fetch"])
@pytest.mark.parametrize("name", ["ada", None])
def test_deleting_and_updating_what_is_loaded(fresh: Workers, how: Any, name: Any) -> None:
    meant = Worker.name.is_(None) if name is None else Worker.name == name
    for options in ({"synchronize_session": how}, {}):
        with fresh.sessions() as session:
            loaded = {w.id: w for w in session.scalars(select(Worker)).all()}
            found = {w.id for w in loaded.values() if w.name == name}
            by_statement = how if not options else "auto"
            statement = update(Worker).where(meant).values(boss_id=0)
            session.execute(
                statement.execution_options(synchronize_session=by_statement),
                execution_options=options,
            )
            boss_of = dict(session.execute(sql("SELECT id, boss_id FROM workers")).all())
            assert {n: w.boss_id for n, w in loaded.items()} == boss_of
            assert all(boss_of[n] == 0 for n in found)
            session.execute(update(Worker).values(boss_id=None))
            deletion = delete(Worker).where(meant)
            session.execute(deletion.execution_options(synchronize_session=how))
            assert {w.id for w in session.identity_map.values()} == set(loaded) - found
            assert {w.id for w in session.scalars(select(Worker)).all()} == set(loaded) - found
            session.rollback()


def test_a_row_that_another_session_has_changed_is_not_missed(tmp_path: Any) -> None:
    keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())
    engine = create_engine(f"sqlite:///{tmp_path}/w.db")
    Base.metadata.create_all(engine)
    sessions = bind(sessionmaker(engine, expire_on_commit=False), keyring)
    with sessions.begin() as session:
        session.add(Worker(id=1, tenant="north", town="York", place="a", boss_id=None))
    york = select(Worker).where(Worker.town == "York")
    rome = select(Worker).where(Worker.town == "Rome")
    both = rome.where(Worker.place.startswith("bcd"))
    with sessions() as session:
        (worker,) = matching(session, york)
        session.commit()
        with sessions.begin() as elsewhere:
            changed = elsewhere.get_one(Worker, 1)
            changed.town, changed.place = "Rome", "bcd"
        assert worker.town == "York"
        assert matching(session, both) == [worker]
        assert (worker.town, worker.place) == ("Rome", "bcd")
        assert matching(session, york) == []
        session.commit()
        # what is assigned here and not flushed is neither lost nor overwritten
        with sessions.begin() as elsewhere:
            elsewhere.get_one(Worker, 1).place = "xyz"
        worker.town = "Bonn"
        with session.no_autoflush:
            assert matching(session, both) == []
            assert matching(session, rome) == []
        assert worker.town == "Bonn"
    engine.dispose()


def test_moments_that_cannot_be_compared_are_an_error(fresh: Workers) -> None:
    noon = datetime(2026, 1, 1, 12)  # noqa: DTZ001 - without a zone
    with fresh.sessions.begin() as session:
        session.add(Worker(id=100, tenant="north", seen=noon.replace(tzinfo=UTC)))
    day = timedelta(days=1)
    with fresh.sessions() as session:
        aware = Worker.seen.between(noon.replace(tzinfo=UTC), noon.replace(tzinfo=UTC) + day)
        assert [w.id for w in matching(session, select(Worker).where(aware))] == [100]
        with pytest.raises(UnsupportedValueError, match="with a zone"):
            matching(session, select(Worker).where(Worker.seen.between(noon, noon + day)))
