"""The algorithms by AWS's names, and what each is made of.

Source: AWS KMS API reference, Sign (SigningAlgorithm), GenerateMac (MacAlgorithm) and Encrypt
(EncryptionAlgorithm); RFC 8017 for RSA, FIPS 186-5 for ECDSA, RFC 8032 for Ed25519, RFC 2104 for
HMAC.

Example:
    >>> signing_algorithm("RSASSA_PSS_SHA_256")
    SigningAlgorithm(name='RSASSA_PSS_SHA_256', scheme=<Scheme.PSS: 'RSASSA_PSS'>, ...)
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from assay.kms.errors import UnsupportedError, ValidationError


class Scheme(StrEnum):
    """How a signature is made."""

    PSS = "RSASSA_PSS"
    PKCS1 = "RSASSA_PKCS1_V1_5"
    ECDSA = "ECDSA"
    ED25519 = "ED25519"


@dataclass(frozen=True, slots=True)
class SigningAlgorithm:
    """One algorithm.

    Attributes:
        name: by AWS.
        scheme: how it signs.
        hash_name: of the message, for hashlib; "" for Ed25519, which takes the message itself.
        digest_bytes: the length of a digest; 0 for Ed25519.
    """

    name: str
    scheme: Scheme
    hash_name: str
    digest_bytes: int

    def digest(self, message: bytes, *, digested: bool) -> bytes:
        """What is signed: the digest of the message; for Ed25519 the message.

        Args:
            message: the message, or its digest.
            digested: whether it is the digest.

        Raises:
            ValidationError: a digest of another length, or one for Ed25519.
        """
        if not digested:
            return hashlib.new(self.hash_name, message).digest() if self.hash_name else message
        if not self.digest_bytes:
            raise ValidationError(f"{self.name} takes messages (MessageType RAW), found a digest")
        if len(message) != self.digest_bytes:
            raise ValidationError(
                f"expected a digest of {self.digest_bytes} bytes for {self.name}, found "
                f"{len(message)}"
            )
        return message


_SIZES = {"256": 32, "384": 48, "512": 64}
SIGNING_ALGORITHMS = {
    f"{scheme}_SHA_{bits}": SigningAlgorithm(f"{scheme}_SHA_{bits}", scheme, f"sha{bits}", size)
    for scheme in (Scheme.PSS, Scheme.PKCS1, Scheme.ECDSA)
    for bits, size in _SIZES.items()
} | {"ED25519_SHA_512": SigningAlgorithm("ED25519_SHA_512", Scheme.ED25519, "", 0)}
"""Name -> algorithm."""

MAC_HASHES = {f"HMAC_SHA_{bits}": f"sha{bits}" for bits in ("224", "256", "384", "512")}
"""Name of a MAC algorithm -> its hash, for hashlib. A key has as many bytes as the hash."""

OAEP_HASHES = ("SHA_1", "SHA_256")
"""What follows ``RSAES_OAEP_`` in the name of an encryption algorithm."""


def signing_algorithm(name: str) -> SigningAlgorithm:
    """The algorithm of that name.

    Raises:
        UnsupportedError: nobody has such an algorithm here.
    """
    if name not in SIGNING_ALGORITHMS:
        raise UnsupportedError(
            f"expected one of {', '.join(SIGNING_ALGORITHMS)}, found {name[:40]!r}"
        )
    return SIGNING_ALGORITHMS[name]


def mac_hash(name: str) -> str:
    """The hash of a MAC algorithm, for hashlib.

    Raises:
        UnsupportedError: nobody has such an algorithm here.
    """
    if name not in MAC_HASHES:
        raise UnsupportedError(f"expected one of {', '.join(MAC_HASHES)}, found {name[:40]!r}")
    return MAC_HASHES[name]
