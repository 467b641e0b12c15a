"""What stands around every request: headers, a limit of size, a log line, and the last catch.

Each guard is an ASGI middleware without state of its own.

Example:
    >>> app.add_middleware(Headers)         # doctest: +SKIP
"""

from __future__ import annotations

import time
from uuid import uuid4

from fastapi import HTTPException
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from metal.logs import places

HSTS = "max-age=63072000; includeSubDomains; preload"
"""RFC 6797 section 6.1, with the directive of the browsers' preload list."""

_HEADERS = {
    "Strict-Transport-Security": HSTS,
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Headers:
    """Adds the security headers to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        await self._app(scope, receive, send_with_headers)


class RequestLog:
    """Writes one line a request, and answers 500 when something was not foreseen."""

    def __init__(self, app: ASGIApp, log: FilteringBoundLogger) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = uuid4().hex
        status = 0

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        started = time.perf_counter()
        error: list[str] = []
        try:
            await self._app(scope, receive, send_and_note)
        except Exception as exc:
            # The last catch: what nobody foresaw is logged by its place, and never shown.
            error = places(exc)
            if status:
                # The response has begun and cannot be taken back: cutting it off shows its
                # reader that it is not whole.
                raise
            await _send_internal_error(send_and_note, request_id)
        finally:
            write = self._log.error if error else self._log.info
            write(
                "request",
                request_id=request_id,
                method=_method(scope),
                route=_route(scope),
                status=status,
                duration_ms=round((time.perf_counter() - started) * 1000, 1),
                tenant_id=scope.get("state", {}).get("tenant_id"),
                **({"error": error} if error else {}),
            )


def _method(scope: Scope) -> str:
    known = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
    return scope["method"] if scope["method"] in known else "other"


def _route(scope: Scope) -> str:
    """The route's template, since a path may hold anything that a client typed."""
    return getattr(scope.get("route"), "path", "unknown")


async def _send_internal_error(send: Send, request_id: str) -> None:
    body = (
        '{"type":"about:blank","title":"Internal Server Error","status":500,'
        f'"detail":"something went wrong here; tell us the request id {request_id}"}}'
    ).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class BodyLimit:
    """Refuses bodies beyond a number of bytes, whatever the request says of its length.

    A route that streams sets its own limit: its paths are left alone.
    """

    def __init__(self, app: ASGIApp, limit_bytes: int, streamed_prefix: str) -> None:
        self._app = app
        self._limit = limit_bytes
        self._streamed = streamed_prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        streams = scope["type"] == "http" and (
            scope["method"] == "PUT" and scope["path"].startswith(self._streamed)
        )
        if scope["type"] != "http" or streams:
            await self._app(scope, receive, send)
            return
        taken = 0

        async def receive_within_limit() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._limit:
                raise body_too_large(self._limit)
            return message

        await self._app(scope, receive_within_limit, send)


def body_too_large(limit_bytes: int) -> HTTPException:
    """The answer to a body that is too large."""
    # The connection is not used again: the rest of the body is still under way on it.
    return HTTPException(
        413,
        f"expected at most {limit_bytes} bytes, found more",
        headers={"Connection": "close"},
    )
