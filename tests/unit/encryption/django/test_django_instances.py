"""Instances of sealed models: written, read, changed, copied, moved."""

from __future__ import annotations

import copy
import pickle
import traceback
from datetime import UTC, date, datetime, time
from decimal import Decimal
from uuid import uuid4

import pytest
from django.core import serializers
from django.db import IntegrityError, connection, transaction
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext
from django.utils.safestring import mark_safe
from tests.sealed_shop.project import run_async

from assay.core import DataKeyClass
from assay.encryption import (
    EnvelopeSealer,
    FrozenValueError,
    MissingEnvelopeError,
    RowAddress,
    TamperedEnvelopeError,
    encode_row_id,
)
from assay.encryption.django import (
    DuplicateValueError,
    MissingFieldError,
    OwnerChangedError,
    OwnerMissingError,
    RowIdChangedError,
    RowIdMissingError,
    SealedExpressionError,
    SealedValueError,
    StaleEnvelopeError,
    UnsealedPickleError,
    UnsealedWriteError,
    bind,
    move_to_owner,
)
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

CANARY = "quartz@obsidian.example"


def make(**fields):
    from tests.sealed_shop.models import Customer

    return Customer.objects.create(**{"tenant_id": "north", "email": CANARY, "age": 7, **fields})


def loaded(row):
    return type(row).objects.get(pk=row.pk)


def write_raw(row, column, value):
    """A change past the adapter, as an attacker or a script makes it."""
    key = row.pk.hex if connection.vendor == "sqlite" else row.pk
    table = type(row)._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET {column} = %s WHERE id = %s", [value, key])  # noqa: S608 - of this test


def test_a_row_is_read_as_it_was_written(keyring):
    row = make(notes="Dear Ada", extra={"a": [1, {"b": None}]})
    read = loaded(row)
    assert (read.email, read.age, read.plan, read.notes) == (CANARY, 7, "f", "Dear Ada")
    assert read.extra == {"a": [1, {"b": None}]}
    assert read.get_plan_display() == "Free"
    with pytest.raises(FrozenValueError):
        read.extra["a"] = 1


def test_nothing_stands_in_the_clear_in_the_database_or_its_log(keyring):
    with CaptureQueriesContext(
        connection,
    ) as log:
        row = make(notes=CANARY)
        row.notes = CANARY + "2"
        row.save()
        type(row).objects.get(tenant_id="north", email=CANARY)
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM sealed_shop_customer")
            stored = cursor.fetchall()
    assert len(log) >= 4
    shown = repr(stored) + repr(log.captured_queries)
    assert CANARY not in shown
    assert CANARY.encode().hex() not in shown.lower()


def test_every_kind_of_field(keyring):
    from tests.sealed_shop.models import Everything

    values = {
        "yes": True,
        "moment": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
        "day": date(1815, 12, 10),
        "hour": time(1, 2, 3),
        "small": 3,
        "ratio": 0.1,
        "amount": Decimal("1.2300"),
        "uuid": uuid4(),
        "raw": b"\x00\xff",
        "slug": "ada",
        "address": "::1",
        "tree": [1, {"a": None}],
    }
    Everything.objects.create(number=1, owner=uuid4(), **values)
    Everything.objects.create(number=-2, owner=uuid4())
    read = Everything.objects.get(number=1)
    for name, value in values.items():
        found = getattr(read, name)
        assert found == value
        assert isinstance(found, type(value))
    empty = Everything.objects.get(number=-2)
    assert all(getattr(empty, name) is None for name in values)


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [("age", "5", 5), ("age", True, 1), ("notes", mark_safe("<b>"), "<b>"), ("notes", 5, "5")],
)
def test_values_are_converted_as_django_does(keyring, name, given, kept):
    found = getattr(loaded(make(**{name: given})), name)
    assert found == kept
    assert type(found) is type(kept)


@pytest.mark.parametrize(
    ("name", "value"), [("age", CANARY), ("extra", {1, CANARY}), ("age", b"x")]
)
def test_a_value_that_is_none_of_the_field_is_refused_unseen(keyring, name, value):
    with pytest.raises((SealedValueError, Exception)) as refused:
        make(**{name: value})
    assert type(refused.value).__name__ in ("SealedValueError", "UnsupportedValueError")
    assert CANARY not in "".join(traceback.format_exception(refused.value))


def test_a_moment_needs_a_zone(keyring):
    from tests.sealed_shop.models import Everything

    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - what is refused
    with pytest.raises(SealedValueError, match="make_aware"):
        Everything.objects.create(number=1, owner=uuid4(), moment=naive)


