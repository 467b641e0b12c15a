"""What every token of the key management service must do, whatever it is made of.

Run by the unit tests on a token in memory and by the integration tests on SoftHSM2.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from assay.kms.errors import (
    InternalError,
    InvalidCiphertextError,
    InvalidSignatureError,
    UnsupportedError,
    ValidationError,
)
from assay.kms.public_keys import encrypt_oaep, verify
from assay.kms.records import KeySpec, KeyUsage
from assay.kms.token import MadeKey, Token

LABEL = "1b9e1f0c-52a7-4c1e-9f0d-3d0c8f6a7b21/1"
SYMMETRIC = (KeySpec.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT)
RSA_SIZES = {KeySpec.RSA_2048: 2048, KeySpec.RSA_3072: 3072, KeySpec.RSA_4096: 4096}
EC_SIGNS = {
    KeySpec.ECC_NIST_P256: (256, "ECDSA_SHA_256"),
    KeySpec.ECC_NIST_P384: (384, "ECDSA_SHA_384"),
    KeySpec.ECC_NIST_P521: (521, "ECDSA_SHA_512"),
}
HMACS = {
    KeySpec.HMAC_224: ("HMAC_SHA_224", 28),
    KeySpec.HMAC_256: ("HMAC_SHA_256", 32),
    KeySpec.HMAC_384: ("HMAC_SHA_384", 48),
    KeySpec.HMAC_512: ("HMAC_SHA_512", 64),
}
RSA_SIGNS = [
    f"RSASSA_{pad}_SHA_{bits}" for pad in ("PSS", "PKCS1_V1_5") for bits in (256, 384, 512)
]


def made(token: Token, spec: KeySpec, usage: KeyUsage) -> MadeKey:
    key = token.create_key(spec, usage, LABEL)
    assert len(key.handle) == 16
    assert key.handle in token.handles()
    return key


def symmetric(token: Token) -> bytes:
    key = made(token, *SYMMETRIC)
    assert key.public_key is None
    return key.handle


def what_is_sealed_opens(token: Token) -> None:
    handle = symmetric(token)
    for plaintext in (b"", b"x", bytes(4096)):
        nonce, sealed = token.encrypt(handle, plaintext, b"context")
        assert (len(nonce), len(sealed)) == (12, len(plaintext) + 16)
        assert token.decrypt(handle, nonce, sealed, b"context") == plaintext
    assert token.encrypt(handle, b"x", b"")[0] != token.encrypt(handle, b"x", b"")[0]


def what_was_altered_does_not_open(token: Token) -> None:
    handle, other = symmetric(token), symmetric(token)
    nonce, sealed = token.encrypt(handle, b"plaintext", b"context")
    assert token.decrypt(handle, nonce, sealed, b"context") == b"plaintext"
    refused = [
        (other, nonce, sealed, b"context"),
        (handle, nonce, sealed, b"contexu"),
        (handle, nonce, sealed, b""),
        (handle, bytes(12), sealed, b"context"),
        (handle, nonce, sealed[:-1], b"context"),
        (handle, nonce, sealed[:16], b"context"),
        (handle, nonce, bytes([sealed[0] ^ 1]) + sealed[1:], b"context"),
        (handle, nonce, sealed[:-1] + bytes([sealed[-1] ^ 1]), b"context"),
    ]
    for arguments in refused:
        with pytest.raises(InvalidCiphertextError):
            token.decrypt(*arguments)
        assert token.decrypt(handle, nonce, sealed, b"context") == b"plaintext"


def macs_are_those_of_the_standard(token: Token) -> None:
    """Nobody else has the key; so another token could not say. What can be seen is checked."""
    for spec, (algorithm, size) in HMACS.items():
        handle = made(token, spec, KeyUsage.GENERATE_VERIFY_MAC).handle
        other = made(token, spec, KeyUsage.GENERATE_VERIFY_MAC).handle
        tags = {token.mac(handle, algorithm, message) for message in (b"a", b"b", bytes(4096))}
        tags.add(token.mac(other, algorithm, b"a"))
        assert len(tags) == 4
        assert {len(tag) for tag in tags} == {size}
        assert hmac.compare_digest(
            token.mac(handle, algorithm, b"a"), token.mac(handle, algorithm, b"a")
        )
    with pytest.raises(UnsupportedError):
        token.mac(handle, "HMAC_SHA_1", b"a")


def signs(token: Token, key: MadeKey, algorithm: str) -> None:
    hash_name = f"sha{algorithm.rpartition('_')[2]}"
    public = key.public_key or b""
    for message in (b"", b"message", bytes(4096)):
        signature = token.sign(key.handle, algorithm, message, digested=False)
        verify(public, algorithm, message, signature, digested=False)
        with pytest.raises(InvalidSignatureError):
            verify(public, algorithm, message + b"x", signature, digested=False)
        if algorithm == "ED25519_SHA_512":
            continue
        digest = hashlib.new(hash_name, message).digest()
        signature = token.sign(key.handle, algorithm, digest, digested=True)
        verify(public, algorithm, message, signature, digested=False)
        verify(public, algorithm, digest, signature, digested=True)
    with pytest.raises(ValidationError):
        token.sign(key.handle, algorithm, bytes(20), digested=True)


def rsa_keys_sign(token: Token) -> None:
    for spec, bits in RSA_SIZES.items():
        key = made(token, spec, KeyUsage.SIGN_VERIFY)
        public = load_der_public_key(key.public_key or b"")
        assert isinstance(public, RSAPublicKey)
        assert (public.key_size, public.public_numbers().e) == (bits, 65537)
        for algorithm in RSA_SIGNS if bits == 2048 else RSA_SIGNS[::3]:
            signs(token, key, algorithm)


def curve_keys_sign(token: Token) -> None:
    for spec, (bits, algorithm) in EC_SIGNS.items():
        key = made(token, spec, KeyUsage.SIGN_VERIFY)
        public = load_der_public_key(key.public_key or b"")
        assert isinstance(public, EllipticCurvePublicKey)
        assert public.key_size == bits
        signs(token, key, algorithm)
    key = made(token, KeySpec.ECC_NIST_EDWARDS25519, KeyUsage.SIGN_VERIFY)
    assert isinstance(load_der_public_key(key.public_key or b""), Ed25519PublicKey)
    signs(token, key, "ED25519_SHA_512")


def rsa_keys_decrypt(token: Token) -> None:
    for spec in RSA_SIZES:
        key = made(token, spec, KeyUsage.ENCRYPT_DECRYPT)
        public = key.public_key or b""
        for plaintext in (b"", b"plaintext", bytes(190)):
            sealed = encrypt_oaep(public, "SHA_1", plaintext)
            assert token.decrypt_oaep(key.handle, "SHA_1", sealed) == plaintext
        for altered in (
            b"",
            sealed[:-1],
            sealed + b"\x00",
            bytes(len(sealed)),
            b"\xff" * len(sealed),
        ):
            with pytest.raises(InvalidCiphertextError):
                token.decrypt_oaep(key.handle, "SHA_1", altered)
        with pytest.raises(InvalidCiphertextError):
            token.decrypt_oaep(key.handle, "SHA_1", encrypt_oaep(public, "SHA_256", b"plaintext"))
    with pytest.raises(UnsupportedError):
        token.decrypt_oaep(key.handle, "SHA_512", sealed)


def a_key_does_nothing_that_it_is_not_for(token: Token) -> None:
    signing = made(token, KeySpec.RSA_2048, KeyUsage.SIGN_VERIFY)
    opening = made(token, KeySpec.RSA_2048, KeyUsage.ENCRYPT_DECRYPT)
    sealed = encrypt_oaep(signing.public_key or b"", "SHA_1", b"plaintext")
    with pytest.raises(InternalError):
        token.decrypt_oaep(signing.handle, "SHA_1", sealed)
    with pytest.raises(InternalError):
        token.sign(opening.handle, "RSASSA_PSS_SHA_256", b"message", digested=False)
    with pytest.raises(InternalError):
        token.mac(symmetric(token), "HMAC_SHA_256", b"message")
    with pytest.raises(InternalError):
        token.sign(opening.handle, "ED25519_SHA_512", b"message", digested=False)
    with pytest.raises(InternalError):
        token.sign(signing.handle, "ECDSA_SHA_256", b"message", digested=False)
    with pytest.raises(UnsupportedError):
        token.sign(signing.handle, "RSASSA_PSS_SHA_1", b"message", digested=False)
    with pytest.raises(ValueError, match="usage"):
        token.create_key(KeySpec.ECC_NIST_P256, KeyUsage.ENCRYPT_DECRYPT, LABEL)


def a_destroyed_key_is_gone(token: Token) -> None:
    kept = symmetric(token)
    keys = [
        made(token, *SYMMETRIC),
        made(token, KeySpec.ECC_NIST_P256, KeyUsage.SIGN_VERIFY),
        made(token, KeySpec.HMAC_256, KeyUsage.GENERATE_VERIFY_MAC),
    ]
    nonce, sealed = token.encrypt(keys[0].handle, b"plaintext", b"")
    for key in keys:
        token.destroy_key(key.handle)
        token.destroy_key(key.handle)
        assert key.handle not in token.handles()
    with pytest.raises(InternalError):
        token.decrypt(keys[0].handle, nonce, sealed, b"")
    with pytest.raises(InternalError):
        token.encrypt(keys[0].handle, b"plaintext", b"")
    with pytest.raises(InternalError):
        token.sign(keys[1].handle, "ECDSA_SHA_256", b"message", digested=False)
    with pytest.raises(InternalError):
        token.mac(keys[2].handle, "HMAC_SHA_256", b"message")
    assert kept in token.handles()
    token.encrypt(kept, b"plaintext", b"")


def random_bytes_do_not_repeat(token: Token) -> None:
    assert [len(token.random(size)) for size in (1, 16, 1024)] == [1, 16, 1024]
    assert len({token.random(16) for _ in range(100)}) == 100


CONTRACT: tuple[Callable[[Token], None], ...] = (
    what_is_sealed_opens,
    what_was_altered_does_not_open,
    macs_are_those_of_the_standard,
    rsa_keys_sign,
    curve_keys_sign,
    rsa_keys_decrypt,
    a_key_does_nothing_that_it_is_not_for,
    a_destroyed_key_is_gone,
    random_bytes_do_not_repeat,
)
