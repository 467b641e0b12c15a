"""Keys in a file sealed under a passphrase: the stand-in where there is no PKCS#11 token.

Fidelity is ``emulated``: the process that opens the file has the keys in its memory, and whoever
has file and passphrase has the keys.

Specification: ``spec/embedded-key-store.md``.

Example:
    >>> uri = "embedded:keys.json?passphrase-source=file:passphrase"
    >>> service = EmbeddedProvider().open_key_service(uri, Path("."), os.environ)  # doctest: +SKIP
"""

from __future__ import annotations

import base64
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from assay.core import Fidelity, resolve_reference
from assay.keys.embedded_file import (
    add_key,
    pick_key,
    read_badly_kept_file,
    read_key,
    store_facts,
)
from assay.keys.embedded_format import SMALLEST_N, ScryptParameters, StoredKey
from assay.keys.embedded_slots import open_any_store, recovery_of
from assay.keys.embedded_uri import EmbeddedUri, parse_embedded_uri
from assay.keys.errors import KeyServiceError, PassphraseError
from assay.keys.service import Custody, ExportAttempt, KeyOrigin, KeyService
from assay.keys.wrapping import (
    DATA_KEY_BYTES,
    NONCE_BYTES,
    require_data_key,
    unwrap_with,
    wrap_with,
)

_ALGORITHMS = {"aes-256": "AES-256-GCM", "ed25519": "Ed25519"}


class _EmbeddedKey:
    """What a KEK and a signing key have in common: a file, a name in it, facts."""

    def __init__(self, path: Path, uri: EmbeddedUri, key: StoredKey) -> None:
        self._path = path
        self._uri = uri.without_secrets()
        self._key: StoredKey | None = key

    @property
    def uri(self) -> str:
        """Which key: the file and the key's name."""
        return self._uri

    @property
    def fidelity(self) -> Fidelity:
        """Always ``emulated``."""
        return Fidelity.EMULATED

    def custody(self) -> Custody:
        """Look at the file, and try to open it without the passphrase.

        Raises:
            KeyStoreError: the file went away or is no key store any more.
        """
        return _custody(self._path, self._uri, self._open(), read_badly_kept_file(self._path))

    def close(self) -> None:
        """Let go of the key; a second call does nothing."""
        self._key = None

    def _open(self) -> StoredKey:
        if self._key is None:
            raise KeyServiceError(f"expected an open key {self._uri}, found one that was closed")
        return self._key


