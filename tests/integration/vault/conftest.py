"""A Vault for tests: HashiCorp Vault's server with the transit engine, built from ``server/``.

Each test process has one, on a free port of this machine, with TLS and files of its own; each test
has a mount of its own in it. Tests that seal or stop a server start another.

With ``ASSAY_VAULT_ADDR``, ``ASSAY_VAULT_TOKEN`` (of a root token) and ``ASSAY_VAULT_CA`` set, the
tests that stop nothing run against the Vault or OpenBao there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.go_program import built
from tests.vault_server import Transit, VaultServer, mounted, own_server

SOURCE = Path(__file__).with_name("server")


@pytest.fixture(scope="session")
def vault_program(needs: Callable[[str], None], pytestconfig: pytest.Config) -> Path:
    """The server's program."""
    needs("go")
    return built("vault", SOURCE, pytestconfig, takes="five to ten minutes")


@pytest.fixture(scope="session")
def vault_server(request: pytest.FixtureRequest) -> Iterator[VaultServer]:
    """The Vault of this test process; tests do not stop it."""
    address = os.environ.get("ASSAY_VAULT_ADDR")
    if address:
        ca = Path(os.environ["ASSAY_VAULT_CA"])
        yield VaultServer(address.removesuffix("/"), ca, os.environ["ASSAY_VAULT_TOKEN"])
        return
    yield from own_server(request.getfixturevalue("vault_program"))


@pytest.fixture
def stoppable_server(vault_program: Path) -> Iterator[VaultServer]:
    """A Vault of this test alone, which it may seal and stop."""
    yield from own_server(vault_program)


@pytest.fixture
def transit(vault_server: VaultServer, tmp_path: Path) -> Iterator[Transit]:
    """A mount of this test alone."""
    made = mounted(vault_server, tmp_path)
    yield made
    vault_server.api("DELETE", f"sys/mounts/{made.mount}")
