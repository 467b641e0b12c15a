"""KEKs and signing keys on a PKCS#11 token: from SoftHSM2 on a laptop to an HSM.

A data key is 32 bytes of the token's own random generator, encrypted inside the token by
CKM_AES_GCM under the KEK, with the encryption context as associated data
(``spec/data-keys.md``). The nonce is 96 random bits of the token, so one KEK must wrap no more
than 2^32 data keys (NIST SP 800-38D, section 8.3).

Fidelity: a token that names itself like a known software token is ``emulated``; another is
``live`` only when its slot or its key generation says that it is hardware.

Example:
    >>> service = Pkcs11Provider().open_key_service(
    ...     "pkcs11:token=assay;object=kek", Path("."), os.environ)     # doctest: +SKIP
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from assay.core import Fidelity, resolve_reference
from assay.keys.errors import (
    KeyServiceError,
    KeyUriError,
    SessionLostError,
    SigningError,
    TokenError,
)
from assay.keys.pkcs11 import Session
from assay.keys.pkcs11_doors import try_doors
from assay.keys.pkcs11_sharing import SOFTHSM_VARIABLE, SharedToken
from assay.keys.pkcs11_uri import KeySelector, Pkcs11Uri, find_module, parse_pkcs11_uri
from assay.keys.service import Custody, TokenFacts
from assay.keys.wrapping import (
    DATA_KEY_BYTES,
    NONCE_BYTES,
    does_not_open,
    join_wrapped,
    split_wrapped,
    wrap_associated_data,
)

# What tokens answer when a tag does not verify. The last two are also what a token in trouble
# says of everything, so they are looked into.
_NOT_AUTHENTIC = frozenset(
    {"EncryptedDataInvalid", "EncryptedDataLenRange", "SignatureInvalid", "DataInvalid"}
)
_PERHAPS_NOT_AUTHENTIC = frozenset({"GeneralError", "FunctionFailed"})


def token_fidelity(facts: TokenFacts) -> Fidelity:
    """How real a token is, by what it says about itself."""
    hardware = facts.hardware_slot or facts.hardware_mechanism
    return Fidelity.LIVE if hardware and not facts.known_software else Fidelity.EMULATED


def _residual_risk(facts: TokenFacts) -> str:
    if facts.known_software:
        return (
            "Whoever holds the token's files and the PIN holds the keys: a software token keeps "
            "them on a disk, encrypted under the PIN alone."
        )
    if token_fidelity(facts) is Fidelity.LIVE:
        return (
            "Whoever reaches the token with the PIN can use the key, though not copy it; that it "
            "cannot be copied rests on the token's own word."
        )
    return (
        "The token does not say that it is hardware: whoever runs it may hold the keys, and "
        "whoever reaches it with the PIN can use them."
    )


class _Pkcs11Key:
    """What a KEK and a signing key have in common: a token, a selector, facts."""

    def __init__(self, token: SharedToken, uri: Pkcs11Uri, *, signing: bool) -> None:
        self._token: SharedToken | None = token
        self._uri = uri.without_secrets()
        self._key = uri.key_selector(signing=signing)
        try:
            self._fidelity = token_fidelity(token.facts(signing=signing))
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
        token, key = self._open(), self._key
        facts = token.facts(signing=key.signing)
        origin = token.run(lambda session: session.origin(key))
        attributes = token.run(lambda session: session.attributes(key))
        attempts, untried = token.run(lambda session: try_doors(session, key))
        return Custody(
            provider="pkcs11",
            fidelity=token_fidelity(facts),
            uri=self.uri,
            algorithm="Ed25519" if key.signing else "AES-256-GCM",
            origin=origin,
            attributes={name.lower(): value for name, value in attributes.items()},
            export_attempts=attempts,
            untried_doors=untried,
            residual_risk=_residual_risk(facts),
            token=facts,
        )

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
            data_key, nonce = session.random(DATA_KEY_BYTES), session.random(NONCE_BYTES)
            sealed = session.encrypt(self._key, nonce, data_key, associated)
            return data_key, join_wrapped(nonce, sealed)

        return self._open().run(generate)

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Open a wrapped data key.

        Raises:
            UnwrapError: altered bytes, or another KEK or context.
            KeyServiceError: the token failed.
        """
        nonce, sealed = split_wrapped(wrapped)
        associated = wrap_associated_data(context)
        return self._open().run(lambda session: self._decrypt(session, nonce, sealed, associated))

    def _decrypt(self, session: Session, nonce: bytes, sealed: bytes, associated: bytes) -> bytes:
        try:
            return session.decrypt(self._key, nonce, sealed, associated)
        except SessionLostError:
            raise
        except TokenError as exc:
            if exc.answer in _PERHAPS_NOT_AUTHENTIC:
                # SoftHSM says this of a wrong tag. A token that still opens what it seals is not
                # in trouble; one that does not raises here, as a failure of the service.
                probe = session.encrypt(self._key, nonce := session.random(12), b"", b"probe")
                session.decrypt(self._key, nonce, probe, b"probe")
            elif exc.answer not in _NOT_AUTHENTIC:
                raise
            raise does_not_open() from exc


