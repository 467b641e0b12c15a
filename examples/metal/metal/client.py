"""A client of the API, for programs that come with Metal: it verifies the server's certificate.

Example:
    >>> with open_client(os.environ) as client:             # doctest: +SKIP
    ...     tenant = client.sign_up("Hopper Analytics")
    ...     tenant.send("POST", "/v1/collections", 201, json={"name": "papers"})
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from assay.core import resolve_reference
from metal.errors import RefusedError
from metal.settings import Settings

_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Caller:
    """Someone who calls the API with one credential.

    Attributes:
        http: the connection.
        credential: what is shown as a bearer; not in the ``repr``.
    """

    http: httpx.Client
    credential: str

    def __repr__(self) -> str:
        return f"Caller({self.http.base_url})"

    def send(
        self,
        method: str,
        path: str,
        expected: int,
        *,
        json: object = None,
        content: bytes | Iterable[bytes] | None = None,
    ) -> httpx.Response:
        """Send one request.

        Args:
            method: the HTTP method.
            path: the path, from ``/``, with its query.
            expected: the status that has to come back.
            json: a body as JSON.
            content: a body as bytes, or pieces of it that are streamed.

        Raises:
            RefusedError: another status came back, or no answer at all.
        """
        headers = {"Authorization": f"Bearer {self.credential}"}
        shown = f"{method} {path.partition('?')[0]}"
        try:
            response = self.http.request(
                method,
                path,
                json=json,
                content=content,
                headers=headers,
                timeout=_TIMEOUT_SECONDS,
            )
        except httpx.HTTPError as exc:
            raise RefusedError(
                f"expected an answer to {shown}, found none ({type(exc).__name__}); is the server "
                "running?"
            ) from exc
        if response.status_code != expected:
            raise RefusedError(f"expected {expected} for {shown}, found {response.status_code}")
        return response


@dataclass(frozen=True, slots=True)
class Client:
    """The operator's side.

    Attributes:
        operator: calls with the admin token.
    """

    operator: Caller

    def sign_up(self, name: str) -> Caller:
        """Make a tenant, and call as that tenant from then on."""
        made: dict[str, Any] = self.operator.send(
            "POST", "/v1/tenants", 201, json={"name": name}
        ).json()
        return Caller(self.operator.http, made["api_key"])

    def stranger(self) -> Caller:
        """Someone with a credential that nobody was given."""
        return Caller(self.operator.http, "metal_nobody")


def server_url(environment: Mapping[str, str], settings: Settings) -> str:
    """Where the server is: ``METAL_URL``, or what a running server wrote into its folder.

    Raises:
        RefusedError: neither is there.
    """
    if environment.get("METAL_URL"):
        return environment["METAL_URL"]
    try:
        found: dict[str, Any] = json.loads(settings.address_file.read_bytes())
    except (OSError, ValueError) as exc:
        raise RefusedError(
            "expected METAL_URL, or a running server; start one with: python -m metal serve"
        ) from exc
    return str(found["https"])


@contextmanager
def open_client(environment: Mapping[str, str]) -> Iterator[Client]:
    """Open a client for the server that the environment names.

    Args:
        environment: as in `metal.settings`, and optionally ``METAL_URL``.

    Raises:
        RefusedError: no server is named, or its authority's file is missing.
        SecretReferenceError: the admin token is not there.
    """
    settings = Settings.from_environment(environment)
    url = server_url(environment, settings)
    try:
        context = ssl.create_default_context(cafile=str(settings.authority))
    except OSError as exc:
        raise RefusedError(
            f"expected the server's authority in {settings.authority}, found none"
        ) from exc
    credential = resolve_reference(settings.admin_token, settings.home, environment)
    with httpx.Client(
        base_url=url, verify=context, trust_env=False, timeout=_TIMEOUT_SECONDS
    ) as http:
        yield Client(Caller(http, credential))
