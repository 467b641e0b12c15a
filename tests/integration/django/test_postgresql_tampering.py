"""The tamper matrix over sealed Django models, on PostgreSQL."""

from django.db import connection
from tests.unit.encryption.django.test_django_tampering import *  # noqa: F403 - every test of it


def test_this_is_postgresql(keyring):
    assert connection.vendor == "postgresql"
