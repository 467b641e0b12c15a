"""Changes of stored rows that Django takes other ways for than `save` of a whole instance."""

from __future__ import annotations

import copy
import pickle

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.db.models import F, Value
from django.db.models.signals import post_save, pre_save

from assay.core import DataKeyClass
from assay.encryption import envelope_key_id
from assay.encryption.django import (
    RowIdChangedError,
    SealedExpressionError,
    StaleEnvelopeError,
)

CANARY = "quartz@obsidian.example"


@pytest.fixture
def customers(keyring):
    from tests.sealed_shop.models import Customer

    Customer.objects.create(tenant_id="north", email=CANARY, age=7)
    return Customer.objects


@pytest.mark.parametrize(
    "load",
    [
        lambda customers: customers.only("email"),
        lambda customers: customers.only("label"),
        lambda customers: customers.defer("email_index", "age_index"),
        lambda customers: customers.defer("tenant_id"),
        lambda customers: customers.raw("SELECT id, sealed FROM sealed_shop_customer"),
    ],
)
def test_indexes_are_written_although_they_were_not_loaded(customers, load):
    row = next(iter(load(customers)))
    row.email = "new@example.com"
    row.save()
    assert customers.filter(email="new@example.com").count() == 1
    assert customers.filter(email=CANARY).count() == 0
    with pytest.raises(IntegrityError), transaction.atomic():
        customers.create(tenant_id="north", email="NEW@example.com")


def test_an_index_is_not_written_without_its_envelope(customers):
    row = customers.get()
    row.email = "new@example.com"
    row.save(update_fields=["email_index"])
    assert customers.get(email="new@example.com").email == "new@example.com"
    row.label = "x"
    row.save(update_fields=["label"])
    assert customers.get(label="x").email == "new@example.com"


@pytest.mark.parametrize("expression", [F("label"), Value("x"), F("label") + 1])
def test_expressions_are_no_values(customers, expression):
    row = customers.get()
    row.notes = expression
    with pytest.raises(SealedExpressionError, match="'notes'"):
        row.save()
    with pytest.raises(SealedExpressionError):
        customers.create(tenant_id="north", email=expression)
    with pytest.raises(SealedExpressionError):
        customers.bulk_create([customers.model(tenant_id="north", email=expression)])
    row = customers.get()
    row.label = F("tenant_id")
    row.save()
    assert (customers.get().label, customers.get().notes) == ("north", "")


def test_what_is_invalid_is_said_without_the_value(customers):
    long = CANARY * 9
    row = customers.model(tenant_id="north", email=long, age=7, plan=CANARY)
    row.extra = {"a"}
    with pytest.raises(ValidationError) as refused:
        row.full_clean()
    assert CANARY not in repr(refused.value)
    assert CANARY not in repr([vars(each) for each in refused.value.error_dict["email"]])
    assert refused.value.message_dict == {
        "email": [
            "Enter a valid email address.",
            "Ensure this value has at most 60 characters (it has 207).",
        ],
        "plan": ["Value '…' is not a valid choice."],
        "extra": ["Value must be valid JSON."],
    }
    row = customers.model(tenant_id="north", email=CANARY[:-8], age=CANARY)
    with pytest.raises(ValidationError) as refused:
        row.full_clean()
    assert refused.value.message_dict == {
        "email": ["Enter a valid email address."],
        "age": ["“…” value must be an integer."],
    }


def test_rows_whose_insertion_was_rolled_back_can_be_saved_again(customers):
    row = customers.model(tenant_id="north", email="second@example.com")
    with transaction.atomic():
        row.save()
        transaction.set_rollback(True)
    row.save()
    assert customers.get(pk=row.pk).email == "second@example.com"


def test_what_a_savepoint_took_back(customers):
    row = customers.get()
    with transaction.atomic():
        row.age = 8
        row.save()
        with transaction.atomic():
            row.age = 9
            row.save()
            transaction.set_rollback(True)
        row.age = 10
        with pytest.raises(StaleEnvelopeError), transaction.atomic():
            row.save()
        row.refresh_from_db()
        row.age = 11
        row.save()
    assert customers.get().age == 11


