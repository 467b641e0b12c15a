"""HTTPS and HTTP servers on free loopback ports, with a certificate authority of their own.

Example:
    >>> with https_server(Path("/tmp/twin")) as site:        # doctest: +SKIP
    ...     site.url
    'https://localhost:40123'
"""

from __future__ import annotations

import ipaddress
import ssl
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HSTS = "max-age=31536000; includeSubDomains"


@dataclass(frozen=True)
class Site:
    """A running pair of servers.

    Attributes:
        url: of the HTTPS server.
        http: of the plain HTTP server.
        ca: the file of the authority that issued its certificate.
    """

    url: str
    http: str
    ca: Path


@dataclass(frozen=True)
class Behaviour:
    """How the servers behave; the defaults are as they should be.

    Attributes:
        minimum: the lowest protocol version that is accepted.
        headers: what HTTPS answers carry.
        redirects: whether plain HTTP redirects to HTTPS.
        days_valid: for how many days from now the certificate is valid; negative is expired.
    """

    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    headers: Mapping[str, str] = field(default_factory=lambda: {"Strict-Transport-Security": HSTS})
    redirects: bool = True
    days_valid: int = 2


@contextmanager
def https_server(folder: Path, behaviour: Behaviour | None = None) -> Iterator[Site]:
    """Run both servers while the block runs.

    Args:
        folder: for the certificates.
        behaviour: how they behave.
    """
    chosen = behaviour or Behaviour()
    ca, certificate = _issue(folder, chosen.days_valid)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with warnings.catch_warnings():
        # The old versions are what some twins are about.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = chosen.minimum
    if chosen.minimum < ssl.TLSVersion.TLSv1_2:
        context.set_ciphers("ALL:@SECLEVEL=0")
    secure = _server(200, chosen.headers)
    secure.socket = context.wrap_socket(
        secure.socket, server_side=True, do_handshake_on_connect=False
    )
    url = f"https://localhost:{secure.server_address[1]}"
    plain = _server(308 if chosen.redirects else 200, {"Location": url} if chosen.redirects else {})
    with _running(secure), _running(plain):
        yield Site(url, f"http://localhost:{plain.server_address[1]}", ca)


def _server(status: int, headers: Mapping[str, str]) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

        def log_message(self, *parts: Any) -> None:
            del parts

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *parts: Any) -> None:
            """Probes break connections on purpose."""

    return Server(("127.0.0.1", 0), Handler)


@contextmanager
def _running(server: ThreadingHTTPServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _issue(folder: Path, days_valid: int) -> tuple[Path, Path]:
    """A certificate authority and a certificate for localhost; the files of both."""
    now = datetime.now(UTC)
    end = now + timedelta(days=days_valid)
    start = min(now, end) - timedelta(days=1)
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Twin CA")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    ca = (
        _certificate(ca_name, ca_name, ca_key, start, now + timedelta(days=3))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    names = x509.SubjectAlternativeName(
        [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    )
    leaf = (
        _certificate(name, ca_name, key, start, end)
        .add_extension(names, critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    ca_file, chain_file = folder / "ca.pem", folder / "server.pem"
    ca_file.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    chain_file.touch(0o600)
    chain_file.write_bytes(private + leaf.public_bytes(serialization.Encoding.PEM))
    return ca_file, chain_file


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    start: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )
