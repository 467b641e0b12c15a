"""What Metal stores. A table holds customer data and is `Sealed`, or says in ``__holds__`` why not.

Example:
    >>> sorted(table.name for table in Base.metadata.sorted_tables)
    ['audit_entries', 'collections', 'documents', 'tenants', 'uploads']
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NoReturn
from uuid import UUID, uuid4

from sqlalchemy import (
    BigInteger,
    Connection,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    String,
    TypeDecorator,
    Uuid,
    event,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from assay.encryption.sqlalchemy import Equality, Sealed, casefold, sealed
from metal.errors import AppendOnlyError

_ID = String(36)


def _now() -> datetime:
    return datetime.now(UTC)


class Moment(TypeDecorator[datetime]):
    """A moment in UTC, also where the database forgets the zone (SQLite) or shows another."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the zone back."""
        del dialect
        if value is None or value.tzinfo is not None:
            return value and value.astimezone(UTC)
        return value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    """The declarative base that the programme file names."""


class Tenant(Base):
    """A company that stores its documents here."""

    __tablename__ = "tenants"
    __holds__ = (
        "no customer data: the name under which a company signed up, and a digest of its API key"
    )

    id: Mapped[str] = mapped_column(_ID, primary_key=True, default=lambda: str(uuid4()))
    name: Mapped[str] = mapped_column(String(200))
    key_digest: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(Moment, default=_now)


class Collection(Sealed, Base):
    """A named set of documents; names can say a lot, so they are sealed."""

    __tablename__ = "collections"
    __owner__ = "tenant_id"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True, default=uuid4)
    tenant_id: Mapped[str] = mapped_column(_ID, ForeignKey("tenants.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(Moment, default=_now)
    name: Mapped[str] = sealed(index=Equality(casefold))
    description: Mapped[str] = sealed()


class Document(Sealed, Base):
    """A document: who it belongs to, what is known about it, and its text.

    The text has a group of its own, so that lists of documents do not open it.
    """

    __tablename__ = "documents"
    __owner__ = "tenant_id"
    __table_args__ = (Index("documents_of_a_collection", "tenant_id", "collection_id", "id"),)

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True, default=uuid4)
    tenant_id: Mapped[str] = mapped_column(_ID, ForeignKey("tenants.id"))
    collection_id: Mapped[UUID] = mapped_column(Uuid, ForeignKey("collections.id"))
    created_at: Mapped[datetime] = mapped_column(Moment, default=_now)
    updated_at: Mapped[datetime] = mapped_column(Moment, default=_now)
    owner_name: Mapped[str] = sealed()
    owner_email: Mapped[str] = sealed(index=Equality(casefold))
    metadata_json: Mapped[str] = sealed()
    text: Mapped[str] = sealed(group="content")


class Upload(Sealed, Base):
    """A file in the bucket: where its sealed object is, and under which name it came."""

    __tablename__ = "uploads"
    __owner__ = "tenant_id"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True, default=uuid4)
    tenant_id: Mapped[str] = mapped_column(_ID, ForeignKey("tenants.id"), index=True)
    object_key: Mapped[str | None] = mapped_column(String(32), unique=True)
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(Moment, default=_now)
    file_name: Mapped[str] = sealed()


class AuditEntry(Base):
    """Who did what, and when. Written once: code and database refuse to change it."""

    __tablename__ = "audit_entries"
    __holds__ = "no customer data: ids, names of actions, and times"

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    at: Mapped[datetime] = mapped_column(Moment, default=_now)
    tenant_id: Mapped[str] = mapped_column(_ID, index=True)
    actor: Mapped[str] = mapped_column(String(50))
    action: Mapped[str] = mapped_column(String(50))
    subject: Mapped[str] = mapped_column(String(36))


@event.listens_for(AuditEntry, "before_update")
@event.listens_for(AuditEntry, "before_delete")
def _refuse_change(*_: object) -> NoReturn:
    raise AppendOnlyError("expected audit entries to stay as they are, found a change to one")


_APPEND_ONLY = {
    "sqlite": [
        f"""
        CREATE TRIGGER IF NOT EXISTS audit_entries_no_{verb.lower()} BEFORE {verb} ON audit_entries
        BEGIN SELECT RAISE(ABORT, 'audit entries are append-only'); END
        """
        for verb in ("UPDATE", "DELETE")
    ],
    "postgresql": [
        """
        CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'audit entries are append-only'; END $$
        """,
        """
        CREATE OR REPLACE TRIGGER audit_entries_append_only
        BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entries
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
        """,
    ],
}


@event.listens_for(AuditEntry.__table__, "after_create")
def _make_append_only(_: object, connection: Connection, **__: object) -> None:
    for statement in _APPEND_ONLY[connection.dialect.name]:
        connection.exec_driver_sql(statement)
