"""Every refusal of the API is a problem document (RFC 9457) that quotes nothing it was sent.

Example:
    >>> raise not_found("document")                 # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect

_FRAMEWORK = {
    400: "expected a body of JSON in UTF-8, found other bytes",
    404: "expected a path of this API, found another",
    405: "expected a method that this path has, found another",
}


def not_found(what: str) -> HTTPException:
    """The answer to an id that does not exist, or is another tenant's: nobody can tell which."""
    return HTTPException(404, f"expected the id of a {what} of yours, found none with this id")


def install(app: FastAPI) -> None:
    """Let the application answer with problem documents."""
    app.add_exception_handler(StarletteHTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(OperationalError, _busy)
    app.add_exception_handler(ClientDisconnect, _gone)


def _problem(
    status: int,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    fields: Sequence[Mapping[str, str]] = (),
) -> JSONResponse:
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if fields:
        content["fields"] = list(fields)
    return JSONResponse(content, status, dict(headers or {}), media_type="application/problem+json")


async def _refused(_: Request, exc: Exception) -> JSONResponse:
    if not isinstance(exc, StarletteHTTPException):
        raise exc
    detail = exc.detail
    if not detail.startswith("expected"):  # the framework's own words
        detail = _FRAMEWORK.get(exc.status_code, "expected another request")
    return _problem(exc.status_code, detail, headers=exc.headers)


async def _invalid(_: Request, exc: Exception) -> JSONResponse:
    if not isinstance(exc, RequestValidationError):
        raise exc
    errors = exc.errors()
    if any(error["loc"][0] == "path" for error in errors):
        return _problem(404, "expected an id (a UUID) in the path, found another text")
    # Only where and what was expected: "input" and the name of an unknown key were sent to us.
    fields = [{"field": _field(error), "expected": str(error["msg"])} for error in errors]
    return _problem(422, "expected other values in the fields named here", fields=fields)


def _field(error: Mapping[str, Any]) -> str:
    steps = [str(step) for step in error["loc"]]
    if error["type"] == "extra_forbidden":
        steps[-1] = "(unknown)"
    return ".".join(steps)


async def _busy(_: Request, exc: Exception) -> JSONResponse:
    if not isinstance(exc, OperationalError):
        raise exc
    return _problem(
        503,
        "expected the database to answer in time, found it busy; nothing was changed, try again",
        headers={"Retry-After": "1"},
    )


async def _gone(_: Request, __: Exception) -> JSONResponse:
    return _problem(400, "expected the whole body, found the connection closed before its end")
