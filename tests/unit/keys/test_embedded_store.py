from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from assay.core import Fidelity, SecretReferenceError, to_canonical_json
from assay.keys import (
    Custody,
    KeyExistsError,
    KeyNotFoundError,
    KeyServiceError,
    KeyStoreError,
    KeyStoreFormatError,
    KeyStorePermissionError,
    KeyUriError,
    PassphraseError,
    UnwrapError,
)
from assay.keys.embedded import EmbeddedProvider, _search
from assay.keys.embedded_file import add_key, read_key
from assay.keys.embedded_format import ScryptParameters
from assay.keys.embedded_uri import EmbeddedUri, parse_embedded_uri

CHEAP = ScryptParameters(n=2**14)
PASSPHRASE = "correct horse battery"
ENVIRONMENT = {"ASSAY_PASSPHRASE": PASSPHRASE}
CONTEXT = {"owner": "a", "class": "rows", "version": "1"}
URI = "embedded:keys.json"
LOG = "embedded:keys.json?object=log"


@pytest.fixture
def provider() -> EmbeddedProvider:
    return EmbeddedProvider(CHEAP)


@pytest.fixture
def store(tmp_path: Path, provider: EmbeddedProvider) -> Path:
    provider.create_key(URI, tmp_path, ENVIRONMENT)
    return tmp_path / "keys.json"


def test_a_kek_wraps_and_unwraps(store: Path, provider: EmbeddedProvider) -> None:
    service = provider.open_key_service(URI, store.parent, ENVIRONMENT)
    data_key, wrapped = service.generate_data_key(CONTEXT)
    again = provider.open_key_service(URI, store.parent, ENVIRONMENT)
    assert again.unwrap(wrapped, CONTEXT) == data_key
    with pytest.raises(UnwrapError):
        again.unwrap(wrapped, {**CONTEXT, "owner": "b"})
    assert (service.uri, service.fidelity) == ("embedded:keys.json?object=kek", Fidelity.EMULATED)
    service.close()
    service.close()
    with pytest.raises(KeyServiceError, match="was closed"):
        service.unwrap(wrapped, CONTEXT)


def test_a_signing_key_signs(store: Path, provider: EmbeddedProvider) -> None:
    provider.create_signing_key(LOG, store.parent, ENVIRONMENT)
    signer = provider.open_signer(LOG, store.parent, ENVIRONMENT)
    public = Ed25519PublicKey.from_public_bytes(signer.public_key())
    public.verify(signer.sign(b"head"), b"head")
    provider.open_key_service(URI, store.parent, ENVIRONMENT)
    custody = signer.custody()
    assert (custody.algorithm, custody.uri) == ("Ed25519", LOG)


def test_keys_are_never_overwritten(store: Path, provider: EmbeddedProvider) -> None:
    before = store.read_bytes()
    with pytest.raises(KeyExistsError, match="not overwritten"):
        provider.create_key(URI, store.parent, ENVIRONMENT)
    with pytest.raises(KeyExistsError, match="not overwritten"):
        provider.create_signing_key(URI, store.parent, ENVIRONMENT)
    with pytest.raises(PassphraseError):
        provider.create_key(LOG, store.parent, {"ASSAY_PASSPHRASE": "another passphrase"})
    assert store.read_bytes() == before


def test_every_write_has_a_salt_and_a_nonce_of_its_own(tmp_path: Path) -> None:
    from assay.keys.embedded_format import parse_store

    headers = []
    for name in ("a", "b", "c"):
        add_key(tmp_path / "keys.json", name, "aes-256", PASSPHRASE, CHEAP)
        headers.append(parse_store((tmp_path / "keys.json").read_bytes()))
    assert len({header.salt for header in headers}) == 3
    assert len({header.nonce for header in headers}) == 3


