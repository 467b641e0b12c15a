"""Sealed tables as targets of the tamper matrix, in whichever database an engine leads to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Engine, LargeBinary, String, column, select, table, type_coerce, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker
from tests.tamper_matrix import CANARY, Target

from assay.core import DataKeyClass
from assay.encryption import EnvelopeSealer, RowAddress, encode_row_id
from assay.encryption.sqlalchemy import Sealed, bind, open_row, sealed
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService


class VaultBase(DeclarativeBase):
    pass


class Letter(Sealed, VaultBase):
    __tablename__ = "letters"
    __owner__ = "owner"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    owner: Mapped[str] = mapped_column(String(40))
    text: Mapped[str] = sealed()
    pages: Mapped[int] = sealed(default=1)
    body: Mapped[str] = sealed(default="x" * 30, group="content")


class Contract(Sealed, VaultBase):
    __tablename__ = "contracts"
    __owner__ = "owner"
    __sealed_versions__ = True
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    owner: Mapped[str] = mapped_column(String(40))
    text: Mapped[str] = sealed()
    pages: Mapped[int] = sealed(default=1)
    body: Mapped[str] = sealed(default="x" * 30, group="content")


class TableVault:
    """A sealed model in a database, attacked within one transaction that is rolled back.

    Args:
        engine: the database; its tables are made when they are missing.
        model: `Letter`, or `Contract` whose rows have versions.
        through_mapping: read instances of a session; else rows, past the mapping.
    """

    def __init__(self, engine: Engine, model: Any, *, through_mapping: bool) -> None:
        VaultBase.metadata.create_all(engine)
        self.model, self.table = model, model.__table__
        self.through_mapping = through_mapping
        self.keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())
        self.connection = engine.connect()
        sessions = bind(sessionmaker(self.connection), self.keyring)
        self.session: Session = sessions()
        other: Any = Letter if model is Contract else Contract
        self.row = self.add(model, text=CANARY)
        self.older = self.column(model, self.row)
        self.session.get(model, self.row).pages = 7
        self.session.flush()
        self.neighbour = self.add(model, text="a neighbour's")
        self.southern = self.add(model, "south", text="of the south")
        self.elsewhere = self.add(other, "south", text="of another table")

    def close(self) -> None:
        """Undo everything."""
        self.session.close()
        self.connection.close()

    def add(self, model: Any, owner: str = "north", **fields: str) -> UUID:
        instance = model(owner=owner, **fields)
        self.session.add(instance)
        self.session.flush()
        return instance.id

    def column(self, model: Any, row: UUID, name: str = "sealed") -> bytes:
        stored = model.__table__
        query = select(type_coerce(stored.c[name], LargeBinary)).where(stored.c.id == row)
        return bytes(self.connection.execute(query).scalar_one())

    def change(self, **values: object) -> None:
        """A change past the mapping and past the types of the columns."""
        columns = [
            column(each.name, LargeBinary() if each.name == "sealed" else each.type)
            for each in self.table.c
        ]
        named = table(self.table.name, *columns)
        self.connection.execute(update(named).where(named.c.id == self.row).values(values))

    def read(self) -> object:
        if self.through_mapping:
            self.session.expire_all()
            stored: Any = self.session.get(self.model, self.row)
            return {"text": stored.text, "pages": stored.pages}
        query = select(self.table).where(self.table.c.id == self.row)
        row = self.connection.execute(query).mappings().one()
        return open_row(self.keyring, self.model, row)

    def give_away(self) -> Callable[[], None]:
        self.change(owner="south")
        return lambda: self.change(owner="north")

    def use_other_keys(self) -> Callable[[], None]:
        own = self.keyring
        self.keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())
        bind(self.session, self.keyring)

        def undo() -> None:
            self.keyring = own
            bind(self.session, own)

        return undo

    def target(self) -> Target:
        """What the attacks are aimed at."""
        versioned = self.model is Contract
        key = self.keyring.current("north", DataKeyClass.ROWS)
        papers = RowAddress(
            "north", "papers", "default", encode_row_id(self.row), 2 if versioned else None
        )
        return Target(
            adapter="SQLAlchemy, versioned" if versioned else "SQLAlchemy",
            own=self.column(self.model, self.row),
            put=lambda value: self.change(sealed=value),
            read=self.read,
            plain={"text": CANARY, "pages": 7},
            others={
                "row": self.column(self.model, self.neighbour),
                "table": EnvelopeSealer().seal(key, papers, {"text": "x", "pages": 1}),
                "group": self.column(self.model, self.row, "sealed_content"),
                "owner": self.column(self.model, self.southern),
                "everything": self.column(
                    Letter if versioned else Contract, self.elsewhere, "sealed_content"
                ),
                "older": self.older,
            },
            acts={"give away": self.give_away, "other keys": self.use_other_keys},
        )
