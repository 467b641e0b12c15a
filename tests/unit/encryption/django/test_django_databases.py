"""Rows that are copied to another database, and databases that sealed models do not work on."""

from __future__ import annotations

import copy
import sys
from types import ModuleType

import pytest
from django.apps import apps
from django.core.checks import run_checks
from django.db import IntegrityError, connections
from django.db.backends.sqlite3.base import DatabaseWrapper as SQLite
from django.db.utils import DatabaseError
from tests.sealed_shop.project import run_async, second_database

from assay.core import DataKeyClass
from assay.encryption.django import (
    DuplicateValueError,
    KeyringNotBoundError,
    SealedExpressionError,
    StaleEnvelopeError,
    UnsupportedDatabaseError,
    bind,
    move_to_owner,
)
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

CANARY = "quartz@obsidian.example"


def model(name="Customer"):
    return apps.get_model("sealed_shop", name)


def new_keyring():
    return Keyring(MemoryKeyService(), MemoryDataKeyTable())


@pytest.fixture
def archive(keyring):
    """Another database, bound to a keyring of its own."""
    with second_database() as using:
        bind(new_keyring(), using=using)
        yield using


@pytest.fixture
def replica(keyring):
    """Another database, bound to the same keyring as the first."""
    with second_database("replica") as using:
        bind(keyring, using=using)
        yield using


@pytest.fixture
def row(keyring):
    model().objects.create(tenant_id="north", email=CANARY, age=7, notes="Dear Ada", label="x")
    return model().objects.get()


def raw(using, table="sealed_shop_customer"):
    with connections[using].cursor() as cursor:
        cursor.execute(f"SELECT * FROM {table}")  # noqa: S608 - of this test
        return [dict(zip([c[0] for c in cursor.description], r, strict=True)) for r in cursor]


def values(row):
    return (row.email, row.age, row.plan, row.notes, row.extra, row.label, row.tenant_id)


@pytest.mark.parametrize("read", [(), ("email",), ("email", "notes")], ids=str)
@pytest.mark.parametrize("how", ["save", "asave", "bulk_create", "copy", "only"])
def test_a_copied_row_is_sealed_under_the_keys_of_its_database(row, archive, read, how):
    wanted = values(model().objects.get())
    if how == "only":
        row = model().objects.only("label").get()
    for name in read:
        assert getattr(row, name)
    if how == "bulk_create":
        model().objects.using(archive).bulk_create([row])
    elif how == "asave":
        run_async(row.asave(using=archive))
    else:
        if how == "copy":
            row = copy.copy(row)
            row._state.adding = True
        row.save(using=archive)
    assert (values(row), row._state.db) == (wanted, archive)
    found = model().objects.using(archive).get(tenant_id="north", email=CANARY)
    assert (found.pk, values(found)) == (row.pk, wanted)
    assert raw(archive)[0]["sealed"][:18] != raw("default")[0]["sealed"][:18], "another key"
    assert CANARY.encode() not in raw(archive)[0]["sealed"]
    assert values(model().objects.get()) == wanted
    row.age = 8
    row.save()
    assert model().objects.using(archive).get().age == 8
    assert model().objects.get().age == 7


def test_what_was_changed_before_is_copied_as_it_is_now(row, archive):
    row.notes = "Dear Bob"
    row.save(using=archive)
    assert values(model().objects.using(archive).get()) == (
        CANARY,
        7,
        "f",
        "Dear Bob",
        {},
        "x",
        "north",
    )
    assert model().objects.get().notes == "Dear Ada"


def test_a_row_that_moves_to_another_owner_and_database(row, archive):
    move_to_owner(row, "south")
    row.save(using=archive)
    assert model().objects.using(archive).get(tenant_id="south", email=CANARY).notes == "Dear Ada"
    assert model().objects.get(tenant_id="north").notes == "Dear Ada"


def test_versions_begin_anew(archive):
    made = model("Contract").objects.create(owner="north", text=CANARY)
    made.text = "second"
    made.save()
    made = model("Contract").objects.get()
    assert made.sealed_version == 2
    made.save(using=archive)
    found = model("Contract").objects.using(archive).get()
    assert (found.text, found.sealed_version, found.body) == ("second", 1, "x" * 30)
    found.text = "third"
    found.save()
    assert model("Contract").objects.using(archive).get(text="third").sealed_version == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda _: None,
        lambda row: setattr(row, "label", "y"),
        lambda row: setattr(row, "email", f"new-{CANARY}"),
        lambda row: setattr(row, "notes", "new"),
    ],
)
@pytest.mark.parametrize(
    "options",
    [{}, {"update_fields": ["label"]}, {"update_fields": ["email"]}, {"force_update": True}],
    ids=str,
)
def test_another_row_of_the_same_key_is_not_written_over(row, archive, change, options):
    other = model()(id=row.pk, tenant_id="north", email="old@example.com", notes="old")
    other.save(using=archive)
    before = raw(archive)
    row = model().objects.get()
    change(row)
    with pytest.raises(StaleEnvelopeError, match=r"in the database 'archive'.*read it from"):
        row.save(using=archive, **options)
    assert raw(archive) == before
    assert (row._state.db, row.age) == ("default", 7)
    row.save()


