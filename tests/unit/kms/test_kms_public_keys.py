from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from assay.kms.algorithms import SIGNING_ALGORITHMS, mac_hash, signing_algorithm
from assay.kms.errors import (
    InvalidKeyUsageError,
    InvalidSignatureError,
    UnsupportedError,
    ValidationError,
)
from assay.kms.public_keys import encrypt_oaep, load_public_key, verify


def der(private: object) -> bytes:
    public = private.public_key()  # type: ignore[attr-defined] # each of them has one
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


RSA, EC = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())
EDWARDS = ed25519.Ed25519PrivateKey.generate()
KEYS = {"RSA": der(RSA), "ECD": der(EC), "ED2": der(EDWARDS)}


@pytest.mark.parametrize("algorithm", SIGNING_ALGORITHMS)
def test_a_key_of_another_kind_knows_no_such_algorithm(algorithm: str) -> None:
    for kind, key in KEYS.items():
        error = InvalidSignatureError if algorithm.startswith(kind) else InvalidKeyUsageError
        with pytest.raises(error):
            verify(key, algorithm, b"message", bytes(256), digested=False)


def test_what_nobody_knows_is_named() -> None:
    for name in ("", "ECDSA_SHA_1", "ED25519_PH_SHA_512", "SM2DSA"):
        with pytest.raises(UnsupportedError, match="RSASSA_PSS_SHA_256"):
            signing_algorithm(name)
    with pytest.raises(UnsupportedError, match="HMAC_SHA_224"):
        mac_hash("HMAC_MD5")
    with pytest.raises(ValueError, match="found X25519PublicKey"):
        load_public_key(der(x25519.X25519PrivateKey.generate()))


def test_a_digest_has_the_length_of_its_hash() -> None:
    with pytest.raises(ValidationError, match="32 bytes"):
        verify(KEYS["ECD"], "ECDSA_SHA_256", bytes(48), b"", digested=True)
    with pytest.raises(ValidationError, match="RAW"):
        verify(KEYS["ED2"], "ED25519_SHA_512", bytes(64), b"", digested=True)


def test_oaep_takes_as_much_as_fits() -> None:
    for hash_name, longest in (("SHA_1", 214), ("SHA_256", 190)):
        assert len(encrypt_oaep(KEYS["RSA"], hash_name, bytes(longest))) == 256
        with pytest.raises(ValidationError, match=f"at most {longest}"):
            encrypt_oaep(KEYS["RSA"], hash_name, bytes(longest + 1))
    with pytest.raises(InvalidKeyUsageError):
        encrypt_oaep(KEYS["ECD"], "SHA_1", b"")
    with pytest.raises(UnsupportedError):
        encrypt_oaep(KEYS["RSA"], "SHA_512", b"")
