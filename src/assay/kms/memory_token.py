"""A token in the memory of this process, for tests: no HSM, no software token, nothing stays.

Its keys are plain objects of ``cryptography``; whoever reads the memory has them. Its fidelity is
``fixture``, and no promise is kept by it.

Example:
    >>> token = MemoryToken()
    >>> made = token.create_key(KeySpec.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT, "1b9e…/1")
    >>> nonce, sealed = token.encrypt(made.handle, b"plaintext", b"context")
    >>> token.decrypt(made.handle, nonce, sealed, b"context")
    b'plaintext'
"""

from __future__ import annotations

import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from assay.core import Fidelity
from assay.keys import KeyKind, KeyType
from assay.kms.algorithms import Scheme, mac_hash, signing_algorithm
from assay.kms.errors import InternalError, InvalidCiphertextError
from assay.kms.key_kinds import kind_of
from assay.kms.public_keys import HASHES, oaep_padding, rsa_padding
from assay.kms.records import KeySpec, KeyUsage
from assay.kms.token import MadeKey

_PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey
_Key = AESGCM | bytes | _PrivateKey
_CURVES = {256: SECP256R1(), 384: SECP384R1(), 521: SECP521R1()}


class MemoryToken:
    """A `Token` that forgets everything with the process."""

    def __init__(self) -> None:
        self._keys: dict[bytes, tuple[KeyKind, _Key]] = {}

    @property
    def fidelity(self) -> Fidelity:
        """``fixture``."""
        return Fidelity.FIXTURE

    def create_key(self, spec: KeySpec, usage: KeyUsage, label: str) -> MadeKey:  # noqa: ARG002 - nobody looks into a memory
        """Make a key."""
        kind = kind_of(spec, usage)
        made = _make(kind)
        handle = os.urandom(16)
        self._keys[handle] = kind, made
        if isinstance(made, AESGCM | bytes):
            return MadeKey(handle, None)
        public = made.public_key()
        return MadeKey(handle, public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))

    def destroy_key(self, handle: bytes) -> None:
        """Destroy a key."""
        self._keys.pop(handle, None)

    def handles(self) -> frozenset[bytes]:
        """The handles of all keys."""
        return frozenset(self._keys)

    def random(self, size_bytes: int) -> bytes:
        """Random bytes of the operating system."""
        return os.urandom(size_bytes)

    def encrypt(self, handle: bytes, plaintext: bytes, associated: bytes) -> tuple[bytes, bytes]:
        """AES-256-GCM: the nonce (12 bytes), and ciphertext with tag."""
        nonce = os.urandom(12)
        return nonce, self._aes(handle, "ENCRYPT").encrypt(nonce, plaintext, associated)

    def decrypt(self, handle: bytes, nonce: bytes, sealed: bytes, associated: bytes) -> bytes:
        """Open what `encrypt` made."""
        try:
            return self._aes(handle, "DECRYPT").decrypt(nonce, sealed, associated)
        except InvalidTag as exc:
            raise InvalidCiphertextError("expected a ciphertext that opens, found another") from exc

    def decrypt_oaep(self, handle: bytes, hash_name: str, ciphertext: bytes) -> bytes:
        """RSAES-OAEP."""
        padding, key = oaep_padding(hash_name), self._find(handle, "DECRYPT")
        if not isinstance(key, RSAPrivateKey):
            raise _missing(handle)
        try:
            return key.decrypt(ciphertext, padding)
        except ValueError as exc:
            raise InvalidCiphertextError("expected a ciphertext that opens, found another") from exc

    def sign(self, handle: bytes, algorithm: str, message: bytes, *, digested: bool) -> bytes:
        """Sign under an asymmetric key."""
        chosen = signing_algorithm(algorithm)
        digest = chosen.digest(message, digested=digested)
        key = self._find(handle, "SIGN")
        if isinstance(key, Ed25519PrivateKey) and chosen.scheme is Scheme.ED25519:
            return key.sign(digest)
        hashed = Prehashed(HASHES[chosen.hash_name]()) if chosen.hash_name else None
        if isinstance(key, EllipticCurvePrivateKey) and hashed and chosen.scheme is Scheme.ECDSA:
            return key.sign(digest, ECDSA(hashed))
        if isinstance(key, RSAPrivateKey) and hashed and chosen.scheme is not Scheme.ECDSA:
            return key.sign(digest, rsa_padding(chosen), hashed)
        raise _missing(handle)

    def mac(self, handle: bytes, algorithm: str, message: bytes) -> bytes:
        """HMAC, not truncated."""
        key = self._find(handle, "SIGN")
        if not isinstance(key, bytes):
            raise _missing(handle)
        return hmac.digest(key, message, mac_hash(algorithm))

    def close(self) -> None:
        """Nothing: the keys end with this object."""

    def _find(self, handle: bytes, use: str) -> _Key | None:
        kind, key = self._keys.get(handle, (None, None))
        return key if kind is not None and use in kind.uses else None

    def _aes(self, handle: bytes, use: str) -> AESGCM:
        found = self._find(handle, use)
        if not isinstance(found, AESGCM):
            raise _missing(handle)
        return found


def _missing(handle: bytes) -> InternalError:
    return InternalError(f"expected a key {handle.hex()} for this in the token, found none")


def _make(kind: KeyKind) -> _Key:
    match kind.key_type:
        case KeyType.AES:
            return AESGCM(AESGCM.generate_key(kind.size_bits))
        case KeyType.GENERIC_SECRET:
            return os.urandom(kind.size_bits // 8)
        case KeyType.RSA:
            return generate_rsa(65537, kind.size_bits)
        case KeyType.EC:
            return generate_private_key(_CURVES[kind.size_bits])
        case KeyType.EC_EDWARDS:
            return Ed25519PrivateKey.generate()