@pytest.mark.parametrize("options", [{"update_fields": ["email"]}, {"force_update": True}], ids=str)
def test_a_row_that_is_not_there_is_not_updated(row, archive, options):
    with pytest.raises(DatabaseError, match="did not affect any rows"):
        row.save(using=archive, **options)
    assert raw(archive) == []
    assert (row._state.db, row.notes) == ("default", "Dear Ada")


@pytest.mark.parametrize(
    "copy_to",
    [
        lambda row, using: row.save(using=using),
        lambda row, using: model().objects.using(using).bulk_create([row]),
    ],
    ids=["save", "bulk_create"],
)
def test_a_database_without_keys_gets_no_row(row, copy_to):
    with second_database() as using:
        with pytest.raises(KeyringNotBoundError, match="'archive'"):
            copy_to(row, using)
        assert raw(using) == []
        assert values(row)[:2] == (CANARY, 7)
        row.label = "z"
        row.notes = "z"
        row.save()
        assert model().objects.get().notes == "z"


def test_a_copy_that_fails_leaves_the_row_as_it_was(row, archive):
    model().objects.using(archive).create(tenant_id="north", email=CANARY)
    with pytest.raises(IntegrityError):
        row.save(using=archive)
    assert values(row)[:4] == (CANARY, 7, "f", "Dear Ada")
    row.age = 9
    row.save()
    assert model().objects.get().age == 9


def test_unique_values_under_older_keys_of_the_other_database(row, keyring):
    with second_database() as using:
        other = Keyring(
            MemoryKeyService(), MemoryDataKeyTable(), settling_seconds=0, cache_ttl_seconds=0
        )
        bind(other, using=using)
        model().objects.using(using).create(tenant_id="north", email=CANARY)
        other.rotate("north", DataKeyClass.INDEXES)
        with pytest.raises(DuplicateValueError):
            row.save(using=using)
        assert len(raw(using)) == 1


def test_rows_of_a_replica_are_written_to_the_first_database(row, replica):
    """What a router does that reads from one alias and writes to another."""
    for using in ("default", replica):
        connections[using].ensure_connection()
    connections["default"].connection.backup(connections[replica].connection)
    read = model().objects.using(replica).get()
    assert read.email == CANARY
    read.label = "y"
    read.save(using="default")
    read.notes = "Dear Bob"
    read.save(using="default")
    assert (model().objects.get().label, model().objects.get().notes) == ("y", "Dear Bob")
    late = model().objects.using(replica).only("label").get()
    late.label = "z"
    with pytest.raises(StaleEnvelopeError, match="'default'"):
        late.save(using="default")
    late.refresh_from_db(using="default")
    late.label = "z"
    late.save()
    assert (model().objects.get().label, model().objects.get().notes) == ("z", "Dear Bob")


def test_part_of_a_row_is_not_read_from_elsewhere(row, archive):
    copied = model().objects.get()
    copied.save(using=archive)
    copied.notes = "other"
    copied.save()
    for name in ("label", "notes"):
        with pytest.raises(SealedExpressionError, match="refresh the whole row"):
            row.refresh_from_db(using=archive, fields=[name])
    assert row.notes == "Dear Ada"
    row.refresh_from_db(using=archive)
    assert (row.notes, row.email) == ("other", CANARY)


class Oracle(SQLite):
    """A database that calls itself Oracle, whose driver is not here."""

    vendor = "oracle"


@pytest.fixture
def oracle(keyring, monkeypatch):
    package, backend = ModuleType("fake_oracle"), ModuleType("fake_oracle.base")
    backend.DatabaseWrapper = Oracle
    monkeypatch.setitem(sys.modules, "fake_oracle", package)
    monkeypatch.setitem(sys.modules, "fake_oracle.base", backend)
    settings = {**connections.settings["default"], "ENGINE": "fake_oracle", "NAME": ":memory:"}
    settings.pop("ASSAY_KEYS")
    monkeypatch.setitem(connections.settings, "other", settings)
    yield "other"
    del connections["other"]


def test_other_databases_are_refused_by_name(oracle):
    with pytest.raises(
        UnsupportedDatabaseError, match="SQLite or PostgreSQL, found oracle at 'other'"
    ):
        bind(new_keyring(), using=oracle)
    found = [each for each in run_checks(databases=[oracle]) if each.id == "assay.E004"]
    assert {each.obj for each in found} >= {model(), model("Item"), model("Contract")}
    assert model("Tenant") not in {each.obj for each in found}
    assert "found oracle" in found[0].msg
    assert not [each for each in run_checks(databases=["default"]) if each.id == "assay.E004"]


class OnlyInTheFirst:
    """A router that keeps the application out of other databases."""

    def allow_migrate(self, db, app_label, **_):
        return db == "default" or app_label != "sealed_shop"


def test_other_databases_may_hold_other_models(oracle, settings_of):
    settings_of(DATABASE_ROUTERS=[OnlyInTheFirst()])
    assert not [each for each in run_checks(databases=[oracle]) if each.id == "assay.E004"]


@pytest.fixture
def settings_of():
    from django.test import override_settings

    active = []

    def override(**options):
        active.append(override_settings(**options))
        active[-1].enable()

    yield override
    for each in active:
        each.disable()
