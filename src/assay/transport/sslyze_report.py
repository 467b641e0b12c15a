"""Reads the JSON report of the pinned sslyze, and believes nothing that is not in it.

Example:
    >>> read_report(report, "6.3.1", ["127.0.0.1"])["127.0.0.1"].versions  # doctest: +SKIP
    (TlsVersion(version='SSL 2.0', state='rejected', ...), ...)
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import msgspec

from assay.core import to_rfc3339
from assay.transport.errors import TlsReportError
from assay.transport.observation import Certificate, TlsVersion, VersionState

_T = TypeVar("_T")

_VERSIONS = {
    "SSL 2.0": "ssl_2_0_cipher_suites",
    "SSL 3.0": "ssl_3_0_cipher_suites",
    "TLS 1.0": "tls_1_0_cipher_suites",
    "TLS 1.1": "tls_1_1_cipher_suites",
    "TLS 1.2": "tls_1_2_cipher_suites",
    "TLS 1.3": "tls_1_3_cipher_suites",
}
# sslyze counts a handshake that the server never answered as a refusal; it is not one.
_SILENCE = "Connection to server timed out during the TLS handshake"


@dataclass(frozen=True, slots=True)
class ScannedServer:
    """What sslyze reports of one address.

    Attributes:
        error: why it could not be scanned; empty when it was.
        versions: all six versions, oldest first.
        certificates: the server's own certificates.
        client_certificate: whether the server asks for one.
    """

    error: str
    versions: tuple[TlsVersion, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    client_certificate: str = ""


class _Suite(msgspec.Struct):
    name: str


class _Accepted(msgspec.Struct):
    cipher_suite: _Suite


class _Rejected(msgspec.Struct):
    cipher_suite: _Suite
    error_message: str


class _Suites(msgspec.Struct):
    accepted_cipher_suites: list[_Accepted]
    rejected_cipher_suites: list[_Rejected]


class _Attempt(msgspec.Struct):
    status: str
    error_reason: str | None
    result: msgspec.Raw


class _Name(msgspec.Struct):
    rfc4514_string: str


class _AlternativeNames(msgspec.Struct):
    dns_names: list[str]
    ip_addresses: list[str]


class _PublicKey(msgspec.Struct):
    algorithm: str
    key_size: int | None = None
    ec_curve_name: str | None = None


class _HashAlgorithm(msgspec.Struct):
    name: str


class _Certificate(msgspec.Struct):
    fingerprint_sha256: str
    not_valid_before: datetime
    not_valid_after: datetime
    subject_alternative_name: _AlternativeNames
    signature_hash_algorithm: _HashAlgorithm | None
    subject: _Name
    issuer: _Name
    public_key: _PublicKey


class _Deployment(msgspec.Struct):
    received_certificate_chain: list[_Certificate]


class _CertificateInfo(msgspec.Struct):
    certificate_deployments: list[_Deployment]


class _Location(msgspec.Struct):
    ip_address: str


class _Connectivity(msgspec.Struct):
    client_auth_requirement: str


class _Server(msgspec.Struct):
    server_location: _Location
    connectivity_status: str
    connectivity_error_trace: str | None
    connectivity_result: _Connectivity | None
    scan_status: str
    scan_result: dict[str, _Attempt] | None


class _Report(msgspec.Struct):
    sslyze_version: str
    server_scan_results: list[_Server]


def read_report(report: bytes, version: str, addresses: Sequence[str]) -> dict[str, ScannedServer]:
    """Read a report.

    Args:
        report: what sslyze wrote.
        version: the pinned version.
        addresses: the addresses that it was asked about; each must be in the report, once.

    Raises:
        TlsReportError: it is no such report.
    """
    try:
        parsed = msgspec.json.decode(report, type=_Report)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise TlsReportError(
            f"expected the JSON report of sslyze {version}, found something else: {exc}"
        ) from exc
    if parsed.sslyze_version != version:
        raise TlsReportError(
            f"expected a report of sslyze {version}, found one of {parsed.sslyze_version!r}; run "
            "`assay scan setup`"
        )
    found = [server.server_location.ip_address for server in parsed.server_scan_results]
    if sorted(found) != sorted(addresses):
        raise TlsReportError(
            f"expected a report about {', '.join(sorted(addresses))}, found one about "
            f"{', '.join(sorted(found)) or 'nothing'}"
        )
    return {
        server.server_location.ip_address: _scanned(server) for server in parsed.server_scan_results
    }


def _scanned(server: _Server) -> ScannedServer:
    scans, connectivity = server.scan_result, server.connectivity_result
    if server.connectivity_status != "COMPLETED" or scans is None or connectivity is None:
        trace = (server.connectivity_error_trace or "").strip().splitlines()
        reason = trace[-1].rpartition(":")[2].strip() if trace else "no reason given"
        return ScannedServer(error=f"no TLS connection: {reason}"[:200])
    certificates = scans.get("certificate_info")
    return ScannedServer(
        error="",
        versions=tuple(_version(name, scans.get(key)) for name, key in _VERSIONS.items()),
        certificates=() if certificates is None else _certificates(certificates),
        client_certificate=connectivity.client_auth_requirement,
    )


def _version(name: str, attempt: _Attempt | None) -> TlsVersion:
    if attempt is None or attempt.status != "COMPLETED":
        reason = "not tried" if attempt is None else attempt.error_reason or attempt.status
        return TlsVersion(name, VersionState.UNKNOWN, (), 0, {}, reason)
    result = _decode(attempt.result, _Suites)
    accepted = tuple(item.cipher_suite.name for item in result.accepted_cipher_suites)
    refusals = Counter(item.error_message for item in result.rejected_cipher_suites)
    attempted = len(accepted) + refusals.total()
    if accepted:
        state, error = VersionState.ACCEPTED, ""
    elif refusals[_SILENCE] or not attempted:
        state = VersionState.UNKNOWN
        error = f"no answer to {refusals[_SILENCE]} of {attempted} handshakes"
    else:
        state, error = VersionState.REJECTED, ""
    return TlsVersion(name, state, accepted, attempted, dict(sorted(refusals.items())), error)


def _certificates(attempt: _Attempt) -> tuple[Certificate, ...]:
    if attempt.status != "COMPLETED":
        return ()
    info = _decode(attempt.result, _CertificateInfo)
    return tuple(
        _certificate(deployment.received_certificate_chain[0])
        for deployment in info.certificate_deployments
        if deployment.received_certificate_chain
    )


def _certificate(found: _Certificate) -> Certificate:
    key = found.public_key
    kinds = {"RSAPublicKey": "RSA", "ECPublicKey": "EC"}
    parts = [kinds.get(key.algorithm, key.algorithm), key.ec_curve_name, key.key_size]
    try:
        digest = base64.b64decode(found.fingerprint_sha256, validate=True).hex()
    except binascii.Error as exc:
        raise TlsReportError(
            "expected a certificate's digest in base64 in the report, found something else"
        ) from exc
    return Certificate(
        subject=found.subject.rfc4514_string,
        issuer=found.issuer.rfc4514_string,
        not_before=to_rfc3339(found.not_valid_before),
        not_after=to_rfc3339(found.not_valid_after),
        dns_names=tuple(found.subject_alternative_name.dns_names),
        ip_addresses=tuple(found.subject_alternative_name.ip_addresses),
        key=" ".join(str(part) for part in parts if part),
        signature_hash=found.signature_hash_algorithm.name
        if found.signature_hash_algorithm
        else "",
        sha256=digest,
    )


def _decode(raw: msgspec.Raw, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.DecodeError as exc:
        raise TlsReportError(
            f"expected {kind.__name__.strip('_')} in the report of sslyze: {exc}"
        ) from exc
