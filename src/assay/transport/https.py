"""One request over HTTPS, and one over HTTP, with nothing but the standard library.

Example:
    >>> probe_https("https://localhost:8443/", ca_file=Path("ca.pem"), timeout_seconds=3)
    ... # doctest: +SKIP
    HttpsObservation(url='https://localhost:8443/', ..., responses=(HttpsResponse(...),))
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import cast

from assay.transport.addresses import MOST_ADDRESSES, Resolved, Target, resolve, split_url
from assay.transport.handshake import (
    TIMED_OUT,
    Trust,
    client_context,
    connected,
    connection_reason,
    verification_reason,
)
from assay.transport.observation import (
    HttpResponse,
    HttpsObservation,
    HttpsResponse,
    RedirectObservation,
)

_HSTS = "Strict-Transport-Security"
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_LARGEST_HEAD = 1 << 16


def probe_https(
    url: str, *, ca_file: Path | None = None, timeout_seconds: float = 5.0
) -> HttpsObservation:
    """Ask every address of the URL's host for it, as a client that verifies chain and name.

    Nothing is asked of a server that cannot be verified.

    Args:
        url: an ``https`` URL; nothing secret may be in it.
        ca_file: authorities in PEM form; None for the system's.
        timeout_seconds: for each address.

    Raises:
        UrlError: the URL cannot be probed.
        TrustStoreError: the file of authorities cannot be used.
    """
    target = split_url(url, "https")
    context = client_context(ca_file)
    resolved = resolve(target.host, target.port)
    ask = partial(_ask_https, target, context, timeout_seconds)
    with ThreadPoolExecutor(MOST_ADDRESSES) as pool:
        responses = tuple(pool.map(ask, _probed(resolved)))
    return HttpsObservation(
        url, resolved.addresses, resolved.all_loopback, resolved.error, responses
    )


def probe_redirect(url: str, *, timeout_seconds: float = 5.0) -> RedirectObservation:
    """Ask every address of the URL's host for it in plaintext, and follow nothing.

    Args:
        url: an ``http`` URL; nothing secret may be in it.
        timeout_seconds: for each address.

    Raises:
        UrlError: the URL cannot be probed.
    """
    target = split_url(url, "http")
    resolved = resolve(target.host, target.port)
    ask = partial(_ask_http, target, timeout_seconds)
    with ThreadPoolExecutor(MOST_ADDRESSES) as pool:
        responses = tuple(pool.map(ask, _probed(resolved)))
    return RedirectObservation(
        url, resolved.addresses, resolved.all_loopback, resolved.error, responses
    )


def _probed(resolved: Resolved) -> tuple[str, ...]:
    return resolved.addresses[:MOST_ADDRESSES]


def _ask_https(
    target: Target, context: ssl.SSLContext, timeout_seconds: float, address: str
) -> HttpsResponse:
    seen = _Seen()
    try:
        with connected(address, target.port, timeout_seconds) as (connection, expired):
            with seen.reasons(expired):
                secured = context.wrap_socket(connection, server_hostname=target.host)
                with secured:
                    seen.trust = Trust.VERIFIED
                    seen.tls_version = secured.version() or ""
                    seen.cipher = (secured.cipher() or ("",))[0]
                    seen.response = _get(target, secured)
    except OSError as exc:
        seen.error = connection_reason(exc)
    response = seen.response
    return HttpsResponse(
        address=address,
        reachable=response is not None,
        error=seen.error,
        trust=seen.trust.value,
        trust_reason=seen.trust_reason,
        tls_version=seen.tls_version,
        cipher=seen.cipher,
        status=response.status if response else 0,
        hsts=_headers(response, _HSTS),
    )


def _ask_http(target: Target, timeout_seconds: float, address: str) -> HttpResponse:
    seen = _Seen()
    listening = False
    try:
        with connected(address, target.port, timeout_seconds) as (connection, expired):
            listening = True
            with seen.reasons(expired):
                seen.response = _get(target, connection)
    except OSError as exc:
        seen.error = connection_reason(exc)
    response = seen.response
    return HttpResponse(
        address=address,
        reachable=response is not None,
        listening=listening,
        error=seen.error,
        status=response.status if response else 0,
        locations=_headers(response, "Location"),
        hsts=_headers(response, _HSTS),
    )


@dataclass
class _Seen:
    """What came to light before a request succeeded or failed."""

    error: str = ""
    trust: Trust = Trust.UNKNOWN
    trust_reason: str = ""
    tls_version: str = ""
    cipher: str = ""
    response: http.client.HTTPResponse | None = None

    @contextmanager
    def reasons(self, expired: threading.Event) -> Iterator[None]:
        """Turn what goes wrong over an open connection into facts."""
        try:
            yield
        except ssl.SSLCertVerificationError as exc:
            self.trust, self.trust_reason = Trust.REFUSED, verification_reason(exc)
            self.error = "the certificate is not trusted"
        except (OSError, http.client.HTTPException) as exc:
            self.error = TIMED_OUT if expired.is_set() else _http_reason(exc)


def _get(target: Target, connection: socket.socket) -> http.client.HTTPResponse:
    """Send one request over an open connection and read the head of the response.

    Raises:
        OSError: the connection broke.
        http.client.HTTPException: what came back is no whole head of an HTTP response.
    """
    request = (
        f"GET {target.path} HTTP/1.1",
        f"Host: {target.authority}",
        "Accept: */*",
        "User-Agent: assay",
        "Connection: close",
    )
    connection.sendall("\r\n".join((*request, "", "")).encode("ascii"))
    # The head is read here, because http.client takes one that breaks off for a whole one.
    head = bytearray()
    while not _END_OF_HEAD.search(head):
        received = connection.recv(4096)
        if not received:
            raise http.client.IncompleteRead(bytes(head))
        head += received
        if len(head) > _LARGEST_HEAD:
            raise http.client.LineTooLong("head")
    response = http.client.HTTPResponse(cast("socket.socket", _Received(bytes(head))))
    response.begin()
    return response


class _Received:
    """Bytes that were received, in the form in which http.client takes a connection."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> BytesIO:
        """A file over the bytes."""
        return BytesIO(self._data)


def _headers(response: http.client.HTTPResponse | None, name: str) -> tuple[str, ...]:
    values = response.msg.get_all(name, []) if response else []
    # White space around a value is no part of it (RFC 9110 section 5.5).
    return tuple(str(value).strip(" \t") for value in values)


def _http_reason(error: OSError | http.client.HTTPException) -> str:
    if isinstance(error, http.client.IncompleteRead):
        return "closed inside the head of a response" if error.partial else "closed in silence"
    if isinstance(error, http.client.HTTPException):
        return f"no HTTP response: {type(error).__name__}"
    return connection_reason(error)
