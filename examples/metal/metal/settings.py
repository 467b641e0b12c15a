"""Settings, from the environment alone.

=================== ============================================================================
variable            meaning
=================== ============================================================================
METAL_HOME          where relative paths start; the folder of ``assay.yaml`` unless told
METAL_DATA          everything that Metal keeps; ``data``
DATABASE_URL        an SQLAlchemy URL; ``sqlite:///data/metal.db``
KEY_DATABASE_URL    the database of the wrapped data keys; with SQLite a file of its own
                    (``sqlite:///data/keys.db``, since SQLite has one writer), else DATABASE_URL
METAL_BUCKET        folder of the sealed objects; one for each database, ``data/uploads`` for the
                    usual one
METAL_KEYS          URI of the key that wraps the data keys
METAL_KEY_STORE     what set-up makes keys in: kms (a key service of its own in front of SoftHSM2),
                    softhsm2 or embedded; kms when SoftHSM2 is installed
METAL_ADMIN_TOKEN   a reference to the operator's token; ``file:data/admin-token``
METAL_HTTPS_PORT    8443; 0 for any free port
METAL_HTTP_PORT     8080; 0 for any free port
METAL_KMS_PORT      8444, of the key service; 0 for any free port
METAL_UPLOAD_LIMIT  the largest upload in bytes; 67108864
=================== ============================================================================

Example:
    >>> Settings.from_environment({"METAL_HTTPS_PORT": "9443"}).https_port
    9443
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from metal.errors import SettingsError

HERE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Settings:
    """Where everything is and how large it may be.

    Attributes:
        home: where relative paths start.
        data: the folder of everything that Metal keeps.
        bucket: the folder of the sealed objects.
        database_url: the database of the application, with an absolute path when it is a file.
        key_database_url: the database of the wrapped data keys, likewise.
        keys: URI of the key that wraps the data keys; empty when none was given.
        key_store: what set-up makes keys in; empty to choose what is there.
        admin_token: a reference to the operator's token.
        https_port: port of the API.
        http_port: port that redirects to it.
        kms_port: port of the key service.
        upload_limit_bytes: the largest upload.
        body_limit_bytes: the largest body of any other request.
    """

    home: Path
    data: Path
    bucket: Path
    database_url: str
    key_database_url: str
    keys: str
    key_store: str
    admin_token: str
    https_port: int = 8443
    http_port: int = 8080
    kms_port: int = 8444
    upload_limit_bytes: int = 64 * 1024 * 1024
    body_limit_bytes: int = 1024 * 1024

    @property
    def incoming(self) -> Path:
        """The folder of objects that are not complete yet; sealed from their first byte."""
        return self.data / "incoming"

    @property
    def log_file(self) -> Path:
        """The application's log, one JSON object a line."""
        return self.data / "logs" / "metal.jsonl"

    @property
    def authority(self) -> Path:
        """The certificate authority that clients trust."""
        return self.data / "ca.pem"

    @property
    def key_service(self) -> Path:
        """The folder of the key service: its state, its certificate, Metal's access key."""
        return self.data / "kms"

    @property
    def key_service_file(self) -> Path:
        """Where a running key service says how it is reached."""
        return self.key_service / "server.json"

    @property
    def address_file(self) -> Path:
        """Where a running server says how it is reached."""
        return self.data / "server.json"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read the variables above.

        Raises:
            SettingsError: one of them is not what it has to be.
        """
        home = Path(environment.get("METAL_HOME") or HERE).resolve()
        database = _database(environment.get("DATABASE_URL") or "sqlite:///data/metal.db", home)
        keys_beside = "sqlite:///data/keys.db" if _is_file(database) else None
        key_text = environment.get("KEY_DATABASE_URL") or keys_beside
        key_database = _database(key_text, home) if key_text else database
        if _is_file(database) and key_database == database:
            raise SettingsError(
                "expected KEY_DATABASE_URL to name another file than DATABASE_URL, found the same: "
                "SQLite has one writer, and both write"
            )
        data = home / (environment.get("METAL_DATA") or "data")
        return cls(
            home=home,
            data=data,
            bucket=home / (environment.get("METAL_BUCKET") or _bucket_beside(data, database)),
            database_url=database.render_as_string(hide_password=False),
            key_database_url=key_database.render_as_string(hide_password=False),
            keys=environment.get("METAL_KEYS", ""),
            key_store=_key_store(environment),
            admin_token=environment.get("METAL_ADMIN_TOKEN") or "file:data/admin-token",
            https_port=_number(environment, "METAL_HTTPS_PORT", 8443, 65535),
            http_port=_number(environment, "METAL_HTTP_PORT", 8080, 65535),
            kms_port=_number(environment, "METAL_KMS_PORT", 8444, 65535),
            upload_limit_bytes=_number(environment, "METAL_UPLOAD_LIMIT", 64 * 1024 * 1024, 2**40),
        )


def _is_file(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _database(text: str, home: Path) -> URL:
    try:
        url = make_url(text)
    except ArgumentError as exc:
        raise SettingsError(
            "expected DATABASE_URL and KEY_DATABASE_URL to be SQLAlchemy URLs like "
            "sqlite:///data/metal.db or postgresql+psycopg://host/name, found another text"
        ) from exc
    if not _is_file(url):
        return url
    if not url.database or url.database == ":memory:":
        raise SettingsError(
            "expected an SQLite database in a file (sqlite:///data/metal.db), found one in memory: "
            "its rows would be lost with the process"
        )
    return url.set(database=str(home / url.database))


def _bucket_beside(data: Path, database: URL) -> Path:
    """A folder that belongs to this database: its rows say what has to be in it."""
    if _is_file(database) and database.database == str(data / "metal.db"):
        return data / "uploads"
    name = database.render_as_string(hide_password=True)
    return data / f"uploads-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def _key_store(environment: Mapping[str, str]) -> str:
    wanted = environment.get("METAL_KEY_STORE", "")
    if wanted not in {"", "kms", "softhsm2", "embedded"}:
        raise SettingsError(
            f"expected METAL_KEY_STORE to be kms, softhsm2 or embedded, found {wanted!r}"
        )
    return wanted


def _number(environment: Mapping[str, str], name: str, default: int, largest: int) -> int:
    text = environment.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and int(text) <= largest):
        raise SettingsError(f"expected {name} to be a number from 0 to {largest}, found {text!r}")
    return int(text)
