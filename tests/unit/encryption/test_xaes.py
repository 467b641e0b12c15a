"""XAES-256-GCM against the vectors of its specification."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.exceptions import InvalidTag

from assay.encryption.xaes import derive_key, open_xaes, seal_xaes


def test_published_vectors(vectors) -> None:
    cases = vectors("xaes-256-gcm")["cases"]
    assert len(cases) == 2
    for case in cases:
        key, nonce, plaintext, associated, sealed, derived = (
            bytes.fromhex(case[name])
            for name in (
                "key", "nonce", "plaintext", "associated_data", "ciphertext", "derived_key",
            )
        )  # fmt: skip
        assert derive_key(key, nonce[:12]) == derived
        assert seal_xaes(key, nonce, plaintext, associated) == sealed
        assert open_xaes(key, nonce, sealed, associated) == plaintext


def test_accumulated_vector(vectors) -> None:
    """Ten thousand random messages, hashed together; the specification gives the hash."""
    wanted = vectors("xaes-256-gcm")["accumulated"]
    iterations = wanted["iterations"]
    stream = hashlib.shake_128().digest(iterations * (32 + 24 + 2 * 256))
    assert stream.startswith(bytes.fromhex("7f9c2ba4e88f827d616045507605853e"))
    position = 0

    def take(count: int) -> bytes:
        nonlocal position
        position += count
        return stream[position - count : position]

    accumulated = hashlib.shake_128()
    for _ in range(iterations):
        key, nonce = take(32), take(24)
        plaintext = take(take(1)[0])
        associated = take(take(1)[0])
        sealed = seal_xaes(key, nonce, plaintext, associated)
        assert open_xaes(key, nonce, sealed, associated) == plaintext
        accumulated.update(sealed)
    assert accumulated.hexdigest(32) == wanted["shake_128"]


def test_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="key of 32"):
        derive_key(bytes(16), bytes(12))
    with pytest.raises(ValueError, match="prefix of 12"):
        derive_key(bytes(32), bytes(11))
    for function in (seal_xaes, open_xaes):
        with pytest.raises(ValueError, match="nonce of 24"):
            function(bytes(32), bytes(12), bytes(16), b"")


def test_nothing_opens_under_another_key_nonce_or_associated_data() -> None:
    sealed = seal_xaes(bytes(32), bytes(24), b"text", b"associated")
    other = b"\x01" + bytes(31)
    for key, nonce, associated in (
        (other, bytes(24), b"associated"),
        (bytes(32), bytes(23) + b"\x01", b"associated"),
        (bytes(32), b"\x01" + bytes(23), b"associated"),
        (bytes(32), bytes(24), b"associated "),
    ):
        with pytest.raises(InvalidTag):
            open_xaes(key, nonce, sealed, associated)
