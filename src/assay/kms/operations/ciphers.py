"""Encrypting, decrypting, and moving ciphertexts.

Symmetric ciphertexts have the form of ``spec/kms.md``, "Ciphertext"; they say which key and version
opens them.

Example:
    >>> encrypt(call, Encrypt(key_id="alias/orders", plaintext=b"..."))     # doctest: +SKIP
    {'CiphertextBlob': b'...', 'KeyId': 'arn:aws:kms:...', 'EncryptionAlgorithm': 'SYMMETRIC_DEFAULT'}
"""  # noqa: E501 - an example

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from msgspec import UNSET, UnsetType

from assay.kms.arguments import (
    Arguments,
    Context,
    OfKey,
    checked_context,
    checked_length,
    given,
    refuse_set,
)
from assay.kms.call import Call
from assay.kms.ciphertext import Blob, associated_data, header_of, join, key_bytes, parse
from assay.kms.errors import (
    IncorrectKeyError,
    InvalidCiphertextError,
    InvalidKeyUsageError,
    LimitError,
    ValidationError,
)
from assay.kms.operations.lifecycle import algorithms_of
from assay.kms.operations.rotation import rotated
from assay.kms.public_keys import encrypt_oaep
from assay.kms.records import BackingKey, KeyRecord, KeyUsage, Rotation

MOST_USES = 2**32
"""How often a backing key may encrypt under random nonces (SP 800-38D, section 8.3)."""

USES_BEFORE_ROTATION = 2**31
"""After as many the next backing key is made."""

SYMMETRIC = "SYMMETRIC_DEFAULT"
_LONGEST_PLAINTEXT, _LONGEST_BLOB = 4096, 6144
NO_ENCLAVE = {"recipient": "this service attests no enclaves"}
_NO_MODIFIERS = {"dry_run_modifiers": "a dry run looks at the ciphertext as well"}
_OAEP = "RSAES_OAEP_"


