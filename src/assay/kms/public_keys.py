"""What needs no token: verifying, and encrypting to an RSA key, with the public key alone.

Example:
    >>> verify(record.public_key, "ECDSA_SHA_256", message, signature,
    ...        digested=False)                                              # doctest: +SKIP
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, PSS, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import (
    SHA1,
    SHA256,
    SHA384,
    SHA512,
    HashAlgorithm,
)
from cryptography.hazmat.primitives.serialization import load_der_public_key

from assay.kms.algorithms import Scheme, SigningAlgorithm, signing_algorithm
from assay.kms.errors import (
    InvalidKeyUsageError,
    InvalidSignatureError,
    UnsupportedError,
    ValidationError,
)

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

HASHES: dict[str, type[HashAlgorithm]] = {"sha256": SHA256, "sha384": SHA384, "sha512": SHA512}
"""Hash by its name in hashlib."""

_OAEP: dict[str, type[HashAlgorithm]] = {"SHA_1": SHA1, "SHA_256": SHA256}


def load_public_key(encoded: bytes) -> PublicKey:
    """Read a DER SubjectPublicKeyInfo.

    Raises:
        ValueError: it is none, or of a kind that no key of this service has.
    """
    found = load_der_public_key(encoded)
    if not isinstance(found, PublicKey):
        raise ValueError(f"expected an RSA, EC or Ed25519 key, found {type(found).__name__}")  # noqa: TRY004 - it is the content that is wrong
    return found


def verify(
    public_key: bytes, algorithm: str, message: bytes, signature: bytes, *, digested: bool
) -> None:
    """Verify a signature.

    Args:
        public_key: DER SubjectPublicKeyInfo.
        algorithm: by AWS's name.
        message: the message, or its digest.
        signature: for ECDSA in DER (RFC 3279), else raw.
        digested: whether ``message`` is the digest.

    Raises:
        InvalidSignatureError: it does not verify.
        InvalidKeyUsageError: the key knows no such algorithm.
        UnsupportedError: nobody knows that algorithm.
        ValidationError: a digest of another length.
    """
    chosen = signing_algorithm(algorithm)
    verify_digest(
        load_public_key(public_key), chosen, chosen.digest(message, digested=digested), signature
    )


def verify_digest(
    key: PublicKey, algorithm: SigningAlgorithm, digest: bytes, signature: bytes
) -> None:
    """Verify a signature over what `SigningAlgorithm.digest` gave; errors as in `verify`."""
    try:
        _verify(key, algorithm, digest, signature)
    except InvalidSignature as exc:
        raise InvalidSignatureError(
            "expected a signature of this message under this key, found one that does not verify"
        ) from exc


def _verify(key: PublicKey, algorithm: SigningAlgorithm, digest: bytes, signature: bytes) -> None:
    if algorithm.scheme is Scheme.ED25519 and isinstance(key, Ed25519PublicKey):
        key.verify(signature, digest)
        return
    if algorithm.scheme is not Scheme.ED25519 and not isinstance(key, Ed25519PublicKey):
        hashed = HASHES[algorithm.hash_name]()
        if isinstance(key, EllipticCurvePublicKey) and algorithm.scheme is Scheme.ECDSA:
            key.verify(signature, digest, ECDSA(Prehashed(hashed)))
            return
        if isinstance(key, RSAPublicKey) and algorithm.scheme is not Scheme.ECDSA:
            padding = rsa_padding(algorithm)
            key.verify(signature, digest, padding, Prehashed(hashed))
            return
    raise InvalidKeyUsageError(f"the key knows no {algorithm.name}")


def rsa_padding(algorithm: SigningAlgorithm) -> PSS | PKCS1v15:
    """The padding of an RSA signature: a salt of PSS is as long as the hash."""
    if algorithm.scheme is Scheme.PKCS1:
        return PKCS1v15()
    return PSS(MGF1(HASHES[algorithm.hash_name]()), algorithm.digest_bytes)


def oaep_padding(hash_name: str) -> OAEP:
    """The padding of RSAES-OAEP with ``SHA_1`` or ``SHA_256`` for hash and mask.

    Raises:
        UnsupportedError: another hash.
    """
    if hash_name not in _OAEP:
        raise UnsupportedError(f"RSAES-OAEP is for SHA_1 or SHA_256, found {hash_name[:40]!r}")
    hashed = _OAEP[hash_name]()
    return OAEP(MGF1(hashed), hashed, None)


def encrypt_oaep(public_key: bytes, hash_name: str, plaintext: bytes) -> bytes:
    """Encrypt to an RSA key, without a token.

    Args:
        public_key: DER SubjectPublicKeyInfo.
        hash_name: ``SHA_1`` or ``SHA_256``.
        plaintext: at most the modulus less twice the hash and two bytes.

    Raises:
        ValidationError: the plaintext is too long.
        InvalidKeyUsageError: not an RSA key.
        UnsupportedError: another hash.
    """
    key = load_public_key(public_key)
    if not isinstance(key, RSAPublicKey):
        raise InvalidKeyUsageError(f"the key knows no RSAES_OAEP_{hash_name[:40]}")
    padding = oaep_padding(hash_name)
    longest = key.key_size // 8 - 2 * _OAEP[hash_name]().digest_size - 2
    if len(plaintext) > longest:
        raise ValidationError(
            f"expected at most {longest} bytes for RSAES_OAEP_{hash_name} under this key, found "
            f"{len(plaintext)}"
        )
    return key.encrypt(plaintext, padding)
