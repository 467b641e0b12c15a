"""Django with the application of the tests, on SQLite or on what ASSAY_TEST_DJANGO names."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import django
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection, connections

from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

_FOLDER = tempfile.TemporaryDirectory(prefix="assay-django-")


def _database() -> dict[str, object]:
    url = os.environ.get("ASSAY_TEST_DJANGO")
    if not url:
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(Path(_FOLDER.name, "shop.sqlite")),
        }
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": parts.username,
        "PASSWORD": parts.password,
        "HOST": parts.hostname,
        "PORT": parts.port,
    }


if not settings.configured:
    settings.configure(
        DATABASES={"default": _database()},
        INSTALLED_APPS=[
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.messages",
            "django.contrib.sessions",
            "tests.sealed_shop",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        ROOT_URLCONF="tests.sealed_shop.urls",
        SECRET_KEY="of the tests alone",
        ALLOWED_HOSTS=["testserver"],
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        USE_TZ=True,
        STATIC_URL="static/",
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    )
    django.setup()


@pytest.fixture(scope="session")
def _tables() -> Iterator[None]:
    call_command("migrate", run_syncdb=True, verbosity=0)
    yield
    connections.close_all()
    _FOLDER.cleanup()


@pytest.fixture
def keyring(_tables: None) -> Iterator[Keyring]:
    """A keyring that is bound to the database, whose tables are empty."""
    from assay.encryption.django import bind

    keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())
    bind(keyring)
    yield keyring
    call_command("flush", interactive=False, verbosity=0)
    connection.close()
