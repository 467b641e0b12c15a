"""Django with the application of the tests, on SQLite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.management import call_command
from django.db import connections
from tests.sealed_shop.project import bound_keyring, configure

from assay.keys import Keyring

configure()


@pytest.fixture(scope="session")
def _tables() -> Iterator[None]:
    call_command("migrate", run_syncdb=True, verbosity=0)
    yield
    connections.close_all()


@pytest.fixture
def keyring(_tables: None) -> Iterator[Keyring]:
    """A keyring that is bound to the database, whose tables are empty."""
    with bound_keyring() as keyring:
        yield keyring
