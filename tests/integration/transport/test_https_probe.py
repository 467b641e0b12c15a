"""One request over HTTPS and one in plaintext, to real servers."""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assay.transport import (
    HttpsObservation,
    RedirectObservation,
    TrustStoreError,
    probe_https,
    probe_redirect,
)
from assay.transport import https as https_module
from assay.transport.addresses import Resolved

HSTS = "max-age=31536000; includeSubDomains"


def test_a_server_with_hsts(serve: Any, reply: Any, authority: Any) -> None:
    head = f"HTTP/1.1 204 No Content\nstrict-transport-security: {HSTS}\nX-Other: 1"
    server = serve(reply(head), authority.context("127.0.0.1"))
    url = f"https://127.0.0.1:{server.port}/health?full=1"
    found = probe_https(url, ca_file=authority.ca_file, timeout_seconds=3)
    assert found.reachable
    assert found.url == url
    assert found.addresses == ("127.0.0.1",)
    assert found.all_loopback
    (one,) = found.responses
    assert (one.status, one.hsts) == (204, (HSTS,))
    assert (one.trust, one.trust_reason) == ("verified", "")
    assert (one.tls_version, one.cipher) == ("TLSv1.3", "TLS_AES_256_GCM_SHA384")
    recorded = msgspec.json.encode(found)
    assert msgspec.json.decode(recorded, type=HttpsObservation) == found


def test_every_header_is_kept_in_order_and_verbatim(serve: Any, reply: Any, authority: Any) -> None:
    head = "HTTP/1.1 401 No\nStrict-Transport-Security: max-age=1 \nSTRICT-TRANSPORT-SECURITY: x"
    server = serve(reply(head), authority.context("127.0.0.1"))
    found = probe_https(f"https://127.0.0.1:{server.port}", ca_file=authority.ca_file)
    assert found.responses[0].hsts == ("max-age=1", "x")
    assert found.responses[0].status == 401


def test_a_server_without_hsts(serve: Any, reply: Any, authority: Any) -> None:
    server = serve(reply("HTTP/1.1 200 OK"), authority.context("127.0.0.1"))
    found = probe_https(f"https://127.0.0.1:{server.port}", ca_file=authority.ca_file)
    assert found.reachable
    assert found.responses[0].hsts == ()


@pytest.mark.parametrize("name", ["127.0.0.1", "other.example"])
def test_nothing_is_asked_of_a_server_that_is_not_verified(
    serve: Any, authority: Any, tmp_path: Path, name: str
) -> None:
    asked: list[bytes] = []
    server = serve(lambda connection: asked.append(connection.recv(100)), authority.context(name))
    ca_file = authority.ca_file
    if name == "127.0.0.1":
        ca_file = tmp_path / "other.pem"
        type(authority)(ca_file)
    found = probe_https(f"https://127.0.0.1:{server.port}", ca_file=ca_file)
    (one,) = found.responses
    assert not one.reachable
    assert one.trust == "refused"
    assert one.trust_reason
    assert one.status == 0
    server.stop()
    assert not any(asked)


def test_plaintext_and_dead_ports(serve: Any, reply: Any, dead_port: int) -> None:
    server = serve(reply("HTTP/1.1 200 OK"))
    plain = probe_https(f"https://127.0.0.1:{server.port}").responses[0]
    dead = probe_https(f"https://127.0.0.1:{dead_port}").responses[0]
    assert (plain.reachable, plain.trust) == (False, "unknown")
    assert plain.error
    assert (dead.reachable, dead.error) == (False, "connection refused")


def test_a_missing_file_of_authorities(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    for name in ("none.pem", "empty.pem"):
        with pytest.raises(TrustStoreError):
            probe_https("https://127.0.0.1:1", ca_file=tmp_path / name)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=3",
        b"SSH-2.0-server\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 500,
    ],
)
def test_what_is_no_http_is_said(serve: Any, authority: Any, sent: bytes) -> None:
    def speak(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(sent)

    server = serve(speak, authority.context("127.0.0.1"))
    found = probe_https(f"https://127.0.0.1:{server.port}", ca_file=authority.ca_file)
    (one,) = found.responses
    assert not one.reachable
    assert one.error
    assert one.trust == "verified"


@pytest.mark.parametrize("secured", [True, False])
def test_a_server_that_drips_is_left_in_time(serve: Any, authority: Any, secured: bool) -> None:
    def drip(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        for _ in range(60):
            connection.sendall(b"a: b\r\n")
            time.sleep(0.1)

    server = serve(drip, authority.context("127.0.0.1") if secured else None)
    started = time.monotonic()
    found: HttpsObservation | RedirectObservation
    if secured:
        url = f"https://127.0.0.1:{server.port}"
        found = probe_https(url, ca_file=authority.ca_file, timeout_seconds=0.7)
    else:
        found = probe_redirect(f"http://127.0.0.1:{server.port}", timeout_seconds=0.7)
    assert time.monotonic() - started < 3
    assert not found.reachable
    assert found.responses[0].error == "timed out"


def test_a_redirect_is_seen_and_not_followed(serve: Any, reply: Any) -> None:
    head = "HTTP/1.1 308 Permanent Redirect\nLocation: https://127.0.0.1/\n"
    head += f"Strict-Transport-Security: {HSTS}"
    server = serve(reply(head))
    found = probe_redirect(f"http://127.0.0.1:{server.port}/x")
    (one,) = found.responses
    assert (one.reachable, one.listening, one.status) == (True, True, 308)
    assert one.locations == ("https://127.0.0.1/",)
    assert one.hsts == (HSTS,)
    assert server.connections == 1
    recorded = msgspec.json.encode(found)
    assert msgspec.json.decode(recorded, type=RedirectObservation) == found


def test_two_locations_are_both_seen(serve: Any, reply: Any) -> None:
    server = serve(reply("HTTP/1.1 301 Moved\nLocation: https://a/\nLocation: http://b/"))
    found = probe_redirect(f"http://127.0.0.1:{server.port}")
    assert found.responses[0].locations == ("https://a/", "http://b/")


def test_a_port_on_which_nothing_listens_for_plaintext(dead_port: int) -> None:
    (one,) = probe_redirect(f"http://127.0.0.1:{dead_port}").responses
    assert (one.reachable, one.listening, one.error) == (False, False, "connection refused")


def test_a_tls_port_does_not_answer_in_plaintext(serve: Any, reply: Any, authority: Any) -> None:
    server = serve(reply("HTTP/1.1 200 OK"), authority.context("127.0.0.1"))
    (one,) = probe_redirect(f"http://127.0.0.1:{server.port}").responses
    assert (one.reachable, one.listening) == (False, True)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux answers on all of 127.0.0.0/8")
def test_every_address_of_a_name_is_asked(
    serve: Any, reply: Any, authority: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = serve(reply(f"HTTP/1.1 200 OK\nStrict-Transport-Security: {HSTS}"),
                  authority.context("localhost"))  # fmt: skip
    serve(reply("HTTP/1.1 200 OK"), authority.context("localhost"), "127.0.0.2", first.port)
    both = Resolved(("127.0.0.1", "127.0.0.2"), all_loopback=True, error="")
    monkeypatch.setattr(https_module, "resolve", lambda _host, _port: both)
    found = probe_https(f"https://localhost:{first.port}", ca_file=authority.ca_file)
    assert [(item.address, item.hsts) for item in found.responses] == [
        ("127.0.0.1", (HSTS,)),
        ("127.0.0.2", ()),
    ]
