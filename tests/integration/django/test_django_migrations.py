"""Migrations of sealed models: made, applied from empty, changed, undone, and run again."""

from __future__ import annotations

import re
import sys
from io import StringIO

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import IntegrityError, connection
from django.test import override_settings
from tests.sealed_shop.project import bound_keyring, database_at

from assay.encryption.django import OwnerChangedError, SealedExpressionError, UnsealedWriteError

LABEL = "sealed_shop"


@pytest.fixture
def package(tmp_path, monkeypatch, fresh_postgresql_url):
    """A package of migrations of its own, and an empty database."""
    name = f"migrations_of_{tmp_path.name.replace('-', '_')}"
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    with override_settings(MIGRATION_MODULES={LABEL: name}), database_at(fresh_postgresql_url):
        yield tmp_path / name
    for each in [each for each in sys.modules if each.partition(".")[0] == name]:
        del sys.modules[each]


def manage(*words, **options):
    shown = StringIO()
    call_command(*words, stdout=shown, stderr=shown, **options)
    return shown.getvalue()


def columns(table):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT column_name, udt_name, is_nullable FROM information_schema.columns"
            " WHERE table_name = %s",
            [table],
        )
        return {name: (kind, nullable) for name, kind, nullable in cursor.fetchall()}


def test_from_an_empty_database(package):
    manage("makemigrations", LABEL)
    written = (package / "0001_initial.py").read_text()
    assert "assay.encryption.django.columns.EnvelopeField" in written
    assert "'notes'" not in written
    manage("migrate")
    assert "No changes" in manage("makemigrations", LABEL, check_changes=True)
    customer = columns("sealed_shop_customer")
    assert customer == {
        "id": ("uuid", "NO"),
        "tenant_id": ("varchar", "NO"),
        "label": ("varchar", "NO"),
        "sealed": ("bytea", "YES"),
        "sealed_content": ("bytea", "YES"),
        "email_index": ("bytea", "YES"),
        "age_index": ("bytea", "YES"),
    }
    assert columns("sealed_shop_item")["title_ngrams"] == ("_bytea", "YES")
    with bound_keyring():
        customers = apps.get_model(LABEL, "Customer").objects
        customers.create(tenant_id="north", email="ada@example.com", age=36)
        assert customers.get(tenant_id="north", email="ADA@example.com").age == 36
        with pytest.raises(IntegrityError):
            customers.create(tenant_id="north", email="ada@example.com")
    manage("migrate", LABEL, "zero")
    assert columns("sealed_shop_customer") == {}
    manage("migrate")
    assert columns("sealed_shop_customer") == customer


DATA = """
from django.db import migrations, transaction
from django.db.models import F, Value

from assay.encryption.django import MappingError

refused, taken = {}, {}


def written(name, write):
    try:
        with transaction.atomic():
            write()
    except MappingError as exc:
        refused[name] = str(exc)
    else:
        taken[name] = write


def change(apps, schema_editor):
    customers = apps.get_model("sealed_shop", "Customer").objects
    items = apps.get_model("sealed_shop", "Item").objects
    tenants = apps.get_model("sealed_shop", "Tenant").objects
    found, item, other = customers.get(), items.get(), tenants.create(id="other")
    found.label = "by a migration"
    found.save(update_fields=["label"])
    partly = customers.only("label", "tenant_id").get()
    partly.label += "!"
    partly.save()
    customers.filter(tenant_id="north").update(label=F("label"))
    customers.bulk_update([found], ["label"])
    assert customers.values_list("label", flat=True).get() == "by a migration"

    def save_other(row, name, value, fields):
        setattr(row, name, value)
        row.save(update_fields=fields)

    for name, write in {
        "envelope": lambda: customers.update(sealed=b"x" * 80),
        "no envelope": lambda: customers.update(sealed=None),
        "expression": lambda: customers.update(sealed=F("sealed_content")),
        "value": lambda: customers.update(sealed=Value(b"in the clear")),
        "index": lambda: customers.update(email_index=b"x" * 16),
        "no index": lambda: customers.update(email_index=None),
        "owner": lambda: customers.update(tenant_id="south"),
        "owner of others": lambda: customers.filter(label="").update(tenant_id="south"),
        "key": lambda: customers.update(id=other.id * 4),
        "bulk_update": lambda: customers.bulk_update([found], ["tenant_id"]),
        "bulk_update of an envelope": lambda: customers.bulk_update([found], ["sealed"]),
        "create": lambda: customers.create(tenant_id="north", label="x"),
        "get_or_create": lambda: customers.get_or_create(tenant_id="south", label="x"),
        "update_or_create": lambda: customers.update_or_create(
            pk=found.pk, defaults={"label": "x"}
        ),
        "bulk_create": lambda: customers.bulk_create([customers.model(tenant_id="north")]),
        "upsert": lambda: customers.bulk_create(
            [customers.model(id=found.id, tenant_id="south")],
            update_conflicts=True, unique_fields=["id"], update_fields=["tenant_id"],
        ),
        "stolen": lambda: customers.model(tenant_id="north", sealed=found.sealed).save(),
        "whole": lambda: customers.get().save(),
        "saved owner": lambda: save_other(customers.get(), "tenant_id", "south", ["tenant_id"]),
        "partly saved owner": lambda: save_other(
            customers.only("tenant_id").get(), "tenant_id", "south", None
        ),
        "foreign key": lambda: items.update(tenant=other),
        "foreign key by its column": lambda: items.update(tenant_id="other"),
        "related": lambda: other.item_set.add(item),
        "base manager": lambda: type(item)._base_manager.update(tenant=other),
        "saved foreign key": lambda: save_other(items.get(), "tenant", other, ["tenant"]),
    }.items():
        written(name, write)
    other.delete()


class Migration(migrations.Migration):
    dependencies = [("sealed_shop", "LAST")]
    operations = [migrations.RunPython(change)]
"""


