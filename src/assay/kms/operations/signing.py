"""Signatures and MACs.

Example:
    >>> sign(call, Sign(key_id="alias/log", message=b"...",
    ...                 signing_algorithm="ED25519_SHA_512"))           # doctest: +SKIP
"""

from __future__ import annotations

import hmac
from typing import Any

from msgspec import UNSET, UnsetType

from assay.kms import public_keys
from assay.kms.arguments import OfKey, checked_length, given
from assay.kms.call import Call
from assay.kms.errors import (
    InvalidKeyUsageError,
    InvalidMacError,
    UnsupportedError,
)
from assay.kms.operations.lifecycle import algorithms_of
from assay.kms.records import KeyRecord, KeyUsage

_LONGEST_MESSAGE = 4096
_LONGEST_SIGNATURE = 6144


class Sign(OfKey, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Arguments of Sign."""

    message: bytes
    signing_algorithm: str
    message_type: str | UnsetType = UNSET
    grant_tokens: list[str] | UnsetType = UNSET
    dry_run: bool | UnsetType = UNSET


class Verify(OfKey, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Arguments of Verify."""

    message: bytes
    signature: bytes
    signing_algorithm: str
    message_type: str | UnsetType = UNSET
    grant_tokens: list[str] | UnsetType = UNSET
    dry_run: bool | UnsetType = UNSET


class GetPublicKey(OfKey, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Arguments of GetPublicKey."""

    grant_tokens: list[str] | UnsetType = UNSET


class GenerateMac(OfKey, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Arguments of GenerateMac."""

    message: bytes
    mac_algorithm: str
    grant_tokens: list[str] | UnsetType = UNSET
    dry_run: bool | UnsetType = UNSET


class VerifyMac(OfKey, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Arguments of VerifyMac."""

    message: bytes
    mac: bytes
    mac_algorithm: str
    grant_tokens: list[str] | UnsetType = UNSET
    dry_run: bool | UnsetType = UNSET


def sign(call: Call, arguments: Sign) -> dict[str, Any]:
    """Sign a message or its digest."""
    record, digested = _for_signing(call, arguments)
    signature = call.token.sign(
        record.backing[-1].handle, arguments.signing_algorithm, arguments.message, digested=digested
    )
    return {
        "KeyId": record.arn,
        "Signature": signature,
        "SigningAlgorithm": arguments.signing_algorithm,
    }


def verify(call: Call, arguments: Verify) -> dict[str, Any]:
    """Verify a signature with the public key, for which the token is not needed."""
    checked_length("Signature", arguments.signature, 1, _LONGEST_SIGNATURE)
    record, digested = _for_signing(call, arguments)
    public_keys.verify(
        record.public_key or b"",
        arguments.signing_algorithm,
        arguments.message,
        arguments.signature,
        digested=digested,
    )
    return {
        "KeyId": record.arn,
        "SignatureValid": True,
        "SigningAlgorithm": arguments.signing_algorithm,
    }


def get_public_key(call: Call, arguments: GetPublicKey) -> dict[str, Any]:
    """Give the public half of an asymmetric key: DER SubjectPublicKeyInfo."""
    record = call.key(arguments.key_id)
    if record.public_key is None:
        raise UnsupportedError(f"{record.arn} is not an asymmetric key and has no public key.")
    field = "SigningAlgorithms" if record.usage is KeyUsage.SIGN_VERIFY else "EncryptionAlgorithms"
    return {
        "KeyId": record.arn,
        "PublicKey": record.public_key,
        "CustomerMasterKeySpec": record.spec.value,
        "KeySpec": record.spec.value,
        "KeyUsage": record.usage.value,
        field: list(algorithms_of(record)),
    }


def generate_mac(call: Call, arguments: GenerateMac) -> dict[str, Any]:
    """Make the MAC of a message."""
    record, mac = _mac(call, arguments)
    return {"KeyId": record.arn, "Mac": mac, "MacAlgorithm": arguments.mac_algorithm}


def verify_mac(call: Call, arguments: VerifyMac) -> dict[str, Any]:
    """Verify the MAC of a message, in constant time."""
    checked_length("Mac", arguments.mac, 1, _LONGEST_SIGNATURE)
    record, mac = _mac(call, arguments)
    if not hmac.compare_digest(mac, arguments.mac):
        raise InvalidMacError("expected a MAC that verifies, found another")
    return {"KeyId": record.arn, "MacValid": True, "MacAlgorithm": arguments.mac_algorithm}


def _for_signing(call: Call, arguments: Sign | Verify) -> tuple[KeyRecord, bool]:
    kind = given(arguments.message_type, "RAW")
    if kind not in {"RAW", "DIGEST"}:
        raise UnsupportedError("expected MessageType RAW or DIGEST, found another")
    checked_length("Message", arguments.message, 1, _LONGEST_MESSAGE)
    record = call.key(
        arguments.key_id,
        facts={
            "kms:signingalgorithm": arguments.signing_algorithm,
            "kms:messagetype": kind,
        },
        dry_run=bool(given(arguments.dry_run, False)),
    )
    _refuse_other_use(record, KeyUsage.SIGN_VERIFY, arguments.signing_algorithm)
    return record, kind == "DIGEST"


def _mac(call: Call, arguments: GenerateMac | VerifyMac) -> tuple[KeyRecord, bytes]:
    checked_length("Message", arguments.message, 1, _LONGEST_MESSAGE)
    record = call.key(
        arguments.key_id,
        facts={"kms:macalgorithm": arguments.mac_algorithm},
        dry_run=bool(given(arguments.dry_run, False)),
    )
    _refuse_other_use(record, KeyUsage.GENERATE_VERIFY_MAC, arguments.mac_algorithm)
    handle = record.backing[-1].handle
    return record, call.token.mac(handle, arguments.mac_algorithm, arguments.message)


def _refuse_other_use(record: KeyRecord, usage: KeyUsage, algorithm: str) -> None:
    if record.usage is not usage:
        raise InvalidKeyUsageError(
            f"{record.arn} key usage is {record.usage} which is not valid for this action."
        )
    if algorithm not in algorithms_of(record):
        raise InvalidKeyUsageError(
            f"expected one of {', '.join(algorithms_of(record))} for {record.arn}, found another"
        )
