import msgspec
import pytest

from assay.controls import CollectError
from assay.controls.checks.tls_floor import TlsFloor, split_endpoint
from assay.core import Fidelity, Status
from assay.transport import (
    CertificateCheck,
    TlsObservation,
    TlsServer,
    TlsVersion,
    Trust,
    VersionState,
)

ACCEPTED, REJECTED, UNKNOWN = VersionState.ACCEPTED, VersionState.REJECTED, VersionState.UNKNOWN
GOOD_SUITE = "TLS_AES_128_GCM_SHA256"


def version(name, state, suites=()):
    return TlsVersion(name, state, suites, 9, {}, "")


VERSIONS = (
    version("SSL 2.0", REJECTED), version("SSL 3.0", REJECTED), version("TLS 1.0", REJECTED),
    version("TLS 1.1", REJECTED), version("TLS 1.2", ACCEPTED, (GOOD_SUITE,)),
    version("TLS 1.3", ACCEPTED, (GOOD_SUITE,)),
)  # fmt: skip
SERVER = TlsServer(
    address="192.0.2.1", reachable=True, error="", versions=VERSIONS,
    check=CertificateCheck(Trust.VERIFIED, "", Trust.VERIFIED, ""), answers_afterwards=True,
)  # fmt: skip
FACTS = TlsObservation(
    host="api.example", port=443, addresses=("192.0.2.1",), all_loopback=False, error="",
    tool_version="6", openssl_version="3", servers=(SERVER,),
)  # fmt: skip
REFUSING = TlsServer("192.0.2.2", reachable=False, error="connection refused")


def judged(*servers, **changes):
    servers = servers or (SERVER,)
    changes.setdefault("addresses", tuple(server.address for server in servers))
    return TlsFloor().judge(msgspec.structs.replace(FACTS, servers=servers, **changes))


def server(**changes):
    return msgspec.structs.replace(SERVER, **changes)


def with_version(name, state, suites=()):
    return server(
        versions=tuple(version(name, state, suites) if v.version == name else v for v in VERSIONS)
    )


def test_the_floor_is_kept():
    result = judged()
    assert result.status is Status.PASS
    assert result.fidelity is Fidelity.LIVE
    assert "TLS 1.2 and TLS 1.3 only" in result.reason
    assert judged(all_loopback=True).fidelity is Fidelity.EMULATED


@pytest.mark.parametrize("name", ["SSL 2.0", "SSL 3.0", "TLS 1.0", "TLS 1.1"])
def test_each_old_version_fails_and_an_unknown_one_is_an_error(name):
    assert judged(with_version(name, ACCEPTED, (GOOD_SUITE,))).status is Status.FAIL
    unknown = judged(with_version(name, UNKNOWN))
    assert unknown.status is Status.ERROR
    assert name in unknown.reason


@pytest.mark.parametrize(
    "suite",
    ["TLS_RSA_WITH_NULL_SHA", "TLS_ECDH_anon_WITH_AES_256_CBC_SHA", "TLS_RSA_WITH_RC4_128_SHA",
     "TLS_RSA_EXPORT_WITH_DES40_CBC_SHA", "TLS_RSA_WITH_3DES_EDE_CBC_SHA", "TLS_RSA_WITH_DES_CBC_SHA"],
)  # fmt: skip
def test_each_forbidden_suite_fails(suite):
    result = judged(with_version("TLS 1.2", ACCEPTED, (GOOD_SUITE, suite)))
    assert result.status is Status.FAIL
    assert suite in result.reason


@pytest.mark.parametrize(
    ("check", "status"),
    [
        (CertificateCheck(Trust.REFUSED, "expired", Trust.UNKNOWN, ""), Status.FAIL),
        (CertificateCheck(Trust.VERIFIED, "", Trust.REFUSED, "name mismatch"), Status.FAIL),
        (CertificateCheck(Trust.UNKNOWN, "timed out", Trust.UNKNOWN, ""), Status.ERROR),
        (None, Status.ERROR),
    ],
)
def test_the_certificate_counts(check, status):
    assert judged(server(check=check)).status is status


@pytest.mark.parametrize(
    "servers",
    [
        (server(answers_afterwards=False),),
        (server(versions=()),),
        (server(versions=VERSIONS[4:]),),
        (server(reachable=False, error="closed in silence"),),
        (server(versions=tuple(version(v.version, REJECTED) for v in VERSIONS)),),
        (TlsServer("192.0.2.1", reachable=False, error="timed out"),),
        (SERVER, TlsServer("192.0.2.2", reachable=False, error="timed out")),
        (REFUSING,),
    ],
)
def test_what_was_not_seen_could_not_be_told(servers):
    assert judged(*servers).status is Status.ERROR


@pytest.mark.parametrize("missing", [v.version for v in VERSIONS])
def test_each_version_must_have_been_tried(missing):
    result = judged(server(versions=tuple(v for v in VERSIONS if v.version != missing)))
    assert result.status is Status.ERROR
    assert missing in result.reason


def test_what_could_not_be_told_is_said_with_what_was_seen():
    silent = server(reachable=False, error="closed in silence")
    assert "192.0.2.1: closed in silence" in judged(silent).reason
    assert "it answers no handshake" in judged(server(reachable=False)).reason
    no_answer = version("TLS 1.0", UNKNOWN)
    versions = tuple(no_answer if v.version == "TLS 1.0" else v for v in VERSIONS)
    assert "TLS 1.0 is accepted (no answer)" in judged(server(versions=versions)).reason
    versions = tuple(
        msgspec.structs.replace(v, error="reset") if v is no_answer else v for v in versions
    )
    assert "TLS 1.0 is accepted (reset)" in judged(server(versions=versions)).reason
    assert "nothing answers at any address" in judged(REFUSING).reason
    assert judged(REFUSING).population.in_scope == 1
    two = tuple(server(address=f"192.0.2.{n}", reachable=False, error="reset") for n in (1, 2))
    assert judged(*two).population.in_scope == 2


def test_only_what_was_spoken_is_said_to_be_spoken():
    only = with_version("TLS 1.3", REJECTED)
    assert judged(only).reason.startswith("TLS 1.2 only, ")
    other = msgspec.structs.replace(SERVER, address="192.0.2.2")
    assert "TLS 1.2 and TLS 1.3 only" in judged(only, other).reason


def test_nothing_at_all_could_not_be_told():
    empty = msgspec.structs.replace(FACTS, servers=(), addresses=(), error="no such host")
    result = TlsFloor().judge(empty)
    assert result.status is Status.ERROR
    assert "no such host" in result.reason


def test_every_address_counts_but_one_that_refuses_connections_serves_nobody():
    bad = msgspec.structs.replace(with_version("TLS 1.0", ACCEPTED), address="192.0.2.2")
    result = judged(SERVER, bad)
    assert (result.status, result.population.failed) == (Status.FAIL, 1)
    assert judged(SERVER, REFUSING).status is Status.PASS


def test_addresses_that_were_not_probed_are_missed():
    assert judged(SERVER, addresses=("192.0.2.1", "192.0.2.9")).status is Status.ERROR


@pytest.mark.parametrize("url", ["http://a", "https://", "a:443", "https://a:x", "https://[", ""])
def test_only_https_urls_name_an_endpoint(url):
    with pytest.raises(CollectError):
        split_endpoint(url)


def test_the_port_is_443_unless_told():
    assert split_endpoint("https://a.example/x") == ("a.example", 443)
    assert split_endpoint("https://a.example:8443") == ("a.example", 8443)
