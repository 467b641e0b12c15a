from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from assay.kms import errors
from assay.kms.ciphertext import SMALLEST_BYTES, associated_data, header_of, join, key_bytes, parse
from assay.kms.errors import InvalidCiphertextError, KmsError

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "kms-ciphertext.json").read_bytes())
HEX = st.binary(min_size=16, max_size=16).map(bytes.hex)
KEY_IDS = st.one_of(
    st.uuids().map(str),
    HEX.map("mrk-{}".format),
)
VERSIONS = st.integers(1, 2**32 - 1)
CONTEXTS = st.dictionaries(st.text(), st.text(), max_size=4)


def opened(key: bytes, blob: bytes, context: dict[str, str]) -> bytes:
    """Read as the service does."""
    parts = parse(blob)
    associated = associated_data(parts.header, context)
    try:
        return AESGCM(key).decrypt(parts.nonce, parts.sealed, associated)
    except InvalidTag as exc:
        raise InvalidCiphertextError("does not open") from exc


@pytest.mark.parametrize("vector", VECTORS["accepted"], ids=lambda vector: vector["name"])
def test_accepted_vectors(vector: dict[str, Any]) -> None:
    key, blob = bytes.fromhex(vector["key"]), bytes.fromhex(vector["ciphertext"])
    parts = parse(blob)
    assert (parts.key, parts.version) == (key_bytes(vector["key_id"]), vector["version"])
    assert parts.nonce.hex() == vector["nonce"]
    assert associated_data(parts.header, vector["context"]).hex() == vector["associated_data"]
    assert opened(key, blob, vector["context"]).hex() == vector["plaintext"]
    header = header_of(vector["key_id"], vector["version"])
    associated = associated_data(header, vector["context"])
    sealed = AESGCM(key).encrypt(parts.nonce, bytes.fromhex(vector["plaintext"]), associated)
    assert join(vector["key_id"], vector["version"], parts.nonce, sealed) == blob


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["name"])
def test_refused_vectors(vector: dict[str, Any]) -> None:
    with pytest.raises(KmsError) as caught:
        opened(bytes.fromhex(vector["key"]), bytes.fromhex(vector["ciphertext"]), vector["context"])
    assert type(caught.value) is getattr(errors, vector["error"])


@given(KEY_IDS, VERSIONS, st.binary(min_size=12, max_size=12), st.binary(min_size=16))
def test_what_is_joined_is_parsed(key_id: str, version: int, nonce: bytes, sealed: bytes) -> None:
    blob = join(key_id, version, nonce, sealed)
    parts = parse(blob)
    assert (parts.key, parts.version) == (key_bytes(key_id), version)
    assert (parts.nonce, parts.sealed) == (nonce, sealed)
    assert parts.header == blob[:21] == header_of(key_id, version)


@given(st.binary(max_size=80))
def test_what_is_parsed_is_joined(blob: bytes) -> None:
    try:
        parts = parse(b"\x01" + blob)
    except InvalidCiphertextError:
        assert len(blob) + 1 < SMALLEST_BYTES or not any(blob[16:20])
        return
    again = join(f"mrk-{parts.key.hex()}", parts.version, parts.nonce, parts.sealed)
    assert again == b"\x01" + blob


@given(st.tuples(KEY_IDS, VERSIONS, CONTEXTS), st.tuples(KEY_IDS, VERSIONS, CONTEXTS))
def test_two_headers_or_contexts_never_share_their_associated_data(
    one: tuple[str, int, dict[str, str]], other: tuple[str, int, dict[str, str]]
) -> None:
    alike = (key_bytes(one[0]), *one[1:]) == (key_bytes(other[0]), *other[1:])
    found = [
        associated_data(header_of(key, version), pairs) for key, version, pairs in (one, other)
    ]
    assert (found[0] == found[1]) == alike


def test_every_flipped_bit_is_refused() -> None:
    key, vector = bytes(32), {"tenant": "north"}
    header = header_of("mrk-" + "ab" * 16, 1)
    sealed = AESGCM(key).encrypt(bytes(12), b"plaintext", associated_data(header, vector))
    blob = join("mrk-" + "ab" * 16, 1, bytes(12), sealed)
    assert opened(key, blob, vector) == b"plaintext"
    for position in range(len(blob)):
        for bit in range(8):
            altered = bytearray(blob)
            altered[position] ^= 1 << bit
            with pytest.raises(InvalidCiphertextError):
                opened(key, bytes(altered), vector)


@pytest.mark.parametrize(
    "key_id",
    ["", "alias/x", "mrk-" + "0" * 31, "mrk-" + "A" * 32, "{" + "0" * 32 + "}", "0" * 32,
     "12345678-1234-1234-1234-12345678901G", "12345678-1234-1234-1234-123456789012\n"],
)  # fmt: skip
def test_what_is_no_key_id_is_refused(key_id: str) -> None:
    with pytest.raises(ValueError, match="key id"):
        key_bytes(key_id)


def test_the_smallest_ciphertext_is_that_of_nothing() -> None:
    header = header_of("mrk-" + "ab" * 16, 1)
    assert parse(header + bytes(28)).sealed == bytes(16)
    for refused in (
        header + bytes(27),
        header[:17] + bytes(4 + 28),
        b"\x02" + header[1:] + bytes(28),
    ):
        with pytest.raises(InvalidCiphertextError, match="found"):
            parse(refused)


def test_parts_that_do_not_fit_are_refused() -> None:
    key_id = "12345678-1234-1234-1234-123456789012"
    for version in (0, 2**32):
        with pytest.raises(ValueError, match="version"):
            header_of(key_id, version)
    for nonce, sealed in ((bytes(11), bytes(16)), (bytes(12), bytes(15))):
        with pytest.raises(ValueError, match="12 and at least 16"):
            join(key_id, 1, nonce, sealed)
