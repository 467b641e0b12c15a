"""The Django project of the tests: its settings, and which database it works on.

Django is configured once for a process. Its database is a file of SQLite, until `database_at` puts
another one in its place.
"""

from __future__ import annotations

import asyncio
import atexit
import shutil
import tempfile
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import django
from asgiref.sync import sync_to_async
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import connections, models

from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

T = TypeVar("T")

_FOLDER = tempfile.TemporaryDirectory(prefix="assay-django-")
atexit.register(_FOLDER.cleanup)
_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "tests.sealed_shop",
]
_TEMPLATES = {
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


class OldQuerySet(models.QuerySet):
    """A queryset that knows nothing of sealing."""

    def labelled(self, label: str) -> Any:
        return self.filter(label=label)


class OldManager(models.Manager.from_queryset(OldQuerySet)):  # type: ignore[misc]  # Django makes the class
    """A manager that a model had before it was sealed, as its migrations keep it."""

    use_in_migrations = True


def configure() -> None:
    """Configure Django, unless it is."""
    if settings.configured:
        return
    database = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(Path(_FOLDER.name, "shop.sqlite")),
    }
    settings.configure(
        DATABASES={"default": database},
        INSTALLED_APPS=_APPS,
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        TEMPLATES=[_TEMPLATES],
        ROOT_URLCONF="tests.sealed_shop.urls",
        SECRET_KEY="of the tests alone",
        ALLOWED_HOSTS=["testserver"],
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        USE_TZ=True,
        STATIC_URL="static/",
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    )
    django.setup()


@contextmanager
def database_at(url: str) -> Iterator[None]:
    """Let Django work on the PostgreSQL database of a URL."""
    parts = urlsplit(url)
    database: dict[str, Any] = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": parts.username,
        "PASSWORD": parts.password,
        "HOST": parts.hostname,
        "PORT": parts.port,
    }
    before = connections.settings["default"]
    with _connected_to({**before, "OPTIONS": {}, **database}):
        try:
            yield
        finally:
            connections["default"].close()


@contextmanager
def _connected_to(database: dict[str, Any]) -> Iterator[None]:
    before = connections.settings["default"]
    _connect(database)
    try:
        yield
    finally:
        _connect(before)


def _connect(database: dict[str, Any]) -> None:
    _disconnect()
    connections.settings["default"] = database


@contextmanager
def second_database(using: str = "archive") -> Iterator[str]:
    """Another database beside the first, a file of SQLite with the tables of the application."""
    with tempfile.TemporaryDirectory(prefix="assay-django-") as folder:
        options = {**connections.settings["default"], "OPTIONS": {}}
        options.pop("ASSAY_KEYS", None)
        file, migrated = Path(folder, "other.sqlite"), Path(_FOLDER.name, "migrated.sqlite")
        engine = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(file)}
        connections.settings[using] = {**options, **engine}
        try:
            if not migrated.exists():
                call_command("migrate", database=using, run_syncdb=True, verbosity=0)
                connections[using].close()
                file.rename(migrated)
            shutil.copyfile(migrated, file)
            yield using
        finally:
            connections[using].close()
            del connections[using], connections.settings[using]


def run_async(work: Awaitable[T]) -> T:
    """Run a coroutine, and leave no connection in the thread where Django works for it.

    That thread lives as long as the process: what it keeps would lead the next test astray, which
    may work on another database.
    """

    async def run() -> T:
        try:
            return await work
        finally:
            await sync_to_async(_disconnect_all)()

    return asyncio.run(run())


def _disconnect_all() -> None:
    for using in connections.settings:
        _disconnect(using)


def _disconnect(using: str = "default") -> None:
    connections[using].close()
    del connections[using]


@contextmanager
def bound_keyring() -> Iterator[Keyring]:
    """A keyring that is bound to the database, whose tables are emptied behind it."""
    from assay.encryption.django import bind

    keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())
    bind(keyring)
    yield keyring
    call_command("flush", interactive=False, verbosity=0, inhibit_post_migrate=True)
    apps.get_model("contenttypes", "ContentType").objects.clear_cache()
    connections["default"].close()
