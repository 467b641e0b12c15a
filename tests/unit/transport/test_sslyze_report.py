from __future__ import annotations

import base64
import copy
import json
from typing import Any

import pytest

from assay.transport import TlsReportError, VersionState
from assay.transport.sslyze_report import read_report

NAMES = {f"{name}_{minor}_cipher_suites" for name, minor in [
    ("ssl_2", 0), ("ssl_3", 0), ("tls_1", 0), ("tls_1", 1), ("tls_1", 2), ("tls_1", 3),
]}  # fmt: skip
SILENCE = "Connection to server timed out during the TLS handshake"


def _suite(name: str) -> dict[str, Any]:
    return {"name": name, "key_size": 128, "is_anonymous": False, "openssl_name": "x"}


def _attempt(accepted: list[str], rejected: dict[str, int]) -> dict[str, Any]:
    return {
        "status": "COMPLETED",
        "error_reason": None,
        "error_trace": None,
        "result": {
            "is_tls_version_supported": bool(accepted),
            "accepted_cipher_suites": [{"cipher_suite": _suite(name)} for name in accepted],
            "rejected_cipher_suites": [
                {"cipher_suite": _suite("y"), "error_message": message}
                for message, count in rejected.items()
                for _ in range(count)
            ],
        },
    }


CERTIFICATE = {
    "fingerprint_sha256": base64.b64encode(bytes(range(32))).decode(),
    "serial_number": 2**159,
    "not_valid_before": "2025-01-02T03:04:05Z",
    "not_valid_after": "2026-01-02T03:04:05Z",
    "subject_alternative_name": {"dns_names": ["a.example"], "ip_addresses": ["192.0.2.1"]},
    "signature_hash_algorithm": {"name": "sha256", "digest_size": 32},
    "subject": {"rfc4514_string": "CN=a.example"},
    "issuer": {"rfc4514_string": "CN=authority"},
    "public_key": {"algorithm": "RSAPublicKey", "key_size": 2048, "ec_curve_name": None,
                   "rsa_n": 2**2047},
}  # fmt: skip


def _report() -> dict[str, Any]:
    scans = {name: _attempt([], {"TLS alert: protocol version": 3}) for name in NAMES}
    scans["tls_1_2_cipher_suites"] = _attempt(["TLS_A", "TLS_B"], {"TLS alert": 5})
    scans["certificate_info"] = {
        "status": "COMPLETED",
        "error_reason": None,
        "result": {
            "certificate_deployments": [{"received_certificate_chain": [CERTIFICATE, CERTIFICATE]}]
        },
    }
    return {
        "sslyze_version": "6.3.1",
        "server_scan_results": [
            {
                "server_location": {"hostname": "a.example", "ip_address": "192.0.2.1"},
                "connectivity_status": "COMPLETED",
                "connectivity_error_trace": None,
                "connectivity_result": {"client_auth_requirement": "DISABLED"},
                "scan_status": "COMPLETED",
                "scan_result": scans,
            }
        ],
    }


def _read(report: dict[str, Any]) -> Any:
    return read_report(json.dumps(report).encode(), "6.3.1", ["192.0.2.1"])["192.0.2.1"]


def test_all_six_versions_with_their_suites() -> None:
    found = {item.version: item for item in _read(_report()).versions}
    assert list(found) == ["SSL 2.0", "SSL 3.0", "TLS 1.0", "TLS 1.1", "TLS 1.2", "TLS 1.3"]
    assert found["TLS 1.2"].state is VersionState.ACCEPTED
    assert found["TLS 1.2"].suites == ("TLS_A", "TLS_B")
    assert found["TLS 1.2"].attempted == 7
    assert found["TLS 1.1"].state is VersionState.REJECTED
    assert found["TLS 1.1"].refusals == {"TLS alert: protocol version": 3}


