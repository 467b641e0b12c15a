"""Assay's own client of AWS KMS (``aws-kms:``), whole, against `assay kms serve` on SoftHSM2."""

from __future__ import annotations

import os
import secrets
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from assay.assemble import create_keys
from assay.core import DataKeyClass, Fidelity
from assay.keys import (
    KeyAccessError,
    KeyDisabledError,
    KeyExistsError,
    KeyNotFoundError,
    Keyring,
    KeysError,
    KeyServiceUnavailableError,
    KeyUriError,
    MemoryDataKeyTable,
    MemoryKeyService,
    SigningError,
    UnwrapError,
    create_key,
    create_signing_key,
    key_custody,
    leaky_key,
    open_key_service,
    open_signer,
)
from assay.keys.service_wrapping import split_service_wrapped

from ..kms_server import REGION
from .conftest import Kms

CONTEXT = {"owner": "tenant-1", "class": "rows", "version": "1"}


@dataclass(frozen=True)
class Place:
    """A name at the service that no other test has."""

    kms: Kms
    alias: str
    folder: Path

    def uri(self, key: str | None = None, **options: str) -> str:
        ca = self.kms.server.folder / "ca.pem"
        found = {"region": REGION, "endpoint": self.kms.server.url, "ca": str(ca), **options}
        query = "&".join(f"{name}={value}" for name, value in found.items())
        return f"aws-kms:{key or self.alias}?{query}"

    @property
    def options(self) -> dict[str, Any]:
        return {"directory": self.folder, "environment": os.environ}

    def open(self, key: str | None = None, **options: str) -> Any:
        return open_key_service(self.uri(key, **options), **self.options)

    @property
    def arn(self) -> str:
        return str(self.kms.client.describe_key(KeyId=self.alias)["KeyMetadata"]["Arn"])


