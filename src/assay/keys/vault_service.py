"""KEKs and signing keys in the transit engine of HashiCorp Vault or OpenBao.

A data key is 32 bytes of this process's random generator, and wrapped by ``encrypt`` with the
encryption context as associated data; ``spec/data-keys.md``, "For the transit engine", says why.
The wrapped form names mount and key; the ciphertext names the key's version, so that what was
wrapped before a rotation still opens.

A data key that is rewrapped passes through this process: the engine's own ``rewrap`` takes no
associated data.

Fidelity is ``emulated``, whatever seals the server: transit keeps its keys in the memory of a
process, and that is no hardware security module.

Example:
    >>> service = VaultProvider().open_key_service(
    ...     "vault:transit/keys/kek?address=https://vault.example:8200", Path("."),
    ...     os.environ)                                                   # doctest: +SKIP
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from assay.core import Fidelity
from assay.keys.errors import (
    KeyAccessError,
    KeyNotFoundError,
    KeyServiceError,
    SigningError,
    UnwrapError,
)
from assay.keys.service import Custody, KeyService
from assay.keys.service_wrapping import join_service_wrapped, split_service_wrapped
from assay.keys.vault import Refusal, Vault
from assay.keys.vault_custody import custody_of
from assay.keys.vault_keys import (
    KEK_TYPE,
    SIGNING_TYPE,
    TransitKey,
    create_transit_key,
    delete_transit_key,
    make_transit_key,
    read_key,
    require_usable,
)
from assay.keys.vault_uri import SCHEME, parse_key_path, parse_vault_uri
from assay.keys.wrapping import (
    DATA_KEY_BYTES,
    does_not_open,
    require_data_key,
    wrap_associated_data,
)

MOST_MESSAGE_BYTES = 512 * 1024  # a server takes no longer text than 1 MiB, in base64

# Nonce, ciphertext and tag of a data key are 60 bytes: 80 characters of base64, without padding.
_CIPHERTEXT = re.compile(rb"vault:v[1-9][0-9]{0,8}:[A-Za-z0-9+/]{80}")
_SIGNATURE = re.compile(r"vault:v([1-9][0-9]{0,8}):([A-Za-z0-9+/]{86}==)")


class _TransitKeyHolder:
    """What a KEK and a signing key have in common: a connection, a name, facts."""

    def __init__(self, vault: Vault, key: TransitKey) -> None:
        self._vault: Vault | None = vault
        self._key = key

    @property
    def uri(self) -> str:
        """Which key: ``vault:MOUNT/keys/NAME``."""
        return self._key.uri

    @property
    def fidelity(self) -> Fidelity:
        """``emulated``: a process that keeps keys in its memory is no HSM."""
        return Fidelity.EMULATED

    def custody(self) -> Custody:
        """What the server says of the key, and its answers to whoever wants it.

        Raises:
            KeyServiceError: the service failed, so nothing can be said.
        """
        vault = self._open()
        return custody_of(vault, read_key(vault, self._key.mount, self._key.name))

    def close(self) -> None:
        """Let go of the connection; a second call does nothing."""
        self._vault = None

    def _open(self) -> Vault:
        if self._vault is None:
            raise KeyServiceError(f"expected an open key {self.uri}, found one that was closed")
        return self._vault


class VaultKeyService(_TransitKeyHolder):
    """A KEK in the transit engine.

    Args:
        vault: the connection.
        key: the KEK.
        random_bytes: where data keys come from.
    """

    def __init__(
        self,
        vault: Vault,
        key: TransitKey,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        super().__init__(vault, key)
        self._random_bytes = random_bytes
        self._binds_context = False

    def generate_data_key(self, context: Mapping[str, str]) -> tuple[bytes, bytes]:
        """Make a data key: 32 bytes, and the same wrapped (version 2).

        Raises:
            KeyServiceError: the service failed.
        """
        data_key = self._random_bytes(DATA_KEY_BYTES)  # step 1
        return data_key, self._wrap(data_key, context)

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Open a wrapped data key, under the KEK that it names.

        Raises:
            UnwrapError: altered bytes, another context, or a KEK of another mount.
            KeyServiceError: the service failed.
        """
        name, ciphertext = self._split(wrapped)
        mount = self._key.mount
        answer = self._open().call(
            "POST",
            f"{mount}/decrypt/{name}",
            f"{SCHEME}:{mount}/keys/{name}",
            {"ciphertext": ciphertext, "associated_data": _associated_data(context)},
        )
        try:
            return require_data_key(base64.b64decode(str(answer.get("plaintext")), validate=True))
        except binascii.Error:
            raise does_not_open() from None  # its message could quote what was opened

    def rewrap(
        self, wrapped: bytes, context: Mapping[str, str], *, wrapped_by: KeyService | None = None
    ) -> bytes:
        """Wrap the same data key anew, under the newest version of this KEK.

        Raises:
            UnwrapError: altered bytes, or another KEK or context.
            KeyServiceError: a service failed.
        """
        opens = wrapped_by or self
        return self._wrap(require_data_key(opens.unwrap(wrapped, context)), context)

    def _wrap(self, data_key: bytes, context: Mapping[str, str]) -> bytes:
        vault, key = self._open(), self._key
        sent = {
            "plaintext": base64.b64encode(data_key).decode(),
            "associated_data": _associated_data(context),
            # Without it, a caller who may create keys would make one that is missing, unasked.
            "convergent_encryption": True,
        }
        path = f"{key.mount}/encrypt/{key.name}"
        try:
            answer = vault.call("POST", path, key.uri, sent)
        except KeyServiceError as exc:
            if isinstance(exc, KeyAccessError) or type(exc) is KeyServiceError:
                self._require_still_there(exc)
            raise
        ciphertext = str(answer.get("ciphertext")).encode()
        if not _CIPHERTEXT.fullmatch(ciphertext):
            raise KeyServiceError(
                f"expected a ciphertext of {vault.address}, found something else; check address="
            )
        self._require_bound(ciphertext)
        return join_service_wrapped(self.uri, ciphertext)

    def _require_still_there(self, refused: KeyServiceError) -> None:
        """Name a key that is gone: the server says of it that the caller may not make it."""
        try:
            read_key(self._open(), self._key.mount, self._key.name)
        except KeyNotFoundError as exc:
            raise exc from refused
        except KeyServiceError:
            return

    def _require_bound(self, ciphertext: bytes) -> None:
        """Step 4 of wrapping: a server too old for associated data would overlook it."""
        if self._binds_context:
            return
        vault, key = self._open(), self._key
        answer = vault.ask(
            "POST",
            f"{key.mount}/decrypt/{key.name}",
            key.uri,
            {"ciphertext": ciphertext.decode()},
        )
        if not isinstance(answer, Refusal):
            raise KeyServiceError(
                f"expected {vault.address} to authenticate associated data, found that it opens a "
                "data key without; upgrade the server"
            )
        # A caller who may not open cannot ask; whoever reads later needs the context all the same.
        self._binds_context = answer.status == 400

    def _split(self, wrapped: bytes) -> tuple[str, str]:
        """Steps 1 to 3 of unwrapping: the name of the key to ask, and the ciphertext."""
        parts = split_service_wrapped(wrapped)
        scheme, _, path = parts.kek.partition(":")
        found = parse_key_path(path) if scheme == SCHEME else None
        if found is None:
            raise UnwrapError(
                f"expected a data key whose KEK is {SCHEME}:MOUNT/keys/NAME, found another name; "
                "open the key service that wrapped it"
            )
        mount, name = found
        if mount != self._key.mount:
            raise UnwrapError(
                f"expected a data key that a KEK of the mount {self._key.mount} wraps, found "
                f"{parts.kek}; when it is yours, open the key service with that key"
            )
        if not _CIPHERTEXT.fullmatch(parts.ciphertext):
            raise does_not_open()
        return name, parts.ciphertext.decode()


