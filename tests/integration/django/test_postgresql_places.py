"""What the unit tests of owners and primary keys show on SQLite, on PostgreSQL."""

from django.db import connection
from tests.unit.encryption.django.test_django_places import *  # noqa: F403 - every test of it


def test_this_is_postgresql(keyring):
    assert connection.vendor == "postgresql"
