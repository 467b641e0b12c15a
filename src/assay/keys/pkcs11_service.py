"""KEKs and signing keys on a PKCS#11 token: from SoftHSM2 on a laptop to an HSM.

A data key is 32 bytes of the token's own random generator, encrypted inside the token by
CKM_AES_GCM under the KEK, with the encryption context as associated data
(``spec/data-keys.md``). The nonce is 96 random bits of the token, so one KEK must wrap no more
than 2^32 data keys (NIST SP 800-38D, section 8.3).

Example:
    >>> service = Pkcs11Provider().open_key_service(
    ...     "pkcs11:token=assay;object=kek", Path("."), os.environ)     # doctest: +SKIP
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from assay.core import Fidelity
from assay.keys.errors import (
    CiphertextError,
    KeyServiceError,
    KeyUriError,
    SigningError,
    TokenError,
)
from assay.keys.pkcs11 import Session
from assay.keys.pkcs11_custody import read_custody, token_fidelity
from assay.keys.pkcs11_opening import opened
from assay.keys.pkcs11_public import read_public_key
from assay.keys.pkcs11_sharing import SharedToken, open_shared_token
from assay.keys.pkcs11_uri import Pkcs11Uri, parse_pkcs11_uri
from assay.keys.service import Custody, KeyService
from assay.keys.token_keys import AES_256, ED25519, KeyKind, KeyType, SigningMechanism
from assay.keys.wrapping import (
    DATA_KEY_BYTES,
    NONCE_BYTES,
    does_not_open,
    join_wrapped,
    require_data_key,
    split_wrapped,
    wrap_associated_data,
)

_EDDSA = SigningMechanism(KeyType.EC_EDWARDS, "EDDSA")


class _Pkcs11Key:
    """What a KEK and a signing key have in common: a token, a selector, facts."""

    def __init__(self, token: SharedToken, uri: Pkcs11Uri, kind: KeyKind) -> None:
        self._token: SharedToken | None = token
        self._uri = uri.without_secrets()
        self._key = uri.key_selector(kind.key_type)
        self._kind = kind
        try:
            self._fidelity = token_fidelity(token.facts(kind.generation))
            token.run(lambda session: session.attributes(self._key))  # it must be there
        except BaseException:
            self.close()
            raise

    @property
    def uri(self) -> str:
        """Which key: the path of its PKCS#11 URI."""
        return self._uri

    @property
    def fidelity(self) -> Fidelity:
        """``emulated`` for software tokens, ``live`` for those that say they are hardware."""
        return self._fidelity

    def custody(self) -> Custody:
        """Read the key's attributes, and try every door by which it might leave.

        Raises:
            KeyServiceError: the token failed, so nothing can be said.
        """
        return read_custody(self._open(), self.uri, self._key, self._kind)

    def close(self) -> None:
        """Let go of the token; the last one who does logs out. A second call does nothing."""
        token, self._token = self._token, None
        if token is not None:
            token.close()

    def _open(self) -> SharedToken:
        if self._token is None:
            raise KeyServiceError(f"expected an open key {self._uri}, found one that was closed")
        return self._token


