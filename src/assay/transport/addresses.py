"""Host names and the addresses behind them.

A name may stand for several servers, of which only one is misconfigured; so every address is
looked at, and an observation says which addresses there were.

Example:
    >>> resolve("127.0.0.1", 443).all_loopback
    True
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from assay.transport.errors import UrlError

MOST_ADDRESSES = 8
"""Addresses of one name that are probed; the observation lists all of them."""

_HOST = re.compile(r"(?!-)[A-Za-z0-9_.-]{1,253}")


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a name stands for.

    Attributes:
        addresses: IPv4 and IPv6 addresses, in the resolver's order, each once.
        all_loopback: whether there are addresses and none leaves the machine.
        error: why there are none; empty when there are some.
    """

    addresses: tuple[str, ...]
    all_loopback: bool
    error: str


@dataclass(frozen=True, slots=True)
class Target:
    """The parts of a URL that a probe needs.

    Attributes:
        scheme: ``http`` or ``https``.
        host: a name in ASCII form, or an address without brackets.
        port: 443 or 80 unless the URL says otherwise.
        path: path and query, at least ``/``.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """Host and port as a Host header names them (RFC 9110 section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = {"http": 80, "https": 443}[self.scheme]
        return host if self.port == default else f"{host}:{self.port}"


def split_url(url: str, scheme: str) -> Target:
    """The parts of a URL.

    Args:
        url: an absolute URL without credentials.
        scheme: the scheme that it must have.

    Raises:
        UrlError: it has another form. The URL is not shown: it might hold a secret.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise UrlError(f"expected an {scheme} URL, found one that cannot be read: {exc}") from exc
    if parts.scheme != scheme or not parts.hostname:
        raise UrlError(
            f"expected an absolute {scheme}:// URL with a host, found scheme "
            f"{parts.scheme or 'none'} and host {parts.hostname or 'none'}"
        )
    if parts.username is not None or parts.password is not None:
        raise UrlError("expected a URL without credentials, found some; remove them")
    path = parts.path or "/"
    if parts.query:
        path = f"{path}?{parts.query}"
    if not path.isascii() or re.search(r"[\x00-\x20\x7f]", path):
        raise UrlError("expected a percent-encoded path in the URL, found raw characters")
    default = 443 if scheme == "https" else 80
    return Target(scheme, check_host(parts.hostname), default if port is None else port, path)


def check_host(host: str) -> str:
    """The host in the form in which it goes on the wire and to a tool's command line.

    Args:
        host: a name, in Unicode or ASCII, or an IPv4 or IPv6 address without brackets.

    Raises:
        UrlError: it is none of them.
    """
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        name = host.encode("idna").decode("ascii")
    except UnicodeError as exc:
        raise UrlError(f"expected a host name, found {host!r}: {exc}") from exc
    if not _HOST.fullmatch(name):
        raise UrlError(f"expected a host name, found {host!r}")
    return name


def resolve(host: str, port: int) -> Resolved:
    """Ask the system's resolver for every address of a host.

    Args:
        host: as from `check_host`.
        port: the port that will be connected to.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        return Resolved((), all_loopback=False, error=f"the name does not resolve: {exc}")
    addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    loopback = bool(addresses) and all(_is_loopback(address) for address in addresses)
    return Resolved(addresses, loopback, "")


def _is_loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    mapped = getattr(parsed, "ipv4_mapped", None)
    return bool((mapped or parsed).is_loopback)
