"""A table in the clear, the code that wrote it before, and the code that takes over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from assay.database import SqlDataKeyTable, open_engine
from assay.encryption.adoption.alembic import apply_migration, write_migration
from assay.encryption.adoption.expand import expansion
from assay.encryption.adoption.parts import Part, parts_in_transition
from assay.encryption.adoption.place import Place, place_of
from assay.encryption.sqlalchemy import Equality, Sealed, bind, casefold, exact, sealed
from assay.keys import Keyring, MemoryKeyService

OLD_TABLE = """
CREATE TABLE customers (
    id CHAR(32) NOT NULL PRIMARY KEY, tenant VARCHAR NOT NULL, email VARCHAR NOT NULL COLLATE NOCASE,
    notes VARCHAR, visits INTEGER, label VARCHAR
)"""


class Base(DeclarativeBase):
    pass


class Customer(Sealed, Base):
    __tablename__ = "customers"
    __owner__ = "tenant"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    tenant: Mapped[str]
    label: Mapped[str | None]
    email: Mapped[str] = sealed(index=Equality(casefold), plaintext="email")
    notes: Mapped[str | None] = sealed(plaintext="notes")
    visits: Mapped[int | None] = sealed(group="numbers", index=Equality(exact), plaintext="visits")


def _keep_freed_bytes(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA secure_delete = OFF")


class Shop:
    """The database of a shop; `expanded` says whether the migrations were applied."""

    Base, Customer = Base, Customer

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.versions = folder / "versions"
        self.engine: Engine = open_engine(f"sqlite:///{folder / 'shop.db'}")
        # Some builds of SQLite overwrite what they free unless told otherwise.
        event.listen(self.engine, "connect", _keep_freed_bytes)
        self.keys = open_engine(f"sqlite:///{folder / 'keys.db'}")
        self.keyring = Keyring(MemoryKeyService(), SqlDataKeyTable(self.keys))
        self.sessions = bind(sessionmaker(self.engine), self.keyring)
        self.write(OLD_TABLE)

    @property
    def parts(self) -> list[Part]:
        return parts_in_transition(Base)

    @property
    def place(self) -> Place:
        return place_of(self.parts[0], self.engine)

    def expand(self) -> None:
        for part in self.parts:
            with self.engine.connect() as connection:
                steps = expansion(part, connection)
            apply_migration(self.engine, write_migration(self.versions, steps), "alembic_version")

    def write(self, statement: str, **values: Any) -> int:
        with self.engine.begin() as connection:
            return connection.execute(text(statement), values).rowcount

    def read(self, statement: str, **values: Any) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(text(statement), values).all())

    def old_insert(self, email: str, tenant: str = "north", **fields: Any) -> str:
        """What code that knows nothing of sealing does."""
        key = uuid4().hex
        given = {"id": key, "tenant": tenant, "email": email, "notes": None, "visits": None}
        self.write(
            "INSERT INTO customers (id, tenant, email, notes, visits) "
            "VALUES (:id, :tenant, :email, :notes, :visits)",
            **{**given, **fields},
        )
        return key


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    yield shop
    shop.engine.dispose()
    shop.keys.dispose()


@pytest.fixture
def expanded(shop: Shop) -> Shop:
    shop.expand()
    return shop