class Pkcs11KeyService(_Pkcs11Key):
    """A KEK on a token."""

    def generate_data_key(self, context: Mapping[str, str]) -> tuple[bytes, bytes]:
        """Make a data key: 32 bytes, and the same wrapped in 61 bytes.

        Raises:
            KeyServiceError: the token failed.
        """
        associated = wrap_associated_data(context)

        def generate(session: Session) -> tuple[bytes, bytes]:
            data_key = session.random(DATA_KEY_BYTES)
            return data_key, self._wrap(session, data_key, associated)

        return self._open().run(generate)

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Open a wrapped data key.

        Raises:
            UnwrapError: altered bytes, or another KEK or context.
            KeyServiceError: the token failed.
        """
        nonce, sealed = split_wrapped(wrapped)
        associated = wrap_associated_data(context)

        def unwrap(session: Session) -> bytes:
            return opened(
                lambda: session.decrypt(self._key, nonce, sealed, associated),
                lambda: session.check_that_it_opens(self._key),
            )

        try:
            return self._open().run(unwrap)
        except CiphertextError as exc:
            raise does_not_open() from exc

    def rewrap(
        self, wrapped: bytes, context: Mapping[str, str], *, wrapped_by: KeyService | None = None
    ) -> bytes:
        """Wrap the same data key anew, with another nonce.

        Raises:
            UnwrapError: altered bytes, or another KEK or context.
            KeyServiceError: the token or the other service failed.
        """
        data_key = require_data_key((wrapped_by or self).unwrap(wrapped, context))
        associated = wrap_associated_data(context)
        return self._open().run(lambda session: self._wrap(session, data_key, associated))

    def _wrap(self, session: Session, data_key: bytes, associated: bytes) -> bytes:
        nonce = session.random(NONCE_BYTES)
        return join_wrapped(nonce, session.encrypt(self._key, nonce, data_key, associated))


class Pkcs11Signer(_Pkcs11Key):
    """An Ed25519 key on a token."""

    def __init__(self, token: SharedToken, uri: Pkcs11Uri) -> None:
        super().__init__(token, uri, ED25519)
        try:
            found = token.run(lambda session: read_public_key(session, self._key))
            self._public_key = found.public_bytes(Encoding.Raw, PublicFormat.Raw)
        except BaseException:
            self.close()
            raise

    def public_key(self) -> bytes:
        """The public key: 32 bytes as in RFC 8032."""
        return self._public_key

    def sign(self, message: bytes) -> bytes:
        """The signature of the message: 64 bytes as in RFC 8032.

        It is verified before it is given out: a faulty Ed25519 signature can reveal the key.

        Raises:
            SigningError: the token failed, or its signature does not verify.
        """
        try:
            signature = self._open().run(lambda session: session.sign(self._key, _EDDSA, message))
            Ed25519PublicKey.from_public_bytes(self._public_key).verify(signature, message)
        except TokenError as exc:
            raise SigningError(f"expected a signature of {self._uri}: {exc}") from exc
        except InvalidSignature as exc:
            raise SigningError(
                f"expected a signature that verifies under the public key of {self._uri}, found "
                "one that does not; it was thrown away"
            ) from exc
        return signature


class Pkcs11Provider:
    """The scheme ``pkcs11``."""

    def open_key_service(
        self, uri: str, directory: Path, environment: Mapping[str, str]
    ) -> Pkcs11KeyService:
        """Open the KEK that a URI names."""
        parsed = _parse(uri, "secret-key")
        return Pkcs11KeyService(open_shared_token(parsed, directory, environment), parsed, AES_256)

    def open_signer(
        self, uri: str, directory: Path, environment: Mapping[str, str]
    ) -> Pkcs11Signer:
        """Open the Ed25519 key that a URI names."""
        parsed = _parse(uri, "private")
        return Pkcs11Signer(open_shared_token(parsed, directory, environment), parsed)

    def create_key(self, uri: str, directory: Path, environment: Mapping[str, str]) -> None:
        """Generate a KEK inside the token."""
        _create(_parse(uri, "secret-key"), directory, environment, AES_256)

    def create_signing_key(self, uri: str, directory: Path, environment: Mapping[str, str]) -> None:
        """Generate an Ed25519 key inside the token."""
        _create(_parse(uri, "private"), directory, environment, ED25519)

    def key_custody(self, uri: str, directory: Path, environment: Mapping[str, str]) -> Custody:
        """The facts about the KEK that a URI names."""
        service = self.open_key_service(uri, directory, environment)
        try:
            return service.custody()
        finally:
            service.close()

    @contextmanager
    def leaky_key(self, uri: str, directory: Path, environment: Mapping[str, str]) -> Iterator[str]:
        """A KEK on the same token that can be exported, for a drill that must catch it.

        It is a session object: it ends with the block, or with the process.
        """
        parsed = _parse(uri, "secret-key")
        twin = replace(parsed, object=f"assay-leaky-{secrets.token_hex(8)}", id=None)
        key = twin.key_selector(KeyType.AES)
        token = open_shared_token(parsed, directory, environment)
        try:
            token.run(lambda session: session.create(key, AES_256, exportable=True, store=False))
            yield twin.with_query()
        finally:
            token.run(lambda session: session.destroy(key))
            token.close()


def _parse(uri: str, key_type: str) -> Pkcs11Uri:
    parsed = parse_pkcs11_uri(uri)
    if parsed.type not in {None, key_type}:
        raise KeyUriError(f"expected type={key_type} in the pkcs11 URI, found type={parsed.type}")
    return parsed


def _create(uri: Pkcs11Uri, directory: Path, environment: Mapping[str, str], kind: KeyKind) -> None:
    token = open_shared_token(uri, directory, environment)
    key = uri.key_selector(kind.key_type)
    try:
        token.run(lambda session: session.create(key, kind))
    finally:
        token.close()
