"""Django with the application of the tests, on PostgreSQL.

- `keyring`: bound to the database, whose tables are empty.
- `written_nowhere`: looks for values in the clear in everything that the server keeps.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection
from tests.sealed_shop.project import bound_keyring, configure, database_at

from assay.keys import Keyring

configure()


@pytest.fixture(scope="session")
def migrated_url(postgresql_url: str) -> Iterator[str]:
    """The URL of a database with the tables of the application."""
    name = f"django_{secrets.token_hex(6)}"
    with psycopg.connect(postgresql_url, autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}"')
        server.execute(f'ALTER DATABASE "{name}" SET log_statement = "all"')
    url = f"{postgresql_url.rpartition('/')[0]}/{name}"
    with database_at(url):
        call_command("migrate", run_syncdb=True, verbosity=0)
    yield url
    with psycopg.connect(postgresql_url, autocommit=True) as server:
        server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def keyring(migrated_url: str) -> Iterator[Keyring]:
    """A keyring that is bound to the database, whose tables are empty."""
    with database_at(migrated_url), bound_keyring() as keyring:
        yield keyring


@pytest.fixture
def written_nowhere(keyring: Keyring) -> Callable[..., bool]:
    """Whether no value stands in the clear in any file of the server, nor in any table.

    The files are all of them: tables, indexes, the write-ahead log, and the server's own log, which
    holds every statement that was sent.
    """

    def search(*values: str) -> bool:
        with connection.cursor() as cursor:
            cursor.execute("CHECKPOINT")
            cursor.execute("SHOW data_directory")
            folder = Path(cursor.fetchone()[0]).parent
            tables = [_dump(cursor, name) for name in connection.introspection.table_names()]
        files = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
        assert len(files) > 100, "the server's files were not found"
        assert sum(map(len, tables)) > 100, "nothing was written that could be searched"
        forms = [form for value in values for form in _forms(value)]
        return not [form for form in forms if any(form in held for held in (*files, *tables))]

    return search


def _dump(cursor: object, table: str) -> bytes:
    with cursor.cursor.copy(f'COPY "{table}" TO STDOUT') as rows:  # type: ignore[attr-defined]  # psycopg's
        return b"".join(bytes(row) for row in rows)


def _forms(value: str) -> Iterator[bytes]:
    """A value as text, as bytes that are shown in hexadecimal, and as it stands in JSON."""
    plain = value.encode()
    yield from (plain, plain.hex().encode(), plain.hex().upper().encode())
    yield value.encode("utf-16-le")
