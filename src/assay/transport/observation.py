"""What the probes saw: plain facts that can be recorded, read again and judged later.

Example:
    >>> msgspec.json.decode(recorded, type=TlsObservation).servers[0].versions  # doctest: +SKIP
    (TlsVersion(version='SSL 2.0', state='rejected', ...), ...)
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from assay.transport.handshake import CertificateCheck


class VersionState(StrEnum):
    """Whether a server speaks a protocol version."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


class TlsVersion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One protocol version.

    Attributes:
        version: ``SSL 2.0``, ``SSL 3.0``, ``TLS 1.0`` to ``TLS 1.3``.
        state: accepted when a handshake succeeded; rejected when each was answered by a refusal;
            unknown when none was tried or the server kept silent.
        suites: IANA names of the accepted cipher suites.
        attempted: how many suites were tried.
        refusals: how often each reason was given.
        error: why it could not be tried.
    """

    version: str
    state: VersionState
    suites: tuple[str, ...]
    attempted: int
    refusals: dict[str, int]
    error: str


class Certificate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A server's own certificate.

    Attributes:
        subject: RFC 4514 text.
        issuer: RFC 4514 text.
        not_before: as core's ``to_rfc3339`` writes it.
        not_after: as core's ``to_rfc3339`` writes it.
        dns_names: names it is for.
        ip_addresses: addresses it is for.
        key: algorithm and size in bits ("RSA 2048", "EC secp256r1 256").
        signature_hash: hash of its signature ("sha256").
        sha256: digest of the certificate, 64 lower-case hexadecimal digits.
    """

    subject: str
    issuer: str
    not_before: str
    not_after: str
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    key: str
    signature_hash: str
    sha256: str


class TlsServer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What answers at one address.

    Attributes:
        address: the address.
        reachable: whether a TLS handshake of any version succeeded.
        error: why not.
        versions: all six versions when it is reachable, else none.
        certificates: its certificates (a server may have one per key algorithm).
        check: what a client makes of it that trusts only the given authorities.
        client_certificate: whether it asks for one ("DISABLED", "OPTIONAL", "REQUIRED").
        answers_afterwards: whether it still shook hands after the probe; one that blocks the
            prober half-way looks as if it refused.
    """

    address: str
    reachable: bool
    error: str
    versions: tuple[TlsVersion, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    check: CertificateCheck | None = None
    client_certificate: str = ""
    answers_afterwards: bool = False


class TlsObservation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What answers at a host and port.

    Attributes:
        host: the host.
        port: the port.
        addresses: every address of the host.
        all_loopback: whether none of them leaves the machine.
        error: why there is no address.
        tool_version: version of sslyze, from its own report; empty when it was not needed
            because nothing accepted a connection.
        openssl_version: the OpenSSL that verified the certificates.
        servers: one entry per probed address, at most eight.
    """

    host: str
    port: int
    addresses: tuple[str, ...]
    all_loopback: bool
    error: str
    tool_version: str
    openssl_version: str
    servers: tuple[TlsServer, ...]

    @property
    def reachable(self) -> bool:
        """Whether any address speaks TLS."""
        return any(server.reachable for server in self.servers)


class HttpsResponse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one address answered to ``GET`` over TLS.

    Attributes:
        address: the address.
        reachable: whether an HTTP response came back over a verified connection.
        error: why not.
        trust: whether chain and name of the certificate were verified.
        trust_reason: why not.
        tls_version: the negotiated version, as Python names it ("TLSv1.3").
        cipher: the negotiated cipher suite, as OpenSSL names it.
        status: the HTTP status; 0 without a response.
        hsts: every Strict-Transport-Security header, verbatim and in order.
    """

    address: str
    reachable: bool
    error: str
    trust: str
    trust_reason: str
    tls_version: str
    cipher: str
    status: int
    hsts: tuple[str, ...]


class HttpsObservation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What answers at an ``https`` URL.

    Attributes:
        url: the URL.
        addresses: every address of its host.
        all_loopback: whether none of them leaves the machine.
        error: why there is no address.
        responses: one entry per probed address, at most eight.
    """

    url: str
    addresses: tuple[str, ...]
    all_loopback: bool
    error: str
    responses: tuple[HttpsResponse, ...]

    @property
    def reachable(self) -> bool:
        """Whether any address answered."""
        return any(response.reachable for response in self.responses)


class HttpResponse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one address answered to ``GET`` in plaintext.

    Attributes:
        address: the address.
        reachable: whether an HTTP response came back.
        listening: whether the port accepted a connection at all.
        error: why there is no response.
        status: the HTTP status; 0 without a response.
        locations: every Location header, verbatim and in order.
        hsts: every Strict-Transport-Security header; clients must ignore it in plaintext.
    """

    address: str
    reachable: bool
    listening: bool
    error: str
    status: int
    locations: tuple[str, ...]
    hsts: tuple[str, ...]


class RedirectObservation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What answers at an ``http`` URL. No redirect is followed.

    Attributes:
        url: the URL.
        addresses: every address of its host.
        all_loopback: whether none of them leaves the machine.
        error: why there is no address.
        responses: one entry per probed address, at most eight.
    """

    url: str
    addresses: tuple[str, ...]
    all_loopback: bool
    error: str
    responses: tuple[HttpResponse, ...]

    @property
    def reachable(self) -> bool:
        """Whether any address answered."""
        return any(response.reachable for response in self.responses)
