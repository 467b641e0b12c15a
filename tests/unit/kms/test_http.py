"""The ASGI application by itself: shapes, limits, and what it never tells."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from assay.core import RecordedEvents
from assay.kms import errors
from assay.kms.errors import DisabledError, KmsError, TokenUnavailableError
from assay.kms.http import MAX_BODY_BYTES, KmsApp
from assay.kms.request import Answer, SignedRequest

HEADERS = ((b"host", b"localhost"), (b"content-type", b"application/x-amz-json-1.1"))
GOOD = Answer(200, b'{"a":1}', "4d4d2ab0-5c40-4a31-b0b1-0f5a4a1d3f5f")


@dataclass
class Told:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: str = ""
    message: str = ""


def ask(
    answer: Callable[[SignedRequest], Awaitable[Answer]],
    *,
    method: str = "POST",
    target: str = "/",
    headers: tuple[tuple[bytes, bytes], ...] = HEADERS,
    body: tuple[bytes | None, ...] = (b"{}",),
    **options: Any,
) -> Told | None:
    """Send one request, its body in pieces; None in it hangs up."""
    path, _, query = target.partition("?")
    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(),
        "query_string": query.encode(), "headers": list(headers), "client": ("192.0.2.7", 5),
    }  # fmt: skip
    pieces = list(body)
    sent: list[Mapping[str, Any]] = []

    async def receive() -> Mapping[str, Any]:
        piece = pieces.pop(0)
        if piece is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    asyncio.run(KmsApp(answer, **options)(scope, receive, send))
    if not sent:
        return None
    start, end = sent
    told = Told(start["status"], {n.decode(): v.decode() for n, v in start["headers"]}, end["body"])
    assert told.headers["content-length"] == str(len(told.body))
    if told.headers["content-type"] == "application/x-amz-json-1.1" and told.status != 200:
        shape = json.loads(told.body)
        assert set(shape) == {"__type", "message"}
        told.error, told.message = shape["__type"], shape["message"]
        UUID(told.headers["x-amzn-requestid"])
    return told


async def good(_: SignedRequest) -> Answer:
    return GOOD


async def never(_: SignedRequest) -> Answer:
    raise AssertionError("a request was answered that must not be")


def raising(error: Exception) -> Callable[[SignedRequest], Awaitable[Answer]]:
    async def answer(_: SignedRequest) -> Answer:
        raise error

    return answer


def test_the_request_comes_in_as_it_was_sent() -> None:
    seen: list[SignedRequest] = []

    async def answer(request: SignedRequest) -> Answer:
        seen.append(request)
        return GOOD

    headers = (*HEADERS, (b"x", b"\xff"), (b"x", b"2"))
    told = ask(answer, target="/?X-Amz-Date=%2f", headers=headers, body=(b'{"a"', b"", b":1}"))
    assert told is not None
    assert told == Told(
        200,
        {
            "x-amzn-requestid": GOOD.request_id,
            "content-type": "application/x-amz-json-1.1",
            "content-length": "7",
        },
        GOOD.body,
    )
    texts = (
        ("host", "localhost"),
        ("content-type", "application/x-amz-json-1.1"),
        ("x", "ÿ"),
        ("x", "2"),
    )
    assert seen == [SignedRequest("POST", "/", "X-Amz-Date=%2f", texts, b'{"a":1}', "192.0.2.7")]


@pytest.mark.parametrize(
    "error",
    [
        getattr(errors, name)
        for name in dir(errors)
        if isinstance(getattr(errors, name), type) and issubclass(getattr(errors, name), KmsError)
    ],
    ids=lambda error: error.__name__,
)
def test_each_error_has_its_code_and_its_status(error: type[KmsError]) -> None:
    raised = error(
        "expected x, found “y”", *(["a rule"] if error is errors.AccessDeniedError else [])
    )
    told = ask(raising(raised))
    assert told is not None
    assert (told.status, told.error, told.message) == (error.status, error.code, str(raised))
    assert "connection" not in told.headers


def test_a_defect_is_not_told_to_the_client_and_no_value_to_anybody() -> None:
    events = RecordedEvents()
    told = ask(raising(RuntimeError("plaintext 7f3a91c2")), events=events)
    assert told is not None
    assert (told.status, told.error) == (500, "KMSInternalException")
    (event,) = events.events
    assert event.kind == "kms.request-failed"
    assert event.details["request"] == told.headers["x-amzn-requestid"]
    assert event.details["error"] == "RuntimeError"
    assert Path(event.details["place"].rpartition(":")[0]).name == "test_http.py"
    assert "7f3a91c2" not in f"{event} {told}"
    assert ask(raising(RuntimeError())) is not None, "and without anybody who listens"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"method": "GET"}, "UnknownOperationException"),
        ({"method": "PUT"}, "UnknownOperationException"),
        ({"target": "/keys"}, "UnknownOperationException"),
        ({"target": "//"}, "UnknownOperationException"),
        ({"target": "/healthz"}, "UnknownOperationException"),
        ({"headers": HEADERS[:1]}, "UnknownOperationException"),
        ({"headers": (*HEADERS, HEADERS[1])}, "UnknownOperationException"),
        ({"headers": ((b"content-type", b"application/json"),)}, "UnknownOperationException"),
        ({"target": "/?DryRun=true"}, "ValidationException"),
        ({"target": "/?X-Amz-Date=1&Limit=5"}, "ValidationException"),
        ({"target": "/?%zz"}, "IncompleteSignatureException"),
    ],
)
def test_what_is_no_call_of_an_action_is_refused(change: dict[str, Any], error: str) -> None:
    told = ask(never, **change)
    assert told is not None
    assert (told.status, told.error) == (400, error)
    accepted = ((b"content-type", b"Application/X-Amz-JSON-1.1; charset=utf-8"),)
    assert ask(good, headers=accepted, target="/?x-amz-x=1") is not None


def test_the_limits_of_size() -> None:
    half = bytes(MAX_BODY_BYTES // 2)
    assert ask(good, body=(half, half)).status == 200  # type: ignore[union-attr]
    for change in (
        {"body": (half, half, b"1", b"never read")},
        {"headers": (*HEADERS, *[(b"x", b"")] * 99)},
        {"headers": (*HEADERS, (b"x", bytes(32 * 1024)))},
        {"target": "/?X-Amz-Date=" + "1" * 32 * 1024},
        {"target": "/" + "1" * 32 * 1024},
    ):
        told = ask(never, **change)
        assert told is not None
        assert (told.status, told.error) == (400, "ValidationException")
        assert told.headers["connection"] == "close"
    assert ask(good, headers=(*HEADERS, *[(b"x", b"")] * 98)).status == 200  # type: ignore[union-attr]


@pytest.mark.parametrize("body", [(None,), (b"{", None)])
def test_a_client_that_hangs_up_gets_nothing_and_nothing_is_done(
    body: tuple[bytes | None, ...],
) -> None:
    assert ask(never, body=body) is None


def test_health() -> None:
    def healthy(says: bool | Exception) -> Callable[[], Awaitable[bool]]:
        async def ask_engine() -> bool:
            if isinstance(says, Exception):
                raise says
            return says

        return ask_engine

    for says, status in ((True, 200), (False, 503), (TokenUnavailableError("secret"), 503)):
        told = ask(never, method="GET", target="/healthz", is_healthy=healthy(says))
        assert told is not None
        assert told.status == status
        assert told.body == (b"ok\n" if status == 200 else b"unavailable\n")
    assert ask(never, method="HEAD", target="/healthz").status == 200  # type: ignore[union-attr]


def test_an_answer_does_not_show_its_body() -> None:
    assert "plaintext" not in repr(Answer(200, b"plaintext", "id"))
    error = Answer.of_error(DisabledError("expected an enabled key"), "id")
    assert (error.status, error.error) == (400, "DisabledException")


def test_nothing_but_http() -> None:
    with pytest.raises(NotImplementedError, match="websocket"):
        asyncio.run(KmsApp(good)({"type": "websocket"}, None, None))  # type: ignore[arg-type]
