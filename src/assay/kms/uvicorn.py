"""Serves the application by uvicorn and httptools, over TLS. The only file that imports uvicorn.

What uvicorn leaves open is closed here: how long a client may take for a handshake and for a
request, how large the head of a request may be, how many connections there may be; and nothing of
a request is logged, whatever the levels of logging are.

Needs ``assay[kms]``.

Example:
    >>> tls = server_context(chain, key)                                # doctest: +SKIP
    >>> asyncio.run(serve(app, host="127.0.0.1", port=0, tls=tls, ready=print))  # doctest: +SKIP
    127.0.0.1 43121
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from signal import SIGINT, SIGTERM
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from assay.kms.errors import StartError
from assay.kms.http import CONTENT_TYPE, KmsApp

HANDSHAKE_SECONDS = 10.0
REQUEST_SECONDS = 20.0
IDLE_SECONDS = 75
GRACE_SECONDS = 10
GOODBYE_SECONDS = 1.0
MAX_CONNECTIONS = 500

# Instead of uvicorn's, which warns of each request that it cannot read: anybody could fill a log.
_log = logging.getLogger("assay.kms.uvicorn")
_log.setLevel(logging.ERROR)

_MAX_HEAD_BYTES = 64 * 1024
_NOT_HTTP = b'{"__type":"SerializationException","message":"expected an HTTP/1.1 request"}'


class _OneWrite(asyncio.Transport):
    """A transport that joins the head and the body of an answer into one TLS record.

    uvicorn writes them one after the other, which costs a second encryption and a second system
    call: a fifth of what a request costs the server.
    """

    def __init__(self, inner: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._inner = inner
        self._loop = loop
        self._pieces: list[bytes] = []

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the inner transport knows of the connection."""
        return self._inner.get_extra_info(name, default)

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._inner.is_closing()

    def pause_reading(self) -> None:
        """Read no more for now."""
        self._inner.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._inner.resume_reading()

    def write(self, data: Any) -> None:
        """Write at the end of this turn of the loop."""
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(bytes(data))

    def _flush(self) -> None:
        if self._pieces and not self._inner.is_closing():
            self._inner.write(b"".join(self._pieces))
        self._pieces = []

    def close(self) -> None:
        """Write what is left, and close."""
        self._flush()
        self._inner.close()

    def abort(self) -> None:
        """Close at once."""
        self._pieces = []
        self._inner.abort()


class _Protocol(HttpToolsProtocol):
    """HTTP/1.1 with bounds: on the head, on the time, on the number of connections."""

    def __init__(self, *, max_connections: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.access_log = False
        self.logger = _log
        self._max_connections = max_connections
        self._is_partial = False  # a request has begun and is not here as a whole
        self._is_head = False  # and not even its headers are
        self._head_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Begin a connection, unless there are too many."""
        super().connection_made(cast("asyncio.Transport", _OneWrite(transport, self.loop)))
        if len(self.connections) > self._max_connections:
            self.transport.abort()
            return
        # uvicorn has a timer for what comes between requests, but none before the first.
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection."""
        self._end_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what came. A request that has begun must be here as a whole soon."""
        if self.transport.is_closing():
            return
        if self._is_head:
            # The parser keeps a header that does not end, and tells nobody. A head that was in
            # one piece is for the application to refuse.
            self._head_bytes += len(data)
            if self._head_bytes > _MAX_HEAD_BYTES:
                self.send_400_response("")
                return
        super().data_received(data)
        if self._deadline is None and (self._is_partial or not self._is_answering()):
            self._deadline = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)

    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._is_partial = self._is_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        self._is_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End a request."""
        self._is_partial = False
        self._end_deadline()
        super().on_message_complete()

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def pause_writing(self) -> None:
        """Wait for a client that does not read, but not for ever."""
        super().pause_writing()
        self._end_deadline()
        self._deadline = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on."""
        self._end_deadline()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the text is ours
        """Answer what is not HTTP, or too large to be read; ``msg`` is uvicorn's own text."""
        head = (
            "HTTP/1.1 400 Bad Request\r\n"
            f"Content-Type: {CONTENT_TYPE}\r\n"
            f"Content-Length: {len(_NOT_HTTP)}\r\n"
            "Connection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + _NOT_HTTP)
        self.transport.close()


class _Server(uvicorn.Server):
    """A server on sockets of ours, that leaves signals to `serve`."""

    def __init__(
        self,
        config: uvicorn.Config,
        sockets: list[socket.socket],
        max_connections: int,
        ready: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._sockets = sockets
        self._max_connections = max_connections
        self._ready = ready

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none; uvicorn would raise them again at the end and so end the process."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen. As uvicorn does it, with bounds on the time that TLS may take."""
        loop = asyncio.get_running_loop()
        self.servers = [
            await loop.create_server(
                self._protocol,
                sock=each,
                ssl=self.config.ssl,
                backlog=self.config.backlog,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=GOODBYE_SECONDS,
            )
            for each in sockets or self._sockets
        ]
        self.started = True
        self._ready()

    def _protocol(self) -> _Protocol:
        return _Protocol(
            max_connections=self._max_connections,
            config=self.config,
            server_state=self.server_state,
            app_state={},
        )


async def serve(  # noqa: PLR0913 - each is an option with a name
    app: KmsApp,
    *,
    host: str,
    port: int,
    tls: ssl.SSLContext,
    ready: Callable[[str, int], None] | None = None,
    stop: asyncio.Event | None = None,
    max_connections: int = MAX_CONNECTIONS,
) -> None:
    """Serve until SIGTERM or SIGINT, or until ``stop`` is set.

    Requests that are here by then are answered, for at most `GRACE_SECONDS`; then it returns, and
    whoever called it can close what the application used.

    Args:
        app: what answers.
        host: an address or a name; every address of the name is listened on.
        port: of all of them; 0 for any that is free.
        tls: see `assay.kms.tls.server_context`.
        ready: is told the first address and the port, once connections are accepted.
        stop: ends it as a signal does. Signals are only listened to in the main thread.
        max_connections: what comes beyond that is closed at once.

    Raises:
        StartError: nobody can listen there.
    """
    sockets = _listen(host, port)
    address = sockets[0].getsockname()
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    config.load()
    config.loaded_app = app  # not wrapped in what would log requests at level 5
    config.ssl = tls
    server = _Server(
        config, sockets, max_connections, lambda: ready(address[0], address[1]) if ready else None
    )
    loop = asyncio.get_running_loop()

    def end() -> None:
        server.should_exit = True

    is_main = threading.current_thread() is threading.main_thread()
    for number in (SIGTERM, SIGINT) if is_main else ():
        loop.add_signal_handler(number, end)
    waiting = loop.create_task(_then(stop, end)) if stop is not None else None
    try:
        await server.serve()
    finally:
        for number in (SIGTERM, SIGINT) if is_main else ():
            loop.remove_signal_handler(number)
        if waiting is not None:
            waiting.cancel()
        for each in sockets:
            each.close()


async def _then(event: asyncio.Event, act: Callable[[], None]) -> None:
    await event.wait()
    act()


def _listen(host: str, port: int) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, address in dict.fromkeys((each[0], each[4]) for each in found):
            # With the protocol named, asyncio sends small packets at once (TCP_NODELAY).
            opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            sockets.append(opened)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            opened.bind((address[0], port, *address[2:]))
            opened.listen(1024)
            port = port or opened.getsockname()[1]
    except OSError as exc:
        for opened in sockets:
            opened.close()
        raise StartError(
            f"expected to listen on {host}, port {port}, found: {exc.strerror or exc}; stop the "
            "other program, or choose another port"
        ) from exc
    return sockets
