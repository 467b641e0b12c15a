"""Rows that become instances: with no frame more than Django's own, and by the model's own ways."""

from __future__ import annotations

import sys
import traceback
from collections import Counter
from contextlib import contextmanager
from uuid import uuid4

import pytest
from django.db import models
from django.db.models.query_utils import DeferredAttribute
from django.db.models.signals import post_init
from django.test.utils import isolate_apps

from assay.encryption.django import Sealed, sealed

CANARY = "quartz@obsidian.example"


@pytest.fixture
def customers(keyring):
    from tests.sealed_shop.models import Customer

    Customer.objects.bulk_create(
        Customer(tenant_id="north", email=f"{number}{CANARY}", notes=CANARY) for number in range(30)
    )
    return Customer


@contextmanager
def counted():
    """Counts the Python functions of Assay that are called, by name."""
    calls = Counter()

    def see(frame, event, _):
        if event == "call" and "/assay/encryption/" in frame.f_code.co_filename:
            calls[frame.f_code.co_name] += 1

    sys.setprofile(see)
    try:
        yield calls
    finally:
        sys.setprofile(None)


def test_a_row_that_is_not_read_costs_two_calls(customers):
    found = []
    for count in (10, 20):
        with counted() as calls:
            assert len(list(customers.objects.all()[:count])) == count
        found.append(calls)
    more = {name: calls - found[0][name] for name, calls in found[1].items()}
    assert {name: calls for name, calls in more.items() if calls} == {
        "from_db": 10,
        "made_of": 10,
    }


@pytest.mark.parametrize(
    "load",
    [
        lambda rows: rows.all(),
        lambda rows: rows.only("label"),
        lambda rows: rows.only("email"),
        lambda rows: rows.defer("notes", "label"),
        lambda rows: rows.raw("SELECT sealed, id FROM sealed_shop_customer ORDER BY id"),
    ],
)
def test_instances_are_those_that_django_makes(customers, load):
    def made():
        rows = load(customers.objects.order_by("pk"))
        return [
            ({name: value for name, value in vars(row).items() if name != "_state"}, row._state)
            for row in rows
        ]

    def listen(**_):
        heard.append(1)

    quickly, heard = made(), []
    post_init.connect(listen, sender=customers)
    try:
        by_django = made()
    finally:
        post_init.disconnect(listen, sender=customers)
    assert len(heard) == len(quickly) == 30
    assert [vars(state) for _, state in quickly] == [vars(state) for _, state in by_django]
    assert [held for held, _ in quickly] == [held for held, _ in by_django]


def test_a_model_makes_instances_in_its_own_way(customers):
    made = []

    class Named:
        def __init__(self, *args, **fields):
            super().__init__(*args, **fields)
            made.append("__init__")

    class Read:
        @classmethod
        def from_db(cls, *args):
            made.append("from_db")
            return super().from_db(*args)

    class Counted:
        def __new__(cls, *_, **__):
            made.append("__new__")
            return super().__new__(cls)

    class Watched:
        def __setattr__(self, name, value):
            if name == "label":
                made.append("__setattr__")
            super().__setattr__(name, value)

    for mixin, name in (
        (Named, "__init__"),
        (Read, "from_db"),
        (Counted, "__new__"),
        (Watched, "__setattr__"),
    ):
        with isolate_apps("tests.sealed_shop"):
            options = type("Meta", (), {"proxy": True, "app_label": "sealed_shop"})
            model = type("Other", (mixin, customers), {"__module__": __name__, "Meta": options})
        row = model.objects.get(email=f"7{CANARY}", tenant_id="north")
        assert (row.notes, row._state.adding, made) == (CANARY, False, [name])
        made.clear()


def test_a_column_may_have_a_descriptor_of_its_own(keyring):
    class Shouting(DeferredAttribute):
        def __set__(self, instance, value):
            instance.__dict__[self.field.attname] = value.upper()

    class ShoutingField(models.CharField):
        descriptor_class = Shouting

    with isolate_apps("tests.sealed_shop"):

        class Shout(Sealed, models.Model):
            __owner__ = "tenant"
            id = models.UUIDField(primary_key=True, default=uuid4)
            tenant = models.CharField(max_length=9)
            label = ShoutingField(max_length=9)
            text = sealed(models.TextField())

            class Meta:
                app_label = "sealed_shop"

    row = Shout.from_db("default", ["id", "tenant", "label", "sealed"], [uuid4(), "n", "a", b""])
    assert row.label == "A"


def test_what_was_not_loaded_is_read_when_it_is_asked_for(customers):
    row = customers.objects.only("label").get(email=f"7{CANARY}", tenant_id="north")
    assert row.get_deferred_fields() >= {"sealed", "tenant_id"}
    assert row.email == f"7{CANARY}"
    assert (row._state.db, row._state.adding) == ("default", False)


def test_a_receiver_that_fails_while_a_row_is_loaded_shows_no_value(customers):
    def look(instance, **_):
        seen = instance.email
        raise RuntimeError(f"expected {len(seen)} more")

    post_init.connect(look, sender=customers)
    try:
        with pytest.raises(RuntimeError) as caught:
            customers.objects.order_by("pk")[0]
    finally:
        post_init.disconnect(look, sender=customers)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert "look" in [frame.name for frame in shown.stack]
    assert [frame.name for frame in shown.stack if CANARY in str(frame.locals)] == []
