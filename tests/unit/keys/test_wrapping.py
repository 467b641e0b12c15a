from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from assay import keys
from assay.keys import KeysError, UnwrapError, data_key_id
from assay.keys.wrapping import (
    WRAPPED_BYTES,
    join_wrapped,
    split_wrapped,
    unwrap_with,
    wrap_associated_data,
    wrap_with,
)

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "data-keys.json").read_bytes())
CONTEXTS = st.dictionaries(st.text(), st.text(), min_size=1, max_size=4)


def cipher(vector: dict[str, Any]) -> AESGCM:
    return AESGCM(bytes.fromhex(vector["kek"]))


@pytest.mark.parametrize("vector", VECTORS["accepted"], ids=lambda vector: vector["name"])
def test_accepted_vectors(vector: dict[str, Any]) -> None:
    data_key, wrapped = bytes.fromhex(vector["data_key"]), bytes.fromhex(vector["wrapped"])
    context = vector["context"]
    assert wrap_associated_data(context).hex() == vector["associated_data"]
    assert unwrap_with(cipher(vector), wrapped, context) == data_key
    nonce = bytes.fromhex(vector["nonce"])
    assert wrap_with(cipher(vector), nonce, data_key, context) == wrapped
    assert data_key_id(data_key).hex() == vector["key_id"]


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["name"])
def test_refused_vectors(vector: dict[str, Any]) -> None:
    with pytest.raises(KeysError) as caught:
        unwrap_with(cipher(vector), bytes.fromhex(vector["wrapped"]), vector["context"])
    assert type(caught.value) is getattr(keys, vector["error"])


@given(CONTEXTS, st.binary(min_size=32, max_size=32))
def test_what_is_wrapped_opens_and_has_one_size(context: dict[str, str], data_key: bytes) -> None:
    kek = AESGCM(os.urandom(32))
    wrapped = wrap_with(kek, os.urandom(12), data_key, context)
    assert len(wrapped) == WRAPPED_BYTES == 61
    assert unwrap_with(kek, wrapped, context) == data_key


@given(CONTEXTS, CONTEXTS)
def test_two_contexts_never_share_their_associated_data(
    one: dict[str, str], other: dict[str, str]
) -> None:
    assert (wrap_associated_data(one) == wrap_associated_data(other)) == (one == other)


def test_every_flipped_bit_is_refused() -> None:
    kek = AESGCM(bytes(32))
    wrapped = wrap_with(kek, bytes(12), bytes(32), {"owner": "a"})
    for position in range(len(wrapped)):
        for bit in range(8):
            altered = bytearray(wrapped)
            altered[position] ^= 1 << bit
            with pytest.raises(UnwrapError):
                unwrap_with(kek, bytes(altered), {"owner": "a"})


def test_text_that_utf8_cannot_write_is_refused() -> None:
    with pytest.raises(KeysError, match="surrogate"):
        wrap_associated_data({"owner": "\ud800"})


def test_pieces_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="12 and 48"):
        join_wrapped(bytes(11), bytes(48))
    with pytest.raises(UnwrapError, match="version 01, found nothing"):
        split_wrapped(b"")
