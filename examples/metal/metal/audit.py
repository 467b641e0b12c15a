"""The audit trail: who did what, and when, in the same transaction as what was done.

Example:
    >>> record(session, tenant_id, "operator", "tenant.create", tenant_id)  # doctest: +SKIP
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from metal.access import StoresOf, TenantCaller
from metal.models import AuditEntry

router = APIRouter(prefix="/v1/audit", tags=["audit"])


class AuditEntryOut(BaseModel):
    """An entry, as its tenant sees it."""

    id: int
    at: datetime
    actor: str
    action: str
    subject: str


def record(session: Session, tenant_id: str, actor: str, action: str, subject: UUID | str) -> None:
    """Write an entry, when and only when the session commits.

    Args:
        session: the session that does what is recorded.
        tenant_id: whose data it is about.
        actor: who does it.
        action: what, noun first: "document.read".
        subject: the id of what it is done to; never text that a customer wrote.
    """
    session.add(AuditEntry(tenant_id=tenant_id, actor=actor, action=action, subject=str(subject)))


@router.get("")
def list_entries(
    stores: StoresOf,
    caller: TenantCaller,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
) -> list[AuditEntryOut]:
    """The tenant's entries, the newest first; ``before`` is the id of the last one seen."""
    query = select(AuditEntry).where(AuditEntry.tenant_id == caller.tenant_id)
    if before is not None:
        query = query.where(AuditEntry.id < before)
    with stores.sessions() as session:
        entries = session.scalars(query.order_by(AuditEntry.id.desc()).limit(limit))
        return [
            AuditEntryOut(
                id=entry.id,
                at=entry.at,
                actor=entry.actor,
                action=entry.action,
                subject=entry.subject,
            )
            for entry in entries
        ]
