"""Joins of sealed fields find what joins of columns in the clear find, in rows of one owner."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import (
    StaticPool,
    and_,
    case,
    create_engine,
    delete,
    exists,
    func,
    literal,
    not_,
    or_,
    select,
    true,
    union,
    update,
)
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    aliased,
    column_property,
    configure_mappers,
    mapped_column,
    relationship,
    sessionmaker,
)

from assay.encryption.sqlalchemy import (
    Equality,
    Sealed,
    SealedOperatorError,
    bind,
    casefold,
    exact,
    sealed,
)
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService


class Base(DeclarativeBase):
    pass


class Account(Sealed, Base):
    __tablename__ = "accounts"
    __owner__ = "tenant"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    email: Mapped[str | None] = sealed(index=Equality(casefold, name="email"))
    contacts: Mapped[list[Contact]] = relationship(
        primaryjoin="Account.email == Contact.email",
        foreign_keys="Contact.email_index",
        viewonly=True,
    )


class Contact(Sealed, Base):
    __tablename__ = "contacts"
    __owner__ = "tenant"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    label: Mapped[str | None]
    email: Mapped[str | None] = sealed(index=Equality(casefold, name="email"))


class ClearAccount(Base):
    __tablename__ = "clear_accounts"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    email: Mapped[str | None]


class ClearContact(Base):
    __tablename__ = "clear_contacts"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    label: Mapped[str | None]
    email: Mapped[str | None]


SEALED = SimpleNamespace(A=Account, C=Contact, same=lambda a, c: a.email == c.email)
CLEAR = SimpleNamespace(
    A=ClearAccount,
    C=ClearContact,
    same=lambda a, c: and_(a.tenant == c.tenant, a.email == c.email),
)


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    Base.metadata.create_all(engine)
    sessions = bind(sessionmaker(engine), Keyring(MemoryKeyService(), MemoryDataKeyTable()))
    emails = ["ada@x", "bob@x", None, "only", ""]
    with sessions.begin() as session:
        for number, (tenant, email) in enumerate(product(("north", "south"), emails)):
            given = {"id": number, "tenant": tenant, "email": email}
            session.add_all([Account(**given), ClearAccount(**given)])
        for number, (tenant, email) in enumerate(product(("south", "north", "west"), emails[:3])):
            label = "odd" if number % 2 else None
            given = {"id": number, "tenant": tenant, "email": email, "label": label}
            session.add_all([Contact(**given), ClearContact(**given)])
        doubled = {"id": 20, "tenant": "north", "email": "ada@x"}
        session.add_all([Contact(**doubled), ClearContact(**doubled)])
    with sessions() as session:
        yield session
    engine.dispose()


def pairs(m: Any) -> Any:
    return select(m.A.id, m.C.id)


_FORMS: dict[str, Callable[[Any], Any]] = {
    "where": lambda m: pairs(m).where(m.same(m.A, m.C)),
    "join": lambda m: pairs(m).join(m.C, m.same(m.A, m.C)),
    "swapped": lambda m: pairs(m).join(m.C, m.same(m.C, m.A)),
    "outer join": lambda m: pairs(m).outerjoin(m.C, m.same(m.A, m.C)),
    "full join": lambda m: pairs(m).outerjoin(m.C, m.same(m.A, m.C), full=True),
    "outer join with more": lambda m: pairs(m).outerjoin(
        m.C, and_(m.same(m.A, m.C), m.C.label == "odd")
    ),
    "outer join with or": lambda m: pairs(m).outerjoin(
        m.C, or_(m.same(m.A, m.C), and_(m.C.label == "odd", m.A.id == 3))
    ),
    "without an equal one": lambda m: (
        select(m.A.id).outerjoin(m.C, m.same(m.A, m.C)).where(m.C.id.is_(None))
    ),
    "not exists": lambda m: select(m.A.id).where(~exists().where(m.same(m.A, m.C))),
    "not exists with more": lambda m: select(m.A.id).where(
        not_(and_(exists().where(m.same(m.A, m.C), m.C.label == "odd"), m.A.id < 6))
    ),
    "not in": lambda m: select(m.A.id).where(m.A.id.not_in(select(m.A.id).where(m.same(m.A, m.C)))),
    "exists": lambda m: select(m.A.id).where(exists().where(m.same(m.A, m.C))),
    "or": lambda m: pairs(m).where(or_(m.same(m.A, m.C), m.A.id + m.C.id == 9)),
    "and of or": lambda m: pairs(m).where(
        and_(or_(m.same(m.A, m.C), m.A.id == 1), m.C.label.is_(None))
    ),
    "aliases": lambda m: select((a := aliased(m.A)).id, (c := aliased(m.C)).id).where(m.same(a, c)),
    "self join": lambda m: select(m.C.id, (o := aliased(m.C)).id).join(
        o, and_(m.same(m.C, o), m.C.id < o.id)
    ),
    "outer self join": lambda m: select(m.C.id, (o := aliased(m.C)).id).outerjoin(
        o, and_(m.same(m.C, o), m.C.id != o.id)
    ),
    "three": lambda m: (
        select(m.A.id, m.C.id, (o := aliased(m.C)).id)
        .join(m.C, m.same(m.A, m.C))
        .outerjoin(o, and_(m.same(o, m.A), o.label == "odd"))
    ),
    "lateral subquery": lambda m: select(
        m.A.id,
        select(func.count(m.C.id)).where(m.same(m.A, m.C)).correlate(m.A).scalar_subquery(),
    ),
    "count filter": lambda m: (
        select(m.A.id, func.count().filter(m.same(m.A, m.C))).join(m.C, true()).group_by(m.A.id)
    ),
    "union": lambda m: union(
        pairs(m).where(m.same(m.A, m.C)), pairs(m).where(m.A.id == 1, m.C.id == m.A.id)
    ),
    "cte": lambda m: select((found := pairs(m).where(m.same(m.A, m.C)).cte()).c[0], found.c[1]),
    "other conditions are negated": lambda m: pairs(m).where(
        m.same(m.A, m.C), not_(and_(m.C.label == "odd", m.A.id < 5))
    ),
}


@pytest.mark.parametrize("form", _FORMS)
def test_a_join_finds_what_it_finds_in_the_clear(session: Session, form: str) -> None:
    found, expected = (
        sorted(map(tuple, session.execute(_FORMS[form](each))), key=repr)
        for each in (SEALED, CLEAR)
    )
    assert found == expected != []


def _in_query(value: Any) -> Any:
    return select(Account.id).where(value)


_REFUSED: dict[str, Callable[[Any, Any], Any]] = {
    "not and": lambda same, plain: _in_query(not_(and_(plain, same))),
    "not or": lambda same, plain: _in_query(~or_(plain, same)),
    "not not": lambda same, plain: _in_query(not_(and_(plain, not_(and_(plain, same))))),
    "deep": lambda same, plain: _in_query(or_(plain, not_(and_(plain, or_(plain, same))))),
    "on": lambda same, plain: select(Account.id).outerjoin(Contact, not_(and_(plain, same))),
    "within exists": lambda same, plain: _in_query(exists().where(not_(and_(plain, same)))),
    "is false": lambda same, _: _in_query(same == literal(False)),
    "is_": lambda same, _: _in_query(same.is_(False)),
    "differs": lambda same, plain: _in_query(plain != and_(same, plain)),
    "case": lambda same, _: _in_query(case((same, False), else_=True)),
    "column": lambda same, _: select(Account.id, same),
    "label": lambda same, _: select(Account.id, same.label("same")),
    "sorted": lambda same, _: select(Account.id, Contact.id).order_by(same),
    "grouped": lambda same, _: select(func.count()).select_from(Account, Contact).group_by(same),
    "function": lambda same, _: _in_query(func.coalesce(same, True)),
    "having": lambda same, plain: select(Account.id).having(not_(and_(plain, same))),
    "filter": lambda same, plain: select(func.count().filter(not_(and_(same, plain)))),
    "values": lambda same, _: update(Contact).values(label=case((same, "x"))),
    "update": lambda same, plain: update(Contact).where(~and_(plain, same)).values(label="x"),
    "delete": lambda same, plain: delete(Contact).where(~and_(plain, same)),
    "legacy": lambda same, plain: select(Account.id).filter(~and_(plain, same)),
}


@pytest.mark.parametrize("form", _REFUSED)
def test_what_is_true_of_two_owners_is_refused(session: Session, form: str) -> None:
    same, plain = Account.email == Contact.email, Contact.label == "odd"
    statement = _REFUSED[form](same, plain)
    with pytest.raises(SealedOperatorError, match=r"those that differ.*~exists\(\)\.where"):
        session.execute(statement)


def test_a_column_property_says_not_whether_they_are_equal() -> None:
    class Other(DeclarativeBase):
        pass

    class Pair(Sealed, Other):
        __tablename__ = "pairs"
        __owner__ = "tenant"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        tenant: Mapped[str]
        one: Mapped[str] = sealed(index=Equality(exact, name="one"))
        other: Mapped[str] = sealed(index=Equality(exact, name="one"))

    Pair.same = column_property(Pair.one == Pair.other)
    with pytest.raises(SealedOperatorError, match="those that differ"):
        configure_mappers()
    Other.registry.dispose()


def test_a_relationship_may_be_negated(session: Session) -> None:
    some = select(Account.id).where(Account.contacts.any())
    none = select(Account.id).where(~Account.contacts.any())
    odd = select(Account.id).where(~Account.contacts.any(Contact.label == "odd"))
    matched = {a for a, _ in session.execute(_FORMS["where"](CLEAR))}
    every = set(session.scalars(select(Account.id)))
    assert set(session.scalars(some)) == matched
    assert set(session.scalars(none)) == every - matched
    labelled = _FORMS["where"](CLEAR).where(ClearContact.label == "odd")
    assert set(session.scalars(odd)) == every - {a for a, _ in session.execute(labelled)}


def test_owners_without_keys_have_no_values_and_nothing_is_known_of_them() -> None:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    Base.metadata.create_all(engine)
    keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())
    with bind(Session(engine), keyring) as session:
        for model in (Account, ClearAccount):
            session.add(model(id=1, tenant="east", email=None))
        session.commit()
        for criterion in (
            lambda model: model.email == "ada@x",
            lambda model: model.email != "ada@x",
            lambda model: not_(model.email == "ada@x"),
            lambda model: model.email.not_in(["ada@x", "bob@x"]),
            lambda model: model.email.not_in([]),
            lambda model: not_(and_(model.id == 1, model.email == "ada@x")),
            lambda model: or_(model.email == "ada@x", model.email != "ada@x"),
        ):
            for beside in ((), (True,)):
                found, expected = (
                    session.scalars(
                        select(model.id).where(
                            criterion(model), *(model.tenant == "east" for _ in beside)
                        )
                    ).all()
                    for model in (Account, ClearAccount)
                )
                assert found == expected
    engine.dispose()