class Encrypt(OfKey, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Arguments of Encrypt."""

    plaintext: bytes
    encryption_context: Context | UnsetType = UNSET
    encryption_algorithm: str | UnsetType = UNSET
    grant_tokens: list[str] | UnsetType = UNSET
    dry_run: bool | UnsetType = UNSET


class Decrypt(Arguments, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Arguments of Decrypt."""

    ciphertext_blob: bytes | UnsetType = UNSET
    key_id: str | UnsetType = UNSET
    encryption_context: Context | UnsetType = UNSET
    encryption_algorithm: str | UnsetType = UNSET
    grant_tokens: list[str] | UnsetType = UNSET
    recipient: Any | UnsetType = UNSET
    dry_run: bool | UnsetType = UNSET
    dry_run_modifiers: Any | UnsetType = UNSET


class ReEncrypt(Arguments, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Arguments of ReEncrypt."""

    destination_key_id: str
    ciphertext_blob: bytes | UnsetType = UNSET
    source_key_id: str | UnsetType = UNSET
    source_encryption_context: Context | UnsetType = UNSET
    destination_encryption_context: Context | UnsetType = UNSET
    source_encryption_algorithm: str | UnsetType = UNSET
    destination_encryption_algorithm: str | UnsetType = UNSET
    grant_tokens: list[str] | UnsetType = UNSET
    dry_run: bool | UnsetType = UNSET
    dry_run_modifiers: Any | UnsetType = UNSET


def encrypt(call: Call, arguments: Encrypt) -> dict[str, Any]:
    """Encrypt up to 4096 bytes."""
    checked_length("Plaintext", arguments.plaintext, 1, _LONGEST_PLAINTEXT)
    context = checked_context(arguments.encryption_context)
    algorithm = given(arguments.encryption_algorithm, SYMMETRIC)
    record = call.key(
        arguments.key_id,
        context=context,
        facts={"kms:encryptionalgorithm": algorithm},
        dry_run=bool(given(arguments.dry_run, False)),
    )
    blob = seal(call, record, algorithm, arguments.plaintext, context)
    return {"CiphertextBlob": blob, "KeyId": record.arn, "EncryptionAlgorithm": algorithm}


def decrypt(call: Call, arguments: Decrypt) -> dict[str, Any]:
    """Open what `encrypt` or a data key action made."""
    refuse_set(arguments, **NO_ENCLAVE, **_NO_MODIFIERS)
    data = _ciphertext(arguments.ciphertext_blob)
    context = checked_context(arguments.encryption_context)
    algorithm = given(arguments.encryption_algorithm, SYMMETRIC)
    blob, reference = _named_key(call, data, algorithm, arguments.key_id)
    record = call.key(
        reference,
        context=context,
        facts={"kms:encryptionalgorithm": algorithm},
        dry_run=bool(given(arguments.dry_run, False)),
    )
    plaintext = open_blob(call, record, algorithm, blob, data, context)
    return {"KeyId": record.arn, "Plaintext": plaintext, "EncryptionAlgorithm": algorithm}


def re_encrypt(call: Call, arguments: ReEncrypt) -> dict[str, Any]:
    """Move a ciphertext under another key or context; the plaintext does not leave the service."""
    refuse_set(arguments, **_NO_MODIFIERS)
    data = _ciphertext(arguments.ciphertext_blob)
    before = checked_context(arguments.source_encryption_context)
    after = checked_context(arguments.destination_encryption_context)
    opened_by = given(arguments.source_encryption_algorithm, SYMMETRIC)
    sealed_by = given(arguments.destination_encryption_algorithm, SYMMETRIC)
    blob, reference = _named_key(call, data, opened_by, arguments.source_key_id)
    same = call.is_same_key(reference, arguments.destination_key_id)
    source = call.key(
        reference,
        action="ReEncryptFrom",
        context=before,
        facts={"kms:encryptionalgorithm": opened_by, "kms:reencryptonsamekey": same},
    )
    destination = call.key(
        arguments.destination_key_id,
        action="ReEncryptTo",
        context=after,
        facts={"kms:encryptionalgorithm": sealed_by, "kms:reencryptonsamekey": same},
        dry_run=bool(given(arguments.dry_run, False)),
    )
    plaintext = open_blob(call, source, opened_by, blob, data, before)
    return {
        "CiphertextBlob": seal(call, destination, sealed_by, plaintext, after),
        "SourceKeyId": source.arn,
        "KeyId": destination.arn,
        "SourceEncryptionAlgorithm": opened_by,
        "DestinationEncryptionAlgorithm": sealed_by,
    }


def seal(
    call: Call, record: KeyRecord, algorithm: str, plaintext: bytes, context: Mapping[str, str]
) -> bytes:
    """Encrypt under the newest backing key of a key.

    Raises:
        InvalidKeyUsageError: the key does not encrypt like this.
        LimitError: the backing key may encrypt nothing more.
    """
    _refuse_other_use(record, algorithm)
    if algorithm != SYMMETRIC:
        _refuse_context(context)
        return encrypt_oaep(record.public_key or b"", algorithm.removeprefix(_OAEP), plaintext)
    if call.state.uses_of(record.backing[-1]) >= USES_BEFORE_ROTATION:
        record = rotated(call, record, Rotation.AUTOMATIC)
    backing = record.backing[-1]
    if call.state.uses_of(backing) >= MOST_USES:
        raise LimitError(f"expected a backing key of {record.arn} with uses left, found none")
    call.transaction.count_use(backing.handle)
    associated = associated_data(header_of(record.key_id, backing.version), context)
    nonce, sealed = call.token.encrypt(backing.handle, plaintext, associated)
    return join(record.key_id, backing.version, nonce, sealed)


def open_blob(  # noqa: PLR0913, PLR0917 - a ciphertext, read and as it came, and whose it is
    call: Call,
    record: KeyRecord,
    algorithm: str,
    blob: Blob | None,
    given_bytes: bytes,
    context: Mapping[str, str],
) -> bytes:
    """Decrypt under the backing key that a ciphertext names.

    Raises:
        InvalidKeyUsageError: the key does not decrypt like this.
        IncorrectKeyError: it is of another key.
        InvalidCiphertextError: it does not open.
    """
    _refuse_other_use(record, algorithm)
    if blob is None:
        _refuse_context(context)
        handle = record.backing[-1].handle
        return call.token.decrypt_oaep(handle, algorithm.removeprefix(_OAEP), given_bytes)
    backing = _backing(record, blob)
    associated = associated_data(blob.header, context)
    return call.token.decrypt(backing.handle, blob.nonce, blob.sealed, associated)


def _ciphertext(data: bytes | UnsetType) -> bytes:
    if data is UNSET:
        raise ValidationError("expected CiphertextBlob, found none")
    data = bytes(data)
    checked_length("CiphertextBlob", data, 1, _LONGEST_BLOB)
    return data


def _backing(record: KeyRecord, blob: Blob) -> BackingKey:
    if blob.key != key_bytes(record.key_id):
        raise IncorrectKeyError(
            "The key ID in the request does not identify a key that can perform this operation."
        )
    for each in record.backing:
        if each.version == blob.version:
            return each
    raise InvalidCiphertextError(
        "expected a ciphertext of this service, found one that does not open"
    )


def _named_key(
    call: Call, data: bytes, algorithm: str, named: str | UnsetType
) -> tuple[Blob | None, str]:
    """The ciphertext, taken apart when it is symmetric, and the key to open it with."""
    if algorithm != SYMMETRIC:
        if named is UNSET:
            raise ValidationError(f"expected the key for {algorithm[:40]!r}, found no KeyId")
        return None, str(named)
    blob = parse(data)
    if named is not UNSET:
        return blob, str(named)
    multi_region = f"mrk-{blob.key.hex()}"
    return blob, multi_region if multi_region in call.state.keys else str(UUID(bytes=blob.key))


def _refuse_other_use(record: KeyRecord, algorithm: str) -> None:
    if record.usage is not KeyUsage.ENCRYPT_DECRYPT:
        raise InvalidKeyUsageError(
            f"{record.arn} key usage is {record.usage} which is not valid for this action."
        )
    if algorithm not in algorithms_of(record):
        raise InvalidKeyUsageError(
            f"expected one of {', '.join(algorithms_of(record))} for {record.arn}, found another"
        )


def _refuse_context(context: Mapping[str, str]) -> None:
    if context:
        raise ValidationError("expected no EncryptionContext for an asymmetric key, found one")
