"""The plain HTTP port: it serves nothing and sends everyone to HTTPS on the same host.

There is no HSTS header here: RFC 6797 section 7.2 forbids it on responses that anybody could have
written.

Example:
    >>> location("localhost:8080", b"/v1/audit", b"limit=5", 8443)
    'https://localhost:8443/v1/audit?limit=5'
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from metal.certificates import NAMES

_HOSTS = {f"[{name}]" if ":" in name else name for name in NAMES}


def location(host: str, raw_path: bytes, query: bytes, https_port: int) -> str | None:
    """Where a request has to go; None when it names a host that is not this server's.

    Args:
        host: the Host header.
        raw_path: the path as it was sent.
        query: the query as it was sent.
        https_port: the port of the API.
    """
    name = host.lower() if host.endswith("]") else host.lower().rsplit(":", 1)[0]
    if name not in _HOSTS or not raw_path.startswith(b"/"):
        return None
    port = "" if https_port == 443 else f":{https_port}"
    target = (raw_path + (b"?" + query if query else b"")).decode("ascii", "replace")
    return f"https://{name}{port}{target}"


def redirect_app(https_port: int) -> ASGIApp:
    """The application of the plain HTTP port.

    Args:
        https_port: the port of the API.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI's shape
        if scope["type"] != "http":
            return
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        raw_path = scope.get("raw_path") or scope["path"].encode()
        target = location(host, raw_path, scope["query_string"], https_port)
        headers = [(b"content-length", b"0"), (b"connection", b"close")]
        if target is not None:
            headers.append((b"location", target.encode("ascii", "replace")))
        status = 421 if target is None else 308
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    return app
