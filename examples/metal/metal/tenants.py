"""Tenants: the operator signs a company up, and the company gets its API key once.

Example:
    >>> router.prefix
    '/v1/tenants'
"""

from __future__ import annotations

from datetime import datetime
from uuid import uuid4

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from metal import audit
from metal.access import StoresOf, digest_of, new_api_key, operator
from metal.fields import Line, Strict
from metal.models import Tenant

router = APIRouter(prefix="/v1/tenants", tags=["tenants"], dependencies=[Depends(operator)])


class TenantIn(Strict):
    """A company that signs up."""

    name: Line


class TenantOut(BaseModel):
    """A new tenant, with the only sight of its API key."""

    id: str
    name: str
    created_at: datetime
    api_key: str


@router.post("", status_code=201)
def create_tenant(body: TenantIn, stores: StoresOf) -> TenantOut:
    """Sign a company up: make its data keys, and show its API key this one time."""
    api_key = new_api_key()
    tenant = Tenant(id=str(uuid4()), name=body.name, key_digest=digest_of(api_key))
    # Keys first: a tenant that exists can always seal. A key without a tenant harms nobody.
    stores.make_keys(tenant.id)
    with stores.sessions.begin() as session:
        session.add(tenant)
        audit.record(session, tenant.id, "operator", "tenant.create", tenant.id)
    return TenantOut(id=tenant.id, name=tenant.name, created_at=tenant.created_at, api_key=api_key)