def test_the_certificate_is_the_first_of_the_chain() -> None:
    (certificate,) = _read(_report()).certificates
    assert certificate.subject == "CN=a.example"
    assert certificate.issuer == "CN=authority"
    assert certificate.not_after == "2026-01-02T03:04:05.000000Z"
    assert certificate.dns_names == ("a.example",)
    assert certificate.ip_addresses == ("192.0.2.1",)
    assert certificate.key == "RSA 2048"
    assert certificate.signature_hash == "sha256"
    assert certificate.sha256 == bytes(range(32)).hex()


@pytest.mark.parametrize(
    "attempt",
    [
        None,
        {"status": "ERROR", "error_reason": "CONNECTIVITY_ISSUE", "result": None},
        {"status": "NOT_SCHEDULED", "error_reason": None, "result": None},
        _attempt([], {}),
        _attempt([], {SILENCE: 2}),
        _attempt([], {SILENCE: 1, "TLS alert": 9}),
    ],
)
def test_a_version_that_was_not_answered_is_unknown(attempt: dict[str, Any] | None) -> None:
    report = _report()
    scans = report["server_scan_results"][0]["scan_result"]
    if attempt is None:
        del scans["tls_1_0_cipher_suites"]
    else:
        scans["tls_1_0_cipher_suites"] = attempt
    found = {item.version: item for item in _read(report).versions}
    assert found["TLS 1.0"].state is VersionState.UNKNOWN
    assert found["TLS 1.0"].error
    assert len(found) == 6


def test_a_server_without_connectivity_says_why() -> None:
    report = _report()
    server = report["server_scan_results"][0]
    server |= {
        "connectivity_status": "ERROR",
        "connectivity_result": None,
        "scan_status": "ERROR_NO_CONNECTIVITY",
        "scan_result": None,
        "connectivity_error_trace": 'File "/x.py"\nsslyze.errors.Failed: Server refused\n',
    }
    found = _read(report)
    assert found.error == "no TLS connection: Server refused"
    assert found.versions == ()


def test_an_error_counts_whatever_stands_beside_it() -> None:
    report = _report()
    report["server_scan_results"][0]["connectivity_status"] = "ERROR"
    assert _read(report).error == "no TLS connection: no reason given"


def test_a_failed_certificate_scan_leaves_none() -> None:
    report = _report()
    report["server_scan_results"][0]["scan_result"]["certificate_info"] = {
        "status": "ERROR", "error_reason": "BUG_IN_SSLYZE", "result": None,
    }  # fmt: skip
    assert _read(report).certificates == ()


def _without_servers(report: dict[str, Any]) -> None:
    report["server_scan_results"] = []


def _twice(report: dict[str, Any]) -> None:
    report["server_scan_results"] *= 2


def _another_server(report: dict[str, Any]) -> None:
    report["server_scan_results"][0]["server_location"]["ip_address"] = "192.0.2.2"


def _another_version(report: dict[str, Any]) -> None:
    report["sslyze_version"] = "6.3.0"


def _other_suites(report: dict[str, Any]) -> None:
    report["server_scan_results"][0]["scan_result"]["tls_1_0_cipher_suites"]["result"] = {"x": 1}


def _other_digest(report: dict[str, Any]) -> None:
    scans = report["server_scan_results"][0]["scan_result"]
    chain = scans["certificate_info"]["result"]["certificate_deployments"][0]
    chain["received_certificate_chain"] = [CERTIFICATE | {"fingerprint_sha256": "?"}]


@pytest.mark.parametrize(
    "change",
    [_without_servers, _twice, _another_server, _another_version, _other_suites, _other_digest],
)
def test_another_report_is_refused(change: Any) -> None:
    report = copy.deepcopy(_report())
    change(report)
    with pytest.raises(TlsReportError):
        _read(report)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"sslyze_version": "6.3.1"}'])
def test_what_is_no_report_is_refused(data: bytes) -> None:
    with pytest.raises(TlsReportError, match="expected"):
        read_report(data, "6.3.1", ["192.0.2.1"])