def test_many_processes_add_keys_and_none_is_lost(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from assay.keys.embedded_file import add_key\n"
        "from assay.keys.embedded_format import ScryptParameters\n"
        f"add_key(Path({str(tmp_path / 'keys.json')!r}), sys.argv[1], 'aes-256', "
        f"{PASSPHRASE!r}, ScryptParameters(n=2**14))\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, f"k{at}"]) for at in range(4)]
    assert [process.wait(60) for process in running] == [0] * 4
    for at in range(4):
        read_key(tmp_path / "keys.json", f"k{at}", "aes-256", PASSPHRASE)


def test_the_file_is_closed_to_others(store: Path) -> None:
    assert stat.S_IMODE(store.stat().st_mode) == 0o600
    old = os.umask(0)
    try:
        other = store.with_name("other.json")
        add_key(other, "kek", "aes-256", PASSPHRASE, CHEAP)
    finally:
        os.umask(old)
    assert stat.S_IMODE(other.stat().st_mode) == 0o600
    assert stat.S_IMODE(other.with_name("other.json.lock").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o604, 0o602, 0o700, 0o4600])
def test_a_wider_mode_is_refused_and_the_remedy_named(
    store: Path, provider: EmbeddedProvider, mode: int
) -> None:
    store.chmod(mode)
    with pytest.raises(KeyStorePermissionError, match=f"chmod 600 {store}"):
        provider.open_key_service(URI, store.parent, ENVIRONMENT)
    with pytest.raises(KeyStorePermissionError):
        provider.create_signing_key(LOG, store.parent, ENVIRONMENT)


def test_a_narrower_mode_is_fine(store: Path, provider: EmbeddedProvider) -> None:
    store.chmod(0o400)
    provider.open_key_service(URI, store.parent, ENVIRONMENT)


def symbolic_link(path: Path) -> None:
    path.rename(path.with_name("real.json"))
    path.symlink_to("real.json")


def dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("gone.json")


def named_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize("replace", [symbolic_link, dangling_link, named_pipe])
def test_something_other_than_a_file_is_refused(
    store: Path, provider: EmbeddedProvider, replace: Callable[[Path], None]
) -> None:
    replace(store)
    with pytest.raises(KeyStorePermissionError):
        provider.open_key_service(URI, store.parent, ENVIRONMENT)
    with pytest.raises(KeyStorePermissionError):
        provider.create_signing_key(LOG, store.parent, ENVIRONMENT)


def test_what_is_missing_is_named(store: Path, provider: EmbeddedProvider) -> None:
    folder = store.parent
    with pytest.raises(KeyNotFoundError, match="found no file"):
        provider.open_key_service("embedded:gone.json", folder, ENVIRONMENT)
    with pytest.raises(KeyNotFoundError, match="found only kek"):
        provider.open_key_service(LOG, folder, ENVIRONMENT)
    with pytest.raises(KeyNotFoundError, match="to be ed25519, found aes-256"):
        provider.open_signer(URI, folder, ENVIRONMENT)
    with pytest.raises(SecretReferenceError, match="ASSAY_PASSPHRASE"):
        provider.open_key_service(URI, folder, {})
    with pytest.raises(KeyStoreError, match="expected to write"):
        provider.create_key("embedded:gone/keys.json", folder, ENVIRONMENT)


def test_a_weak_passphrase_makes_no_store(tmp_path: Path, provider: EmbeddedProvider) -> None:
    with pytest.raises(PassphraseError, match="at least 12"):
        provider.create_key(URI, tmp_path, {"ASSAY_PASSPHRASE": "elevenchars"})
    assert not (tmp_path / "keys.json").exists()


def test_a_full_store_is_not_written(store: Path) -> None:
    before = store.read_bytes()
    names = [f"{'n' * 55}{at}" for at in range(400)]
    from assay.keys import embedded_file
    from assay.keys.embedded_format import StoredKey

    full = {name: StoredKey("aes-256", bytes(32)) for name in names}
    original = embedded_file._keys_of
    embedded_file._keys_of = lambda *_: full
    try:
        with pytest.raises(KeyStoreError, match="room for another key"):
            add_key(store, "one-more", "aes-256", PASSPHRASE, CHEAP)
    finally:
        embedded_file._keys_of = original
    assert store.read_bytes() == before


