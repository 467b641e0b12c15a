"""What the tests of the room share: its vectors, data keys and a keyring."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, ForeignKey, StaticPool, create_engine
from sqlalchemy import text as sql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, sessionmaker
from tests.vectors import generate_encryption_vectors

from assay.core import DataKeyClass
from assay.encryption.sqlalchemy import Equality, Sealed, bind, casefold, digits, exact, sealed
from assay.keys import DataKey, Keyring, MemoryDataKeyTable, MemoryKeyService

VECTORS = Path(__file__).parents[2] / "vectors"


@pytest.fixture(scope="session")
def generator() -> ModuleType:
    """The program that writes the vectors."""
    return generate_encryption_vectors


@pytest.fixture(scope="session")
def vectors() -> Callable[[str], dict[str, Any]]:
    """The vectors of a format by name."""
    return lambda name: json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture
def keyring() -> Keyring:
    return Keyring(MemoryKeyService(), MemoryDataKeyTable())


@pytest.fixture
def key(keyring: Keyring) -> DataKey:
    return keyring.current("tenant-1", DataKeyClass.ROWS)


class Base(DeclarativeBase):
    pass


class Tenant(Base):
    __tablename__ = "tenants"
    id: Mapped[str] = mapped_column(primary_key=True)
    documents: Mapped[list[Document]] = relationship(back_populates="tenant")


class Document(Sealed, Base):
    __tablename__ = "documents"
    __owner__ = "tenant_id"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    label: Mapped[str | None]
    owner_email: Mapped[str] = sealed(index=Equality(casefold))
    text: Mapped[str] = sealed()
    pages: Mapped[int | None] = sealed(default=1)
    body: Mapped[str | None] = sealed(group="content")
    number: Mapped[str | None] = sealed(group="content", index=Equality(digits))
    tenant: Mapped[Tenant | None] = relationship(back_populates="documents")


class Everything(Sealed, Base):
    """Every type that can be sealed, bound to a key of three columns."""

    __tablename__ = "everything"
    __owner__ = "owner"
    __sealed_padding__ = True

    part: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[UUID] = mapped_column(primary_key=True)
    a_text: Mapped[str | None] = sealed()
    some_bytes: Mapped[bytes | None] = sealed(index=Equality(exact))
    yes: Mapped[bool | None] = sealed()
    count: Mapped[int | None] = sealed(index=Equality(exact))
    ratio: Mapped[float | None] = sealed()
    uuid: Mapped[UUID | None] = sealed(index=Equality(exact))
    price: Mapped[Decimal | None] = sealed()
    day: Mapped[date | None] = sealed(index=Equality(exact))
    hour: Mapped[time | None] = sealed()
    moment: Mapped[datetime | None] = sealed()
    mapping: Mapped[dict[str, Any] | None] = sealed(default=dict)
    items: Mapped[list[Any] | None] = sealed()


class Library:
    """A database with sealed documents, and sessions that can read them."""

    Base, Tenant, Document, Everything = Base, Tenant, Document, Everything

    def __init__(self, engine: Engine, keyring: Keyring) -> None:
        self.engine = engine
        self.keyring = keyring
        self.sessions = bind(sessionmaker(engine), keyring)
        self.unbound = sessionmaker(engine)
        Base.metadata.create_all(engine)
        with self.unbound.begin() as session:
            session.add_all([Tenant(id="north"), Tenant(id="south")])

    def add(self, owner: str = "north", **fields: Any) -> UUID:
        """A stored document."""
        given = {"owner_email": "ada@example.com", "text": "Dear Ada", **fields}
        with self.sessions.begin() as session:
            document = Document(tenant_id=owner, **given)
            session.add(document)
            session.flush()
            return document.id

    def column(self, column: str, row: UUID) -> Any:
        """What the database holds, past the mapping."""
        with self.engine.connect() as connection:
            statement = sql(f"SELECT {column} FROM documents WHERE id = :id")  # noqa: S608 - of this test
            return connection.execute(statement, {"id": row.hex}).scalar_one()

    def write(self, statement: str, **values: Any) -> None:
        """A change past the mapping, as an attacker or a script makes it."""
        with self.engine.begin() as connection:
            connection.execute(sql(statement), values)


@pytest.fixture
def library(keyring: Keyring) -> Iterator[Library]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    yield Library(engine, keyring)
    engine.dispose()
