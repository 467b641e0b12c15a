"""The admin of sealed models, through its own pages."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.contrib import admin
from django.contrib.messages import get_messages
from django.db import connection
from django.db.models.functions import Lower
from django.test import Client

from assay.encryption.django import SealedAdmin

CANARY = "quartz@obsidian.example"
ADD, LIST = "/admin/sealed_shop/customer/add/", "/admin/sealed_shop/customer/"


@pytest.fixture
def client(keyring):
    from django.contrib.auth.models import User

    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def row(client):
    from tests.sealed_shop.models import Customer

    return Customer.objects.create(tenant_id="north", email=CANARY, age=7, notes="Dear Ada")


def form(**fields):
    given = {"tenant_id": "north", "label": "", "email": CANARY, "age": "7", "plan": "p"}
    return {"id": str(uuid4()), **given, "notes": "Dear Ada", "extra": '{"a": 1}', **fields}


def page(response):
    assert response.status_code == 200, response.content[:300]
    return response.content.decode()


def messages(response):
    assert response.status_code == 302, response.content.decode()[:3000]
    return " ".join(str(each) for each in get_messages(response.wsgi_request))


def kept():
    """What Django keeps of the changes: history, sessions, everything but the sealed tables."""
    from django.contrib.admin.models import LogEntry

    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM django_session")
        sessions = cursor.fetchall()
    entries = [(each.object_repr, each.change_message) for each in LogEntry.objects.all()]
    return repr([sessions, entries])


def change(row):
    return f"{LIST}{row.pk}/change/"


def test_adding(client):
    from tests.sealed_shop.models import Customer

    assert 'type="email" name="email"' in page(client.get(ADD))
    told = client.post(ADD, form())
    read = Customer.objects.get(email=CANARY)
    assert (read.age, read.plan, read.notes, read.extra) == (7, "p", "Dear Ada", {"a": 1})
    assert str(read.pk) in messages(told)
    assert CANARY not in messages(told)
    assert str(read.pk) in kept()
    assert CANARY not in kept()


def test_what_is_wrong_is_said_on_the_form(client, row):
    shown = page(client.post(ADD, form(age="x", plan="z", extra="{")))
    assert "Enter a whole number." in shown
    assert "Select a valid choice. z is not one of the available choices." in shown
    assert "Enter a valid JSON." in shown
    shown = page(client.post(ADD, form(email=CANARY.upper())))
    assert "Customer with this Email already exists." in shown


def test_changing(client, row):
    shown = page(client.get(change(row)))
    assert f'value="{CANARY}"' in shown
    assert "Dear Ada" in shown
    told = client.post(change(row), form(id=str(row.pk), age="8", email="Q" + CANARY))
    row.refresh_from_db()
    assert (row.age, row.email, row.extra) == (8, "Q" + CANARY, {"a": 1})
    assert CANARY not in messages(told)
    assert '"Email", "Age"' in kept()
    assert CANARY not in kept()
    history = page(client.get(f"{LIST}{row.pk}/history/")).partition('id="change-history"')[2]
    assert "Changed " in history
    assert CANARY not in history


@pytest.mark.parametrize("button", ["_save", "_continue", "_addanother"])
def test_whichever_button_is_pressed(client, row, button):
    for told in (
        client.post(ADD, form(email=f"new-{CANARY}", **{button: "1"})),
        client.post(change(row), form(id=str(row.pk), notes="new", **{button: "1"})),
    ):
        assert "successfully" in messages(told)
        assert CANARY not in messages(told)
    assert CANARY not in kept()


def test_popups_show_the_row_to_whom_they_belong(client):
    told = page(client.post(ADD, form(_popup="1")))
    assert CANARY in told
    assert CANARY not in kept()


def test_the_list(client, row):
    shown = page(client.get(LIST))
    assert CANARY in shown
    assert "?o=4" in shown
    assert "?o=2" not in shown
    assert "1 customer" in page(client.get(LIST, {"q": CANARY.upper()}))
    assert "0 customers" in page(client.get(LIST, {"q": CANARY[:-1]}))
    assert "0 customers" in page(client.get(LIST, {"tenant_id": "south"}))
    assert "1 customer" in page(client.get(LIST, {"o": "2"}))  # by nothing
    told = client.post(
        LIST,
        {
            "form-TOTAL_FORMS": "1",
            "form-INITIAL_FORMS": "1",
            "form-0-id": str(row.pk),
            "form-0-age": "9",
            "form-0-label": "edited",
            "_save": "Save",
        },
    )
    assert "1 customer was changed" in messages(told)
    row.refresh_from_db()
    assert (row.age, row.label, row.email) == (9, "edited", CANARY)
    assert CANARY not in kept()


def test_deleting(client, row):
    from tests.sealed_shop.models import Customer

    page(client.get(f"{LIST}{row.pk}/delete/"))
    told = client.post(f"{LIST}{row.pk}/delete/", {"post": "yes"})
    assert str(row.pk) in messages(told)
    assert CANARY not in messages(told)
    assert Customer.objects.count() == 0
    other = Customer.objects.create(tenant_id="north", email=CANARY)
    action = {"action": "delete_selected", "_selected_action": str(other.pk)}
    assert CANARY in page(client.post(LIST, action))
    told = client.post(LIST, {**action, "post": "yes"})
    assert CANARY not in messages(told)
    assert Customer.objects.count() == 0
    assert str(other.pk) in kept()
    assert CANARY not in kept()


def test_rows_of_an_inline(client):
    from tests.sealed_shop.models import Item, Tenant

    tenant = Tenant.objects.create(id="north")
    url = "/admin/sealed_shop/tenant/north/change/"
    key = str(uuid4())
    item = {"id": key, "tenant": "north", "title": CANARY, "secret": CANARY, "price": "12.50"}

    def post(initial, **more):
        rows = {f"item_set-0-{name}": value for name, value in {**item, **more}.items()}
        forms = {"item_set-TOTAL_FORMS": "1", "item_set-INITIAL_FORMS": initial}
        return client.post(url, {"id": tenant.pk, **forms, **rows})

    assert "north" in messages(post("0"))
    assert Item.objects.get().title == CANARY
    assert CANARY in page(client.get(url))
    post("1", title=f"other {CANARY}")
    assert Item.objects.get().title == f"other {CANARY}"
    post("1", DELETE="on")
    assert Item.objects.count() == 0
    assert kept().count('"object": "item') == 3
    assert CANARY not in kept()


def test_a_search_through_a_relation(client, row):
    from tests.sealed_shop.models import Order

    Order.objects.create(customer=row)
    url = "/admin/sealed_shop/order/"
    assert CANARY in page(client.get(url))
    assert "1 order" in page(client.get(url, {"q": CANARY}))
    assert "0 orders" in page(client.get(url, {"q": "x"}))


def errors(model, **admins):
    """What the checks say of a model while others than its own admins are registered."""
    from tests.sealed_shop import models

    before = dict(admin.site._registry)
    try:
        for name, cls in admins.items():
            registered = getattr(models, name)
            admin.site.unregister(registered)
            admin.site.register(registered, cls)
        return sorted(each.id for each in model.check() if each.id.startswith("assay"))
    finally:
        admin.site._registry.clear()
        admin.site._registry.update(before)


class Sealing(SealedAdmin, admin.ModelAdmin):
    """A base of those below."""


def of(**attributes):
    return type("Shown", (Sealing,), attributes)


@pytest.mark.parametrize(
    ("shown", "found"),
    [
        (admin.ModelAdmin, ["assay.E001"]),
        (of(list_filter=["label", "age"]), ["assay.E002"]),
        (of(list_filter=[("age", admin.BooleanFieldListFilter)]), ["assay.E002"]),
        (of(list_filter=["age__gt"]), ["assay.E002"]),
        (of(ordering=["-email", "label"]), ["assay.E002"]),
        (of(date_hierarchy="notes"), ["assay.E002"]),
        (of(search_fields=["label", "email"]), ["assay.E003"]),
        (of(search_fields=["^email", "@email", "notes__exact"]), ["assay.E003"] * 3),
        (of(search_fields=["=email", "email__exact", "email__iexact", "^label"]), []),
        (of(ordering=["-label"], list_filter=["tenant_id"]), []),
    ],
)
def test_what_the_checks_say(keyring, shown, found):
    from tests.sealed_shop.models import Customer

    assert errors(Customer) == []
    assert errors(Customer, Customer=shown) == found


def test_what_the_checks_say_of_inlines_and_candidates(keyring):
    from tests.sealed_shop.admin import ItemInline
    from tests.sealed_shop.models import Item

    assert errors(Item) == []
    plain = type("Plain", (admin.ModelAdmin,), {"inlines": [ItemInline]})
    assert errors(Item, Tenant=plain) == ["assay.E001"]
    admin.site.register(Item, of(search_fields=["title", "^title"]))
    try:
        assert errors(Item) == ["assay.E003"] * 2
    finally:
        admin.site.unregister(Item)


def test_error_reports_show_nothing_that_was_posted(client, row, monkeypatch):
    from django.views.debug import ExceptionReporter
    from tests.sealed_shop.models import Customer

    def fail(*args, **options):
        raise OSError("no disk")

    client.raise_request_exception = False
    for url, part in ((ADD, "full_clean"), (change(row), "full_clean"), (LIST, "__init__")):
        with monkeypatch.context() as patch:
            patch.setattr(Customer, part, fail)
            response = client.post(url, form(id=str(row.pk), _save="1"))
        assert response.status_code == 500
        for report in (
            ExceptionReporter(response.wsgi_request, *response.exc_info).get_traceback_text(),
            ExceptionReporter(response.wsgi_request, *response.exc_info).get_traceback_html(),
        ):
            assert "no disk" in report
            assert "tenant_id" in report
            assert CANARY not in report
            assert "Dear Ada" not in report


def test_what_the_checks_say_of_paths_through_relations(keyring):
    from tests.sealed_shop.models import Customer

    def order(*bases, **attributes):
        return errors(Customer, Order=type("Shown", (*bases, admin.ModelAdmin), attributes))

    assert order(list_filter=["customer__email"]) == ["assay.E002"]
    assert order(ordering=["-customer__age"]) == ["assay.E002"]
    assert order(list_display=["id", "customer__email"]) == ["assay.E002"]
    assert order(SealedAdmin, list_display=["id", "customer__email"]) == []
    assert order(search_fields=["customer__email"]) == ["assay.E003"]
    assert order(search_fields=["=customer__email", "customer__label"]) == []
    assert order(list_filter=["customer", "customer__label"], ordering=["customer"]) == []
    lower = of(ordering=[Lower("email").desc()])
    assert errors(Customer, Customer=lower) == ["assay.E002"]


def test_lists_are_not_sorted_by_what_is_made_of_sealed_fields(client, row):
    from tests.sealed_shop.models import Customer, Order

    Order.objects.create(customer=row)
    before = dict(admin.site._registry)

    @admin.display(ordering=Lower("email"))
    def low(shown):
        return shown.email.lower()

    try:
        for model, attributes in (
            (Order, {"list_display": ["id", "customer__email"]}),
            (Customer, {"list_display": ["id", "email", low]}),
        ):
            admin.site.unregister(model)
            admin.site.register(model, of(**attributes))
        for url, columns in (("/admin/sealed_shop/order/", 2), (LIST, 3)):
            for column in range(1, columns + 1):
                assert CANARY in page(client.get(url, {"o": f"-{column}"}))
    finally:
        admin.site._registry.clear()
        admin.site._registry.update(before)
