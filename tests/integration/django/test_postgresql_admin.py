"""What the unit tests of the admin show on SQLite, on PostgreSQL."""

from uuid import uuid4

from django.db import connection
from tests.unit.encryption.django.test_django_admin import *  # noqa: F403 - every test of it
from tests.unit.encryption.django.test_django_admin import ADD, LIST, change, form


def test_this_is_postgresql(keyring):
    assert connection.vendor == "postgresql"


def test_pages_of_the_admin_write_nothing_in_the_clear(client, row, written_nowhere):
    canary = f"canary-{uuid4().hex}"
    client.post(ADD, form(email=f"{canary}@example.com", notes=canary, extra=f'["{canary}"]'))
    client.post(change(row), form(id=str(row.pk), email=f"{canary}2@example.com"))
    assert type(row).objects.count() == 2
    assert "1 customer" in client.get(LIST, {"q": f"{canary}@example.com"}).content.decode()
    client.post(f"{LIST}{row.pk}/delete/", {"post": "yes"})
    assert type(row).objects.get().notes == canary
    assert written_nowhere(canary)