class VaultSigner(_TransitKeyHolder):
    """An Ed25519 key in the transit engine, in the version that was newest when it was opened."""

    def __init__(self, vault: Vault, key: TransitKey) -> None:
        super().__init__(vault, key)
        encoded = key.public_keys.get(str(key.latest_version), "")
        try:
            raw = base64.b64decode(encoded, validate=True)
            self._public_key = Ed25519PublicKey.from_public_bytes(raw)
        except ValueError as exc:
            raise KeyServiceError(
                f"expected the Ed25519 public key of {key.uri}, found another; check the key"
            ) from exc

    def public_key(self) -> bytes:
        """The public key: 32 bytes as in RFC 8032."""
        return self._public_key.public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """The signature of a message of 1 byte to 512 KiB: 64 bytes as in RFC 8032.

        It is verified before it is given out: a faulty Ed25519 signature can reveal the key.

        Raises:
            SigningError: the message is empty or too long, the service failed, or its signature
                does not verify.
        """
        if not 1 <= len(message) <= MOST_MESSAGE_BYTES:
            raise SigningError(
                f"expected a message of 1 to {MOST_MESSAGE_BYTES} bytes, which Vault takes, found "
                f"{len(message)}; sign a shorter one, or with a key on a PKCS#11 token"
            )
        key = self._key
        sent = {"input": base64.b64encode(message).decode(), "key_version": key.latest_version}
        try:
            answer = self._open().call("POST", f"{key.mount}/sign/{key.name}", key.uri, sent)
        except (KeyServiceError, KeyNotFoundError) as exc:
            raise SigningError(f"expected a signature of {self.uri}: {exc}") from exc
        found = _SIGNATURE.fullmatch(str(answer.get("signature")))
        try:
            signature = base64.b64decode(found[2]) if found else b""
            self._public_key.verify(signature, message)
        except InvalidSignature as exc:
            raise SigningError(
                f"expected a signature that verifies under the public key of {self.uri}, found one "
                "that does not; it was thrown away"
            ) from exc
        return signature


