from __future__ import annotations

import importlib.util
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest
from playwright.sync_api import Browser, sync_playwright

_ARGUMENTS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base names it
        """Say nothing."""


@pytest.fixture(scope="module")
def browser(needs: Callable[[str], None]) -> Iterator[Browser]:
    needs("chromium")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def sample() -> ModuleType:
    path = Path(__file__).parents[1] / "unit" / "web" / "sample_page.py"
    spec = importlib.util.spec_from_file_location("sample_page", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, sample: ModuleType) -> Iterator[str]:
    """The base URL of a server on loopback; the pages are /sample/, /kept/, /hostile/, /past/."""
    from assay.web import build_trust_page

    root = tmp_path_factory.mktemp("served")
    build_trust_page(sample.sample_page(), root / "sample")
    build_trust_page(sample.kept_page(), root / "kept")
    build_trust_page(sample.hostile_page(), root / "hostile")
    build_trust_page(sample.sample_page(valid_until=sample.PROVEN_AT), root / "past")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
