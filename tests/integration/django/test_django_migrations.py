"""Migrations of sealed models: made, applied from empty, changed, undone, and run again."""

from __future__ import annotations

import sys
from io import StringIO

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import IntegrityError, connection
from django.test import override_settings
from tests.sealed_shop.project import bound_keyring, database_at

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

from assay.encryption.django import UnsealedWriteError

refused = []


def change(apps, schema_editor):
    customers = apps.get_model("sealed_shop", "Customer").objects
    found = customers.get()
    found.label = "by a migration"
    found.save(update_fields=["label"])
    customers.update(tenant_id="north")
    for write in (
        lambda: customers.update(sealed=b"x" * 80),
        lambda: customers.update(email_index=b"x" * 16),
        lambda: customers.create(tenant_id="north", label="x"),
        lambda: customers.bulk_create([customers.model(tenant_id="north")]),
        lambda: customers.model(tenant_id="north", sealed=found.sealed).save(),
        lambda: found.save(),
    ):
        try:
            with transaction.atomic():
                write()
        except UnsealedWriteError:
            refused.append(write)


class Migration(migrations.Migration):
    dependencies = [("sealed_shop", "0001_initial")]
    operations = [migrations.RunPython(change)]
"""


def test_code_in_a_migration_writes_what_is_in_the_clear_and_nothing_else(package):
    manage("makemigrations", LABEL)
    manage("migrate")
    with bound_keyring():
        customer = apps.get_model(LABEL, "Customer")
        row = customer.objects.create(tenant_id="north", email="ada@example.com")
        (package / "0002_data.py").write_text(DATA)
        manage("migrate")
        assert len(sys.modules[f"{package.name}.0002_data"].refused) == 6
        read = customer.objects.get()
        assert (read.pk, read.label, read.email) == (row.pk, "by a migration", "ada@example.com")
