"""Data keys, key pairs and random bytes for use outside of the service.

The plaintext of a data key leaves the service, as it is meant to; what encrypts it does not.

Example:
    >>> generate_data_key(call, GenerateDataKey(key_id="alias/orders", key_spec="AES_256"))  # doctest: +SKIP
    {'CiphertextBlob': b'...', 'Plaintext': b'...', 'KeyId': 'arn:aws:kms:...'}
"""  # noqa: E501 - an example

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from msgspec import UNSET, UnsetType

from assay.kms.arguments import (
    Arguments,
    Context,
    OfKey,
    checked_context,
    checked_range,
    given,
    refuse_set,
)
from assay.kms.call import Call
from assay.kms.errors import InvalidKeyUsageError, UnsupportedError, ValidationError
from assay.kms.operations.ciphers import NO_ENCLAVE, SYMMETRIC, seal
from assay.kms.records import KeySpec

_PAIRS: Mapping[str, Any] = {
    **{f"RSA_{size}": size for size in (2048, 3072, 4096)},
    "ECC_NIST_P256": ec.SECP256R1,
    "ECC_NIST_P384": ec.SECP384R1,
    "ECC_NIST_P521": ec.SECP521R1,
    "ECC_SECG_P256K1": ec.SECP256K1,
    "ECC_NIST_EDWARDS25519": None,
}


class GenerateHiddenDataKey(OfKey, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Arguments of GenerateDataKeyWithoutPlaintext."""

    encryption_context: Context | UnsetType = UNSET
    key_spec: str | UnsetType = UNSET
    number_of_bytes: int | UnsetType = UNSET
    grant_tokens: list[str] | UnsetType = UNSET
    dry_run: bool | UnsetType = UNSET


class GenerateDataKey(
    GenerateHiddenDataKey, frozen=True, rename="pascal", forbid_unknown_fields=True
):
    """Arguments of GenerateDataKey."""

    recipient: Any | UnsetType = UNSET


class GenerateHiddenDataKeyPair(OfKey, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Arguments of GenerateDataKeyPairWithoutPlaintext."""

    key_pair_spec: str
    encryption_context: Context | UnsetType = UNSET
    grant_tokens: list[str] | UnsetType = UNSET
    dry_run: bool | UnsetType = UNSET


class GenerateDataKeyPair(
    GenerateHiddenDataKeyPair, frozen=True, rename="pascal", forbid_unknown_fields=True
):
    """Arguments of GenerateDataKeyPair."""

    recipient: Any | UnsetType = UNSET


class GenerateRandom(Arguments, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Arguments of GenerateRandom."""

    number_of_bytes: int | UnsetType = UNSET
    custom_key_store_id: str | UnsetType = UNSET
    recipient: Any | UnsetType = UNSET


def generate_data_key(call: Call, arguments: GenerateDataKey) -> dict[str, Any]:
    """Make a data key: its plaintext, and its ciphertext."""
    refuse_set(arguments, **NO_ENCLAVE)
    return _data_key(call, arguments)


def generate_data_key_without_plaintext(
    call: Call, arguments: GenerateHiddenDataKey
) -> dict[str, Any]:
    """Make a data key of which only the ciphertext is given."""
    answer = _data_key(call, arguments)
    del answer["Plaintext"]
    return answer


def generate_data_key_pair(call: Call, arguments: GenerateDataKeyPair) -> dict[str, Any]:
    """Make a key pair for use outside of the service; its private half also encrypted."""
    refuse_set(arguments, **NO_ENCLAVE)
    return _data_key_pair(call, arguments)


def generate_data_key_pair_without_plaintext(
    call: Call, arguments: GenerateHiddenDataKeyPair
) -> dict[str, Any]:
    """Make a key pair of whose private half only the ciphertext is given."""
    answer = _data_key_pair(call, arguments)
    del answer["PrivateKeyPlaintext"]
    return answer


def _data_key_pair(call: Call, arguments: GenerateHiddenDataKeyPair) -> dict[str, Any]:
    context = checked_context(arguments.encryption_context)
    if arguments.key_pair_spec not in _PAIRS:
        raise UnsupportedError(
            f"expected KeyPairSpec to be one of {', '.join(_PAIRS)}, found another"
        )
    record = call.key(
        arguments.key_id,
        context=context,
        facts={"kms:datakeypairspec": arguments.key_pair_spec},
        dry_run=bool(given(arguments.dry_run, False)),
    )
    private, public = _key_pair(arguments.key_pair_spec)
    return {
        "PrivateKeyCiphertextBlob": seal(call, record, SYMMETRIC, private, context),
        "PrivateKeyPlaintext": private,
        "PublicKey": public,
        "KeyId": record.arn,
        "KeyPairSpec": arguments.key_pair_spec,
    }


def generate_random(call: Call, arguments: GenerateRandom) -> dict[str, Any]:
    """Random bytes of the token's own generator."""
    refuse_set(
        arguments, custom_key_store_id="keys live in the token of this service", **NO_ENCLAVE
    )
    if arguments.number_of_bytes is UNSET:
        raise ValidationError("expected NumberOfBytes, found none")
    call.anywhere()
    size = checked_range("NumberOfBytes", int(arguments.number_of_bytes), 1, 1024)
    return {"Plaintext": call.token.random(size)}


def _data_key(call: Call, arguments: GenerateHiddenDataKey) -> dict[str, Any]:
    context = checked_context(arguments.encryption_context)
    size = _size(arguments)
    record = call.key(
        arguments.key_id,
        context=context,
        facts={"kms:encryptionalgorithm": SYMMETRIC},
        dry_run=bool(given(arguments.dry_run, False)),
    )
    if record.spec is not KeySpec.SYMMETRIC_DEFAULT:
        raise InvalidKeyUsageError(f"{record.arn} is no symmetric encryption key.")
    plaintext = call.token.random(size)
    return {
        "CiphertextBlob": seal(call, record, SYMMETRIC, plaintext, context),
        "Plaintext": plaintext,
        "KeyId": record.arn,
    }


def _size(arguments: GenerateHiddenDataKey) -> int:
    spec, size = given(arguments.key_spec, None), given(arguments.number_of_bytes, None)
    if (spec is None) == (size is None):
        raise ValidationError("expected KeySpec or NumberOfBytes, found both or neither")
    if size is not None:
        return checked_range("NumberOfBytes", size, 1, 1024)
    sizes = {"AES_256": 32, "AES_128": 16}
    if spec not in sizes:
        raise ValidationError("expected KeySpec AES_256 or AES_128, found another")
    return sizes[spec]


def _key_pair(spec: str) -> tuple[bytes, bytes]:
    """PKCS #8 and SubjectPublicKeyInfo, both DER."""
    made: Any
    if spec.startswith("RSA_"):
        made = rsa.generate_private_key(public_exponent=65537, key_size=_PAIRS[spec])
    elif spec == "ECC_NIST_EDWARDS25519":
        made = ed25519.Ed25519PrivateKey.generate()
    else:
        made = ec.generate_private_key(_PAIRS[spec]())
    private = made.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = made.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private, public
