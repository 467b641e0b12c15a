"""The API: routes, guards, and one shape of refusal.

Example:
    >>> app = create_app(stores, settings, admin_token=token, log=log)    # doctest: +SKIP
"""

from __future__ import annotations

from fastapi import FastAPI
from structlog.typing import FilteringBoundLogger

from metal import audit, collections, documents, problems, tenants, uploads
from metal.access import digest_of
from metal.guards import BodyLimit, Headers, RequestLog
from metal.settings import Settings
from metal.stores import Stores


def create_app(
    stores: Stores, settings: Settings, *, admin_token: str, log: FilteringBoundLogger
) -> FastAPI:
    """The application.

    Args:
        stores: where it keeps things.
        settings: limits.
        admin_token: what the operator has to show; only its digest is kept.
        log: where it writes one line a request.
    """
    app = FastAPI(
        title="Metal",
        version="1",
        summary="Collections of documents, sealed row by row.",
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.stores = stores
    app.state.settings = settings
    app.state.admin_digest = digest_of(admin_token)
    problems.install(app)
    for routes in (tenants, collections, documents, uploads, audit):
        app.include_router(routes.router)
    app.add_api_route("/health", health, methods=["GET"], tags=["health"])
    # The one that is added last stands outermost.
    app.add_middleware(
        BodyLimit,
        limit_bytes=settings.body_limit_bytes,
        streamed_prefix=uploads.router.prefix,
    )
    app.add_middleware(RequestLog, log=log)
    app.add_middleware(Headers)
    return app


def health() -> dict[str, str]:
    """Says that the server answers."""
    return {"status": "ok"}
