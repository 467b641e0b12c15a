"""Version 2 of an embedded key store: a store key, sealed once for each way to open it.

Specification: ``spec/embedded-key-store.md``, "The file, version 2". No files here.

Example:
    >>> import os
    >>> keys = {"kek": StoredKey("aes-256", bytes(32))}
    >>> identity, store_key = os.urandom(16), os.urandom(32)
    >>> slot = PassphraseSlot.seal(store_key, identity, "correct horse", ScryptParameters(n=2**14))
    >>> data = SlottedStore(identity, slot).sealed_with(store_key, keys, os.urandom(12))
    >>> open_any_store(data, "correct horse") == keys
    True
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from assay.core import CanonicalJsonError, from_canonical_json, to_canonical_json
from assay.keys.embedded_format import (
    FORMAT,
    LARGEST_FILE_BYTES,
    NAME,
    NONCE_BYTES,
    SALT_BYTES,
    CipherFields,
    KdfFields,
    ScryptParameters,
    StoredKey,
    decode_base64,
    decode_json,
    encode_base64,
    kdf_fields,
    open_store,
    parse_keys,
    parse_store,
    passphrase_key,
    read_cipher,
    read_kdf,
    refuse_cost,
    write_keys,
)
from assay.keys.errors import (
    KeyStoreAlteredError,
    KeyStoreFormatError,
    PassphraseError,
    SharesRefusedError,
)

SLOTTED_VERSION = 2
STORE_KEY_BYTES = 32
STORE_ID_BYTES = 16
MOST_CUSTODIANS = 16
SMALLEST_THRESHOLD = 2
LARGEST_SPLIT = 2**15 - 1
MOST_REVOKED = 1_000
_SEALED_BYTES = STORE_KEY_BYTES + 16

Draw = Callable[[int], bytes]


class _Version(msgspec.Struct):
    version: int


class _Passphrase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kdf: KdfFields
    nonce: str
    sealed: str


class _Recovery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    custodians: list[str]
    threshold: int
    split: int
    nonce: str
    sealed: str


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    version: int
    store: str
    passphrase: _Passphrase
    recovery: list[_Recovery]
    revoked: list[int]
    cipher: CipherFields
    sealed: str


@dataclass(frozen=True, slots=True)
class PassphraseSlot:
    """The store key sealed under the passphrase.

    Attributes:
        parameters: cost of the key derivation.
        salt: 16 bytes.
        nonce: 12 bytes.
        sealed: the store key, 48 bytes with the tag.
    """

    parameters: ScryptParameters
    salt: bytes
    nonce: bytes
    sealed: bytes

    @classmethod
    def seal(
        cls,
        store_key: bytes,
        store: bytes,
        passphrase: str,
        parameters: ScryptParameters,
        draw: Draw = os.urandom,
    ) -> PassphraseSlot:
        """Slot 1 of the specification, with a salt and a nonce of its own.

        Raises:
            KeyStoreKdfError: the cost is out of bounds.
            PassphraseError: the passphrase is no valid Unicode.
        """
        refuse_cost(parameters)
        salt, nonce = draw(SALT_BYTES), draw(NONCE_BYTES)
        cipher = AESGCM(passphrase_key(passphrase, parameters, salt))
        data = _slot_data(store, "passphrase", kdf=kdf_fields(parameters, salt))
        return cls(parameters, salt, nonce, cipher.encrypt(nonce, store_key, data))

    def open(self, store: bytes, passphrase: str) -> bytes:
        """The store key.

        Raises:
            PassphraseError: another passphrase, or an altered slot.
        """
        cipher = AESGCM(passphrase_key(passphrase, self.parameters, self.salt))
        data = _slot_data(store, "passphrase", kdf=kdf_fields(self.parameters, self.salt))
        try:
            return cipher.decrypt(self.nonce, self.sealed, data)
        except InvalidTag as exc:
            raise PassphraseError(
                "expected a key store that opens under this passphrase, found one that does not: "
                "the passphrase is another one, or the file was altered"
            ) from exc


@dataclass(frozen=True, slots=True)
class RecoverySlot:
    """The store key sealed under the recovery secret, which custodians hold in shares.

    Attributes:
        split: the identifier that all shares of it carry, 15 bits.
        threshold: how many shares open it.
        custodians: who holds the shares, in their order.
        nonce: 12 bytes.
        sealed: the store key, 48 bytes with the tag.
    """

    split: int
    threshold: int
    custodians: tuple[str, ...]
    nonce: bytes = b""
    sealed: bytes = b""

    def sealing(self, store_key: bytes, store: bytes, secret: bytes, nonce: bytes) -> RecoverySlot:
        """The same slot with the store key sealed in it: slot 2 of the specification."""
        sealed = AESGCM(secret).encrypt(nonce, store_key, self._data(store))
        return replace(self, nonce=nonce, sealed=sealed)

    def open(self, store: bytes, secret: bytes) -> bytes:
        """The store key.

        Raises:
            SharesRefusedError: another secret, or an altered slot.
        """
        try:
            return AESGCM(secret).decrypt(self.nonce, self.sealed, self._data(store))
        except InvalidTag as exc:
            raise SharesRefusedError(
                "expected shares that open the key store, found shares that fit together and do "
                "not: they are of another store, or the file was altered"
            ) from exc

    def _data(self, store: bytes) -> bytes:
        return _slot_data(
            store,
            "recovery",
            custodians=list(self.custodians),
            split=self.split,
            threshold=self.threshold,
        )


@dataclass(frozen=True, slots=True)
class SlottedStore:
    """A store of version 2.

    Attributes:
        store: its identity, 16 bytes.
        passphrase: the slot of the passphrase.
        recovery: the slot of the shares; None when there are none.
        revoked: the splits that were revoked, ascending.
        nonce: of the body; empty as long as it is not sealed.
        sealed: the body.
    """

    store: bytes
    passphrase: PassphraseSlot
    recovery: RecoverySlot | None = None
    revoked: tuple[int, ...] = ()
    nonce: bytes = field(default=b"")
    sealed: bytes = field(default=b"")

    def sealed_with(self, store_key: bytes, keys: Mapping[str, StoredKey], nonce: bytes) -> bytes:
        """The bytes of the file, its body sealed under a nonce that was never used before.

        Raises:
            KeyStoreFormatError: keys that the format does not have.
        """
        header = self._header(nonce)
        sealed = AESGCM(store_key).encrypt(nonce, write_keys(keys), to_canonical_json(header))
        return to_canonical_json({**header, "sealed": encode_base64(sealed)})

    def keys_under(self, store_key: bytes) -> dict[str, StoredKey]:
        """Opening steps 3 and 4: the keys.

        Raises:
            KeyStoreAlteredError: the body or a slot was altered.
            KeyStoreFormatError: what is sealed has another form.
        """
        try:
            plaintext = AESGCM(store_key).decrypt(
                self.nonce, self.sealed, to_canonical_json(self._header(self.nonce))
            )
        except InvalidTag as exc:
            raise KeyStoreAlteredError(
                "expected the key store as it was written, found one that was altered: restore "
                "the file from a backup"
            ) from exc
        return parse_keys(plaintext)

    def _header(self, nonce: bytes) -> dict[str, Any]:
        slot = self.passphrase
        return {
            "format": FORMAT,
            "version": SLOTTED_VERSION,
            "store": encode_base64(self.store),
            "passphrase": {
                "kdf": kdf_fields(slot.parameters, slot.salt),
                "nonce": encode_base64(slot.nonce),
                "sealed": encode_base64(slot.sealed),
            },
            "recovery": [
                {
                    "custodians": list(shares.custodians),
                    "threshold": shares.threshold,
                    "split": shares.split,
                    "nonce": encode_base64(shares.nonce),
                    "sealed": encode_base64(shares.sealed),
                }
                for shares in ([self.recovery] if self.recovery else [])
            ],
            "revoked": list(self.revoked),
            "cipher": {"name": "AES-256-GCM", "nonce": encode_base64(nonce)},
        }


def is_slotted(data: bytes) -> bool:
    """Whether the bytes say that they are of version 2."""
    if len(data) > LARGEST_FILE_BYTES:
        return False
    try:
        return msgspec.convert(from_canonical_json(data), _Version).version == SLOTTED_VERSION
    except (CanonicalJsonError, msgspec.ValidationError, ValueError, RecursionError):
        return False


def parse_slotted(data: bytes) -> SlottedStore:
    """Opening step 1: what stands in the clear, without opening anything.

    Raises:
        KeyStoreFormatError: the bytes have another form.
        KeyStoreKdfError: the key derivation is out of bounds.
    """
    if len(data) > LARGEST_FILE_BYTES:
        raise KeyStoreFormatError(
            f"expected a key store of at most {LARGEST_FILE_BYTES} bytes, found {len(data)}"
        )
    file = decode_json(data, _File, "a key store")
    if file.format != FORMAT or file.version != SLOTTED_VERSION:
        raise KeyStoreFormatError(f"expected {FORMAT!r} of version 2, found another")
    nonce = read_cipher(file.cipher)
    parameters, salt = read_kdf(file.passphrase.kdf)
    recovery = _read_recovery(file.recovery)
    _refuse_revoked(file.revoked, recovery)
    return SlottedStore(
        decode_base64(file.store, "store", STORE_ID_BYTES),
        PassphraseSlot(
            parameters,
            salt,
            decode_base64(file.passphrase.nonce, "nonce", NONCE_BYTES),
            decode_base64(file.passphrase.sealed, "sealed", _SEALED_BYTES),
        ),
        recovery,
        tuple(file.revoked),
        nonce,
        decode_base64(file.sealed, "sealed", None),
    )


def open_any_store(data: bytes, passphrase: str) -> dict[str, StoredKey]:
    """The keys of a store of either version.

    Raises:
        KeyStoreError: the bytes have another form, or do not open under the passphrase.
    """
    if not is_slotted(data):
        return open_store(data, passphrase)
    store = parse_slotted(data)
    return store.keys_under(store.passphrase.open(store.store, passphrase))


def add_to_slotted(
    data: bytes, passphrase: str, keys: Mapping[str, StoredKey], nonce: bytes
) -> bytes:
    """A store of version 2 with other keys and the same slots.

    Raises:
        KeyStoreError: it does not open, or the keys are none that the format has.
    """
    store = parse_slotted(data)
    store_key = store.passphrase.open(store.store, passphrase)
    return store.sealed_with(store_key, keys, nonce)


def passphrase_cost(data: bytes) -> ScryptParameters:
    """The cost of the key derivation of a store of either version."""
    if is_slotted(data):
        return parse_slotted(data).passphrase.parameters
    return parse_store(data).parameters


def recovery_of(data: bytes) -> RecoverySlot | None:
    """The slot of the shares, when the store has one."""
    return parse_slotted(data).recovery if is_slotted(data) else None


def refuse_custodians(custodians: tuple[str, ...], threshold: int) -> None:
    """Raise `KeyStoreFormatError` for custodians or a threshold that the format does not have."""
    if (
        not SMALLEST_THRESHOLD <= len(custodians) <= MOST_CUSTODIANS
        or len(set(custodians)) != len(custodians)
        or not all(NAME.fullmatch(name) for name in custodians)
    ):
        raise KeyStoreFormatError(
            f"expected {SMALLEST_THRESHOLD} to {MOST_CUSTODIANS} different custodians, each of 1 "
            "to 64 letters, digits, dots, underscores and dashes, found others"
        )
    if not SMALLEST_THRESHOLD <= threshold <= len(custodians):
        raise KeyStoreFormatError(
            f"expected a threshold from {SMALLEST_THRESHOLD} to the {len(custodians)} custodians, "
            f"found {threshold}"
        )


def _read_recovery(found: list[_Recovery]) -> RecoverySlot | None:
    if len(found) > 1:
        raise KeyStoreFormatError("expected one recovery slot or none, found more")
    for one in found:
        custodians = tuple(one.custodians)
        refuse_custodians(custodians, one.threshold)
        if not 0 <= one.split <= LARGEST_SPLIT:
            raise KeyStoreFormatError("expected a split of 15 bits, found another number")
        return RecoverySlot(
            one.split,
            one.threshold,
            custodians,
            decode_base64(one.nonce, "nonce", NONCE_BYTES),
            decode_base64(one.sealed, "sealed", _SEALED_BYTES),
        )
    return None


def _refuse_revoked(found: list[int], recovery: RecoverySlot | None) -> None:
    if (
        len(found) > MOST_REVOKED
        or found != sorted(set(found))
        or not all(0 <= split <= LARGEST_SPLIT for split in found)
        or (recovery is not None and recovery.split in found)
    ):
        raise KeyStoreFormatError(
            f"expected at most {MOST_REVOKED} revoked splits of 15 bits, ascending and without "
            "the current one, found others"
        )


def _slot_data(store: bytes, slot: str, **members: Any) -> bytes:
    return to_canonical_json(
        {
            "format": FORMAT,
            "version": SLOTTED_VERSION,
            "slot": slot,
            "store": encode_base64(store),
            **members,
        }
    )
