"""Who calls: the operator with the admin token, or a tenant with its API key.

An API key is 256 random bits, so a plain SHA-256 of it is all that has to be stored: nobody can
guess what it was made from.

Example:
    >>> digest_of(new_api_key()) == digest_of(new_api_key())
    False
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import select

from metal.models import Tenant
from metal.settings import Settings
from metal.stores import Stores

_bearer = HTTPBearer(auto_error=False, description="an API key, or the admin token")


@dataclass(frozen=True, slots=True)
class Caller:
    """A tenant who showed its API key.

    Attributes:
        tenant_id: the tenant.
    """

    tenant_id: str

    @property
    def actor(self) -> str:
        """The caller's name in the audit trail."""
        return f"tenant:{self.tenant_id}"


def new_api_key() -> str:
    """A new API key: a prefix that scanners can know, and 256 random bits."""
    return f"metal_{secrets.token_urlsafe(32)}"


def digest_of(credential: str) -> str:
    """The SHA-256 of an API key or a token, as it may be stored."""
    return hashlib.sha256(credential.encode()).hexdigest()


def stores_of(request: Request) -> Stores:
    """The stores of the application that serves the request."""
    stores: Stores = request.app.state.stores
    return stores


def settings_of(request: Request) -> Settings:
    """The settings of the application that serves the request."""
    settings: Settings = request.app.state.settings
    return settings


def _shown(credentials: HTTPAuthorizationCredentials | None) -> str:
    if credentials is None or not credentials.credentials:
        raise _unauthorised("expected the header Authorization: Bearer <key>, found none")
    return credentials.credentials


def _unauthorised(detail: str) -> HTTPException:
    return HTTPException(401, detail, headers={"WWW-Authenticate": "Bearer"})


def tenant_caller(
    request: Request,
    stores: Annotated[Stores, Depends(stores_of)],
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Caller:
    """The tenant whose API key the request shows.

    Raises:
        HTTPException: 401, there is none.
    """
    digest = digest_of(_shown(credentials))
    with stores.sessions() as session:
        tenant_id = session.scalar(select(Tenant.id).where(Tenant.key_digest == digest))
    if tenant_id is None:
        raise _unauthorised("expected the API key of a tenant, found another")
    request.state.tenant_id = tenant_id
    return Caller(tenant_id)


def operator(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> None:
    """Let only the operator pass.

    Raises:
        HTTPException: 401, the request does not show the admin token.
    """
    expected: str = request.app.state.admin_digest
    if not hmac.compare_digest(digest_of(_shown(credentials)), expected):
        raise _unauthorised("expected the admin token, found another")


StoresOf = Annotated[Stores, Depends(stores_of)]
SettingsOf = Annotated[Settings, Depends(settings_of)]
TenantCaller = Annotated[Caller, Depends(tenant_caller)]
