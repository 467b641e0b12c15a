"""The models that take turns in the benchmarks: plaintext, Assay's, and its peers'.

Each has the same columns and stores the same three fields. Peers are used as their own
documentation shows it; Fernet and Tink have no SQLAlchemy type, so theirs is the usual
`TypeDecorator` with one cached key object.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("ENCRYPTION_KEY", base64.urlsafe_b64encode(b"k" * 32).decode())
os.environ.setdefault("ENCRYPTION_METHOD", "fernet")

import tink
from cryptography.fernet import Fernet
from pydantic_encryption import DeferredDecryptMixin, SQLAlchemyEncryptedValue
from pydantic_encryption.integrations.sqlalchemy.serialization import decode_value
from sealed_fields import SealedFields, create_sealed_fields, generate_key
from sealed_fields.sqlalchemy import SealedText
from sqlalchemy import LargeBinary, Text
from sqlalchemy.dialects import sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator
from sqlalchemy_utils.types.encrypted.encrypted_type import AesGcmEngine, StringEncryptedType
from tink import aead

from assay.encryption.sqlalchemy import Equality, Sealed, casefold, sealed

FIELDS = ("email", "name", "text")
TENANTS = ("north", "south", "west", "east")


class Base(DeclarativeBase):
    """The models of all contenders."""


class Plain(Base):
    __tablename__ = "bench_plain"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant_id: Mapped[str]
    email: Mapped[str]
    name: Mapped[str]
    text: Mapped[str]


class SealedRow(Sealed, Base):
    __tablename__ = "bench_sealed"
    __owner__ = "tenant_id"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant_id: Mapped[str]
    email: Mapped[str] = sealed()
    name: Mapped[str] = sealed()
    text: Mapped[str] = sealed()


class IndexedRow(Sealed, Base):
    __tablename__ = "bench_indexed"
    __owner__ = "tenant_id"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant_id: Mapped[str]
    email: Mapped[str] = sealed(index=Equality(casefold))
    name: Mapped[str] = sealed()
    text: Mapped[str] = sealed()


def _make_cipher() -> aead.Aead:
    aead.register()
    handle = tink.new_keyset_handle(aead.aead_key_templates.AES256_GCM)
    cipher: aead.Aead = handle.primitive(aead.Aead)
    return cipher


class _BytesOfText(TypeDecorator[str]):
    """A binary column of text that two functions encrypt and decrypt."""

    impl = LargeBinary
    cache_ok = True
    encrypt: Callable[[bytes], bytes]
    decrypt: Callable[[bytes], bytes]

    def process_bind_param(self, value: str | None, dialect: Any) -> bytes | None:
        del dialect
        return None if value is None else self.encrypt(value.encode())

    def process_result_value(self, value: Any, dialect: Any) -> str | None:
        del dialect
        return None if value is None else self.decrypt(value).decode()


class FernetText(_BytesOfText):
    cache_ok = True
    _fernet = Fernet(Fernet.generate_key())
    encrypt = staticmethod(_fernet.encrypt)
    decrypt = staticmethod(_fernet.decrypt)


class TinkText(_BytesOfText):
    cache_ok = True
    _cipher = _make_cipher()

    @staticmethod
    def encrypt(plain: bytes) -> bytes:
        return TinkText._cipher.encrypt(plain, b"")

    @staticmethod
    def decrypt(sealed_bytes: bytes) -> bytes:
        return TinkText._cipher.decrypt(sealed_bytes, b"")


_FIELDS_OF_PEER: SealedFields = create_sealed_fields(namespaces={"PII": {"key": generate_key()}})

_TYPES: dict[str, Callable[[], Any]] = {
    # Each column has an engine of its own, as the library's documentation shows it.
    "sqlalchemy-utils": lambda: StringEncryptedType(Text, "k" * 32, AesGcmEngine),
    "sealed-fields": lambda: SealedText(_FIELDS_OF_PEER),
    "pydantic-encryption": SQLAlchemyEncryptedValue,
    "Tink": TinkText,
    "Fernet": FernetText,
}


def _peer_model(name: str, column_type: Callable[[], Any]) -> type[Any]:
    bases = (Base, DeferredDecryptMixin) if name == "pydantic-encryption" else (Base,)
    columns: dict[str, Any] = {
        "__tablename__": f"bench_{name.lower().replace('-', '_')}",
        "id": mapped_column("id", primary_key=True, autoincrement=False),
        "tenant_id": mapped_column(),
        "__annotations__": {"id": Mapped[int], "tenant_id": Mapped[str]},
        **{each: mapped_column(column_type(), nullable=False) for each in FIELDS},
    }
    return type(f"Row_{name}", bases, columns)


PEERS: dict[str, type[Any]] = {name: _peer_model(name, kind) for name, kind in _TYPES.items()}

MODELS: dict[str, type[Any]] = {
    "plaintext": Plain,
    "sealed": SealedRow,
    "sealed, one blind index": IndexedRow,
    **PEERS,
}


def value_functions(
    model: type[Any],
) -> tuple[Callable[[str], bytes | str], Callable[[bytes | str], str]]:
    """How a peer's model encrypts one value for the database, and decrypts one from it."""
    kind, dialect = model.__table__.columns[FIELDS[0]].type, sqlite.dialect()
    if isinstance(kind, SQLAlchemyEncryptedValue):
        # Instances decrypt when a field is read; this is what they do then.
        return (
            lambda value: kind.process_bind_param(value, dialect),
            lambda stored: decode_value(kind.decrypt_cell(stored)),
        )
    return (
        lambda value: kind.process_bind_param(value, dialect),
        lambda stored: kind.process_result_value(stored, dialect),
    )


def make_rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    """The rows that every contender writes."""
    return [
        {
            "id": number,
            "tenant_id": TENANTS[number % len(TENANTS)],
            "email": f"person-{number}@example.com",
            "name": f"Person Number {number}",
            "text": f"A note of about sixty-four characters, which is number {number:08d}",
        }
        for number in range(first, first + count)
    ]