def test_a_field_that_may_not_be_null(keyring):
    with pytest.raises(SealedValueError, match="'email'"):
        make(email=None)


def test_saving_writes_what_changed_and_nothing_else(keyring):
    row = loaded(make())
    row.label = "x"
    with CaptureQueriesContext(connection) as log:
        row.save()
    written = log.captured_queries[-1]["sql"].partition("SET")[2].partition("WHERE")[0]
    assert '"sealed' not in written
    row.notes = "changed"
    with CaptureQueriesContext(connection) as log:
        row.save()
    written = log.captured_queries[-1]["sql"].partition("WHERE")[0]
    assert '"sealed_content"' in written
    assert '"sealed"' not in written
    assert loaded(row).notes == "changed"


def test_update_fields(keyring):
    row = loaded(make())
    row.email, row.label = "new@example.com", "not written"
    row.save(update_fields=["email"])
    read = loaded(row)
    assert (read.email, read.label, read.age) == ("new@example.com", "", 7)
    assert type(row).objects.get(email="new@example.com") == row
    row.email, row.age = "b@example.com", 9
    with pytest.raises(SealedExpressionError, match="age"):
        row.save(update_fields=["email"])
    row.save(update_fields=["email", "age"])
    assert loaded(row).age == 9


def test_refresh(keyring):
    row = make()
    other = loaded(row)
    other.age, other.label = 8, "other"
    other.save()
    row.refresh_from_db(fields=["age"])
    assert (row.age, row.label) == (8, "")
    row.age = 1
    row.refresh_from_db()
    assert (row.age, row.label) == (8, "other")
    row.age = 2
    row.save()
    assert loaded(row).age == 2


def test_no_update_is_lost(keyring):
    row = make()
    one, other = loaded(row), loaded(row)
    one.email, other.age = "new@example.com", 9
    one.save()
    with pytest.raises(StaleEnvelopeError):
        other.save()
    assert (loaded(row).email, loaded(row).age) == ("new@example.com", 7)
    other.refresh_from_db()
    other.age = 9
    other.save()
    assert (loaded(row).email, loaded(row).age) == ("new@example.com", 9)


def test_a_rolled_back_save_can_not_be_taken_for_a_stored_one(keyring):
    row = make()
    row.age = 9
    with transaction.atomic():
        row.save()
        transaction.set_rollback(True)
    row.age = 10
    with pytest.raises(StaleEnvelopeError):
        row.save()


def test_a_failed_save_can_be_repeated(keyring):
    make()
    row = make(email="second@example.com")
    row.email = CANARY
    with pytest.raises(IntegrityError), transaction.atomic():
        row.save()
    row.label = "x"
    row.save(update_fields=["label"])
    assert loaded(row).email == "second@example.com"
    row.email = "third@example.com"
    row.save()
    assert loaded(row).email == "third@example.com"


def test_a_new_instance_never_overwrites_a_row(keyring):
    from tests.sealed_shop.models import Customer

    row = make()
    with pytest.raises(IntegrityError), transaction.atomic():
        Customer(id=row.pk, tenant_id="north", email="x@example.com").save()
    with pytest.raises(StaleEnvelopeError):
        Customer(id=row.pk, tenant_id="north", email="x@example.com").save(force_update=True)
    assert loaded(row).email == CANARY


def test_the_owner(keyring):
    with pytest.raises(OwnerMissingError):
        make(tenant_id="")
    row = loaded(make())
    row.tenant_id = "south"
    with pytest.raises(OwnerChangedError, match="move_to_owner"):
        row.save()
    row = type(row).objects.defer("tenant_id").get(pk=row.pk)
    row.tenant_id = "south"
    with pytest.raises(OwnerChangedError):
        row.save()
    assert loaded(row).email == CANARY


def test_a_row_that_was_moved_meanwhile_is_not_given_back_by_an_old_instance(keyring):
    row = make()
    old, moved = loaded(row), loaded(row)
    move_to_owner(moved, "south")
    moved.save()
    old.label = "x"
    with pytest.raises(StaleEnvelopeError):
        old.save()
    assert loaded(row).email == CANARY


