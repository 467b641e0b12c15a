"""sslyze against real servers."""

from __future__ import annotations

import datetime
import socket
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assay.core import PinnedTool, tools_home
from assay.transport import (
    TlsObservation,
    TlsReportError,
    Trust,
    VersionState,
    probe_tls,
    sslyze_tool,
)
from assay.transport import sslyze as sslyze_module
from assay.transport.addresses import Resolved

HELLO = "HTTP/1.1 200 OK"
OLD = ["SSL 2.0", "SSL 3.0", "TLS 1.0", "TLS 1.1"]


@pytest.fixture
def tool(needs: Callable[[str], None]) -> PinnedTool:
    needs("sslyze")
    return sslyze_tool(tools_home())


def _states(observation: TlsObservation, server: int = 0) -> dict[str, VersionState]:
    return {item.version: item.state for item in observation.servers[server].versions}


def _names(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    found = Resolved(addresses, all_loopback=True, error="")
    monkeypatch.setattr(sslyze_module, "resolve", lambda _host, _port: found)


def test_a_server_of_today(serve: Any, reply: Any, authority: Any, tool: PinnedTool) -> None:
    server = serve(reply(HELLO), authority.context("localhost", "127.0.0.1"))
    started = time.monotonic()
    found = probe_tls("127.0.0.1", server.port, tool=tool, ca_file=authority.ca_file)
    assert time.monotonic() - started < 30
    assert found.reachable
    assert found.addresses == ("127.0.0.1",)
    assert found.all_loopback
    assert found.tool_version == tool.version
    assert found.openssl_version.startswith("OpenSSL")
    states = _states(found)
    assert {name: states[name] for name in OLD} == dict.fromkeys(OLD, VersionState.REJECTED)
    assert states["TLS 1.2"] is VersionState.ACCEPTED
    assert states["TLS 1.3"] is VersionState.ACCEPTED
    one = found.servers[0]
    assert "TLS_AES_256_GCM_SHA384" in one.versions[-1].suites
    assert all(
        item.attempted == len(item.suites) + sum(item.refusals.values()) for item in one.versions
    )
    assert one.check is not None
    assert (one.check.chain, one.check.name) == (Trust.VERIFIED, Trust.VERIFIED)
    assert one.certificates[0].dns_names == ("localhost",)
    assert one.certificates[0].not_after.endswith("Z")
    assert one.client_certificate == "DISABLED"
    assert one.answers_afterwards
    recorded = msgspec.json.encode(found)
    assert msgspec.json.decode(recorded, type=TlsObservation) == found


@pytest.mark.skipif(not ssl.HAS_TLSv1, reason="this Python's OpenSSL was built without TLS 1.0")
def test_a_server_of_the_past(serve: Any, reply: Any, authority: Any, tool: PinnedTool) -> None:
    server = serve(reply(HELLO), authority.old_context("localhost"))
    found = probe_tls("localhost", server.port, tool=tool, ca_file=authority.ca_file)
    (one,) = [item for item in found.servers if item.reachable]
    states = {item.version: item.state for item in one.versions}
    assert states["TLS 1.0"] is VersionState.ACCEPTED
    assert states["TLS 1.1"] is VersionState.ACCEPTED
    assert states["SSL 3.0"] is VersionState.REJECTED
    assert next(item.suites for item in one.versions if item.version == "TLS 1.0")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux answers on all of 127.0.0.0/8")
def test_one_weak_server_among_the_addresses_of_a_name_is_seen(
    serve: Any, reply: Any, authority: Any, tool: PinnedTool, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = serve(reply(HELLO), authority.context("localhost"))
    serve(reply(HELLO), authority.old_context("localhost"), "127.0.0.2", first.port)
    _names(monkeypatch, "127.0.0.1", "127.0.0.2", "127.0.0.3")
    found = probe_tls("localhost", first.port, tool=tool, ca_file=authority.ca_file)
    assert [item.address for item in found.servers] == list(found.addresses)
    assert _states(found, 0)["TLS 1.0"] is VersionState.REJECTED
    assert _states(found, 1)["TLS 1.0"] is VersionState.ACCEPTED
    assert not found.servers[2].reachable
    assert found.servers[2].error == "connection refused"


def test_ipv6(serve: Any, reply: Any, authority: Any, tool: PinnedTool) -> None:
    try:
        server = serve(reply(HELLO), authority.context("::1"), "::1")
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    found = probe_tls("::1", server.port, tool=tool, ca_file=authority.ca_file)
    assert found.reachable
    assert found.all_loopback
    assert found.servers[0].check is not None
    assert found.servers[0].check.name is Trust.VERIFIED


def test_a_dead_port(tool: PinnedTool, dead_port: int) -> None:
    found = probe_tls("127.0.0.1", dead_port, tool=tool)
    assert not found.reachable
    assert found.servers[0].error == "connection refused"
    assert found.servers[0].versions == ()


def test_a_plaintext_port(serve: Any, tool: PinnedTool) -> None:
    def greet(connection: socket.socket) -> None:
        connection.recv(10)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    server = serve(greet)
    found = probe_tls("127.0.0.1", server.port, tool=tool)
    assert not found.reachable
    assert found.servers[0].error.startswith("no TLS connection: ")
    assert found.servers[0].versions == ()
    assert found.tool_version == tool.version, "sslyze itself was asked"


def test_a_port_that_never_speaks_is_left_soon(serve: Any, tool: PinnedTool) -> None:
    server = serve(lambda _connection: time.sleep(4))
    started = time.monotonic()
    found = probe_tls("127.0.0.1", server.port, tool=tool)
    assert time.monotonic() - started < 10
    assert not found.reachable
    assert "no answer to a TLS handshake" in found.servers[0].error


def _check(observation: TlsObservation) -> tuple[Trust, str, Trust, str]:
    check = observation.servers[0].check
    assert check is not None
    return check.chain, check.chain_reason, check.name, check.name_reason


def test_a_certificate_of_an_unknown_authority(
    serve: Any, reply: Any, authority: Any, tool: PinnedTool, tmp_path: Path
) -> None:
    server = serve(reply(HELLO), authority.context("127.0.0.1"))
    other = tmp_path / "other.pem"
    type(authority)(other)
    found = probe_tls("127.0.0.1", server.port, tool=tool, ca_file=other)
    chain, reason, name, _ = _check(found)
    assert (chain, name) == (Trust.REFUSED, Trust.UNKNOWN)
    assert "unable to get local issuer certificate" in reason
    assert found.reachable, "what it accepts is known all the same"


def test_a_certificate_for_another_name(
    serve: Any, reply: Any, authority: Any, tool: PinnedTool
) -> None:
    server = serve(reply(HELLO), authority.context("other.example"))
    found = probe_tls("127.0.0.1", server.port, tool=tool, ca_file=authority.ca_file)
    chain, _, name, reason = _check(found)
    assert (chain, name) == (Trust.VERIFIED, Trust.REFUSED)
    assert reason.startswith("name: ")


def test_an_expired_certificate(serve: Any, reply: Any, authority: Any, tool: PinnedTool) -> None:
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    context = authority.context(
        "127.0.0.1", not_before=yesterday - datetime.timedelta(days=1), not_after=yesterday
    )
    server = serve(reply(HELLO), context)
    found = probe_tls("127.0.0.1", server.port, tool=tool, ca_file=authority.ca_file)
    chain, reason, _, _ = _check(found)
    assert chain is Trust.REFUSED
    assert reason == "certificate has expired"
    assert found.servers[0].certificates[0].not_after < "2100"


def test_a_server_that_wants_a_client_certificate(
    serve: Any, reply: Any, authority: Any, tool: PinnedTool
) -> None:
    context = authority.context("127.0.0.1")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(str(authority.ca_file))
    server = serve(reply(HELLO), context)
    found = probe_tls("127.0.0.1", server.port, tool=tool, ca_file=authority.ca_file)
    assert found.servers[0].client_certificate == "REQUIRED"
    assert _states(found)["TLS 1.3"] is VersionState.ACCEPTED


def test_a_server_that_blocks_the_prober_is_seen(
    serve: Any, reply: Any, authority: Any, tool: PinnedTool
) -> None:
    server = serve(reply(HELLO), authority.context("127.0.0.1"))
    server.most_connections = 12
    found = probe_tls("127.0.0.1", server.port, tool=tool, ca_file=authority.ca_file)
    assert not any(item.answers_afterwards for item in found.servers)


def test_another_version_of_the_tool_is_refused(
    serve: Any, reply: Any, authority: Any, tool: PinnedTool, tmp_path: Path
) -> None:
    server = serve(reply(HELLO), authority.context("127.0.0.1"))
    pretended = PinnedTool("sslyze", "9.9.9", tool.requirements, tmp_path)
    pretended.environment.parent.mkdir(exist_ok=True)
    pretended.environment.symlink_to(tool.environment)
    with pytest.raises(TlsReportError, match=r"expected a report of sslyze 9\.9\.9"):
        probe_tls("127.0.0.1", server.port, tool=pretended)
