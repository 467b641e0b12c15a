"""XAES-256-GCM: AES-256-GCM with a nonce of 24 bytes, composed of two standard parts.

Specification: https://c2sp.org/XAES-256-GCM, and "Suite 0x01" of ``spec/row-envelope.md``. The
key derivation is NIST SP 800-108r1 (counter mode) with CMAC-AES-256 (SP 800-38B); the sealing is
AES-256-GCM (SP 800-38D). Both come from ``cryptography``; nothing here is a primitive of its own.

Example:
    >>> sealed = seal_xaes(key, nonce, b"text", b"")     # doctest: +SKIP
    >>> open_xaes(key, nonce, sealed, b"")               # doctest: +SKIP
    b'text'
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

KEY_BYTES = 32
NONCE_BYTES = 24
DERIVATION_BYTES = 12
"""How many bytes of the nonce choose the derived key; the rest is the nonce of AES-GCM."""
TAG_BYTES = 16

_LABELS = (b"\x00\x01X\x00", b"\x00\x02X\x00")


def derive_key(key: bytes, nonce_prefix: bytes) -> bytes:
    """The AES-256-GCM key for all nonces that begin with these 12 bytes: 32 bytes.

    Args:
        key: 32 bytes.
        nonce_prefix: the first 12 bytes of the nonce.

    Raises:
        ValueError: another length.
    """
    if len(key) != KEY_BYTES or len(nonce_prefix) != DERIVATION_BYTES:
        raise ValueError(
            f"expected a key of {KEY_BYTES} and a nonce prefix of {DERIVATION_BYTES} bytes, found "
            f"{len(key)} and {len(nonce_prefix)}"
        )
    return b"".join(_cmac(key, label + nonce_prefix) for label in _LABELS)


def derive_cipher(key: bytes, nonce_prefix: bytes) -> AESGCM:
    """AES-256-GCM under `derive_key`; worth keeping, it costs more than sealing a short message.

    Raises:
        ValueError: another length.
    """
    return AESGCM(derive_key(key, nonce_prefix))


def seal_xaes(key: bytes, nonce: bytes, plaintext: bytes, associated_data: bytes) -> bytes:
    """Seal one message.

    Args:
        key: 32 bytes.
        nonce: 24 bytes, never used twice with this key.
        plaintext: up to 2^31 - 1 bytes.
        associated_data: authenticated along, not part of the result.

    Returns:
        The ciphertext, as long as the plaintext, and 16 bytes of tag.

    Raises:
        ValueError: another length of key or nonce.
    """
    _refuse_nonce(nonce)
    cipher = derive_cipher(key, nonce[:DERIVATION_BYTES])
    return cipher.encrypt(nonce[DERIVATION_BYTES:], plaintext, associated_data)


def open_xaes(key: bytes, nonce: bytes, sealed: bytes, associated_data: bytes) -> bytes:
    """Open what `seal_xaes` sealed.

    Raises:
        ValueError: another length of key or nonce.
        cryptography.exceptions.InvalidTag: altered, or another key, nonce or associated data.
    """
    _refuse_nonce(nonce)
    cipher = derive_cipher(key, nonce[:DERIVATION_BYTES])
    return cipher.decrypt(nonce[DERIVATION_BYTES:], sealed, associated_data)


def _refuse_nonce(nonce: bytes) -> None:
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"expected a nonce of {NONCE_BYTES} bytes, found {len(nonce)}")


def _cmac(key: bytes, message: bytes) -> bytes:
    mac = CMAC(AES(key))
    mac.update(message)
    return mac.finalize()
