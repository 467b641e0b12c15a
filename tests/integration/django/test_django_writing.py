"""Whichever way a value takes, it stands in the clear nowhere on the server."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.db.models import Case, F, Q, Value, When
from django.forms import modelform_factory
from tests.sealed_shop.project import run_async

from assay.encryption.django import (
    MappingError,
    matching,
    move_to_owner,
)


def customers():
    from tests.sealed_shop.models import Customer

    return Customer.objects


def new(canary, **fields):
    given = {"tenant_id": "north", "email": f"{canary}@example.com", "notes": canary}
    return customers().model(**{**given, **fields})


def given(canary):
    return {"email": f"{canary}@example.com", "defaults": {"notes": canary, "tenant_id": "north"}}


def stored(tenant="north"):
    return customers().create(tenant_id=tenant, email="before@example.com", age=7)


def assign(row, canary):
    row.email, row.notes, row.extra = f"{canary}@example.com", canary, {"a": [canary]}
    return row


def save_form(canary):
    form = modelform_factory(customers().model, exclude=[])(
        {
            "id": str(uuid4()),
            "tenant_id": "north",
            "email": f"{canary}@example.com",
            "plan": "p",
            "notes": canary,
            "extra": f'{{"a": "{canary}"}}',
        }
    )
    assert form.is_valid(), form.errors.as_data()
    form.save()


def copy_a_row(canary):
    row = assign(stored(), canary)
    row.pk, row._state.adding = uuid4(), True
    row.save()


def move(canary):
    row = assign(stored("south"), canary)
    move_to_owner(row, "north")
    row.save()


def take_back(canary):
    with transaction.atomic():
        assign(stored(), canary + "0").save()
        transaction.set_rollback(True)
    new(canary).save()


def load_fixture(canary, tmp_path):
    row = new(canary)
    row.save()
    fixture = tmp_path / "rows.json"
    call_command("dumpdata", "sealed_shop", output=str(fixture), verbosity=0)
    assert canary not in fixture.read_text()
    row.delete()
    call_command("loaddata", str(fixture), verbosity=0)


async def save_later(canary):
    row = await customers().acreate(tenant_id="north", email="before@example.com")
    await assign(row, canary).asave()


WRITES = {
    "save": lambda c: new(c).save(),
    "create": lambda c: customers().create(**given(c)["defaults"], email=f"{c}@example.com"),
    "a change": lambda c: assign(stored(), c).save(),
    "a change of some fields": lambda c: assign(stored(), c).save(
        update_fields=["email", "notes", "extra"]
    ),
    "bulk_create": lambda c: customers().bulk_create(
        [new(c), new(c + "2"), new(c + "3")], batch_size=2
    ),
    "bulk_create that ignores": lambda c: customers().bulk_create(
        [new(c), new(c)], ignore_conflicts=True
    ),
    "get_or_create": lambda c: customers().get_or_create(**given(c)),
    "update_or_create of a new row": lambda c: customers().update_or_create(**given(c)),
    "update_or_create": lambda c: customers().update_or_create(
        tenant_id=stored().tenant_id,
        email="before@example.com",
        defaults={"email": f"{c}@example.com", "notes": c},
    ),
    "a form": save_form,
    "a copy": copy_a_row,
    "another owner": move,
    "after a rollback": take_back,
    "acreate": lambda c: run_async(
        customers().acreate(**given(c)["defaults"], email=f"{c}@example.com")
    ),
    "asave": lambda c: run_async(save_later(c)),
    "abulk_create": lambda c: run_async(customers().abulk_create([new(c)])),
    "aget_or_create": lambda c: run_async(customers().aget_or_create(**given(c))),
    "aupdate_or_create": lambda c: run_async(customers().aupdate_or_create(**given(c))),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=list(WRITES))
def test_what_is_written_is_sealed(keyring, written_nowhere, write):
    canary = f"canary-{uuid4().hex}"
    write(canary)
    found = customers().filter(tenant_id="north", email=f"{canary}@example.com")
    assert [each.notes for each in found] == [canary]
    assert written_nowhere(canary)


def test_fixtures_hold_what_is_sealed(keyring, written_nowhere, tmp_path):
    canary = f"canary-{uuid4().hex}"
    load_fixture(canary, tmp_path)
    assert customers().get(email=f"{canary}@example.com").notes == canary
    assert written_nowhere(canary)


def test_a_search_would_find_what_is_in_the_clear(keyring, written_nowhere):
    canary = f"canary-{uuid4().hex}"
    assert written_nowhere(canary)
    new(canary, label=canary).save()
    assert not written_nowhere(canary)


SEARCHES = {
    "exact": lambda c: list(customers().filter(email=f"{c}@example.com")),
    "iexact": lambda c: list(customers().filter(email__iexact=c, tenant_id="north")),
    "in": lambda c: list(customers().exclude(email__in=[c, "x@example.com"])),
    "or": lambda c: list(customers().filter(Q(email=c) | Q(age=5))),
    "union": lambda c: list(customers().filter(email=c).union(customers().filter(age=7))),
    "a subquery": lambda c: list(customers().filter(pk__in=customers().filter(email=c))),
    "a case": lambda c: list(
        customers().annotate(same=Case(When(email=c, then=Value(1)), default=Value(0)))
    ),
    "count": lambda c: customers().filter(email=c).count(),
    "exists": lambda c: customers().filter(email=c).exists(),
    "update": lambda c: customers().filter(email=c).update(label="x"),
    "delete": lambda c: customers().filter(email=c).delete(),
    "locked": lambda c: _locked(customers().filter(email=c)),
    "explain": lambda c: customers().filter(email=c).explain(),
}


def _locked(rows):
    with transaction.atomic():
        list(rows.select_for_update(of=("self",)))


@pytest.mark.parametrize("search", SEARCHES.values(), ids=list(SEARCHES))
def test_what_is_searched_for_is_not_sent(keyring, written_nowhere, search):
    canary = f"canary-{uuid4().hex}"
    stored()
    search(canary)
    assert written_nowhere(canary)


def test_candidates_are_searched_by_what_tells_little(keyring, written_nowhere):
    from tests.sealed_shop.models import Item, Tenant

    canary, number = f"canary-{uuid4().hex}", "54321.09"
    tenant = Tenant.objects.create(id="north")
    Item.objects.create(tenant=tenant, title=f"{canary} clock", secret=canary, price=number)
    items = Item.objects.filter(tenant=tenant)
    for found in (
        items.filter(title__startswith=canary),
        items.filter(title__icontains=canary.upper()[3:]),
        items.filter(title__contains=canary, price__range=(number, "60000")),
    ):
        assert [each.secret for each in matching(found)] == [canary]
    assert written_nowhere(canary)


REFUSED = {
    "update": lambda c: customers().update(notes=c),
    "update of an envelope": lambda c: customers().update(sealed=c.encode()),
    "update of an index": lambda c: customers().update(email_index=c.encode()),
    "an expression": lambda c: customers().update(email=Value(c)),
    "into a field in the clear": lambda c: assign(stored(), c) and _copy_within(),
    "bulk_update": lambda c: customers().bulk_update([assign(stored(), c)], ["notes"]),
    "bulk_create over stored rows": lambda c: customers().bulk_create(
        [new(c)], update_conflicts=True, unique_fields=["id"], update_fields=["sealed"]
    ),
    "a value of another type": lambda c: (
        stored().__class__(tenant_id="north", email="x@example.com", age=c).save()
    ),
    "of nobody": lambda c: new(c, tenant_id="").save(),
    "to another owner": lambda c: _give_away(assign(stored(), c)),
    "with another key": lambda c: _rename(assign(stored(), c)),
    "half of a group": lambda c: assign(stored(), c).save(update_fields=["notes"]),
    "over a row that was not read": lambda c: new(c, id=stored().pk).save(force_update=True),
    "over a row with this key": lambda c: new(c, id=stored().pk).save(),
    "without a value": lambda c: new(c, email=None).save(),
    "values": lambda c: list(customers().filter(email=c).values("email")),
    "a pattern": lambda c: list(customers().filter(email__contains=c)),
    "of a field without an index": lambda c: list(customers().filter(notes=c)),
}


def _copy_within():
    customers().update(label=F("email"))


def _give_away(row):
    row.tenant_id = "south"
    row.save()


def _rename(row):
    row.pk = uuid4()
    row.save()


@pytest.mark.parametrize("write", REFUSED.values(), ids=list(REFUSED))
def test_what_is_refused_is_not_sent(keyring, written_nowhere, write):
    canary = f"canary-{uuid4().hex}"
    customers().create(tenant_id="east", email="other@example.com")
    with pytest.raises((MappingError, IntegrityError)), transaction.atomic():
        write(canary)
    assert [each.email for each in customers().all()] in (
        ["other@example.com"],
        ["other@example.com", "before@example.com"],
    )
    assert written_nowhere(canary)


def test_values_in_the_log_of_statements(keyring, written_nowhere):
    """The control of the control: what is sent as a parameter is in the log that is searched."""
    canary = f"canary-{uuid4().hex}"
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s", [canary])
    assert not written_nowhere(canary)
