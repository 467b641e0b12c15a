"""A certificate from a throwaway authority, for loopback only.

The authority's key lives in memory until one certificate is signed, and is gone then. Metal is an
example: a company would let its cloud provider issue and renew the certificate at a load balancer.

Example:
    >>> context = server_context(Path("data"))      # doctest: +SKIP
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509

from assay.core import write_atomically
from metal.errors import StartError

NAMES = ("localhost", "127.0.0.1", "::1")
"""The names under which the server is reached."""

_LIFETIME = timedelta(days=90)
_RENEW_BEFORE = timedelta(days=14)
# TLS 1.2 with forward secrecy and AEAD only (RFC 9325 section 4.2); TLS 1.3 has no others.
_TLS12_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


def server_context(data: Path) -> ssl.SSLContext:
    """The server's side of TLS: 1.2 and newer, with a certificate that clients can verify.

    Writes ``ca.pem`` for clients and ``server.pem`` (0600: certificate and private key), and
    renews both before they run out.

    Args:
        data: the folder for both.

    Raises:
        StartError: the files are there but cannot be used.
    """
    authority, server = data / "ca.pem", data / "server.pem"
    ensure_certificate(authority, server)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(_TLS12_CIPHERS)
    try:
        context.load_cert_chain(server)
    except (OSError, ssl.SSLError) as exc:
        raise StartError(
            f"expected a certificate with its key in {server}, found another content; remove it "
            f"and {authority}, and both are made anew"
        ) from exc
    return context


def ensure_certificate(authority: Path, server: Path) -> None:
    """Make a certificate, or another one before it runs out.

    Args:
        authority: what clients trust.
        server: certificate and private key (0600).
    """
    if not _is_current(authority, server):
        _issue(authority, server)


def _is_current(authority: Path, server: Path) -> bool:
    if not (authority.is_file() and server.is_file()):
        return False
    try:
        certificate = x509.load_pem_x509_certificate(server.read_bytes())
    except ValueError:
        return True  # load_cert_chain refuses it and says why
    return certificate.not_valid_after_utc - datetime.now(UTC) > _RENEW_BEFORE


def _issue(authority: Path, server: Path) -> None:
    now = datetime.now(UTC)
    made = trustme.CA(organization_name="Metal", organization_unit_name="throwaway authority")
    issued = made.issue_cert(
        *NAMES,
        organization_name="Metal",
        not_before=now - timedelta(hours=1),
        not_after=now + _LIFETIME,
    )
    # The server's file first: with an old authority beside it, clients refuse; never the reverse.
    write_atomically(server, issued.private_key_and_cert_chain_pem.bytes(), mode=0o600)
    write_atomically(authority, made.cert_pem.bytes(), mode=0o644)
