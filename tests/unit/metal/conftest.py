"""A Metal of its own for each test: SQLite in a temporary folder, keys in memory, no network."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

METAL = Path(__file__).parents[3] / "examples" / "metal"
if str(METAL) not in sys.path:
    sys.path.insert(0, str(METAL))

from assay.keys import MemoryKeyService  # noqa: E402 - after the path above
from metal.api import create_app  # noqa: E402 - after the path above
from metal.client import Caller, Client  # noqa: E402 - after the path above
from metal.logs import open_log  # noqa: E402 - after the path above
from metal.settings import Settings  # noqa: E402 - after the path above
from metal.stores import Stores, open_stores  # noqa: E402 - after the path above

ADMIN = "operator-of-the-tests"


class InProcess(httpx.BaseTransport):
    """Hands requests to an ASGI application, for a client without a network."""

    def __init__(self, app: Any) -> None:
        self._app = httpx.ASGITransport(app)
        self._runner = asyncio.Runner()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        async def handle() -> tuple[int, Any, bytes]:
            content = request.read()
            inner = httpx.Request(
                request.method, request.url, headers=request.headers, content=content
            )
            response = await self._app.handle_async_request(inner)
            return response.status_code, response.headers, await response.aread()

        status, headers, body = self._runner.run(handle())
        return httpx.Response(status, headers=headers, content=body)

    def close(self) -> None:
        self._runner.close()


@dataclass
class Company:
    """A running Metal.

    Attributes:
        settings: its settings.
        stores: its stores.
        app: its application.
        client: the operator's client.
        service: its key service.
    """

    settings: Settings
    stores: Stores
    app: Any
    client: Client
    service: MemoryKeyService
    _opened: ExitStack = field(repr=False, default_factory=ExitStack)

    @property
    def http(self) -> httpx.Client:
        return self.client.operator.http

    def tenant(self, name: str = "Hopper Analytics") -> Caller:
        return self.client.sign_up(name)

    def raw_bytes(self) -> dict[str, bytes]:
        """Every file that the company keeps, the write-ahead log among them."""
        return {
            str(path.relative_to(self.settings.data)): path.read_bytes()
            for path in sorted(self.settings.data.rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def open_company(tmp_path: Path) -> Iterator[Callable[..., Company]]:
    """Opens a Metal; variables of its environment are arguments."""
    service = MemoryKeyService()
    with ExitStack() as opened:

        def make(**environment: str) -> Company:
            settings = Settings.from_environment({"METAL_HOME": str(tmp_path), **environment})
            stores = opened.enter_context(open_stores(settings, {}, key_service=service))
            log = opened.enter_context(open_log(settings.log_file))
            app = create_app(stores, settings, admin_token=ADMIN, log=log)
            http = opened.enter_context(
                httpx.Client(base_url="https://localhost", transport=InProcess(app))
            )
            return Company(settings, stores, app, Client(Caller(http, ADMIN)), service)

        yield make


@pytest.fixture
def company(open_company: Callable[..., Company]) -> Company:
    """A Metal with its usual settings."""
    return open_company()
