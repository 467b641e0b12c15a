"""Collections: create, list, read, rename, delete.

Example:
    >>> router.prefix
    '/v1/collections'
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID, uuid4

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from metal import audit
from metal.access import Caller, StoresOf, TenantCaller
from metal.fields import Description, Line, Strict
from metal.models import Collection, Document, Tenant
from metal.problems import not_found

router = APIRouter(prefix="/v1/collections", tags=["collections"])


class CollectionIn(Strict):
    """A collection to create."""

    name: Line
    description: Description = ""


class CollectionChange(Strict):
    """What to change; a field that is left out stays as it is."""

    name: Line | None = None
    description: Description | None = None


class CollectionOut(BaseModel):
    """A collection, as its tenant sees it."""

    id: UUID
    name: str
    description: str
    created_at: datetime


def own_collection(
    session: Session, caller: Caller, collection_id: UUID, *, to_change: bool = False
) -> Collection:
    """A collection of the caller's.

    Args:
        session: the session to load it with.
        caller: who asks.
        collection_id: which.
        to_change: hold the row, since its sealed fields are written together.

    Raises:
        HTTPException: 404, there is none, or it is another tenant's.
    """
    query = select(Collection).where(
        Collection.id == collection_id, Collection.tenant_id == caller.tenant_id
    )
    found: Collection | None = session.scalar(query.with_for_update() if to_change else query)
    if found is None:
        raise not_found("collection")
    return found


def _refuse_taken_name(session: Session, caller: Caller, name: str, own: UUID | None) -> None:
    """Refuse a second collection of the same name, whatever its case."""
    # The tenant's row is held, so that two requests at once cannot both find the name free.
    session.execute(select(Tenant.id).where(Tenant.id == caller.tenant_id).with_for_update())
    query = select(Collection.id).where(
        Collection.tenant_id == caller.tenant_id, Collection.name == name
    )
    if any(taken != own for taken in session.scalars(query)):
        raise HTTPException(409, "expected a name that is free, found a collection that has it")


def _shown(collection: Collection) -> CollectionOut:
    return CollectionOut(
        id=collection.id,
        name=collection.name,
        description=collection.description,
        created_at=collection.created_at,
    )


@router.post("", status_code=201)
def create_collection(body: CollectionIn, stores: StoresOf, caller: TenantCaller) -> CollectionOut:
    """Create a collection; 409 when the tenant has one of this name."""
    with stores.sessions.begin() as session:
        _refuse_taken_name(session, caller, body.name, None)
        collection = Collection(
            id=uuid4(), tenant_id=caller.tenant_id, name=body.name, description=body.description
        )
        session.add(collection)
        audit.record(session, caller.tenant_id, caller.actor, "collection.create", collection.id)
        session.flush()
        return _shown(collection)


@router.get("")
def list_collections(stores: StoresOf, caller: TenantCaller) -> list[CollectionOut]:
    """All collections of the tenant, the oldest first."""
    query = select(Collection).where(Collection.tenant_id == caller.tenant_id)
    with stores.sessions() as session:
        ordered = session.scalars(query.order_by(Collection.created_at, Collection.id))
        return [_shown(collection) for collection in ordered]


@router.get("/{collection_id}")
def get_collection(collection_id: UUID, stores: StoresOf, caller: TenantCaller) -> CollectionOut:
    """One collection."""
    with stores.sessions() as session:
        return _shown(own_collection(session, caller, collection_id))


@router.patch("/{collection_id}")
def change_collection(
    collection_id: UUID, body: CollectionChange, stores: StoresOf, caller: TenantCaller
) -> CollectionOut:
    """Rename or describe a collection anew."""
    with stores.sessions.begin() as session:
        collection = own_collection(session, caller, collection_id, to_change=True)
        if body.name is not None:
            _refuse_taken_name(session, caller, body.name, collection.id)
            collection.name = body.name
        if body.description is not None:
            collection.description = body.description
        audit.record(session, caller.tenant_id, caller.actor, "collection.change", collection.id)
        session.flush()
        return _shown(collection)


@router.delete("/{collection_id}", status_code=204)
def delete_collection(collection_id: UUID, stores: StoresOf, caller: TenantCaller) -> None:
    """Delete a collection and its documents."""
    with stores.sessions.begin() as session:
        collection = own_collection(session, caller, collection_id, to_change=True)
        session.execute(
            delete(Document).where(
                Document.tenant_id == caller.tenant_id, Document.collection_id == collection_id
            )
        )
        session.delete(collection)
        audit.record(session, caller.tenant_id, caller.actor, "collection.delete", collection_id)
