"""The tables of a `SqlDataKeyTable`, and how its rows are read and written.

``assay_data_keys``, the wrapped data keys; primary key (owner, key_class, version):

=========== ======= ===================================================
column      type    meaning
=========== ======= ===================================================
owner       text    whose data the key seals
key_class   text    "rows", "indexes", "objects" or "files"
version     integer 1, then counting up
key_id      bytes   16, the commitment of ``spec/data-keys.md``
kek         text    URI of the KEK, without secrets
wrapped     bytes   up to 9 KiB, see ``spec/data-keys.md``
created_at  text    RFC 3339 in UTC, microseconds
=========== ======= ===================================================

``assay_destroyed_keys``, what stays of a key that was destroyed; primary key ``number``, which
counts up, ``key_id`` is unique:

============ ======= ==================================================
number       integer in the order of destruction
key_id       bytes   16
owner_digest bytes   32, see `assay.core.owner_digest`
key_class    text    as above
version      integer as above
destroyed_at text    RFC 3339 in UTC, microseconds
============ ======= ==================================================

``assay_data_key_uses``, how often keys were used; primary key ``key_id``:

============== ======= ================================================
key_id         bytes   16
messages       integer see `assay.core.KeyUses`
nonce_prefixes integer see `assay.core.KeyUses`
============== ======= ================================================
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
)
from sqlalchemy.dialects.mysql import VARBINARY, VARCHAR
from sqlalchemy.types import TypeEngine

from assay.core import (
    AssayError,
    DataKeyClass,
    DestroyedKey,
    WrappedDataKey,
    from_rfc3339,
    to_rfc3339,
)
from assay.database.errors import DatabaseError

KEY_TABLE_NAME = "assay_data_keys"
DESTROYED_TABLE_NAME = "assay_destroyed_keys"
USES_TABLE_NAME = "assay_data_key_uses"
KEY_TABLE_NAMES = (KEY_TABLE_NAME, DESTROYED_TABLE_NAME, USES_TABLE_NAME)
"""Every table that a `SqlDataKeyTable` makes."""


def _text(length: int) -> TypeEngine[str]:
    """Text of which MariaDB compares every byte: its own habit ignores case and final spaces."""
    exact = VARCHAR(length, charset="utf8mb4", collation="utf8mb4_nopad_bin")
    return String().with_variant(exact, "mariadb", "mysql")


def _bytes(length: int) -> TypeEngine[bytes]:
    """Bytes that MariaDB can put into an index."""
    return LargeBinary().with_variant(VARBINARY(length), "mariadb", "mysql")


METADATA = MetaData()

DATA_KEYS = Table(
    KEY_TABLE_NAME,
    METADATA,
    Column("owner", _text(512), nullable=False),
    Column("key_class", _text(16), nullable=False),
    Column("version", Integer, nullable=False, autoincrement=False),
    Column("key_id", LargeBinary, nullable=False),
    Column("kek", _text(1024), nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("created_at", _text(40), nullable=False),
    PrimaryKeyConstraint("owner", "key_class", "version"),
)

DESTROYED = Table(
    DESTROYED_TABLE_NAME,
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("key_id", _bytes(16), nullable=False),
    Column("owner_digest", _bytes(32), nullable=False),
    Column("key_class", _text(16), nullable=False),
    Column("version", Integer, nullable=False),
    Column("destroyed_at", _text(40), nullable=False),
    Index("assay_destroyed_keys_id", "key_id", unique=True),
    Index("assay_destroyed_keys_owner", "owner_digest"),
    # Numbers are never given twice, also when the newest were lost to a restored backup.
    sqlite_autoincrement=True,
)

USES = Table(
    USES_TABLE_NAME,
    METADATA,
    Column("key_id", _bytes(16), primary_key=True),
    Column("messages", BigInteger, nullable=False),
    Column("nonce_prefixes", BigInteger, nullable=False),
)


def key_values(key: WrappedDataKey) -> dict[str, str | int | bytes]:
    """The columns of a wrapped key."""
    return {
        "owner": key.owner,
        "key_class": key.key_class.value,
        "version": key.version,
        "key_id": key.key_id,
        "kek": key.kek,
        "wrapped": key.wrapped,
        "created_at": to_rfc3339(key.created_at),
    }


def key_of_row(row: Any) -> WrappedDataKey:
    """A wrapped key as its row has it.

    Raises:
        DatabaseError: no version of Assay wrote the row.
    """
    try:
        return WrappedDataKey(
            owner=row.owner,
            key_class=DataKeyClass(row.key_class),
            version=row.version,
            key_id=bytes(row.key_id),
            kek=row.kek,
            wrapped=bytes(row.wrapped),
            created_at=from_rfc3339(row.created_at),
        )
    except (ValueError, TypeError, AssayError) as exc:
        raise _foreign_row(KEY_TABLE_NAME) from exc


def destroyed_values(key: DestroyedKey) -> dict[str, str | int | bytes]:
    """The columns of a destroyed key, but for its number."""
    return {
        "key_id": key.key_id,
        "owner_digest": key.owner_digest,
        "key_class": key.key_class.value,
        "version": key.version,
        "destroyed_at": to_rfc3339(key.destroyed_at),
    }


def destroyed_of_row(row: Any) -> DestroyedKey:
    """A destroyed key as its row has it.

    Raises:
        DatabaseError: no version of Assay wrote the row.
    """
    try:
        return DestroyedKey(
            key_id=bytes(row.key_id),
            owner_digest=bytes(row.owner_digest),
            key_class=DataKeyClass(row.key_class),
            version=row.version,
            destroyed_at=from_rfc3339(row.destroyed_at),
        )
    except (ValueError, TypeError, AssayError) as exc:
        raise _foreign_row(DESTROYED_TABLE_NAME) from exc


def _foreign_row(table: str) -> DatabaseError:
    return DatabaseError(
        f"expected rows as Assay writes them in {table}, found one that it did not write"
    )
