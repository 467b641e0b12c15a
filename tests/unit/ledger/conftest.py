"""A signer from a seed, vectors, and a log in a folder of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assay.core import AssayError
from assay.ledger import FileLog, LedgerError


class SeedSigner:
    """An Ed25519 key that counts its signatures and can be told to fail."""

    def __init__(self, seed: bytes = bytes(range(32))) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.signed: list[bytes] = []
        self.broken = False
        self.lies = False

    def public_key(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        if self.broken:
            raise AssayError("the token is gone")
        self.signed.append(message)
        return bytes(64) if self.lies else self._key.sign(message)


@pytest.fixture
def new_signer() -> type[SeedSigner]:
    return SeedSigner


@pytest.fixture
def signer() -> SeedSigner:
    return SeedSigner()


@pytest.fixture
def open_log(tmp_path: Path, signer: SeedSigner) -> Callable[[], FileLog]:
    """Opens the same log, each time anew."""
    return lambda: FileLog.open(tmp_path / "log", "example.com/log", signer)


@pytest.fixture(scope="session")
def vectors(repository: Path) -> Callable[[str], Any]:
    def load(name: str) -> Any:
        return json.loads((repository / "tests" / "vectors" / name).read_text(encoding="utf-8"))

    return load


@pytest.fixture(scope="session")
def refused() -> Callable[[dict[str, Any], Callable[[], object]], None]:
    """Asserts that the work raises exactly the error that the vector names."""

    def check(case: dict[str, Any], work: Callable[[], object]) -> None:
        found = "accepted"
        try:
            work()
        except LedgerError as exc:
            found = type(exc).__name__
        assert found == case["error"], case["name"]

    return check
