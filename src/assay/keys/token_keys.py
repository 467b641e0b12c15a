"""Kinds of keys that a token makes, and the protocol of a token with keys of a service.

Plain data, by the names of PKCS#11 3.0 without their prefixes (``AES`` for CKK_AES, ``ENCRYPT`` for
CKA_ENCRYPT), so that nobody who describes a key needs a PKCS#11 library.

Example:
    >>> AES_256.key_type, AES_256.generation, AES_256.uses
    (<KeyType.AES: 'AES'>, 'AES_KEY_GEN', ('ENCRYPT', 'DECRYPT'))
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from assay.core import Fidelity
from assay.keys.service import Custody


class KeyType(StrEnum):
    """Types of keys (CKK_...)."""

    AES = "AES"
    GENERIC_SECRET = "GENERIC_SECRET"  # noqa: S105 - a type of keys, not a secret
    RSA = "RSA"
    EC = "EC"
    EC_EDWARDS = "EC_EDWARDS"

    @property
    def paired(self) -> bool:
        """Whether such a key has a public half."""
        return self not in {KeyType.AES, KeyType.GENERIC_SECRET}

    @property
    def spoken(self) -> str:
        """What people call such keys."""
        return {"GENERIC_SECRET": "HMAC", "EC_EDWARDS": "Ed25519"}.get(self, self.value)


_GENERATION = {
    KeyType.AES: "AES_KEY_GEN",
    KeyType.GENERIC_SECRET: "GENERIC_SECRET_KEY_GEN",
    KeyType.RSA: "RSA_PKCS_KEY_PAIR_GEN",
    KeyType.EC: "EC_KEY_PAIR_GEN",
    KeyType.EC_EDWARDS: "EC_EDWARDS_KEY_PAIR_GEN",
}


@dataclass(frozen=True, slots=True)
class KeyKind:
    """A kind of key, with the least that it may.

    Attributes:
        key_type: its type.
        uses: what its secret or private half may: ENCRYPT, DECRYPT, SIGN. The public half of a
            pair may the opposite.
        size_bits: of a secret key, or of an RSA modulus.
        curves: CKA_EC_PARAMS in DER, in the order in which they are tried: tokens differ in
            how they write a curve.
    """

    key_type: KeyType
    uses: tuple[str, ...]
    size_bits: int = 0
    curves: tuple[bytes, ...] = ()

    @property
    def generation(self) -> str:
        """The mechanism that makes it (CKM_...)."""
        return _GENERATION[self.key_type]


AES_256 = KeyKind(KeyType.AES, ("ENCRYPT", "DECRYPT"), size_bits=256)
ED25519 = KeyKind(
    KeyType.EC_EDWARDS, ("SIGN",), curves=(b"\x06\x03\x2b\x65\x70", b"\x13\x0cedwards25519")
)
"""The OID 1.3.101.112 (RFC 8410), or the curve's name (PKCS#11 3.0, section 2.3.10)."""


@dataclass(frozen=True, slots=True)
class SigningMechanism:
    """How a token signs or computes a MAC.

    Attributes:
        key_type: of the key.
        name: CKM_...: RSA_PKCS, RSA_PKCS_PSS, ECDSA, EDDSA, SHA256_HMAC, ...
        pss_hash: for RSA_PKCS_PSS, the hash of message and mask ("SHA256"); else "".
        salt_bytes: for RSA_PKCS_PSS.
    """

    key_type: KeyType
    name: str
    pss_hash: str = ""
    salt_bytes: int = 0


class KeyToken(Protocol):
    """A token with the keys of a service, each found by its CKA_ID. Safe between threads.

    Every method raises `KeyServiceError` when the token cannot be reached or fails (`TokenError`
    with the token's answer), and those that use a key `KeyNotFoundError` when it is not there.
    """

    @property
    def fidelity(self) -> Fidelity:
        """How real the token is."""
        ...

    def create(self, kind: KeyKind, key_id: bytes, label: str) -> None:
        """Make a key that stays: sensitive, not extractable, private.

        Args:
            kind: its kind.
            key_id: its CKA_ID, which no other key has: random bytes.
            label: its CKA_LABEL.
        """
        ...

    def destroy(self, key_id: bytes) -> None:
        """Destroy a key and its public half. One that is gone already is no error."""
        ...

    def labels(self) -> dict[bytes, str]:
        """CKA_ID -> CKA_LABEL of every key on the token that has both."""
        ...

    def random(self, size_bytes: int) -> bytes:
        """Random bytes of the token's own generator."""
        ...

    def seal(self, key_id: bytes, plaintext: bytes, associated: bytes) -> tuple[bytes, bytes]:
        """AES-GCM under a nonce of 96 random bits: the nonce, and ciphertext with tag."""
        ...

    def open(self, key_id: bytes, nonce: bytes, sealed: bytes, associated: bytes) -> bytes:
        """Open what `seal` made.

        Raises:
            CiphertextError: altered, or another key or associated data.
        """
        ...

    def sign(self, key_id: bytes, mechanism: SigningMechanism, data: bytes) -> bytes:
        """Sign, or compute a MAC: what the mechanism gives, as it gives it."""
        ...

    def decrypt_oaep(self, key_id: bytes, hash_name: str, ciphertext: bytes) -> bytes:
        """RSAES-OAEP with ``SHA_1`` or ``SHA_256`` for hash and mask, without a label.

        Raises:
            CiphertextError: it does not open.
        """
        ...

    def public_key(self, key_id: bytes, key_type: KeyType) -> bytes:
        """The public half: DER SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7)."""
        ...

    def custody(self, key_id: bytes, kind: KeyKind) -> Custody:
        """Read a key's attributes, and try every door by which it might leave."""
        ...

    def close(self) -> None:
        """Let go of the token. A second call does nothing."""
        ...