def test_custody_tells_facts_that_survive_json(store: Path, provider: EmbeddedProvider) -> None:
    store.parent.chmod(0o750)
    service = provider.open_key_service(URI, store.parent, ENVIRONMENT)
    custody = service.custody()
    facts = custody.store
    assert facts is not None
    assert (facts.path, facts.mode, facts.directory_mode) == (str(store), "0600", "0750")
    assert facts.owned_by_user
    assert not facts.symbolic_link
    assert (facts.kdf, facts.kdf_parameters) == ("scrypt", {"n": 2**14, "r": 8, "p": 1})
    assert len(custody.export_attempts) == 3
    assert all(attempt.refused for attempt in custody.export_attempts)
    assert custody.fidelity is Fidelity.EMULATED
    plain = msgspec.to_builtins(custody)
    to_canonical_json(plain)
    assert msgspec.convert(plain, Custody) == custody
    assert PASSPHRASE not in repr(custody)
    assert provider.key_custody(URI, store.parent, ENVIRONMENT) == custody


def test_custody_tells_of_a_store_that_would_not_be_opened(
    store: Path, provider: EmbeddedProvider
) -> None:
    store.chmod(0o664)
    symbolic_link(store)
    facts = provider.key_custody(URI, store.parent, ENVIRONMENT).store
    assert facts is not None
    assert facts.symbolic_link


def test_an_open_service_sees_that_its_file_changed(
    store: Path, provider: EmbeddedProvider
) -> None:
    service = provider.open_key_service(URI, store.parent, ENVIRONMENT)
    store.chmod(0o666)
    facts = service.custody().store
    assert facts is not None
    assert facts.mode == "0666"
    store.write_bytes(b"{}")
    with pytest.raises(KeyStoreFormatError):
        service.custody()
    store.unlink()
    with pytest.raises(KeyNotFoundError):
        service.custody()


@pytest.mark.parametrize(
    "form",
    [
        bytes,
        lambda material: material.hex().encode(),
        lambda material: material.hex().upper().encode(),
    ],
    ids=["raw", "hex", "HEX"],
)
def test_material_in_the_file_is_found(form: Callable[[bytes], bytes]) -> None:
    material = os.urandom(32)
    assert _search(b"...", material).refused
    assert not _search(b"..." + form(material) + b"...", material).refused


def test_the_leaky_twin_leaks_and_goes_away(store: Path, provider: EmbeddedProvider) -> None:
    with provider.leaky_key(URI, store.parent, {}) as twin:
        path = Path(parse_embedded_uri(twin).path)
        facts = provider.key_custody(twin, store.parent, {}).store
        assert facts is not None
        assert facts.mode == "0644"
        with pytest.raises(KeyStorePermissionError):
            provider.open_key_service(twin, store.parent, {})
    assert not path.parent.exists()
    assert provider.key_custody(URI, store.parent, ENVIRONMENT).store.mode == "0600"


@pytest.mark.parametrize(
    ("uri", "parsed"),
    [
        ("embedded:keys.json", EmbeddedUri("keys.json")),
        ("embedded:/a/b%20c%3F.json?object=log", EmbeddedUri("/a/b c?.json", "log")),
        (
            "embedded:k?passphrase-source=file:/run/%26x&object=a.b-c_1",
            EmbeddedUri("k", "a.b-c_1", "file:/run/&x"),
        ),
    ],
)
def test_uris(uri: str, parsed: EmbeddedUri) -> None:
    assert parse_embedded_uri(uri) == parsed
    assert parse_embedded_uri(parsed.with_query()) == parsed
    assert "passphrase" not in parsed.without_secrets()


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("pkcs11:token=a", "begins with embedded:"),
        ("embedded:", "the path of a key store"),
        ("embedded:?object=a", "the path of a key store"),
        ("embedded:k?object=a/b", "object= to name a key"),
        ("embedded:k?object=", "a value for object"),
        ("embedded:k?object=a&object=b", "object once"),
        ("embedded:k?colour=red", "found 'colour'"),
        ("embedded:k?passphrase=hunter2", "no passphrase in the"),
        ("embedded:k?passphrase-source=hunter2", "passphrase-source=env:NAME"),
        ("embedded:%ff", "percent-encoded UTF-8"),
        ("embedded:a%00b", "percent-encoded UTF-8"),
        ("embedded:\ud800", "percent-encoded UTF-8"),
    ],
)
def test_refused_uris(uri: str, message: str) -> None:
    with pytest.raises(KeyUriError, match=message) as caught:
        parse_embedded_uri(uri)
    assert "hunter2" not in str(caught.value)
