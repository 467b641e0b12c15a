"""Which keys a token makes for each kind and usage of KMS keys, with the least that they may.

Source: AWS KMS developer guide, "Key spec reference"; PKCS#11 3.0 for what stands in a token.

Example:
    >>> kind_of(KeySpec.RSA_2048, KeyUsage.SIGN_VERIFY).uses
    ('SIGN',)
"""

from __future__ import annotations

from collections.abc import Mapping

from assay.keys import AES_256, ED25519, KeyKind, KeyType
from assay.kms.records import KeySpec, KeyUsage


def _rsa(bits: int, use: str) -> KeyKind:
    return KeyKind(KeyType.RSA, (use,), size_bits=bits)


def _ec(bits: int, curve: bytes) -> KeyKind:
    return KeyKind(KeyType.EC, ("SIGN",), size_bits=bits, curves=(curve,))


def _hmac(bits: int) -> KeyKind:
    return KeyKind(KeyType.GENERIC_SECRET, ("SIGN",), size_bits=bits)


# Named curves: the OIDs of RFC 5480, section 2.1.1.1, in DER.
KINDS: Mapping[tuple[KeySpec, KeyUsage], KeyKind] = {
    (KeySpec.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT): AES_256,
    (KeySpec.RSA_2048, KeyUsage.ENCRYPT_DECRYPT): _rsa(2048, "DECRYPT"),
    (KeySpec.RSA_3072, KeyUsage.ENCRYPT_DECRYPT): _rsa(3072, "DECRYPT"),
    (KeySpec.RSA_4096, KeyUsage.ENCRYPT_DECRYPT): _rsa(4096, "DECRYPT"),
    (KeySpec.RSA_2048, KeyUsage.SIGN_VERIFY): _rsa(2048, "SIGN"),
    (KeySpec.RSA_3072, KeyUsage.SIGN_VERIFY): _rsa(3072, "SIGN"),
    (KeySpec.RSA_4096, KeyUsage.SIGN_VERIFY): _rsa(4096, "SIGN"),
    (KeySpec.ECC_NIST_P256, KeyUsage.SIGN_VERIFY): _ec(256, b"\x06\x08*\x86H\xce=\x03\x01\x07"),
    (KeySpec.ECC_NIST_P384, KeyUsage.SIGN_VERIFY): _ec(384, b"\x06\x05+\x81\x04\x00\x22"),
    (KeySpec.ECC_NIST_P521, KeyUsage.SIGN_VERIFY): _ec(521, b"\x06\x05+\x81\x04\x00\x23"),
    (KeySpec.ECC_NIST_EDWARDS25519, KeyUsage.SIGN_VERIFY): ED25519,
    (KeySpec.HMAC_224, KeyUsage.GENERATE_VERIFY_MAC): _hmac(224),
    (KeySpec.HMAC_256, KeyUsage.GENERATE_VERIFY_MAC): _hmac(256),
    (KeySpec.HMAC_384, KeyUsage.GENERATE_VERIFY_MAC): _hmac(384),
    (KeySpec.HMAC_512, KeyUsage.GENERATE_VERIFY_MAC): _hmac(512),
}
"""Kind and usage of a KMS key -> the key in the token. What is not here does not exist."""


def kind_of(spec: KeySpec, usage: KeyUsage) -> KeyKind:
    """The key that a token makes.

    Raises:
        ValueError: no such key is for that usage.
    """
    kind = KINDS.get((spec, usage))
    if kind is None:
        raise ValueError(f"expected a usage of {spec}, found {usage}")
    return kind
