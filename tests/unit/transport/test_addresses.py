from __future__ import annotations

import socket

import pytest

from assay.transport import UrlError
from assay.transport.addresses import check_host, resolve, split_url


@pytest.mark.parametrize(
    ("url", "host", "port", "path", "authority"),
    [
        ("https://example.com", "example.com", 443, "/", "example.com"),
        ("https://Example.COM:8443/a?b=c#d", "example.com", 8443, "/a?b=c", "example.com:8443"),
        ("https://[::1]:1/", "::1", 1, "/", "[::1]:1"),
        ("https://[::1]/", "::1", 443, "/", "[::1]"),
        ("https://bücher.example/%C3%A9", "xn--bcher-kva.example", 443, "/%C3%A9",
         "xn--bcher-kva.example"),
    ],
)  # fmt: skip
def test_parts_of_a_url(url: str, host: str, port: int, path: str, authority: str) -> None:
    target = split_url(url, "https")
    assert (target.host, target.port, target.path) == (host, port, path)
    assert target.authority == authority


def test_http_has_its_own_default_port() -> None:
    target = split_url("http://example.com:80/", "http")
    assert (target.port, target.authority) == (80, "example.com")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "http://example.com",
        "https://",
        "https:///path",
        "https://user:secret@example.com",
        "https://secret@example.com",
        "https://example.com:99999",
        "https://example.com:x",
        "https://exa mple.com",
        "https://-x.example",
        "https://[::1",
        "https://a..b/",
        "https://example.com/a b",
        "https://example.com/é",
        "https://example.com/\r\nX: y",
        "https://{127.0.0.1}",
    ],
)
def test_other_urls_are_refused_and_no_secret_is_shown(url: str) -> None:
    with pytest.raises(UrlError) as caught:
        split_url(url, "https")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["--quiet", "a{1.2.3.4}", "a:b", "a/b", "", " ", "x" * 300])
def test_hosts_that_a_command_line_could_misread_are_refused(host: str) -> None:
    with pytest.raises(UrlError):
        check_host(host)


def test_addresses_are_spelled_in_one_way() -> None:
    assert check_host("0:0:0:0:0:0:0:1") == "::1"


def _answers(*addresses: str) -> object:
    return lambda *_args, **_options: [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in addresses
    ]


def test_every_address_is_listed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", _answers("192.0.2.1", "192.0.2.2", "192.0.2.1"))
    assert resolve("example.com", 443).addresses == ("192.0.2.1", "192.0.2.2")


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (("127.0.0.1", "::1"), True),
        (("127.8.8.8",), True),
        (("::ffff:127.0.0.1",), True),
        (("127.0.0.1", "192.0.2.1"), False),
        (("::ffff:192.0.2.1",), False),
        (("0.0.0.0",), False),  # noqa: S104 - an address that is resolved, not bound
        ((), False),
    ],
)
def test_loopback_means_every_address(
    monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...], expected: bool
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", _answers(*addresses))
    assert resolve("example.com", 443).all_loopback is expected


def test_a_name_that_does_not_resolve_is_a_fact(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    found = resolve("example.com", 443)
    assert found.addresses == ()
    assert not found.all_loopback
    assert "Name or service not known" in found.error
