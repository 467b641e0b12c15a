"""``spec/data-keys.md``: wrapping a data key, and ``spec/parquet.md``: wrapping the key of a file."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.reference.notation import Refused, key_id, pae, text, xaes_open, xaes_seal


def wrap(kek: bytes, nonce: bytes, data_key: bytes, context: Mapping[str, str]) -> bytes:
    """Wrapping, with the nonce that the key service gave."""
    return b"\x01" + nonce + AESGCM(kek).encrypt(nonce, data_key, associated_data(context))


def unwrap(kek: bytes, wrapped: bytes, context: Mapping[str, str]) -> bytes:
    """Unwrapping."""
    if wrapped[:1] != b"\x01":  # 1
        raise Refused("UnwrapError")
    if len(wrapped) != 61:  # 2
        raise Refused("UnwrapError")
    try:
        return AESGCM(kek).decrypt(wrapped[1:13], wrapped[13:], associated_data(context))  # 3
    except InvalidTag:
        raise Refused("UnwrapError") from None


def associated_data(context: Mapping[str, str]) -> bytes:
    """Step 2 of wrapping."""
    if not context:
        raise Refused("KeysError")
    pairs = [text(each, "KeysError") for name in sorted(context) for each in (name, context[name])]
    return pae([b"assay data key wrap v1", *pairs])


def split(wrapped: bytes) -> tuple[str, bytes]:
    """Version 2, steps 1 and 2 of unwrapping: the KEK's name, and what the service returned."""
    if wrapped[:1] != b"\x02":  # 1
        raise Refused("UnwrapError")
    length = int.from_bytes(wrapped[1:3], "big")
    name, ciphertext = wrapped[3 : 3 + length], wrapped[3 + length :]
    if not 1 <= length <= 1024 or len(name) < length or not 1 <= len(ciphertext) <= 8192:  # 2
        raise Refused("UnwrapError")
    try:
        return name.decode(), ciphertext
    except UnicodeDecodeError:
        raise Refused("UnwrapError") from None


FilePlace = tuple[str, str, str]
"""Owner, data set, file."""


def wrap_file_key(key: bytes, file_key: bytes, place: FilePlace, nonce: bytes) -> str:
    """The token of a file key."""
    if len(file_key) != 32:  # 2
        raise Refused("UnsupportedFileError")
    sealed = xaes_seal(key, nonce, file_key, file_associated_data(place))
    return base64.b64encode(b"\x21\x01" + nonce + sealed).decode()


def unwrap_file_key(key: bytes, master_key_id: str, token: str, place: FilePlace) -> bytes:
    """Unwrapping, where the owner has one data key."""
    if not re.fullmatch(r"[0-9a-f]{32}", master_key_id):  # 1
        raise Refused("TamperedFileError")
    if master_key_id != key_id(key).hex():  # 2
        raise Refused("WrongFileKeyError")
    try:
        raw = base64.b64decode(token, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) < 2 or base64.b64encode(raw).decode() != token:  # 3
        raise Refused("TamperedFileError")
    if raw[:2] != b"\x21\x01":  # 4
        raise Refused("UnknownFileKeyVersionError")
    if len(raw) != 74:  # 5
        raise Refused("TamperedFileError")
    opened = xaes_open(key, raw[2:26], raw[26:], file_associated_data(place))
    if opened is None:  # 6
        raise Refused("TamperedFileError")
    return opened


def file_associated_data(place: FilePlace) -> bytes:
    """PAE of the label and the names."""
    return pae([b"assay file key v1", *(text(name, "UnsupportedFileError") for name in place)])