def test_moving_to_another_owner(keyring):
    from tests.sealed_shop.models import Customer

    row = loaded(make(notes="Dear Ada"))
    move_to_owner(row, "south")
    row.age = 8
    with pytest.raises(OwnerChangedError, match="left behind"):
        row.save(update_fields=["age", "email", "plan"])
    row.save()
    read = Customer.objects.get(tenant_id="south", email=CANARY)
    assert (read.age, read.notes, read.tenant_id) == (8, "Dear Ada", "south")
    assert not Customer.objects.filter(tenant_id="north", email=CANARY).exists()
    stale = loaded(row)
    row.age = 9
    row.save()
    move_to_owner(stale, "north")
    with pytest.raises(StaleEnvelopeError):
        stale.save()
    with pytest.raises(OwnerMissingError):
        move_to_owner(row, 5)


def test_the_primary_key(keyring):
    from tests.sealed_shop.models import Everything

    row = loaded(make())
    row.pk = uuid4()
    with pytest.raises(RowIdChangedError, match="adding"):
        row.save()
    with pytest.raises(RowIdMissingError):
        Everything(owner=uuid4()).save()


def test_a_copy_of_a_row_is_sealed_anew(keyring):
    row = loaded(make())
    was = row.pk
    row.pk, row._state.adding = uuid4(), True
    row.email = "copy@example.com"
    row.save()
    assert type(row).objects.get(pk=was).email == CANARY
    assert (loaded(row).email, loaded(row).age) == ("copy@example.com", 7)


def test_copies_in_memory_are_their_own(keyring):
    row = loaded(make())
    for copied in (copy.copy(row), copy.deepcopy(row)):
        copied.age = 100
        copied.age = 101
        assert row.age == 7
    new = type(row)(tenant_id="north", email="a@example.com")
    copied = copy.copy(new)
    copied.email = "b@example.com"
    assert new.email == "a@example.com"


def test_pickles_hold_envelopes(keyring):
    row = loaded(make())
    assert row.email == CANARY
    pickled = pickle.dumps(row)
    assert CANARY.encode() not in pickled
    assert pickle.loads(pickled).email == CANARY  # noqa: S301 - of this test
    row.age = 8
    with pytest.raises(UnsealedPickleError):
        pickle.dumps(row)
    queryset = type(row).objects.filter(email=CANARY)
    with pytest.raises(UnsealedPickleError, match="list"):
        pickle.dumps(queryset)
    assert CANARY not in repr(queryset.query.where) + str(queryset.query)


@pytest.mark.parametrize("form", ["json", "xml"])
def test_fixtures_hold_envelopes_and_load_for_their_own_row_only(keyring, form):
    from tests.sealed_shop.models import Customer

    row = loaded(make(notes="Dear Ada"))
    key = str(row.pk)
    assert row.email == CANARY
    written = serializers.serialize(form, [row])
    assert CANARY not in written
    assert "Dear Ada" not in written
    row.delete()
    for each in serializers.deserialize(form, written):
        each.save()
    read = Customer.objects.get(email=CANARY, age=7)
    assert read.notes == "Dear Ada"
    read.age = 8
    with pytest.raises(UnsealedPickleError):
        serializers.serialize(form, [read])
    read.delete()
    forged = written.replace(key, str(uuid4()))
    assert forged != written
    each = next(serializers.deserialize(form, forged))
    with pytest.raises(TamperedEnvelopeError):
        each.save()
    assert not Customer.objects.exists()


def test_a_row_from_before_the_model_was_sealed(keyring):
    row = make()
    write_raw(row, "sealed", None)
    read = loaded(row)
    with pytest.raises(MissingEnvelopeError, match="assigned"):
        _ = read.email
    read.email = "sealed@example.com"
    with pytest.raises(MissingEnvelopeError):
        _ = loaded(row).age
    read.save()
    assert (loaded(row).email, loaded(row).plan) == ("sealed@example.com", "f")
    write_raw(row, "sealed", None)
    stale = loaded(row)
    stale.email = "stale@example.com"
    read = loaded(row)
    read.email = "first@example.com"
    read.save()
    with pytest.raises(StaleEnvelopeError):
        stale.save()


def test_a_field_that_came_later(keyring, monkeypatch):
    from tests.sealed_shop.models import Customer

    declared = Customer.__sealed__
    content = declared.groups["content"]
    fields = {n: f for n, f in content.fields.items() if n != "notes"}
    monkeypatch.setitem(declared.columns, "sealed_content", replaced(content, fields))
    without_notes = make()
    fields = {n: f for n, f in content.fields.items() if n != "extra"}
    monkeypatch.setitem(declared.columns, "sealed_content", replaced(content, fields))
    without_extra = make(email="b@example.com")
    monkeypatch.undo()
    assert loaded(without_extra).extra == {}
    with pytest.raises(MissingFieldError):
        _ = loaded(without_notes).notes