class VaultProvider:
    """The scheme ``vault``."""

    def open_key_service(
        self, uri: str, directory: Path, environment: Mapping[str, str]
    ) -> VaultKeyService:
        """Open the KEK that a URI names."""
        vault, key = _found(uri, directory, environment)
        return VaultKeyService(vault, require_usable(key, KEK_TYPE))

    def open_signer(self, uri: str, directory: Path, environment: Mapping[str, str]) -> VaultSigner:
        """Open the Ed25519 key that a URI names."""
        vault, key = _found(uri, directory, environment)
        return VaultSigner(vault, require_usable(key, SIGNING_TYPE))

    def create_key(self, uri: str, directory: Path, environment: Mapping[str, str]) -> None:
        """Create the KEK that the URI names."""
        _create(uri, directory, environment, KEK_TYPE)

    def create_signing_key(self, uri: str, directory: Path, environment: Mapping[str, str]) -> None:
        """Create the Ed25519 key that the URI names."""
        _create(uri, directory, environment, SIGNING_TYPE)

    def key_custody(self, uri: str, directory: Path, environment: Mapping[str, str]) -> Custody:
        """The facts about the key that a URI names, of whatever type it is."""
        return custody_of(*_found(uri, directory, environment))

    @contextmanager
    def leaky_key(self, uri: str, directory: Path, environment: Mapping[str, str]) -> Iterator[str]:
        """A KEK on the same mount that may be exported, for a drill; deleted at the end."""
        parsed = parse_vault_uri(uri)
        vault = Vault(parsed, directory, environment)
        name = f"assay-drill-{secrets.token_hex(8)}"
        made = make_transit_key(
            vault, parsed.mount, name, KEK_TYPE, exportable=True, allow_plaintext_backup=True
        )
        try:
            yield replace(parsed, name=name).with_query()
        finally:
            delete_transit_key(vault, made)


def _create(uri: str, directory: Path, environment: Mapping[str, str], kind: str) -> None:
    parsed = parse_vault_uri(uri)
    create_transit_key(Vault(parsed, directory, environment), parsed.mount, parsed.name, kind)


def _found(uri: str, directory: Path, environment: Mapping[str, str]) -> tuple[Vault, TransitKey]:
    parsed = parse_vault_uri(uri)
    vault = Vault(parsed, directory, environment)
    return vault, read_key(vault, parsed.mount, parsed.name)


def _associated_data(context: Mapping[str, str]) -> str:
    return base64.b64encode(wrap_associated_data(context)).decode()