class Pkcs11Signer(_Pkcs11Key):
    """An Ed25519 key on a token."""

    def __init__(self, token: SharedToken, uri: Pkcs11Uri) -> None:
        super().__init__(token, uri, signing=True)
        try:
            self._public_key = _read_public_key(token, self._key)
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
            signature = self._open().run(lambda session: session.sign(self._key, message))
            Ed25519PublicKey.from_public_bytes(self._public_key).verify(signature, message)
        except TokenError as exc:
            raise SigningError(f"expected a signature of {self._uri}: {exc}") from exc
        except InvalidSignature as exc:
            raise SigningError(
                f"expected a signature that verifies under the public key of {self._uri}, found "
                "one that does not; it was thrown away"
            ) from exc
        return signature


def _read_public_key(token: SharedToken, key: KeySelector) -> bytes:
    point = token.run(lambda session: session.public_point(key))
    if len(point) == 34 and point[:2] == b"\x04\x20":
        point = point[2:]  # a DER octet string, as the standard says; some tokens leave it out
    if len(point) != 32:
        raise KeyServiceError(f"expected an Ed25519 public key of 32 bytes, found {len(point)}")
    return point


class Pkcs11Provider:
    """The scheme ``pkcs11``."""

    def open_key_service(
        self, uri: str, directory: Path, environment: Mapping[str, str]
    ) -> Pkcs11KeyService:
        """Open the KEK that a URI names."""
        parsed = _parse(uri, "secret-key")
        return Pkcs11KeyService(_token(parsed, directory, environment), parsed, signing=False)

    def open_signer(
        self, uri: str, directory: Path, environment: Mapping[str, str]
    ) -> Pkcs11Signer:
        """Open the Ed25519 key that a URI names."""
        parsed = _parse(uri, "private")
        return Pkcs11Signer(_token(parsed, directory, environment), parsed)

    def create_key(self, uri: str, directory: Path, environment: Mapping[str, str]) -> None:
        """Generate a KEK inside the token."""
        _create(_parse(uri, "secret-key"), directory, environment, signing=False)

    def create_signing_key(self, uri: str, directory: Path, environment: Mapping[str, str]) -> None:
        """Generate an Ed25519 key inside the token."""
        _create(_parse(uri, "private"), directory, environment, signing=True)

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
        key = twin.key_selector(signing=False)
        token = _token(parsed, directory, environment)
        try:
            token.run(lambda session: session.create(key, exportable=True, store=False))
            yield twin.with_query()
        finally:
            token.run(lambda session: session.destroy(key))
            token.close()


def _parse(uri: str, key_type: str) -> Pkcs11Uri:
    parsed = parse_pkcs11_uri(uri)
    if parsed.type not in {None, key_type}:
        raise KeyUriError(f"expected type={key_type} in the pkcs11 URI, found type={parsed.type}")
    return parsed


def _token(uri: Pkcs11Uri, directory: Path, environment: Mapping[str, str]) -> SharedToken:
    # SoftHSM reads this variable from the process itself, whatever mapping we were given.
    wanted = environment.get(SOFTHSM_VARIABLE)
    if wanted is not None and wanted != os.environ.get(SOFTHSM_VARIABLE):
        raise KeyServiceError(
            f"expected {SOFTHSM_VARIABLE}={wanted} in the environment of this process, where "
            "SoftHSM reads it, found another value; set it before the process starts"
        )
    module = find_module(uri, directory, environment)
    pin = resolve_reference(uri.pin_source, directory, environment)
    return SharedToken.open(module, uri.token_selector(), pin)


def _create(
    uri: Pkcs11Uri, directory: Path, environment: Mapping[str, str], *, signing: bool
) -> None:
    token = _token(uri, directory, environment)
    key = uri.key_selector(signing=signing)
    try:
        token.run(lambda session: session.create(key))
    finally:
        token.close()
