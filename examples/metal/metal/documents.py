"""Documents: create, list, read, search by their owner, change, delete.

Example:
    >>> router.prefix
    '/v1/collections/{collection_id}/documents'
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from metal import audit
from metal.access import Caller, StoresOf, TenantCaller
from metal.collections import own_collection
from metal.fields import Address, Line, Metadata, Strict, Text, to_json
from metal.models import Document
from metal.problems import not_found

router = APIRouter(prefix="/v1/collections/{collection_id}/documents", tags=["documents"])

Limit = Annotated[int, Query(ge=1, le=500)]


class DocumentIn(Strict):
    """A document to create."""

    owner_name: Line
    owner_email: Address
    text: Text
    metadata: Annotated[Metadata, Field(default_factory=dict)]


class DocumentChange(Strict):
    """What to change; a field that is left out stays as it is."""

    owner_name: Line | None = None
    owner_email: Address | None = None
    text: Text | None = None
    metadata: Metadata | None = None


class Search(Strict):
    """Whose documents to find."""

    owner_email: Address


class DocumentSummary(BaseModel):
    """A document without its text."""

    id: UUID
    collection_id: UUID
    owner_name: str
    owner_email: str
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime


class DocumentOut(DocumentSummary):
    """A document, as its tenant sees it."""

    text: str


def _summary(document: Document) -> DocumentSummary:
    return DocumentSummary(
        id=document.id,
        collection_id=document.collection_id,
        owner_name=document.owner_name,
        owner_email=document.owner_email,
        metadata=json.loads(document.metadata_json),
        created_at=document.created_at,
        updated_at=document.updated_at,
    )


def _summaries(session: Session, query: Select[Document]) -> list[DocumentSummary]:
    return [_summary(document) for document in session.scalars(query)]


def _whole(document: Document) -> DocumentOut:
    return DocumentOut(**_summary(document).model_dump(), text=document.text)


def _own_document(
    session: Session,
    caller: Caller,
    collection_id: UUID,
    document_id: UUID,
    *,
    to_change: bool = False,
) -> Document:
    query = select(Document).where(
        Document.id == document_id,
        Document.collection_id == collection_id,
        Document.tenant_id == caller.tenant_id,
    )
    found: Document | None = session.scalar(query.with_for_update() if to_change else query)
    if found is None:
        raise not_found("document")
    return found


@router.post("", status_code=201)
def create_document(
    collection_id: UUID, body: DocumentIn, stores: StoresOf, caller: TenantCaller
) -> DocumentOut:
    """Create a document."""
    with stores.sessions.begin() as session:
        own_collection(session, caller, collection_id, to_change=True)
        document = Document(
            id=uuid4(),
            tenant_id=caller.tenant_id,
            collection_id=collection_id,
            owner_name=body.owner_name,
            owner_email=body.owner_email,
            metadata_json=to_json(body.metadata),
            text=body.text,
        )
        session.add(document)
        audit.record(session, caller.tenant_id, caller.actor, "document.create", document.id)
        session.flush()
        return _whole(document)


@router.get("")
def list_documents(
    collection_id: UUID,
    stores: StoresOf,
    caller: TenantCaller,
    limit: Limit = 100,
    after: UUID | None = None,
) -> list[DocumentSummary]:
    """Documents in the order of their ids; ``after`` is the id of the last one seen."""
    query = select(Document).where(
        Document.tenant_id == caller.tenant_id, Document.collection_id == collection_id
    )
    if after is not None:
        query = query.where(Document.id > after)
    with stores.sessions.begin() as session:
        own_collection(session, caller, collection_id)
        audit.record(session, caller.tenant_id, caller.actor, "document.list", collection_id)
        return _summaries(session, query.order_by(Document.id).limit(limit))


@router.post("/search")
def search_documents(
    collection_id: UUID, body: Search, stores: StoresOf, caller: TenantCaller, limit: Limit = 100
) -> list[DocumentSummary]:
    """Documents of one owner, by the blind index. The address stays out of URLs, and so of logs."""
    query = select(Document).where(
        Document.tenant_id == caller.tenant_id,
        Document.collection_id == collection_id,
        Document.owner_email == body.owner_email,
    )
    with stores.sessions.begin() as session:
        own_collection(session, caller, collection_id)
        audit.record(session, caller.tenant_id, caller.actor, "document.search", collection_id)
        return _summaries(session, query.order_by(Document.id).limit(limit))


@router.get("/{document_id}")
def get_document(
    collection_id: UUID, document_id: UUID, stores: StoresOf, caller: TenantCaller
) -> DocumentOut:
    """One document with its text."""
    with stores.sessions.begin() as session:
        document = _own_document(session, caller, collection_id, document_id)
        audit.record(session, caller.tenant_id, caller.actor, "document.read", document_id)
        return _whole(document)


@router.patch("/{document_id}")
def change_document(
    collection_id: UUID,
    document_id: UUID,
    body: DocumentChange,
    stores: StoresOf,
    caller: TenantCaller,
) -> DocumentOut:
    """Change some fields of a document."""
    with stores.sessions.begin() as session:
        document = _own_document(session, caller, collection_id, document_id, to_change=True)
        if body.owner_name is not None:
            document.owner_name = body.owner_name
        if body.owner_email is not None:
            document.owner_email = body.owner_email
        if body.text is not None:
            document.text = body.text
        if body.metadata is not None:
            document.metadata_json = to_json(body.metadata)
        document.updated_at = datetime.now(UTC)
        audit.record(session, caller.tenant_id, caller.actor, "document.change", document_id)
        session.flush()
        return _whole(document)


@router.delete("/{document_id}", status_code=204)
def delete_document(
    collection_id: UUID, document_id: UUID, stores: StoresOf, caller: TenantCaller
) -> None:
    """Delete a document."""
    with stores.sessions.begin() as session:
        session.delete(_own_document(session, caller, collection_id, document_id, to_change=True))
        audit.record(session, caller.tenant_id, caller.actor, "document.delete", document_id)
