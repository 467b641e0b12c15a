"""One TLS handshake as a careful client does it: with Python's ``ssl``, trusting given authorities.

sslyze tells which versions and suites a server takes; whether a client may trust it is asked
here, because sslyze judges private certificates by rules made for the public web.

Specification: RFC 5280 section 6 (path), RFC 9525 (name), both as OpenSSL carries them out.

Example:
    >>> check_certificate("localhost", "127.0.0.1", 8443, Path("ca.pem"), 3.0)  # doctest: +SKIP
    CertificateCheck(chain='verified', chain_reason='', name='matches', name_reason='')
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path

import msgspec

from assay.transport.errors import TrustStoreError

# X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH of OpenSSL's x509_vfy.h
_NAME_ERRORS = {62, 64}

TIMED_OUT = "timed out"
"""The reason given when a server kept silent, or spoke too slowly."""


class Trust(StrEnum):
    """What a client that trusts only the given authorities makes of a certificate."""

    VERIFIED = "verified"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class CertificateCheck(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two questions, and OpenSSL's answers.

    Attributes:
        chain: whether the chain leads to a trusted authority and nothing in it has expired.
        chain_reason: OpenSSL's reason when it is not verified.
        name: whether the certificate is for the host; unknown unless the chain is verified.
        name_reason: OpenSSL's reason when it is not verified.
    """

    chain: Trust
    chain_reason: str
    name: Trust
    name_reason: str


def client_context(ca_file: Path | None) -> ssl.SSLContext:
    """What a client brings to a handshake: TLS 1.2 or newer, verification of chain and name.

    Args:
        ca_file: authorities in PEM form; None for the system's.

    Raises:
        TrustStoreError: the file cannot be read or holds no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except OSError as exc:
        raise TrustStoreError(
            f"expected certificates in PEM form in {ca_file}: {exc.strerror or exc}"
        ) from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Since Python 3.13 the default also asks for extensions that many private authorities leave
    # out; the answer must not depend on the Python that asks.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


@contextmanager
def connected(
    address: str, port: int, timeout_seconds: float
) -> Iterator[tuple[socket.socket, threading.Event]]:
    """A connection that is cut after a time, however slowly the server speaks.

    Args:
        address: an IPv4 or IPv6 address.
        port: the port.
        timeout_seconds: for the connection, for each operation, and for the whole block.

    Yields:
        The connection, and an event that is set when it was cut: what looks like its end then is
        none.

    Raises:
        OSError: no connection.
    """
    with socket.create_connection((address, port), timeout=timeout_seconds) as connection:
        # A second handle: TLS takes the first one over.
        handle = connection.dup()
        expired = threading.Event()
        timer = threading.Timer(timeout_seconds, _cut, [handle, expired])
        timer.daemon = True
        timer.start()
        try:
            yield connection, expired
        finally:
            timer.cancel()
            handle.close()


def _cut(connection: socket.socket, expired: threading.Event) -> None:
    expired.set()
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def check_certificate(
    host: str, address: str, port: int, ca_file: Path | None, timeout_seconds: float
) -> CertificateCheck:
    """Shake hands twice: to verify the chain, then to verify the name as well.

    Args:
        host: the name that the certificate must be for.
        address: where to connect.
        port: the port.
        ca_file: authorities in PEM form; None for the system's.
        timeout_seconds: for each of the two handshakes.

    Raises:
        OSError: no TCP connection.
        TrustStoreError: the file of authorities cannot be used.
    """
    context = client_context(ca_file)
    context.check_hostname = False
    chain, chain_reason = _shake(context, host, address, port, timeout_seconds)
    if chain is not Trust.VERIFIED:
        unknown = "the chain was not verified"
        return CertificateCheck(chain, chain_reason, Trust.UNKNOWN, unknown)
    name, name_reason = _shake(client_context(ca_file), host, address, port, timeout_seconds)
    return CertificateCheck(chain, chain_reason, name, name_reason)


def _shake(
    context: ssl.SSLContext, host: str, address: str, port: int, timeout_seconds: float
) -> tuple[Trust, str]:
    with connected(address, port, timeout_seconds) as (connection, expired):
        try:
            with context.wrap_socket(connection, server_hostname=host):
                return Trust.VERIFIED, ""
        except ssl.SSLCertVerificationError as exc:
            return Trust.REFUSED, verification_reason(exc)
        except OSError as exc:
            return Trust.UNKNOWN, TIMED_OUT if expired.is_set() else connection_reason(exc)


def verification_reason(error: ssl.SSLCertVerificationError) -> str:
    """OpenSSL's words for why a certificate is not trusted."""
    kind = "name: " if error.verify_code in _NAME_ERRORS else ""
    return f"{kind}{error.verify_message}"


def connection_reason(error: OSError) -> str:
    """A short reason why a connection or a handshake failed, without addresses or paths."""
    if isinstance(error, TimeoutError):
        return TIMED_OUT
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or 'closed by the server').replace('_', ' ').lower()}"
    return (error.strerror or type(error).__name__).lower()