def replaced(group, fields):
    from dataclasses import replace

    return replace(group, fields=fields)


def test_unknown_fields_survive(keyring, monkeypatch):
    from tests.sealed_shop.models import Customer

    row = loaded(make())
    declared = Customer.__sealed__
    known = dict(declared.groups["default"].fields)
    del known["plan"]
    monkeypatch.setitem(declared.columns, "sealed", replaced(declared.groups["default"], known))
    row.age = 8
    row.save()
    monkeypatch.undo()
    assert (loaded(row).plan, loaded(row).age) == ("f", 8)


def test_sealed_columns_take_only_what_was_sealed(keyring):
    from tests.sealed_shop.models import Customer

    row, other = make(), make(email="other@example.com")
    with pytest.raises(UnsealedWriteError):
        QuerySet(Customer).filter(pk=row.pk).update(sealed=b"x" * 80)
    with pytest.raises(UnsealedWriteError):
        QuerySet(Customer).filter(pk=row.pk).update(email_index=b"x")
    with pytest.raises(TamperedEnvelopeError):
        Customer(tenant_id="north", sealed=loaded(other).__dict__["sealed"]).save()
    assert loaded(row).email == CANARY


def test_unique_values_in_forms_and_under_an_older_index_key(keyring):
    from django.core.exceptions import ValidationError
    from tests.sealed_shop.models import Customer

    clock = Keyring(
        MemoryKeyService(), MemoryDataKeyTable(), settling_seconds=0, cache_ttl_seconds=0
    )
    bind(clock)
    make()
    make(tenant_id="south")
    new = Customer(tenant_id="north", email=CANARY.upper())
    with pytest.raises(ValidationError) as refused:
        new.full_clean()
    assert list(refused.value.message_dict) == ["email"]
    assert CANARY not in str(refused.value).lower()
    with pytest.raises(IntegrityError), transaction.atomic():
        new.save()
    clock.rotate("north", DataKeyClass.INDEXES)
    with pytest.raises(DuplicateValueError):
        Customer(tenant_id="north", email=CANARY).save()
    with pytest.raises(DuplicateValueError):
        Customer.objects.bulk_create([Customer(tenant_id="north", email=CANARY)])
    row = Customer.objects.get(tenant_id="north", email=CANARY)
    row.full_clean()
    row.age = 8
    row.save()


def test_asynchronous_code(keyring):
    from tests.sealed_shop.models import Customer

    async def work():
        row = await Customer.objects.acreate(tenant_id="north", email=CANARY)
        read = await Customer.objects.aget(email=CANARY)
        read.age = 5
        await read.asave()
        await row.arefresh_from_db()
        assert [each.age async for each in Customer.objects.filter(age=5)] == [5]
        with pytest.raises(SealedExpressionError):
            await Customer.objects.aupdate(age=6)
        return row.age

    assert run_async(work()) == 5


def test_proxies_and_abstract_models(keyring):
    from tests.sealed_shop.models import Item, ItemProxy, Tenant

    tenant = Tenant.objects.create(id="north")
    row = ItemProxy.objects.create(tenant=tenant, secret="s", price="12.5", title="Quartz clock")
    assert Item.objects.get(pk=row.pk).price == Decimal("12.5")
    proxy = ItemProxy.objects.get(pk=row.pk)
    proxy.secret = "t"
    proxy.save()
    assert Item.objects.get(pk=row.pk).secret == "t"


def test_a_value_of_another_type_than_declared_is_refused(keyring):
    from tests.sealed_shop.models import Letter

    row = Letter.objects.create(owner="north", text=CANARY)
    key = keyring.current("north", DataKeyClass.ROWS)
    place = RowAddress("north", Letter._meta.db_table, "default", encode_row_id(row.pk))
    write_raw(row, "sealed", EnvelopeSealer().seal(key, place, {"text": CANARY, "pages": "many"}))
    with pytest.raises(SealedValueError, match=r"expected int in .*pages") as refused:
        _ = loaded(row).pages
    assert "many" not in str(refused.value)


def test_no_traceback_shows_a_value(keyring):
    row = loaded(make())
    write_raw(row, "sealed", b"\x01" * 80)
    row.notes = CANARY
    with pytest.raises(Exception, match="expected") as refused:
        _ = loaded(row).email
    shown = traceback.TracebackException.from_exception(refused.value, capture_locals=True)
    assert CANARY not in "".join(shown.format())
