"""What the specifications share: PAE, key ids, XAES-256-GCM, and refusing by name.

Everything in this folder is written from the text of ``spec/`` alone and imports nothing of the
package: a second implementation of the formats, as somebody else would write it. It is short and
slow, takes keys and random bytes as arguments, and knows what the vectors know. Values of payloads
are the typed JSON of the vectors: ``{"type": "date", "value": "1815-12-10"}``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC


class Refused(Exception):  # noqa: N818 - it carries the name that the specification gives
    """An input that the specification refuses, by the name that it gives to the error."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def pae(pieces: Sequence[bytes]) -> bytes:
    """The number of pieces, then each piece after its length, as 64-bit little-endian."""
    numbered = (len(piece).to_bytes(8, "little") + piece for piece in pieces)
    return len(pieces).to_bytes(8, "little") + b"".join(numbered)


def text(value: str, error: str) -> bytes:
    """Valid Unicode text as UTF-8."""
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError:
        raise Refused(error) from None


def key_id(data_key: bytes) -> bytes:
    """``data-keys.md``, "Key id"."""
    return hashlib.sha256(b"assay data key id v1" + data_key).digest()[:16]


def derived_key(key: bytes, nonce: bytes) -> bytes:
    """``row-envelope.md``, "Suite 0x01", step 1."""
    return b"".join(_cmac(key, bytes([0, counter, 0x58, 0]) + nonce[0:12]) for counter in (1, 2))


def xaes_seal(key: bytes, nonce: bytes, message: bytes, associated: bytes) -> bytes:
    """Step 2: ciphertext and tag."""
    return AESGCM(derived_key(key, nonce)).encrypt(nonce[12:24], message, associated)


def xaes_open(key: bytes, nonce: bytes, sealed: bytes, associated: bytes) -> bytes | None:
    """The message, or None when the tag does not fit."""
    try:
        return AESGCM(derived_key(key, nonce)).decrypt(nonce[12:24], sealed, associated)
    except InvalidTag:
        return None


def _cmac(key: bytes, message: bytes) -> bytes:
    mac = CMAC(AES(key))
    mac.update(message)
    return mac.finalize()