def test_instances_of_deleted_rows(customers):
    row = customers.get()
    other = customers.get()
    row.delete()
    with pytest.raises(RowIdChangedError):
        row.save()
    other.save()  # as Django does, it is a row again
    assert customers.get().email == CANARY
    other.delete()
    other = customers.model(tenant_id="north", email=CANARY)
    other.save()
    assert customers.get(email=CANARY) == other


def test_rows_that_were_perhaps_written_are_not_changed_unread(customers):
    new = customers.model(tenant_id="north", email="second@example.com")
    twice = customers.model(tenant_id="north", email=CANARY)
    customers.bulk_create([new, twice], ignore_conflicts=True)
    assert sorted(each.email for each in customers.all()) == [CANARY, "second@example.com"]
    new.age = 5
    with pytest.raises(StaleEnvelopeError):
        new.save()
    new.refresh_from_db()
    new.age = 5
    new.save()
    assert customers.get(age=5).email == "second@example.com"


def test_copies_and_pickles_of_querysets(customers):
    searched = customers.filter(tenant_id="north", email=CANARY)
    for copied in (copy.copy(searched), copy.deepcopy(searched), searched.all()):
        assert [each.age for each in copied] == [7]
    assert list(searched)
    pickled = pickle.dumps(customers.filter(label=""))
    assert CANARY.encode() not in pickled
    assert [each.email for each in pickle.loads(pickled)] == [CANARY]  # noqa: S301 - of this test


@pytest.fixture
def told(customers):
    """What the receivers of signals are told of the fields that are written."""
    heard = []

    def hear(instance, update_fields=None, **_):
        heard.append(update_fields)

    for signal in (pre_save, post_save):
        signal.connect(hear, sender=customers.model)
    yield heard
    for signal in (pre_save, post_save):
        signal.disconnect(hear, sender=customers.model)


def test_receivers_of_signals_are_told_which_sealed_fields_are_written(customers, told):
    row = customers.get()
    row.age = 8
    row.save(update_fields=["age"])
    assert told == [{"age"}] * 2
    customers.update_or_create(label="", defaults={"age": 9})
    assert "age" in told[2]
    assert "label" not in told[2]
    assert customers.get().age == 9


@pytest.mark.filterwarnings("ignore:.*positional arguments")
@pytest.mark.parametrize(
    "save",
    [
        lambda row: row.save(False, False, None, ["email"]),
        lambda row: row.save(update_fields={"email"}),
        lambda row: row.save_base(update_fields=frozenset({"email"})),
    ],
)
def test_sealed_fields_are_named_in_every_way(customers, save):
    row = customers.get()
    row.email = "new@example.com"
    save(row)
    assert customers.get(email="new@example.com").email == "new@example.com"


def test_what_is_named_is_sealed_anew_under_the_newest_keys(customers, keyring):
    def stored():
        return customers.values_list("sealed", "sealed_content", "email_index").get()

    before = stored()
    customers.get().save()
    customers.update_or_create(label="", defaults={"email": CANARY})
    assert stored() == before
    oldest = keyring.current("north", DataKeyClass.ROWS).key_id
    newest = keyring.rotate("north", DataKeyClass.ROWS).key_id
    customers.get().save(update_fields=["email"])
    after = stored()
    assert [envelope_key_id(bytes(each[0])) for each in (before, after)] == [oldest, newest]
    assert after[1:] == before[1:]
    assert customers.get(tenant_id="north", email=CANARY).age == 7


def test_an_index_that_came_later_is_filled(customers):
    row = customers.get()
    key = row.pk.hex if connection.vendor == "sqlite" else row.pk
    with connection.cursor() as cursor:
        cursor.execute("UPDATE sealed_shop_customer SET age_index = NULL WHERE id = %s", [key])
    assert not customers.filter(age=7).exists()
    for each in customers.all():
        each.save(update_fields=["age"])
    assert customers.get(age=7) == row


def test_a_row_that_was_changed_meanwhile_is_not_sealed_anew(customers):
    row, other = customers.get(), customers.get()
    other.age = 8
    other.save()
    with pytest.raises(StaleEnvelopeError):
        row.save(update_fields=["email"])
    assert customers.get().age == 8
