"""Sealed fields of two models compared with each other, by their blind indexes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import StaticPool, and_, create_engine, exists, func, insert, not_, select
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    aliased,
    configure_mappers,
    joinedload,
    mapped_column,
    relationship,
    selectinload,
    sessionmaker,
    synonym,
)

from assay.encryption.sqlalchemy import (
    DeclarationError,
    Equality,
    Prefix,
    Sealed,
    SealedOperatorError,
    UnsealedWriteError,
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
    handle: Mapped[str | None] = sealed(index=Equality(exact))
    pin: Mapped[str | None] = sealed(index=Equality(exact, bits=16))
    code: Mapped[str | None] = sealed(index=Equality(exact, name="code"))
    bare: Mapped[str | None] = sealed()
    old: Mapped[str | None] = sealed(
        group="moving", index=Equality(exact, name="old"), plaintext="old"
    )
    mail: Mapped[str | None] = synonym("email")
    contacts: Mapped[list[Contact]] = relationship(
        primaryjoin=lambda: Account.email == Contact.email,
        foreign_keys="Contact.email_index",
        viewonly=True,
    )
    by_name: Mapped[list[Contact]] = relationship(
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
    narrow: Mapped[str | None] = sealed(index=Equality(casefold, name="email", bits=64))
    strict: Mapped[str | None] = sealed(index=Equality(exact, name="email"))
    code: Mapped[int | None] = sealed(index=Equality(exact, name="code"))
    handle: Mapped[str | None] = sealed(index=Equality(exact))
    start: Mapped[str | None] = sealed(index=Prefix(casefold, lengths=(3,)))
    old: Mapped[str | None] = sealed(index=Equality(exact, name="old"))


ROWS = [("north", "Ada@x"), ("south", "ada@X"), ("north", "bob@x"), ("north", None), ("south", "z")]


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    Base.metadata.create_all(engine)
    sessions = bind(sessionmaker(engine), Keyring(MemoryKeyService(), MemoryDataKeyTable()))
    with sessions.begin() as session:
        for number, (tenant, email) in enumerate(ROWS):
            session.add(Account(id=number, tenant=tenant, email=email, pin="1", handle="same"))
            other = None if email is None else email.upper()
            session.add(Contact(id=number + 10, tenant=tenant, email=other))
        session.add(Contact(id=20, tenant="north", email="ada@x"))
        session.add(Contact(id=21, tenant="south", email="bob@x"))
    with sessions() as session:
        yield session
    engine.dispose()


PAIRS = [(0, 10), (0, 20), (1, 11), (2, 12), (4, 14)]
"""Equal emails of one owner; bob@x of south, and what is null, match nothing."""


def test_fields_of_two_models_are_joined_within_one_owner(session: Session) -> None:
    a, c = aliased(Account), aliased(Contact)
    for statement in (
        select(Account.id, Contact.id).join(Contact, Account.email == Contact.email),
        select(Account.id, Contact.id).join(Contact, Contact.email == Account.email),
        select(Account.id, Contact.id).where(Account.email == Contact.email),
        select(Account.id, Contact.id).where(Account.mail == Contact.email),
        select(Account.id, Contact.id)
        .where(Account.email == Account.email)
        .where(Contact.email == Account.mail),
        select(a.id, c.id).join(c, a.email == c.email),
        select(Account.id, Contact.id).join(Account.contacts),
        select(Account.id, Contact.id).join(Account.by_name),
    ):
        assert sorted(map(tuple, session.execute(statement).all())) == PAIRS


def test_an_outer_join_keeps_rows_without_an_equal_one(session: Session) -> None:
    statement = select(Account.id, func.count(Contact.id)).outerjoin(
        Contact, and_(Account.email == Contact.email, Contact.email == "ADA@x")
    )
    found = session.execute(statement.group_by(Account.id)).all()
    assert sorted(map(tuple, found)) == [(0, 2), (1, 1), (2, 0), (3, 0), (4, 0)]
    alone = select(Account.id).where(~exists().where(Account.email == Contact.email))
    assert session.scalars(alone).all() == [3]


@pytest.mark.parametrize("load", [None, selectinload, joinedload])
@pytest.mark.parametrize("name", ["contacts", "by_name"])
def test_a_relationship_joins_by_sealed_fields(session: Session, name: str, load: Any) -> None:
    session.expunge_all()
    statement = select(Account).order_by(Account.id)
    if load is not None:
        statement = statement.options(load(getattr(Account, name)))
    accounts = session.scalars(statement).unique().all()
    found = [(each.id, other.id) for each in accounts for other in getattr(each, name)]
    assert sorted(found) == PAIRS
    assert all(
        (other.email or "").lower() == (each.email or "").lower() and other.tenant == each.tenant
        for each in accounts
        for other in getattr(each, name)
    )
    some = select(Account.id).where(getattr(Account, name).any(Contact.email == "bob@x"))
    assert session.scalars(some).all() == [2]


def test_rows_of_one_model_are_joined_without_a_shared_name(session: Session) -> None:
    other = aliased(Account)
    statement = select(Account.id, other.id).join(
        other, and_(Account.handle == other.handle, Account.id < other.id)
    )
    found = sorted(map(tuple, session.execute(statement).all()))
    assert found == [(0, 2), (0, 3), (1, 4), (2, 3)]


@pytest.mark.parametrize(
    ("compare", "way_out"),
    [
        (lambda: Account.bare == Contact.email, r"Account\.bare.*Equality\(…, name="),
        (lambda: Contact.email == Account.bare, r"Account\.bare.*Equality\(…, name="),
        (lambda: Contact.start == Account.email, r"Contact\.start.*Equality\(…, name="),
        (lambda: Account.handle == Contact.handle, "do not share a name; declare Equality"),
        (lambda: Account.email == Contact.handle, "do not share a name; declare Equality"),
        (lambda: Account.email == Contact.narrow, "declare both alike"),
        (lambda: Account.email == Contact.strict, "declare both alike"),
        (lambda: Account.code == Contact.code, "declare both alike"),
        (lambda: Account.pin == aliased(Account).pin, "64 bits or more"),
        (lambda: Account.old == Contact.old, r"Account\.old.*assay seal contract"),
        (lambda: Contact.old == Account.old, r"Account\.old.*assay seal contract"),
        (lambda: Account.email != Contact.email, "load the rows"),
        (lambda: not_(Account.email == Contact.email), "load the rows"),
        (lambda: Account.email < Contact.email, "load the rows"),
        (lambda: Account.email.startswith(Contact.email), "load the rows"),
        (lambda: Account.email.is_not_distinct_from(Contact.email), "load the rows"),
    ],
)
def test_what_indexes_cannot_join_is_refused_with_the_way_out(compare: Any, way_out: str) -> None:
    with pytest.raises(SealedOperatorError, match=way_out):
        compare()


def test_rows_that_name_what_the_model_has_not_are_refused(session: Session) -> None:
    row = {"id": 30, "tenant": "north", "emial": "secret@x"}
    for rows in (row, [row], [{"id": 31, "tenant": "north", "email": "a"}, row]):
        with pytest.raises(UnsealedWriteError, match="Contact, found 'emial'") as caught:
            session.execute(insert(Contact), rows)
        assert "secret" not in str(caught.value)
    assert session.scalars(select(Contact.id).where(Contact.id >= 30)).all() == []


def test_a_relationship_that_would_copy_an_index_is_refused() -> None:
    class Others(DeclarativeBase):
        pass

    class Writer(Sealed, Others):
        __tablename__ = "writers"
        __owner__ = "tenant"

        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        tenant: Mapped[str]
        boss: Mapped[str | None] = sealed(index=Equality(exact, name="writer"))
        name: Mapped[str | None] = sealed(index=Equality(exact, name="writer"))
        staff: Mapped[list[Writer]] = relationship(
            primaryjoin=lambda: Writer.name == Writer.boss, foreign_keys="Writer.boss_index"
        )

    with pytest.raises(DeclarationError, match=r"Writer\.staff.*viewonly=True"):
        configure_mappers()
    Others.registry.dispose()