@pytest.mark.parametrize("bases", ["sealed", "plain"])
def test_code_in_a_migration_writes_what_is_in_the_clear_and_nothing_else(package, bases):
    manage("makemigrations", LABEL)
    first = package / "0001_initial.py"
    if bases == "plain":  # as of a table that was there before its model was sealed
        plain = re.sub(
            r"assay\.encryption\.django\.model\.Sealed, models\.Model",
            "models.Model,",
            first.read_text(),
        )
        assert "model.Sealed" not in plain
        first.write_text(plain)
    manage("migrate")
    with bound_keyring():
        customer, item = apps.get_model(LABEL, "Customer"), apps.get_model(LABEL, "Item")
        row = customer.objects.create(tenant_id="north", email="ada@example.com")
        tenant = apps.get_model(LABEL, "Tenant").objects.create(id="north")
        item.objects.create(tenant=tenant, title="Clock", price=5)
        (package / "0002_data.py").write_text(DATA.replace("LAST", "0001_initial"))
        manage("migrate")
        data = sys.modules[f"{package.name}.0002_data"]
        assert list(data.taken) == []
        assert len(data.refused) == 25
        assert not [said for said in data.refused.values() if "expected" not in said]
        read = customer.objects.get(tenant_id="north", email="ADA@example.com")
        assert (read.pk, read.label, read.email) == (row.pk, "by a migration", "ada@example.com")
        assert (item.objects.get().title, item.objects.get().tenant_id) == ("Clock", "north")
        assert "No changes" in manage("makemigrations", LABEL, check_changes=True)


RENAME = """
from django.db import migrations


def change(apps, schema_editor):
    apps.get_model("sealed_shop", "Customer").objects.update(label="renamed")


class Migration(migrations.Migration):
    dependencies = [("sealed_shop", "0001_initial")]
    operations = [
        migrations.RenameField("customer", "tenant_id", "org"),
        migrations.RunPython(change),
    ]
"""


def test_a_migration_that_does_not_know_the_owner_writes_nothing(package):
    manage("makemigrations", LABEL)
    (package / "0002_rename.py").write_text(RENAME)
    with pytest.raises(UnsealedWriteError, match="which field is the owner"):
        manage("migrate")


def test_managers_of_migrations_are_sealed_as_well(package):
    """Of a model that had a manager of its own before it was sealed."""
    manage("makemigrations", LABEL)
    first = package / "0001_initial.py"
    written = first.read_text()
    manager = "managers=[('objects', tests.sealed_shop.project.OldManager())],"
    at = written.index("options", written.index("name='Customer'"))
    written = f"{written[:at]}{manager}\n            {written[at:]}"
    first.write_text(f"import tests.sealed_shop.project\n{written}")
    manage("migrate")
    from django.db.migrations.loader import MigrationLoader

    state = MigrationLoader(connection).project_state((LABEL, "0001_initial"))
    customers = state.apps.get_model(LABEL, "Customer").objects
    assert list(customers.labelled("x")) == []
    with pytest.raises(OwnerChangedError):
        customers.labelled("x").update(tenant_id="south")
    with pytest.raises(SealedExpressionError, match="after the migration"):
        customers.update(sealed=None)
