"""Queries of sealed models: what an index answers, and what is refused by name."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.apps import apps
from django.db import connection
from django.db.models import (
    Case,
    CharField,
    Count,
    Exists,
    F,
    Max,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
    When,
    Window,
)
from django.db.models.fields.json import KT
from django.db.models.functions import Cast, Coalesce, Concat, JSONObject, Upper
from django.db.models.lookups import Exact
from django.test.utils import CaptureQueriesContext

from assay.encryption import BlindIndexError
from assay.encryption.django import (
    ApproximateSearchError,
    OwnerChangedError,
    RowIdChangedError,
    SealedExpressionError,
    SealedValueError,
    TooManyOwnersError,
    UnsealedWriteError,
    matching,
)
from assay.encryption.django import lookups as lookups_module


@pytest.fixture
def customers(keyring):
    from tests.sealed_shop.models import Customer

    rows = [("north", "ada@example.com", 36), ("north", "bob@example.com", None)]
    rows += [("south", "ada@example.com", 36), ("south", "eve@example.com", 20)]
    Customer.objects.bulk_create(
        Customer(tenant_id=tenant, email=email, age=age, label=f"{tenant} {email[:3]}")
        for tenant, email, age in rows
    )
    return Customer.objects


def labels(queryset):
    return sorted(each.label for each in queryset)


def test_what_an_index_of_equality_answers(customers):
    assert labels(customers.filter(email="ADA@example.com")) == ["north ada", "south ada"]
    assert labels(customers.filter(tenant_id="north", email="ada@example.com")) == ["north ada"]
    assert labels(customers.filter(email__iexact="ada@EXAMPLE.com", tenant_id__in=["south"])) == [
        "south ada"
    ]
    wanted = ["ada@example.com", "eve@example.com", None]
    assert labels(customers.filter(email__in=wanted)) == ["north ada", "south ada", "south eve"]
    assert labels(customers.filter(email__in=[])) == []
    assert labels(customers.exclude(email__in=wanted[:2])) == ["north bob"]
    assert labels(customers.exclude(age=36)) == ["north bob", "south eve"]
    assert labels(customers.filter(age="36", tenant_id="south")) == ["south ada"]
    assert labels(customers.filter(age=None)) == ["north bob"]
    assert labels(customers.filter(age__isnull=False, tenant_id="north")) == ["north ada"]
    either = Q(email="eve@example.com") | Q(tenant_id="north", age=36)
    assert labels(customers.filter(either)) == ["north ada", "south eve"]
    assert labels(customers.filter(~Q(email="ada@example.com"))) == ["north bob", "south eve"]
    assert labels(customers.none().union(customers.filter(age=20))) == ["south eve"]
    assert customers.filter(tenant_id="nobody", email="ada@example.com").count() == 0
    assert customers.filter(email="ada@example.com").exists()
    assert labels(customers.filter(email="ada@example.com").distinct()) == [
        "north ada",
        "south ada",
    ]


def test_relations_and_subqueries(customers):
    from tests.sealed_shop.models import Order

    ada = customers.get(tenant_id="north", email="ada@example.com")
    Order.objects.create(customer=ada)
    orders = Order.objects.filter(customer__tenant_id="north", customer__email="ada@example.com")
    assert [each.customer.email for each in orders.select_related("customer")] == [
        "ada@example.com"
    ]
    assert Order.objects.filter(customer__in=customers.filter(age=36)).count() == 1
    assert Order.objects.filter(customer__age=20).count() == 0
    assert Order.objects.exclude(customer__age=20).count() == 1
    fetched = customers.prefetch_related("orders").get(pk=ada.pk)
    assert len(fetched.orders.all()) == 1
    for refused in (
        lambda: Order.objects.values("customer__email"),
        lambda: Order.objects.values_list("customer__notes", flat=True),
        lambda: Order.objects.annotate(email=F("customer__email")),
        lambda: Order.objects.order_by("customer__email"),
        lambda: [Order.objects.aggregate(Max("customer__age"))],
        lambda: Order.objects.filter(customer__notes="x"),
    ):
        with pytest.raises(SealedExpressionError):
            list(refused())
    joined = Order.objects.select_related("customer")
    for loaded in (
        joined,
        joined.only("customer__email"),
        joined.defer("customer__email"),
        joined.only("customer__notes", "customer__label"),
    ):
        assert [each.customer.email for each in loaded] == ["ada@example.com"]


def test_relations_do_not_give_rows_away(keyring):
    from tests.sealed_shop.models import Item, Tenant

    north, south = Tenant.objects.bulk_create([Tenant(id="north"), Tenant(id="south")])
    row = Item.objects.create(tenant=north, title="Quartz", price=1)
    for give in (
        lambda: south.item_set.add(row),
        lambda: south.item_set.add(Item.objects.get(), bulk=False),
        lambda: north.item_set.update(tenant=south),
        lambda: Item._base_manager.update(tenant=south),
    ):
        with pytest.raises(OwnerChangedError):
            give()
    read = Item.objects.get()
    assert (read.tenant_id, read.title) == ("north", "Quartz")
    assert north.item_set.create(title="Clock", price=2).title == "Clock"
    north.delete()
    assert Item.objects.count() == 0


def test_getting_or_making(customers):
    found, made = customers.get_or_create(tenant_id="north", email="ada@example.com")
    assert (found.age, made) == (36, False)
    row, made = customers.get_or_create(
        tenant_id="north", email="new@example.com", defaults={"age": 1}
    )
    assert (row.age, made) == (1, True)
    row, made = customers.update_or_create(
        tenant_id="north", email="new@example.com", defaults={"age": 2, "notes": "x"}
    )
    assert not made
    row.refresh_from_db()
    assert (row.age, row.notes) == (2, "x")


def test_loading_less(customers):
    with CaptureQueriesContext(connection) as log:
        rows = [(each.email, each.age) for each in customers.only("email").order_by("label")]
    assert (len(log), len(rows)) == (1, 4)
    row = customers.defer("notes").get(tenant_id="north", age=36)
    with CaptureQueriesContext(connection) as log:
        assert row.email == "ada@example.com"
        assert len(log) == 0
        assert row.notes == ""
    assert len(log) == 1
    row = customers.only("label").get(pk=row.pk)
    row.notes = "changed"
    row.save()
    assert customers.get(pk=row.pk).notes == "changed"
    assert [each.email for each in customers.filter(age=20).iterator()] == ["eve@example.com"]
    assert customers.in_bulk([row.pk])[row.pk].age == 36


def test_raw_queries_open_too(customers):
    found = customers.raw("SELECT * FROM sealed_shop_customer WHERE label = %s", ["south eve"])
    assert [each.email for each in found] == ["eve@example.com"]
    found = customers.raw("SELECT id, label FROM sealed_shop_customer WHERE label = 'south eve'")
    assert [each.email for each in found] == ["eve@example.com"]


@pytest.mark.parametrize(
    "query",
    [
        lambda c: c.filter(notes="x"),
        lambda c: c.filter(email__startswith="a"),
        lambda c: c.filter(email__contains="a"),
        lambda c: c.filter(email__regex="a"),
        lambda c: c.filter(age__gt=5),
        lambda c: c.filter(age__iexact=5),
        lambda c: c.filter(extra__colour="red"),
        lambda c: c.filter(email=F("label")),
        lambda c: c.filter(email__in=c.values("label")),
        lambda c: c.filter(email=Upper(Value("a"))),
        lambda c: c.filter(label=F("email")),
        lambda c: c.filter(label=Subquery(c.filter(label=OuterRef("email")).values("label"))),
        lambda c: c.alias(either=Coalesce("email", "label")).filter(either="x"),
        lambda c: c.alias(text=Cast("email", CharField())).filter(text="x"),
        lambda c: c.alias(text=Concat("email", "email")).exclude(text="x"),
        lambda c: c.alias(e=Case(When(label="", then="email"), default="email")).filter(e="x"),
        lambda c: c.filter(Exact(F("email"), "x")),
        lambda c: c.filter(Exists(c.filter(email=OuterRef("label")))),
        lambda c: c.annotate(x=Value("x", output_field=c.model._meta.get_field("email"))),
        lambda c: c.values("extra__colour"),
        lambda c: c.values_list("extra__colour", flat=True),
        lambda c: c.annotate(x=KT("extra__colour")),
        lambda c: c.annotate(x=JSONObject(email="email")),
        lambda c: c.annotate(x=Window(Max("age"))),
        lambda c: c.annotate(dear=Case(When(extra__colour="red", then=Value(1)))),
        lambda c: c.filter(label="x").union(c.filter(label="y")).values("email"),
        lambda c: c.extra(order_by=["-email"]),
        lambda c: c.order_by(F("email").desc(nulls_last=True)),
        lambda _: apps.get_model("sealed_shop", "Everything").objects.dates("day", "year"),
        lambda c: [c.earliest("-email")],
        lambda c: [c.update(label=Subquery(c.values("email")[:1]))],
        lambda c: [c.update(label=Value("x", output_field=c.model._meta.get_field("email")))],
        lambda c: c.order_by("email"),
        lambda c: c.order_by("-age"),
        lambda c: c.values("email"),
        lambda c: c.values(),
        lambda c: c.values_list(),
        lambda c: c.values_list("label", "email"),
        lambda c: c.values_list("email", flat=True),
        lambda c: c.annotate(copy=F("email")),
        lambda c: c.annotate(copy=Upper("email")),
        lambda c: c.values("age").annotate(n=Count("pk")),
        lambda c: [c.aggregate(Max("age"))],
        lambda c: [c.aggregate(n=Count("email"))],
        lambda c: [c.latest("age")],
        lambda c: [c.update(email="x@example.com")],
        lambda c: [c.update(sealed=b"x")],
        lambda c: [c.update(email_index=b"x")],
        lambda c: [c.update(label=F("email"))],
        lambda c: [c.bulk_update(list(c.all()), ["email"])],
        lambda c: [c.bulk_update(list(c.all()), ["sealed"])],
        lambda c: [
            c.bulk_create(
                list(c.all()), update_conflicts=True, update_fields=["label"], unique_fields=["id"]
            )
        ],
    ],
)  # fmt: skip
def test_everything_else_is_refused_before_anything_is_sent(customers, query):
    rows = customers.all()
    list(rows)
    with CaptureQueriesContext(connection) as log:
        with pytest.raises(SealedExpressionError, match="expected"):
            list(query(customers))
    assert not [each for each in log.captured_queries if each["sql"].startswith("UPDATE")]
    assert not [each for each in log.captured_queries if '"sealed"."email"' in each["sql"]]


def test_owners_and_keys_are_not_updated_in_bulk(customers):
    with pytest.raises(OwnerChangedError):
        customers.update(tenant_id="south")
    with pytest.raises(RowIdChangedError):
        customers.update(id=None)
    rows = list(customers.all())
    with pytest.raises(OwnerChangedError):
        customers.bulk_update(rows, ["tenant_id"])
    assert customers.filter(label="north ada").update(label="x") == 1
    rows[0].label = "y"
    assert customers.bulk_update(rows[:1], ["label"]) == 1
    with pytest.raises(UnsealedWriteError):
        QuerySet(customers.model).bulk_update(rows, ["sealed"])


def test_values_of_another_kind_are_refused_unseen(customers):
    with pytest.raises(SealedValueError) as refused:
        customers.filter(age="quartz")
    assert "quartz" not in str(refused.value)
    with pytest.raises(SealedExpressionError):
        customers.filter(age__in="36")
    with pytest.raises(SealedExpressionError):
        list(customers.filter(age__isnull=1))


def test_a_search_without_an_owner_has_its_limits(customers, monkeypatch):
    monkeypatch.setattr(lookups_module, "MOST_OWNERS", 1)
    with pytest.raises(TooManyOwnersError):
        list(customers.filter(email="ada@example.com"))
    assert customers.filter(tenant_id="north", email="ada@example.com").count() == 1


def test_index_keys_that_were_rotated_are_all_searched(customers, keyring):
    from assay.core import DataKeyClass

    keyring.rotate("north", DataKeyClass.INDEXES)
    assert labels(customers.filter(email="ada@example.com")) == ["north ada", "south ada"]


@pytest.fixture
def items(keyring):
    from tests.sealed_shop.models import Item, Tenant

    tenants = Tenant.objects.bulk_create([Tenant(id="north"), Tenant(id="south")])
    for tenant in tenants:
        for title, price in [("Quartz clock", "9.99"), ("quarto", "10"), ("Clock face", "99")]:
            Item.objects.create(tenant=tenant, title=title, price=Decimal(price))
    return Item.objects.filter(tenant=tenants[0])


def found(queryset, **options):
    return sorted(each.title for each in matching(queryset, **options))


def test_candidates_are_opened_and_compared(items):
    assert found(items.filter(title__istartswith="quart")) == ["Quartz clock", "quarto"]
    assert found(items.filter(title__startswith="QUARTZ")) == ["Quartz clock"]
    assert found(items.filter(title__icontains="clock")) == ["Clock face", "Quartz clock"]
    assert found(items.filter(title__contains="kcolc")) == []
    assert found(items.filter(price__gte=10)) == ["Clock face", "quarto"]
    assert found(items.filter(price__lt=Decimal("99.00"), title__contains="qua")) == [
        "Quartz clock",
        "quarto",
    ]
    assert found(items.filter(price__range=(9, 10))) == ["Quartz clock", "quarto"]
    assert len(matching(items.filter(price__gt=1).order_by("pk"), limit=2)) == 2
    everybody = items.model.objects.filter(title__contains="face")
    assert found(everybody) == ["Clock face"] * 2
    assert (
        found(everybody.select_related("tenant").prefetch_related("tenant__item_set"))
        == ["Clock face"] * 2
    )


@pytest.mark.parametrize(
    "query",
    [
        lambda items: list(items.filter(price__gte=10)),
        lambda items: items.filter(price__gte=10).count(),
        lambda items: items.filter(price__gte=10).delete(),
        lambda items: matching(items.exclude(price__gte=10)),
        lambda items: matching(items.filter(Q(price__gte=10) | Q(title__contains="clock"))),
        lambda items: matching(items.filter(price__gte=10)[:5]),
        lambda items: matching(items.filter(price__gte=10).distinct()),
        lambda items: matching(items.filter(price__gte=10).values("id")),
        lambda items: matching(items.filter(pk__in=items.filter(price__gte=10))),
        lambda items: matching(
            items.filter(title__contains="clock").annotate(
                dear=Case(When(price__gte=10, then=Value(1)), default=Value(0))
            )
        ),
    ],
)  # fmt: skip
def test_candidates_that_nobody_would_compare(items, query):
    before = items.count()
    with pytest.raises(ApproximateSearchError):
        query(items)
    assert items.count() == before


def test_what_is_too_short_to_search_for(items):
    with pytest.raises(BlindIndexError):
        items.filter(title__startswith="q")
    with pytest.raises(BlindIndexError):
        items.filter(title__contains="ck")


@pytest.mark.parametrize("given", [(1,), (1, 5, 10), []])
def test_a_range_has_two_ends(items, given):
    with pytest.raises(SealedExpressionError, match="two"):
        matching(items.filter(price__range=given))


def test_a_range_without_an_end_holds_nothing(items):
    assert matching(items.filter(price__range=(None, 10))) == []
    assert matching(items.filter(price__range=(1, None))) == []