@pytest.fixture
def place(kms: Kms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in kms.admin.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    return Place(kms, f"alias/p-{secrets.token_hex(6)}", tmp_path)


def test_a_kek_wraps_unwraps_and_never_replaces_one(place: Place) -> None:
    create_key(place.uri(), **place.options)
    with pytest.raises(KeyExistsError):
        create_key(place.uri(), **place.options)
    service, other = place.open(), place.open(place.arn)
    data_key, wrapped = service.generate_data_key(CONTEXT)
    assert other.unwrap(wrapped, CONTEXT) == data_key
    assert service.uri == f"aws-kms:{place.arn}" == split_service_wrapped(wrapped).kek
    assert service.fidelity is Fidelity.EMULATED
    for changed in ({**CONTEXT, "owner": "tenant-2"}, {**CONTEXT, "more": ""}):
        with pytest.raises(UnwrapError):
            service.unwrap(wrapped, changed)
    with pytest.raises(UnwrapError):
        service.unwrap(wrapped[:-1] + bytes([wrapped[-1] ^ 1]), CONTEXT)
    with pytest.raises(KeyNotFoundError):
        place.open("alias/nobody")


def test_what_was_wrapped_moves_to_the_newest_version(place: Place) -> None:
    create_key(place.uri(), **place.options)
    service = place.open()
    data_key, wrapped = service.generate_data_key(CONTEXT)
    place.kms.client.rotate_key_on_demand(KeyId=place.arn)
    assert service.unwrap(wrapped, CONTEXT) == data_key
    moved = service.rewrap(wrapped, CONTEXT)
    assert service.unwrap(moved, CONTEXT) == data_key
    # spec/kms.md, Ciphertext: bytes 17 to 21 name the version of the backing key
    versions = [split_service_wrapped(each).ciphertext[17:21] for each in (wrapped, moved)]
    assert versions == [b"\0\0\0\1", b"\0\0\0\2"]
    elsewhere = MemoryKeyService()
    inside = service.rewrap(elsewhere.rewrap(moved, CONTEXT, wrapped_by=service), CONTEXT,
                            wrapped_by=elsewhere)  # fmt: skip
    assert service.unwrap(inside, CONTEXT) == data_key


def test_a_moved_alias_changes_nothing_for_what_is_wrapped(place: Place) -> None:
    create_key(place.uri(), **place.options)
    data_key, wrapped = place.open().generate_data_key(CONTEXT)
    place.kms.client.update_alias(AliasName=place.alias, TargetKeyId=place.kms.key())
    service = place.open()
    assert service.unwrap(wrapped, CONTEXT) == data_key
    moved = service.rewrap(wrapped, CONTEXT)
    assert split_service_wrapped(moved).kek == f"aws-kms:{place.arn}"
    assert service.unwrap(moved, CONTEXT) == data_key


def test_a_multi_region_key_is_one_of_this_region(place: Place) -> None:
    service = place.open(place.kms.key(MultiRegion=True))
    data_key, wrapped = service.generate_data_key(CONTEXT)
    assert "/mrk-" in service.uri
    assert service.unwrap(wrapped, CONTEXT) == data_key


def test_an_ed25519_key_signs(place: Place) -> None:
    create_signing_key(place.uri(), **place.options)
    signer = open_signer(place.uri(), **place.options)
    public = Ed25519PublicKey.from_public_bytes(signer.public_key())
    for message in (b"\0", b"head", bytes(4096)):
        public.verify(signer.sign(message), message)
    with pytest.raises(SigningError, match="1 to 4096 bytes"):
        signer.sign(bytes(4097))
    with pytest.raises(KeyUriError):
        place.open()
    custody = signer.custody()
    assert custody.algorithm == "Ed25519"
    place.kms.client.disable_key(KeyId=place.arn)
    with pytest.raises(SigningError, match="enable the key"):
        signer.sign(b"head")


def test_it_is_no_key_of_a_log(place: Place) -> None:
    """Statements may be longer than what AWS KMS signs: refused before any key is made."""
    create_key(place.uri(), **place.options)
    log = place.uri("alias/log-of-nobody")
    programme = place.folder / "assay.yaml"
    programme.write_text(
        f"organisation: Metal\nkeys: {place.uri()}\nassets: [{{id: code, kind: repository, path: .}}]\npromises: all\n"
        f"log: {{store: log, origin: metal.example/assay, signer: '{log}'}}\n"
    )
    with pytest.raises(KeyUriError, match="signs statements of any length"):
        create_keys(programme)
    assert not (place.folder / "log").exists()
    with pytest.raises(KeyNotFoundError):
        open_signer(log, **place.options)


def test_a_key_that_may_not_be_used_is_named(
    place: Place, reader: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    create_key(place.uri(), **place.options)
    service = place.open()
    data_key, wrapped = service.generate_data_key(CONTEXT)
    place.kms.client.disable_key(KeyId=place.arn)
    with pytest.raises(KeyDisabledError, match="enable the key"):
        service.unwrap(wrapped, CONTEXT)
    with pytest.raises(KeyDisabledError):
        place.open()
    place.kms.client.enable_key(KeyId=place.arn)
    assert service.unwrap(wrapped, CONTEXT) == data_key
    place.kms.client.schedule_key_deletion(KeyId=place.arn, PendingWindowInDays=7)
    with pytest.raises(KeyDisabledError, match="pending deletion"):
        service.unwrap(wrapped, CONTEXT)
    for name, value in reader.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(KeyAccessError, match="kms:DescribeKey"):
        place.open()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x" * 40)
    with pytest.raises(KeyAccessError, match="credentials"):
        place.open()


def test_custody_tells_what_the_service_is(place: Place) -> None:
    create_key(place.uri(), **place.options)
    custody = key_custody(place.uri(), **place.options)
    assert (custody.provider, custody.fidelity) == ("aws-kms", Fidelity.EMULATED)
    assert custody.origin.generated_inside is True
    assert custody.export_attempts
    assert all(attempt.refused for attempt in custody.export_attempts)


@pytest.fixture
def restored(kms: Kms) -> Iterator[None]:
    """The service of the others runs again afterwards."""
    yield
    if kms.server.process is None:
        kms.server.start()


def test_a_service_that_is_killed_and_comes_back_loses_no_key(place: Place, restored: None) -> None:
    """Whoever asks while it is away waits, within the deadline, or is told; nothing else is seen."""
    create_key(place.uri(), **place.options)
    port = int(place.kms.server.url.rpartition(":")[2])
    table = MemoryDataKeyTable()
    keyring = Keyring(place.open(deadline="120"), table)
    enough, last = threading.Event(), threading.Event()

    def make(thread: int) -> tuple[dict[str, bytes], int]:
        made: dict[str, bytes] = {}
        away = 0
        while not last.is_set():
            owner = f"{thread}-{len(made)}-{away}"
            try:
                made[owner] = keyring.current(owner, DataKeyClass.ROWS).material
            except KeyServiceUnavailableError:
                away += 1
            if len(made) >= 5:
                enough.set()
        return made, away

    with ThreadPoolExecutor(4) as threads:
        running = [threads.submit(make, thread) for thread in range(4)]
        try:
            for _ in range(2):
                enough.clear()
                assert enough.wait(60), "nobody makes keys"
                place.kms.server.stop(signal.SIGKILL)
                place.kms.server.start(port)
            enough.clear()
            assert enough.wait(60), "nobody makes keys"
        finally:
            last.set()
    found = [each.result() for each in running]
    made = {owner: material for each, _ in found for owner, material in each.items()}
    assert sum(away for _, away in found) == 0, "it was back within the deadline"
    assert set(table.owners(DataKeyClass.ROWS)) == set(made)
    cold = Keyring(place.open(), table)
    for owner, material in made.items():
        assert cold.current(owner, DataKeyClass.ROWS).material == material


def test_a_drill_makes_no_leaky_key_here(place: Place) -> None:
    """Imported material is refused by the service, so the drill's twin cannot be made, by name."""
    create_key(place.uri(), **place.options)
    with pytest.raises(KeysError, match="it answered UnsupportedOperationException"):
        with leaky_key(place.uri(), **place.options):
            pass
