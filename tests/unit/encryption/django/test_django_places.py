"""Owners and primary keys as they are given: what a row is bound to is what will be read back."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction
from django.utils.safestring import mark_safe

from assay.encryption.django import OwnerMissingError, RowIdMissingError


class Side(models.TextChoices):
    NORTH = "north", "North"


OWNER = UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")


@pytest.mark.parametrize("given", [str(OWNER).upper(), OWNER.hex, f"{{{OWNER}}}", OWNER.urn])
def test_an_owner_is_bound_as_it_is_stored(keyring, given):
    from tests.sealed_shop.models import Everything

    Everything.objects.create(number=1, owner=given, slug="one")
    Everything.objects.bulk_create([Everything(number=2, owner=given, slug="two")])
    read = Everything.objects.order_by("number")
    assert [(each.owner, each.slug) for each in read] == [(OWNER, "one"), (OWNER, "two")]


@pytest.mark.parametrize("given", [mark_safe("north"), Side.NORTH])
def test_an_owner_of_a_subclass_of_text(keyring, given):
    from tests.sealed_shop.models import Customer

    row = Customer(tenant_id=given, email="ada@example.com")
    row.full_clean()
    row.save()
    assert Customer.objects.get(tenant_id=given, email="ada@example.com").email == row.email
    row.age = 3
    row.save()
    with pytest.raises(ValidationError):
        Customer(tenant_id=given, email="ada@example.com").validate_unique()
    with pytest.raises(IntegrityError), transaction.atomic():
        Customer.objects.create(tenant_id="north", email="ada@example.com")


def test_a_primary_key_is_bound_as_it_is_stored(keyring):
    from tests.sealed_shop.models import Customer, Everything

    key = uuid4()
    row = Customer.objects.create(id=str(key).upper(), tenant_id="north", email="a@example.com")
    assert Customer.objects.get(pk=key).email == "a@example.com"
    row.age = 3
    row.save()
    assert Customer.objects.get(pk=key).age == 3
    Everything.objects.create(number="07", owner=OWNER, slug="one")
    assert Everything.objects.get(number=7).slug == "one"


def test_what_is_no_owner_and_no_key(keyring):
    from tests.sealed_shop.models import Customer, Everything

    with pytest.raises((ValidationError, ValueError)):
        Everything.objects.create(number=1, owner="nobody")
    with pytest.raises((ValidationError, ValueError)):
        Everything.objects.create(number="one", owner=OWNER)
    with pytest.raises(OwnerMissingError):
        Customer.objects.create(tenant_id=models.F("label"), email="a@example.com")
    with pytest.raises(RowIdMissingError):
        Everything.objects.create(owner=OWNER)
