"""The bytes of an embedded key store: keys sealed under a passphrase. No files here.

Specification: ``spec/embedded-key-store.md``; scrypt is RFC 7914, AES-256-GCM is SP 800-38D.

Example:
    >>> import os
    >>> store = {"kek": StoredKey("aes-256", bytes(32))}
    >>> cheap = ScryptParameters(n=2**14)
    >>> sealed = seal_store(store, "correct horse battery", cheap, os.urandom(16), os.urandom(12))
    >>> open_store(sealed, "correct horse battery") == store
    True
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from assay.core import CanonicalJsonError, from_canonical_json, to_canonical_json
from assay.keys.errors import KeyStoreFormatError, KeyStoreKdfError, PassphraseError

FORMAT = "assay embedded key store"
VERSION = 1
LARGEST_FILE_BYTES = 65_536
SALT_BYTES = 16
NONCE_BYTES = 12
MATERIAL_BYTES = 32
SMALLEST_N, LARGEST_N = 2**14, 2**18
ONLY_R = 8
LARGEST_P = 4
TYPES = ("aes-256", "ed25519")
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoredKey:
    """One key of a store.

    Attributes:
        type: "aes-256" or "ed25519".
        material: 32 bytes: the key, or the seed of RFC 8032. Not in the ``repr``.
    """

    type: str
    material: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ScryptParameters:
    """Cost of the key derivation (RFC 7914): ``128 * n * r`` bytes of memory, ``p`` times.

    Attributes:
        n: a power of two, 2^14 to 2^18.
        r: 8.
        p: 1 to 4.
    """

    n: int = 2**17
    r: int = ONLY_R
    p: int = 1


class KdfFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the key derivation stands in a file."""

    name: str
    n: int
    r: int
    p: int
    salt: str


class CipherFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the cipher stands in a file."""

    name: str
    nonce: str


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    version: int
    kdf: KdfFields
    cipher: CipherFields
    sealed: str


class _Object(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: str
    material: str


@dataclass(frozen=True, slots=True)
class StoreHeader:
    """What stands in the clear, parsed and within bounds.

    Attributes:
        parameters: cost of the key derivation.
        salt: 16 bytes.
        nonce: 12 bytes.
        sealed: ciphertext and tag.
    """

    parameters: ScryptParameters
    salt: bytes
    nonce: bytes
    sealed: bytes

    def associated_data(self) -> bytes:
        """Sealing step 3: the header's canonical JSON."""
        return to_canonical_json(_header(self.parameters, self.salt, self.nonce))


def seal_store(
    keys: Mapping[str, StoredKey],
    passphrase: str,
    parameters: ScryptParameters,
    salt: bytes,
    nonce: bytes,
) -> bytes:
    """Sealing: the bytes of the file.

    Args:
        keys: at least one, by name.
        passphrase: any text.
        parameters: cost of the key derivation.
        salt: 16 random bytes, new for every call (step 1).
        nonce: 12 random bytes, new for every call (step 1).

    Raises:
        KeyStoreFormatError: a name, type or length that the format does not have.
        KeyStoreKdfError: parameters out of bounds.
    """
    refuse_cost(parameters)
    cipher = AESGCM(passphrase_key(passphrase, parameters, salt))  # step 2
    header = _header(parameters, salt, nonce)  # step 3
    sealed = cipher.encrypt(  # step 4
        nonce, write_keys(keys), to_canonical_json(header)
    )
    return to_canonical_json({**header, "sealed": encode_base64(sealed)})  # step 5


def parse_store(data: bytes) -> StoreHeader:
    """Opening steps 1 to 3: the header, without the passphrase.

    Raises:
        KeyStoreFormatError: the bytes have another form.
        KeyStoreKdfError: the key derivation is out of bounds.
    """
    if len(data) > LARGEST_FILE_BYTES:
        raise KeyStoreFormatError(
            f"expected a key store of at most {LARGEST_FILE_BYTES} bytes, found {len(data)}"
        )
    file = decode_json(data, _File, "a key store")
    if file.format != FORMAT or file.version != VERSION:
        raise KeyStoreFormatError(f"expected {FORMAT!r} of version {VERSION}, found another")
    nonce = read_cipher(file.cipher)
    parameters, salt = read_kdf(file.kdf)
    return StoreHeader(
        parameters,
        salt,
        nonce,
        decode_base64(file.sealed, "sealed", None),
    )


def open_store(data: bytes, passphrase: str) -> dict[str, StoredKey]:
    """Opening: the keys by name.

    Raises:
        KeyStoreFormatError: the bytes, or what they seal, have another form.
        KeyStoreKdfError: the key derivation is out of bounds.
        PassphraseError: another passphrase, or altered bytes.
    """
    header = parse_store(data)  # steps 1 to 3
    cipher = AESGCM(passphrase_key(passphrase, header.parameters, header.salt))  # step 4
    try:
        plaintext = cipher.decrypt(header.nonce, header.sealed, header.associated_data())  # step 5
    except InvalidTag as exc:
        raise PassphraseError(
            "expected a key store that opens under this passphrase, found one that does not: the "
            "passphrase is another one, or the file was altered"
        ) from exc
    return parse_keys(plaintext)  # step 6


