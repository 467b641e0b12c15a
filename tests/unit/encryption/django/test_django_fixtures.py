"""Fixtures of sealed models: written by hand, written by dumpdata, and what keys they may hold."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest
from django.core import serializers
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from assay.encryption import TamperedEnvelopeError
from assay.encryption.django import SealedExpressionError, SealedValueError

CANARY = "quartz@obsidian.example"


def written_by_hand(form="json", **fields):
    given = {"tenant_id": "north", "email": CANARY, "notes": "Dear Ada", **fields}
    return json.dumps([{"model": "sealed_shop.customer", "pk": str(uuid4()), "fields": given}])


def load(fixture):
    for each in serializers.deserialize("json", fixture):
        each.save()


def customers():
    from tests.sealed_shop.models import Customer

    return Customer.objects


def test_values_in_the_clear_are_sealed_when_they_are_loaded(keyring):
    load(written_by_hand(age=7, extra={"a": [1]}))
    read = customers().get(tenant_id="north", email=CANARY.upper(), age=7)
    assert (read.email, read.notes, read.plan, read.extra) == (CANARY, "Dear Ada", "f", {"a": [1]})
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM sealed_shop_customer")
        stored = repr(cursor.fetchall())
    assert CANARY not in stored
    assert CANARY.encode().hex() not in stored.lower()
    read.age = 8
    read.save()
    assert customers().get().age == 8


def test_values_in_the_clear_of_a_model_with_versions(keyring):
    from tests.sealed_shop.models import Contract

    given = {"owner": "north", "text": CANARY, "pages": 3}
    load(json.dumps([{"model": "sealed_shop.contract", "pk": str(uuid4()), "fields": given}]))
    read = Contract.objects.get(owner="north", text=CANARY)
    assert (read.pages, read.body, read.sealed_version) == (3, "x" * 30, 1)


def test_a_fixture_without_a_value_that_is_needed(keyring):
    with pytest.raises(SealedValueError, match="'email'"):
        load(written_by_hand(email=None))
    assert customers().count() == 0


def test_what_a_fixture_holds_beside_an_envelope_is_sealed_with_it(keyring):
    load(written_by_hand(age=7))
    written = json.loads(serializers.serialize("json", customers().all()))
    customers().all().delete()
    written[0]["fields"]["age"] = 9
    load(json.dumps(written))
    read = customers().get(age=9)
    assert (read.email, read.notes) == (CANARY, "Dear Ada")
    assert not customers().filter(age=7).exists()


def test_dumpdata_and_loaddata(keyring, tmp_path):
    file = tmp_path / "all.json"
    load(written_by_hand())
    call_command("dumpdata", "sealed_shop", output=str(file), natural_foreign=True, verbosity=0)
    assert CANARY not in file.read_text()
    customers().all().delete()
    call_command("loaddata", str(file), verbosity=0)
    assert customers().get().email == CANARY
    with pytest.raises(Exception, match=r"UNIQUE|unique"):
        call_command("loaddata", str(file), verbosity=0)


@pytest.fixture
def natural(keyring, monkeypatch):
    """Lets the customers have a natural key, as a model declares it."""
    from tests.sealed_shop.models import Customer

    from assay.encryption.django.interchange import guard_natural_key

    def use(natural_key):
        monkeypatch.setattr(Customer, "natural_key", natural_key, raising=False)
        guard_natural_key(Customer)
        return Customer

    return use


def test_a_fixture_without_primary_keys_names_the_way_out(natural):
    natural(lambda self: (self.label,))
    load(written_by_hand(label="l"))
    written = serializers.serialize("json", customers().all(), use_natural_primary_keys=True)
    customers().all().delete()
    with pytest.raises(TamperedEnvelopeError, match="--natural-primary"):
        load(written)
    assert customers().count() == 0


def test_natural_keys_hold_no_sealed_values(natural, tmp_path):
    from tests.sealed_shop.models import Order

    load(written_by_hand(label="l"))
    natural(lambda self: (self.label, self.email))
    row = customers().get()
    assert row.email == CANARY
    order = Order.objects.create(customer=row)
    with pytest.raises(SealedExpressionError, match="natural_key") as refused:
        serializers.serialize("json", [order], use_natural_foreign_keys=True)
    assert CANARY not in str(refused.value)
    file = tmp_path / "all.json"
    with pytest.raises(CommandError):
        call_command("dumpdata", "sealed_shop", output=str(file), natural_foreign=True)
    assert CANARY not in file.read_text()
    natural(lambda self: (self.label,))
    written = serializers.serialize("json", [order], use_natural_foreign_keys=True)
    assert json.loads(written)[0]["fields"] == {"customer": ["l"]}
