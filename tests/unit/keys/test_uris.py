from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from assay import keys
from assay.core import DataKeyClass
from assay.keys import (
    KeyExistsError,
    Keyring,
    KeyUriError,
    MemoryDataKeyTable,
    MemoryKeyService,
    create_key,
    create_signing_key,
    key_custody,
    leaky_key,
    open_key_service,
    open_signer,
)

ENVIRONMENT = {"ASSAY_PASSPHRASE": "correct horse battery"}


def test_the_embedded_scheme_from_end_to_end(tmp_path: Path) -> None:
    kek, log = "embedded:keys.json", "embedded:keys.json?object=log"
    create_key(kek, directory=tmp_path, environment=ENVIRONMENT)
    create_signing_key(log, directory=tmp_path, environment=ENVIRONMENT)
    with pytest.raises(KeyExistsError):
        create_key(kek, directory=tmp_path, environment=ENVIRONMENT)
    service = open_key_service(kek, directory=tmp_path, environment=ENVIRONMENT)
    key = Keyring(service, MemoryDataKeyTable()).current("a", DataKeyClass.ROWS)
    assert len(key.material) == 32
    signer = open_signer(log, directory=tmp_path, environment=ENVIRONMENT)
    assert len(signer.sign(b"")) == 64
    custody = key_custody(kek, directory=tmp_path, environment=ENVIRONMENT)
    assert custody.store is not None
    assert custody.store.kdf_parameters["n"] == 2**17
    with leaky_key(kek, directory=tmp_path, environment=ENVIRONMENT) as twin:
        found = key_custody(twin, directory=tmp_path, environment=ENVIRONMENT)
        assert found.store is not None
        assert found.store.mode == "0644"


@pytest.mark.parametrize("uri", ["", "kek", "aws:kms", "PKCS11:token=a", "hunter2-secret:x"])
def test_unknown_schemes_are_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(KeyUriError, match=r"pkcs11"):
        open_key_service(uri, directory=tmp_path, environment={})


class FoundEntryPoint:
    """What `entry_points` gives for a third party's scheme."""

    def __init__(self, name: str, provider: type) -> None:
        self.name = name
        self._provider = provider

    def load(self) -> type:
        return self._provider


class SafeProvider:
    """A third party's provider."""

    def open_key_service(
        self, uri: str, directory: Path, environment: Mapping[str, str]
    ) -> MemoryKeyService:
        return MemoryKeyService(name=uri)


def test_a_third_party_adds_a_scheme_but_replaces_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def entry_points(group: str) -> list[FoundEntryPoint]:
        asked.append(group)
        return [FoundEntryPoint("safe", SafeProvider), FoundEntryPoint("embedded", SafeProvider)]

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    service = open_key_service("safe:box", directory=tmp_path, environment={})
    assert service.uri == "memory:safe:box"
    assert asked == ["assay.keys"]
    with pytest.raises(keys.KeysError):
        open_key_service("embedded:gone", directory=tmp_path, environment=ENVIRONMENT)
    with pytest.raises(KeyUriError, match="embedded, pkcs11, safe, vault, found 'other'"):
        open_key_service("other:x", directory=tmp_path, environment={})


def test_the_room_exports_what_it_promises() -> None:
    assert sorted(keys.__all__, key=str.casefold) == sorted(
        (name for name in vars(keys) if name in keys.__all__), key=str.casefold
    )
    for name in keys.__all__:
        assert getattr(keys, name) is not None


def test_the_room_is_imported_without_a_pkcs11_library() -> None:
    code = (
        "import sys, assay.keys\n"
        "heavy = {'pkcs11', 'sqlalchemy'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
