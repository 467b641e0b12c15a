"""The HTTP side of the service: JSON 1.1 over ``POST /``, and beside it only ``GET /healthz``.

Format: ``spec/kms.md``, "One request", step 1. An ASGI 3 application without a framework, and
without any knowledge of keys: it makes a `SignedRequest`, waits for an `Answer`, and writes AWS's
shapes. Nothing of a request is logged. `assay.kms.uvicorn` serves it.

Example:
    >>> app = KmsApp(service.answer)                                    # doctest: +SKIP
    >>> await serve(app, host="127.0.0.1", port=8443, tls=tls)          # doctest: +SKIP

Source: AWS JSON 1.1 protocol (Smithy), ASGI 3.0.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import uuid4

from assay.core import Event, EventSink, IgnoredEvents
from assay.kms.canonical import parse_query
from assay.kms.errors import InternalError, KmsError, UnknownOperationError, ValidationError
from assay.kms.request import Answer, SignedRequest

MAX_BODY_BYTES = 1024 * 1024
MAX_HEADERS = 100
MAX_HEAD_BYTES = 32 * 1024
CONTENT_TYPE = "application/x-amz-json-1.1"

_HEALTH_PATH = "/healthz"

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class KmsApp:
    """The ASGI application.

    Args:
        answer: answers a request. What it raises is answered as well: a `KmsError` by its own code,
            anything else as `InternalError`.
        is_healthy: whether ``GET /healthz`` is answered by 200; without it always. False and an
            exception are answered by 503.
        events: is told of an exception that is no `KmsError`: ``kms.request-failed``, with the
            request id, the class of the exception and the line that raised it, never a value.
    """

    def __init__(
        self,
        answer: Callable[[SignedRequest], Awaitable[Answer]],
        *,
        is_healthy: Callable[[], Awaitable[bool]] | None = None,
        events: EventSink | None = None,
    ) -> None:
        self._answer = answer
        self._is_healthy = is_healthy
        self._events = events or IgnoredEvents()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3)."""
        if scope["type"] != "http":
            raise NotImplementedError(f"expected HTTP, found {scope['type']}")
        if scope["path"] == _HEALTH_PATH and scope["method"] in {"GET", "HEAD"}:
            await self._tell_health(send)
            return
        try:
            request = await _request_of(scope, receive)
        except KmsError as error:
            # Whatever is still to come of this request is not read.
            await _send(send, Answer.of_error(error, str(uuid4())), close=True)
            return
        if request is not None:
            await _send(send, await self._answered(request))

    async def _answered(self, request: SignedRequest) -> Answer:
        try:
            _check_shape(request)
            return await self._answer(request)
        except KmsError as error:
            return Answer.of_error(error, str(uuid4()))
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told no more
            request_id = str(uuid4())
            self._report(error, request_id)
            return Answer.of_error(
                InternalError("expected the service to answer, found a defect of it"), request_id
            )

    def _report(self, error: Exception, request_id: str) -> None:
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        code = place.tb_frame.f_code if place is not None else None
        details = {
            "request": request_id,
            "error": type(error).__qualname__,
            "place": f"{code.co_filename}:{place.tb_lineno}" if code and place else "",
        }
        self._events.emit(Event("kms.request-failed", details))

    async def _tell_health(self, send: Send) -> None:
        try:
            is_healthy = self._is_healthy is None or await self._is_healthy()
        except Exception:  # noqa: BLE001 - whatever it is, the service is not well
            is_healthy = False
        body = b"ok\n" if is_healthy else b"unavailable\n"
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        status = 200 if is_healthy else 503
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _request_of(scope: Scope, receive: Receive) -> SignedRequest | None:
    """The request, or None when the client hung up before it was complete.

    Raises:
        ValidationError: it is larger than the limits.
    """
    sent = scope["headers"]
    size = len(scope["raw_path"]) + len(scope["query_string"])
    size += sum([len(name) + len(value) for name, value in sent])
    if len(sent) > MAX_HEADERS or size > MAX_HEAD_BYTES:
        raise ValidationError(
            f"expected at most {MAX_HEADERS} headers, with path and query {MAX_HEAD_BYTES} bytes, "
            f"found {len(sent)} and {size} bytes"
        )
    pieces: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return None
        piece, more = message.get("body", b""), message.get("more_body", False)
        size += len(piece)
        if size > MAX_BODY_BYTES:
            raise ValidationError(f"expected a body of at most {MAX_BODY_BYTES} bytes, found more")
        pieces.append(piece)
    client = scope.get("client")
    return SignedRequest(
        method=scope["method"],
        path=scope["raw_path"].decode("latin-1"),
        query=scope["query_string"].decode("latin-1"),
        headers=tuple([(name.decode("latin-1"), value.decode("latin-1")) for name, value in sent]),
        body=b"".join(pieces),
        source=client[0] if client else "",
    )


def _check_shape(request: SignedRequest) -> None:
    """Refuse what is no call of an action: another method, path, content type or a parameter.

    Arguments in the query would be signed and then ignored, ``DryRun`` among them.
    """
    if request.method != "POST" or request.path != "/":
        raise UnknownOperationError("expected POST /, found another method or path")
    content_type = (request.header("content-type") or "").partition(";")[0].strip().lower()
    if content_type != CONTENT_TYPE:
        raise UnknownOperationError(f"expected the Content-Type {CONTENT_TYPE}, found another")
    if request.query and any(
        not name.lower().startswith("x-amz-") for name, _ in parse_query(request.query)
    ):
        raise ValidationError(
            "expected no parameters in the query but those of a signature, found others; the "
            "arguments of an action belong in the body"
        )


async def _send(send: Send, answer: Answer, *, close: bool = False) -> None:
    headers = [
        (b"x-amzn-requestid", answer.request_id.encode("ascii")),
        (b"content-type", b"application/x-amz-json-1.1"),
        (b"content-length", b"%d" % len(answer.body)),
    ]
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
