"""Rows that become instances: with no frame more than Django's own, and by the model's own ways."""

from __future__ import annotations

import sys
import traceback
from collections import Counter
from contextlib import contextmanager

import pytest
from django.db.models.signals import post_init
from django.test.utils import isolate_apps

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


def test_a_row_that_is_not_read_costs_one_call(customers):
    found = []
    for count in (10, 20):
        with counted() as calls:
            assert len(list(customers.objects.all()[:count])) == count
        found.append(calls)
    more = {name: calls - found[0][name] for name, calls in found[1].items()}
    assert {name: calls for name, calls in more.items() if calls} == {"from_db": 10}


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

    for mixin, name in ((Named, "__init__"), (Read, "from_db"), (Counted, "__new__")):
        with isolate_apps("tests.sealed_shop"):
            options = type("Meta", (), {"proxy": True, "app_label": "sealed_shop"})
            model = type("Other", (mixin, customers), {"__module__": __name__, "Meta": options})
        row = model.objects.get(email=f"7{CANARY}", tenant_id="north")
        assert (row.notes, row._state.adding, made) == (CANARY, False, [name])
        made.clear()


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
