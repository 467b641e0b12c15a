"""What Django seals SQLAlchemy opens and finds, and the other way round."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from sqlalchemy import URL, create_engine, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from assay.encryption.django import matching as matching_in_django
from assay.encryption.sqlalchemy import (
    Buckets,
    Equality,
    Ngram,
    Prefix,
    Sealed,
    bind,
    casefold,
    exact,
    matching,
    sealed,
)

VALUES = {
    "yes": True,
    "small": 3,
    "ratio": 0.1,
    "day": date(1815, 12, 10),
    "hour": time(1, 2, 3),
    "moment": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
    "amount": Decimal("1.2300"),
    "uuid": uuid4(),
    "raw": b"\x00\xff",
    "slug": "ada",
    "address": "::1",
    "tree": [1, {"a": None, "é": [0.5, True]}],
}
BOUNDARIES = tuple(Decimal(each) for each in (10, 100, 1000))


class Base(DeclarativeBase):
    pass


class Customer(Sealed, Base):
    __tablename__ = "sealed_shop_customer"
    __owner__ = "tenant_id"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    tenant_id: Mapped[str]
    label: Mapped[str] = mapped_column(default="")
    email: Mapped[str] = sealed(index=Equality(casefold, unique=True))
    age: Mapped[int | None] = sealed(index=Equality(exact))
    plan: Mapped[str] = sealed()
    notes: Mapped[str] = sealed(group="content")
    extra: Mapped[dict[str, Any]] = sealed(group="content")


class Item(Sealed, Base):
    __tablename__ = "sealed_shop_item"
    __owner__ = "tenant_id"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    tenant_id: Mapped[str]
    secret: Mapped[str] = sealed()
    price: Mapped[Decimal] = sealed(index=Buckets(boundaries=BOUNDARIES))
    title: Mapped[str] = sealed(index=[Prefix(casefold, lengths=(3,)), Ngram(casefold)])


class Everything(Sealed, Base):
    __tablename__ = "sealed_shop_everything"
    __sealed_name__ = "all of it"
    __sealed_padding__ = True
    __owner__ = "owner"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    owner: Mapped[UUID]
    yes: Mapped[bool | None] = sealed()
    moment: Mapped[datetime | None] = sealed()
    day: Mapped[date | None] = sealed()
    hour: Mapped[time | None] = sealed()
    small: Mapped[int | None] = sealed()
    ratio: Mapped[float | None] = sealed()
    amount: Mapped[Decimal | None] = sealed()
    uuid: Mapped[UUID | None] = sealed()
    raw: Mapped[bytes | None] = sealed()
    slug: Mapped[str | None] = sealed()
    address: Mapped[str | None] = sealed()
    tree: Mapped[list[Any] | None] = sealed()


@pytest.fixture
def sessions(keyring):
    """Sessions of SQLAlchemy on the database, and with the keyring, that Django works with."""
    settings = connection.settings_dict
    drivers = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}
    url = URL.create(
        drivers[connection.vendor],
        settings["USER"] or None,
        settings["PASSWORD"] or None,
        settings["HOST"] or None,
        int(settings["PORT"]) if settings["PORT"] else None,
        str(settings["NAME"]),
    )
    engine = create_engine(url)
    yield bind(sessionmaker(engine), keyring)
    engine.dispose()


def shop():
    from tests.sealed_shop import models

    return models


def test_sqlalchemy_opens_and_finds_what_django_seals(sessions):
    made = shop().Customer.objects.create(
        tenant_id="north", email="Ada@example.com", age=7, notes="Dear Ada", extra={"a": [1]}
    )
    with sessions() as session:
        found = session.scalars(
            select(Customer).where(
                Customer.tenant_id == "north", Customer.email == "ADA@example.com"
            )
        ).one()
        assert found.id == made.pk
        assert (found.email, found.age, found.plan) == ("Ada@example.com", 7, "f")
        assert (found.notes, found.extra) == ("Dear Ada", {"a": [1]})
        assert session.scalars(select(Customer).where(Customer.age == 7)).one() is found


def test_django_opens_and_finds_what_sqlalchemy_seals(sessions):
    with sessions.begin() as session:
        session.add(
            Customer(
                tenant_id="north",
                email="Ada@example.com",
                age=7,
                plan="p",
                notes="Dear Ada",
                extra={"a": [1]},
            )
        )
    found = shop().Customer.objects.get(tenant_id="north", email="ada@EXAMPLE.com")
    assert (found.email, found.age, found.get_plan_display()) == ("Ada@example.com", 7, "Paid")
    assert (found.notes, found.extra) == ("Dear Ada", {"a": [1]})
    assert shop().Customer.objects.get(age=7) == found


def test_each_changes_what_the_other_has_written(sessions):
    made = shop().Customer.objects.create(tenant_id="north", email="ada@example.com", notes="one")
    with sessions.begin() as session:
        row = session.get_one(Customer, made.pk)
        row.email, row.notes = "grace@example.com", "two"
    made.refresh_from_db()
    assert (made.email, made.notes) == ("grace@example.com", "two")
    assert not shop().Customer.objects.filter(email="ada@example.com").exists()
    made.email = "alan@example.com"
    made.save()
    with sessions() as session:
        row = session.scalars(select(Customer).where(Customer.email == "alan@example.com")).one()
        assert (row.email, row.notes) == ("alan@example.com", "two")


def test_values_of_every_kind_are_the_same_in_both(sessions):
    owner = uuid4()
    shop().Everything.objects.create(number=1, owner=owner, **VALUES)
    with sessions.begin() as session:
        row = session.get_one(Everything, 1)
        assert {name: getattr(row, name) for name in VALUES} == VALUES
        assert type(row.amount.as_tuple().exponent) is int
        assert row.amount.as_tuple() == VALUES["amount"].as_tuple()
        session.add(Everything(number=2, owner=owner, **VALUES))
        session.add(Everything(number=3, owner=owner, **dict.fromkeys(VALUES)))
    read = shop().Everything.objects.get(number=2)
    assert {name: getattr(read, name) for name in VALUES} == VALUES
    empty = shop().Everything.objects.get(number=3)
    assert all(getattr(empty, name) is None for name in VALUES)


def test_every_kind_of_index_is_the_same_in_both(sessions):
    shop().Tenant.objects.create(id="north")
    one, two = uuid4(), uuid4()
    fields = {"secret": "", "price": Decimal("50.00"), "title": "Analytical Engine"}
    shop().Item.objects.create(id=one, tenant_id="north", **fields)
    with sessions.begin() as session:
        session.add(Item(id=two, tenant_id="north", **fields))
    with sessions() as session:
        rows = session.execute(text("SELECT * FROM sealed_shop_item")).mappings().all()
        assert len(rows) == 2
        names = [name for name in rows[0] if name not in ("id", "tenant_id", "sealed")]
        assert len(names) == 3
        assert [rows[0][name] for name in names] == [rows[1][name] for name in names]
        assert all(rows[0][name] is not None for name in names)
        for searched in (
            Item.title.startswith("ANA"),
            Item.title.contains("engine"),
            Item.price < Decimal(60),
        ):
            found = matching(session, select(Item).where(searched))
            assert {each.id for each in found} == {one, two}
    for given in (
        {"title__startswith": "ANA"},
        {"title__contains": "engine"},
        {"price__lt": Decimal(60)},
    ):
        rows = matching_in_django(shop().Item.objects.filter(tenant_id="north", **given))
        assert {row.pk for row in rows} == {one, two}
