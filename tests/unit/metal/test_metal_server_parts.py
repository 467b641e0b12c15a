import asyncio
import json
import logging
import socket
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from metal.certificates import server_context
from metal.errors import StartError
from metal.logs import ServerMessages, open_log, places
from metal.redirect import location, redirect_app
from metal.server import listen


def test_the_server_speaks_tls_1_2_and_newer_only(tmp_path: Path) -> None:
    context = server_context(tmp_path)

    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    names = [suite["name"] for suite in context.get_ciphers()]
    older = [name for name in names if not name.startswith("TLS_")]
    assert older
    assert all(name.startswith("ECDHE-") for name in older)
    assert all("GCM" in name or "CHACHA20" in name for name in older)


def test_the_private_key_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    server_context(tmp_path)

    assert stat.S_IMODE((tmp_path / "server.pem").stat().st_mode) == 0o600
    assert b"PRIVATE KEY" not in (tmp_path / "ca.pem").read_bytes()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["ca.pem", "server.pem"]


def test_the_certificate_is_kept_until_it_runs_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server_context(tmp_path)
    first = (tmp_path / "server.pem").read_bytes()
    server_context(tmp_path)
    assert (tmp_path / "server.pem").read_bytes() == first
    certificate = x509.load_pem_x509_certificate(first)
    assert certificate.not_valid_after_utc - datetime.now(UTC) < timedelta(days=91)

    monkeypatch.setattr("metal.certificates._RENEW_BEFORE", timedelta(days=365))
    server_context(tmp_path)

    assert (tmp_path / "server.pem").read_bytes() != first


def test_a_certificate_that_is_none_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    (tmp_path / "server.pem").write_text("nothing")

    with pytest.raises(StartError, match=r"server\.pem"):
        server_context(tmp_path)

    assert (tmp_path / "server.pem").read_text() == "nothing"


@pytest.mark.parametrize(
    ("host", "path", "query", "expected"),
    [
        ("localhost:8080", b"/", b"", "https://localhost:8443/"),
        ("LOCALHOST", b"/v1/audit", b"limit=5", "https://localhost:8443/v1/audit?limit=5"),
        ("127.0.0.1:8080", b"/a%2Fb", b"", "https://127.0.0.1:8443/a%2Fb"),
        ("[::1]:8080", b"/", b"", "https://[::1]:8443/"),
        ("[::1]", b"/", b"", "https://[::1]:8443/"),
        ("evil.example", b"/", b"", None),
        ("localhost.evil.example:8080", b"/", b"", None),
        ("", b"/", b"", None),
        ("localhost:8080", b"http://evil.example/", b"", None),
    ],
)
def test_redirects_stay_on_the_same_host(
    host: str, path: bytes, query: bytes, expected: str | None
) -> None:
    assert location(host, path, query, 8443) == expected


def test_the_usual_port_is_left_out_of_a_redirect() -> None:
    assert location("localhost", b"/", b"", 443) == "https://localhost/"


@pytest.mark.parametrize(("host", "status"), [(b"localhost:8080", 308), (b"evil.example", 421)])
def test_the_http_port_only_redirects(host: bytes, status: int) -> None:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("the body is of no interest")

    scope = {
        "type": "http",
        "method": "POST",
        "headers": [(b"host", host)],
        "path": "/x",
        "raw_path": b"/x",
        "query_string": b"",
    }
    asyncio.run(redirect_app(8443)(scope, receive, send))

    assert sent[0]["status"] == status
    headers = dict(sent[0]["headers"])
    assert headers.get(b"location") == (b"https://localhost:8443/x" if status == 308 else None)
    assert b"strict-transport-security" not in headers  # RFC 6797 section 7.2


def test_a_port_is_opened_on_every_loopback_address() -> None:
    opened = listen(0)
    try:
        assert {one.getsockname()[1] for one in opened.sockets} == {opened.port}
        assert all(one.getsockname()[0] in {"127.0.0.1", "::1"} for one in opened.sockets)
        with socket.create_connection(("localhost", opened.port), timeout=5):
            pass
    finally:
        for one in opened.sockets:
            one.close()


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(StartError, match=f"port {port} of loopback: found it taken"):
            listen(port)


def test_log_lines_are_json_with_a_time(tmp_path: Path) -> None:
    with open_log(tmp_path / "logs" / "metal.jsonl") as log:
        log.info("one", number=1)
        log.error("two", text='quo"te\nline')

    text = (tmp_path / "logs" / "metal.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(line["event"], line["level"]) for line in lines] == [("one", "info"), ("two", "error")]
    assert lines[0]["at"].endswith("Z")
    assert stat.S_IMODE((tmp_path / "logs" / "metal.jsonl").stat().st_mode) == 0o600


def _raised() -> BaseException:
    try:
        try:
            int("ada@example.com")
        except ValueError as exc:
            raise KeyError("grace@example.com") from exc
    except KeyError as exc:
        return exc


def test_errors_are_logged_by_place_without_their_messages(tmp_path: Path) -> None:
    found = places(_raised())

    assert [line.split(":")[0] for line in found] == [
        f"KeyError at {Path(__file__).name}",
        f"ValueError at {Path(__file__).name}",
    ]
    assert "example.com" not in " ".join(found)


def test_what_the_http_server_says_is_logged_without_arguments(tmp_path: Path) -> None:
    with open_log(tmp_path / "metal.jsonl") as log:
        handler = ServerMessages(log)
        record = logging.LogRecord(
            "uvicorn.error", logging.ERROR, "file", 1, "Exception in %s\nmore",
            ("ada@example.com",), (KeyError, _raised(), None),
        )  # fmt: skip
        handler.handle(record)

    text = (tmp_path / "metal.jsonl").read_text()
    assert "example.com" not in text
    assert json.loads(text)["said"] == "Exception in %s"
    assert json.loads(text)["error"][0].startswith("KeyError at")
