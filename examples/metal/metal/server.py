"""The server: HTTPS for the API, plain HTTP that only redirects, one process, a clean end.

Example:
    $ python -m metal serve
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp
from structlog.typing import FilteringBoundLogger
from uvicorn.protocols.http.h11_impl import H11Protocol

from assay.core import exclusive_lock, resolve_reference, write_atomically
from metal.api import create_app
from metal.certificates import server_context
from metal.errors import StartError
from metal.guards import HSTS
from metal.logs import ServerMessages, open_log
from metal.redirect import redirect_app
from metal.settings import Settings
from metal.stores import open_stores
from metal.uploads import remove_leftovers

_GRACE_SECONDS = 5
_GOODBYE_SECONDS = 0.3


class HttpsProtocol(H11Protocol):
    """HTTP/1.1, with HSTS also on the answer to what is not HTTP at all."""

    def send_400_response(self, msg: str) -> None:
        """Answer a request that could not be parsed; ``msg`` is the server's own text."""
        body = msg.encode("ascii", "replace")
        head = (
            "HTTP/1.1 400 Bad Request\r\n"
            "Content-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\n"
            f"Strict-Transport-Security: {HSTS}\r\n"
            "Connection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()

    def shutdown(self) -> None:
        """Let go of the connection when the server ends, as soon as it is idle."""
        super().shutdown()
        if self.transport.is_closing():
            # A client that is idle does not read our goodbye (TLS close_notify) and never answers.
            self.loop.call_later(_GOODBYE_SECONDS, self.transport.abort)


class _Server(uvicorn.Server):
    """A server that leaves signals to `serve`, since two of them run in one process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


@dataclass(frozen=True, slots=True)
class Listening:
    """Open sockets.

    Attributes:
        port: the port of all of them.
        sockets: one for each loopback address of the machine.
    """

    port: int
    sockets: list[socket.socket]


def listen(port: int) -> Listening:
    """Open a port on every loopback address, so that ``localhost`` is reached either way.

    Args:
        port: the port, or 0 for any that is free.

    Raises:
        StartError: the port is taken, or may not be opened.
    """
    for _ in range(20):
        sockets: list[socket.socket] = []
        try:
            sockets.append(_bound(socket.AF_INET, "127.0.0.1", port))
            chosen: int = sockets[0].getsockname()[1]
            if _has_ipv6():
                sockets.append(_bound(socket.AF_INET6, "::1", chosen))
        except OSError as exc:
            for opened in sockets:
                opened.close()
            if port == 0 and exc.errno == errno.EADDRINUSE:
                continue
            reason = "found it taken" if exc.errno == errno.EADDRINUSE else f"{exc.strerror}"
            raise StartError(
                f"expected to listen on port {port} of loopback: {reason}; stop the other program "
                "or choose a port with METAL_HTTPS_PORT and METAL_HTTP_PORT"
            ) from exc
        return Listening(chosen, sockets)
    raise StartError("expected a port that is free on 127.0.0.1 and ::1, found none")


def _bound(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    # With the protocol named, asyncio sends small packets at once (TCP_NODELAY); without, each
    # answer would wait 40 ms for the client's acknowledgement of its first half.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((address, port))
        # Listening now, so that a second server learns of it before either answers.
        bound.listen(128)
    except OSError:
        bound.close()
        raise
    return bound


def _has_ipv6() -> bool:
    if not socket.has_ipv6:
        return False
    with suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
        probe.bind(("::1", 0))
        return True
    return False


def serve(
    settings: Settings,
    environment: Mapping[str, str],
    *,
    say: Callable[[str], None],
    stop_at_end_of_input: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT; everything is closed on return.

    Args:
        settings: ports, limits, places.
        environment: variables that the key's URI and the admin token may need.
        say: shows a line to whoever started the server.
        stop_at_end_of_input: stop as well when standard input ends, so that the server cannot
            outlive the program that started it.

    Raises:
        StartError: a port is taken, or TLS cannot be set up.
        SettingsError: no key is named.
        AssayError: the key service or a database cannot be opened, or another server uses the
            same folder.
    """
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as opened:
        opened.enter_context(exclusive_lock(settings.data / "server.lock", "Metal's data"))
        admin_token = resolve_reference(settings.admin_token, settings.home, environment)
        https, http = listen(settings.https_port), listen(settings.http_port)
        for bound in (*https.sockets, *http.sockets):
            opened.callback(bound.close)
        context = server_context(settings.data)
        stores = opened.enter_context(open_stores(settings, environment))
        log = opened.enter_context(open_log(settings.log_file))
        opened.enter_context(_server_messages(log))
        removed = remove_leftovers(stores)
        app = create_app(stores, settings, admin_token=admin_token, log=log)
        servers = [
            (_Server(_config(app, context)), https.sockets),
            (_Server(_config(redirect_app(https.port))), http.sockets),
        ]
        log.info("server.starting", https_port=https.port, leftovers_removed=removed)
        opened.callback(settings.address_file.unlink, missing_ok=True)

        def announce() -> None:
            address = {
                "https": f"https://localhost:{https.port}",
                "http": f"http://localhost:{http.port}",
                "pid": os.getpid(),
            }
            write_atomically(settings.address_file, json.dumps(address).encode() + b"\n")
            log.info("server.started", https_port=https.port, http_port=http.port)
            say(f"metal: serving {address['https']} (redirected from {address['http']})")

        asyncio.run(_run(servers, announce, stop_at_end_of_input))
        log.info("server.stopped")
        say("metal: stopped")


def _config(app: ASGIApp, context: ssl.SSLContext | None = None) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        http=H11Protocol if context is None else HttpsProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    config.load()
    config.ssl = context
    return config


@contextmanager
def _server_messages(log: FilteringBoundLogger) -> Iterator[None]:
    handler = ServerMessages(log)
    source = logging.getLogger("uvicorn")
    source.addHandler(handler)
    propagates, source.propagate = source.propagate, False
    try:
        yield
    finally:
        source.removeHandler(handler)
        source.propagate = propagates


async def _run(
    servers: list[tuple[_Server, list[socket.socket]]],
    announce: Callable[[], None],
    stop_at_end_of_input: bool,
) -> None:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for server, _ in servers:
            server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    if stop_at_end_of_input:
        _watch_input(loop, stop)
    running = [asyncio.create_task(server.serve(sockets)) for server, sockets in servers]
    while not all(server.started for server, _ in servers):
        if any(task.done() for task in running):
            break
        await asyncio.sleep(0.01)
    else:
        announce()
    try:
        await asyncio.gather(*running)
    finally:
        stop()


def _watch_input(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    descriptor = sys.stdin.fileno()

    def readable() -> None:
        if not os.read(descriptor, 4096):
            loop.remove_reader(descriptor)
            stop()

    loop.add_reader(descriptor, readable)