class EmbeddedKeyService(_EmbeddedKey):
    """A KEK in an embedded key store."""

    def generate_data_key(self, context: Mapping[str, str]) -> tuple[bytes, bytes]:
        """Make a data key: 32 bytes, and the same wrapped in 61 bytes."""
        data_key = os.urandom(DATA_KEY_BYTES)
        cipher = AESGCM(self._open().material)
        return data_key, wrap_with(cipher, os.urandom(NONCE_BYTES), data_key, context)

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Open a wrapped data key.

        Raises:
            UnwrapError: altered bytes, or another KEK or context.
        """
        return unwrap_with(AESGCM(self._open().material), wrapped, context)

    def rewrap(
        self, wrapped: bytes, context: Mapping[str, str], *, wrapped_by: KeyService | None = None
    ) -> bytes:
        """Wrap the same data key anew, with another nonce.

        Raises:
            UnwrapError: altered bytes, or another KEK or context.
            KeyServiceError: the other service failed.
        """
        data_key = require_data_key((wrapped_by or self).unwrap(wrapped, context))
        cipher = AESGCM(self._open().material)
        return wrap_with(cipher, os.urandom(NONCE_BYTES), data_key, context)


class EmbeddedSigner(_EmbeddedKey):
    """An Ed25519 key in an embedded key store."""

    def public_key(self) -> bytes:
        """The public key: 32 bytes as in RFC 8032."""
        return self._private_key().public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """The signature of the message: 64 bytes as in RFC 8032."""
        return self._private_key().sign(message)

    def _private_key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self._open().material)


class EmbeddedProvider:
    """The scheme ``embedded``.

    Args:
        parameters: cost of the key derivation of what it creates; the default of the
            specification when it is left out.
    """

    def __init__(self, parameters: ScryptParameters | None = None) -> None:
        self._parameters = parameters

    def open_key_service(
        self, uri: str, directory: Path, environment: Mapping[str, str]
    ) -> EmbeddedKeyService:
        """Open the KEK that a URI names."""
        parsed, path, passphrase = _resolved(uri, directory, environment)
        key = read_key(path, parsed.object, "aes-256", passphrase)
        return EmbeddedKeyService(path, parsed, key)

    def open_signer(
        self, uri: str, directory: Path, environment: Mapping[str, str]
    ) -> EmbeddedSigner:
        """Open the Ed25519 key that a URI names."""
        parsed, path, passphrase = _resolved(uri, directory, environment)
        key = read_key(path, parsed.object, "ed25519", passphrase)
        return EmbeddedSigner(path, parsed, key)

    def create_key(self, uri: str, directory: Path, environment: Mapping[str, str]) -> None:
        """Add a KEK to the file; make the file when there is none."""
        parsed, path, passphrase = _resolved(uri, directory, environment)
        add_key(path, parsed.object, "aes-256", passphrase, self._parameters)

    def create_signing_key(self, uri: str, directory: Path, environment: Mapping[str, str]) -> None:
        """Add an Ed25519 key to the file; make the file when there is none."""
        parsed, path, passphrase = _resolved(uri, directory, environment)
        add_key(path, parsed.object, "ed25519", passphrase, self._parameters)

    def key_custody(self, uri: str, directory: Path, environment: Mapping[str, str]) -> Custody:
        """The facts about a KEK, also when others may read its file."""
        parsed, path, passphrase = _resolved(uri, directory, environment)
        data = read_badly_kept_file(path)
        key = pick_key(data, path, parsed.object, "aes-256", passphrase)
        return _custody(path, parsed.without_secrets(), key, data)

    @contextmanager
    def leaky_key(self, uri: str, directory: Path, environment: Mapping[str, str]) -> Iterator[str]:
        """A KEK of its own in a file that all users of the machine may read, for a drill."""
        parse_embedded_uri(uri)
        with tempfile.TemporaryDirectory(prefix="assay-leaky-key-") as folder:
            path, passphrase = Path(folder, "keys.json"), Path(folder, "passphrase")
            passphrase.write_text(secrets.token_hex(16), encoding="utf-8")
            twin = EmbeddedUri(str(path), "kek", f"file:{passphrase}").with_query()
            cheap = EmbeddedProvider(ScryptParameters(n=SMALLEST_N))
            cheap.create_key(twin, directory, environment)
            path.chmod(0o644)
            yield twin


def _resolved(
    uri: str, directory: Path, environment: Mapping[str, str]
) -> tuple[EmbeddedUri, Path, str]:
    parsed = parse_embedded_uri(uri)
    passphrase = resolve_reference(parsed.passphrase_source, directory, environment)
    return parsed, directory / parsed.path, passphrase


def _custody(path: Path, uri: str, key: StoredKey, data: bytes) -> Custody:
    return Custody(
        provider="embedded",
        fidelity=Fidelity.EMULATED,
        uri=uri,
        algorithm=_ALGORITHMS[key.type],
        origin=KeyOrigin(generated_inside=None, mechanism="random generator of the machine"),
        attributes={"extractable": True, "sensitive": False, "token": False},
        export_attempts=(
            _search(data, key.material),
            _open_without(data, "open the file under an empty passphrase", ""),
            _open_without(data, "open the file under another passphrase", secrets.token_hex(16)),
        ),
        residual_risk=_risk(data),
        store=store_facts(path, data),
    )


def _risk(data: bytes) -> str:
    slot = recovery_of(data)
    shares = (
        f", so do any {slot.threshold} of its {len(slot.custodians)} custodians together"
        if slot
        else ""
    )
    return (
        f"Whoever holds the file and its passphrase holds the keys{shares}, and so does all code "
        "in a process that opened it."
    )


def _search(data: bytes, material: bytes) -> ExportAttempt:
    """Look for the material in the file as it stands on the disk."""
    forms = {
        "raw": material,
        "hexadecimal": material.hex().encode(),
        # without the last characters, which depend on what follows
        "base64": base64.b64encode(material)[:40],
    }
    lowered = data.lower()
    found = [
        name
        for name, form in forms.items()
        if form in data or (name == "hexadecimal" and form in lowered)
    ]
    return ExportAttempt(
        "find the material in the file",
        refused=not found,
        answer=f"found in {', '.join(found)}" if found else "not found: raw, hexadecimal, base64",
    )


def _open_without(data: bytes, door: str, passphrase: str) -> ExportAttempt:
    try:
        open_any_store(data, passphrase)
    except PassphraseError:
        return ExportAttempt(door, refused=True, answer="PassphraseError")
    return ExportAttempt(door, refused=False, answer="it opened")