def parse_keys(plaintext: bytes) -> dict[str, StoredKey]:
    """Opening step 6: the keys in the opened plaintext.

    Raises:
        KeyStoreFormatError: the bytes have another form.
    """
    objects = decode_json(plaintext, dict[str, _Object], "the keys of a key store")
    keys = {
        name: StoredKey(item.type, decode_base64(item.material, "material", MATERIAL_BYTES))
        for name, item in objects.items()
    }
    refuse_keys(keys)
    return keys


def write_keys(keys: Mapping[str, StoredKey]) -> bytes:
    """The plaintext that a key store seals.

    Raises:
        KeyStoreFormatError: a name, type or length that the format does not have.
    """
    refuse_keys(keys)
    return to_canonical_json(
        {
            name: {"type": key.type, "material": encode_base64(key.material)}
            for name, key in keys.items()
        }
    )


def read_cipher(fields: CipherFields) -> bytes:
    """The nonce, when the cipher is the only one that there is.

    Raises:
        KeyStoreFormatError: another cipher, or a nonce of another form.
    """
    if fields.name != "AES-256-GCM":
        raise KeyStoreFormatError("expected a key store under AES-256-GCM, found another cipher")
    return decode_base64(fields.nonce, "nonce", NONCE_BYTES)


def read_kdf(fields: KdfFields) -> tuple[ScryptParameters, bytes]:
    """The cost of the key derivation, and its salt.

    Raises:
        KeyStoreKdfError: another derivation, or one out of bounds.
        KeyStoreFormatError: a salt of another form.
    """
    if fields.name != "scrypt":
        raise KeyStoreKdfError("expected a key store under scrypt, found another key derivation")
    parameters = ScryptParameters(fields.n, fields.r, fields.p)
    refuse_cost(parameters)
    return parameters, decode_base64(fields.salt, "salt", SALT_BYTES)


def kdf_fields(parameters: ScryptParameters, salt: bytes) -> dict[str, Any]:
    """How a key derivation stands in a file."""
    return {
        "name": "scrypt",
        "n": parameters.n,
        "r": parameters.r,
        "p": parameters.p,
        "salt": encode_base64(salt),
    }


def passphrase_key(passphrase: str, parameters: ScryptParameters, salt: bytes) -> bytes:
    """Sealing step 2: 32 bytes from the passphrase.

    Raises:
        PassphraseError: the text is no valid Unicode.
    """
    try:
        secret = passphrase.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise PassphraseError("expected a passphrase of valid Unicode text, found none") from exc
    return Scrypt(salt, 32, parameters.n, parameters.r, parameters.p).derive(secret)


def refuse_cost(found: ScryptParameters) -> None:
    """Opening step 3: raise `KeyStoreKdfError` when the derivation is out of bounds."""
    power_of_two = found.n > 0 and found.n & (found.n - 1) == 0
    if (
        not (power_of_two and SMALLEST_N <= found.n <= LARGEST_N)
        or found.r != ONLY_R
        or not 1 <= found.p <= LARGEST_P
    ):
        raise KeyStoreKdfError(
            f"expected scrypt with N a power of two from {SMALLEST_N} to {LARGEST_N}, r = "
            f"{ONLY_R} and p from 1 to {LARGEST_P}, found N = {found.n}, r = {found.r}, p = "
            f"{found.p}"
        )


def refuse_keys(keys: Mapping[str, StoredKey]) -> None:
    """Raise `KeyStoreFormatError` for names, types and lengths that the format does not have."""
    if not keys:
        raise KeyStoreFormatError("expected at least one key in a key store, found none")
    for name, key in keys.items():
        if not NAME.fullmatch(name):
            raise KeyStoreFormatError(
                "expected key names of 1 to 64 letters, digits, dots, underscores and dashes, "
                f"found {name[:80]!r}"
            )
        if key.type not in TYPES or len(key.material) != MATERIAL_BYTES:
            raise KeyStoreFormatError(
                f"expected the key {name} to be {' or '.join(TYPES)} of {MATERIAL_BYTES} bytes, "
                "found another type or length"
            )


def _header(parameters: ScryptParameters, salt: bytes, nonce: bytes) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "kdf": kdf_fields(parameters, salt),
        "cipher": {"name": "AES-256-GCM", "nonce": encode_base64(nonce)},
    }


def decode_json(data: bytes, form: type[T], what: str) -> T:
    """Canonical JSON of a form; raises `KeyStoreFormatError`, which quotes nothing."""
    try:
        return msgspec.convert(from_canonical_json(data), form)
    except (CanonicalJsonError, msgspec.ValidationError, ValueError, RecursionError) as exc:
        # The text of these errors may quote what was found, which may be key material.
        raise KeyStoreFormatError(
            f"expected {what} in canonical JSON as in spec/embedded-key-store.md, found another "
            f"form ({type(exc).__name__})"
        ) from None


def encode_base64(data: bytes) -> str:
    """Base64 with padding (RFC 4648 section 4)."""
    return base64.b64encode(data).decode("ascii")


def decode_base64(text: str, name: str, size_bytes: int | None) -> bytes:
    """The bytes; raises `KeyStoreFormatError` for another spelling or another length."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        data = None
    if data is None or encode_base64(data) != text:
        raise KeyStoreFormatError(f"expected {name} in base64 (RFC 4648 section 4), found other")
    if size_bytes is not None and len(data) != size_bytes:
        raise KeyStoreFormatError(f"expected {name} of {size_bytes} bytes, found {len(data)}")
    return data
