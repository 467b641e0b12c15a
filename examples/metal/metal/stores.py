"""Where Metal keeps things: database, data keys, bucket. Opened once, closed once.

Example:
    >>> with open_stores(settings, os.environ) as stores:     # doctest: +SKIP
    ...     with stores.sessions.begin() as session:
    ...         session.get(Tenant, tenant_id)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.orm import Session, sessionmaker

from assay.core import DataKeyClass
from assay.database import SqlDataKeyTable, open_engine
from assay.encryption.sqlalchemy import bind
from assay.keys import Keyring, KeyService, RotationPolicy, open_key_service
from metal.errors import SettingsError
from metal.models import Base
from metal.settings import Settings

_OUTAGE_SECONDS = 900.0
"""How long tenants whose keys are kept go on when the key service does not answer."""


@dataclass(frozen=True, slots=True)
class Stores:
    """The open stores.

    Attributes:
        sessions: makes database sessions whose sealed fields open by themselves.
        keyring: the tenants' data keys.
        bucket: the folder of the sealed objects.
        incoming: the folder of objects that are not complete yet.
    """

    sessions: sessionmaker[Session]
    keyring: Keyring
    bucket: Path
    incoming: Path

    def make_keys(self, tenant_id: str) -> None:
        """Make a tenant's data keys, before the first row or object needs one."""
        for key_class in (DataKeyClass.ROWS, DataKeyClass.INDEXES, DataKeyClass.OBJECTS):
            self.keyring.current(tenant_id, key_class)


@contextmanager
def open_stores(
    settings: Settings, environment: Mapping[str, str], *, key_service: KeyService | None = None
) -> Iterator[Stores]:
    """Open everything, and create what is missing.

    Args:
        settings: where everything is.
        environment: variables that the key's URI may need.
        key_service: instead of the one that the settings name.

    Raises:
        SettingsError: no key is named.
        AssayError: the key service or a database cannot be opened.
    """
    for folder in (settings.data, settings.bucket, settings.incoming):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as opened:
        if key_service is None:
            if not settings.keys:
                raise SettingsError(
                    "expected METAL_KEYS to name the key that wraps the data keys, found it "
                    'unset; run: eval "$(python -m metal setup)"'
                )
            key_service = open_key_service(
                settings.keys, directory=settings.home, environment=environment
            )
            opened.callback(key_service.close)
        engine = _engine(settings.database_url, opened)
        if engine.dialect.name == "sqlite":
            _one_writer(engine)
        same = settings.key_database_url == settings.database_url
        key_engine = engine if same else _engine(settings.key_database_url, opened)
        Base.metadata.create_all(engine)
        keyring = Keyring(
            key_service,
            SqlDataKeyTable(key_engine),
            outage_seconds=_OUTAGE_SECONDS,
            rotation=RotationPolicy(),
        )
        opened.callback(keyring.close)
        sessions = sessionmaker(engine, expire_on_commit=False)
        bind(sessions, keyring)
        yield Stores(sessions, keyring, settings.bucket, settings.incoming)


def _engine(url: str, opened: ExitStack) -> Engine:
    engine = open_engine(url)
    opened.callback(engine.dispose)
    return engine


def _one_writer(engine: Engine) -> None:
    """Let every transaction of SQLite begin as its one writer.

    Sealed fields of a row are read, changed and written together. Python's driver would begin a
    transaction only at the first write, after the reading, and lose what was written in between.
    """

    @event.listens_for(engine, "connect")
    def leave_beginning_to_us(connection: Any, _: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
