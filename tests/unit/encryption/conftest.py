"""What the tests of the room share: its vectors, data keys and a keyring."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from assay.core import DataKeyClass
from assay.keys import DataKey, Keyring, MemoryDataKeyTable, MemoryKeyService

VECTORS = Path(__file__).parents[2] / "vectors"


@pytest.fixture(scope="session")
def generator() -> ModuleType:
    """The program that writes the vectors."""
    path = VECTORS / "generate_encryption_vectors.py"
    spec = importlib.util.spec_from_file_location("generate_encryption_vectors", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def vectors() -> Callable[[str], dict[str, Any]]:
    """The vectors of a format by name."""
    return lambda name: json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture
def keyring() -> Keyring:
    return Keyring(MemoryKeyService(), MemoryDataKeyTable())


@pytest.fixture
def key(keyring: Keyring) -> DataKey:
    return keyring.current("tenant-1", DataKeyClass.ROWS)
