from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay import keys
from assay.keys import KeysError, UnwrapError
from assay.keys.service_wrapping import ServiceWrapped, join_service_wrapped, split_service_wrapped

VECTORS = json.loads(
    (Path(__file__).parents[2] / "vectors" / "service-wrapped-keys.json").read_bytes()
)


@pytest.mark.parametrize("vector", VECTORS["accepted"], ids=lambda vector: vector["name"])
def test_accepted_vectors(vector: dict[str, Any]) -> None:
    ciphertext, wrapped = bytes.fromhex(vector["ciphertext"]), bytes.fromhex(vector["wrapped"])
    assert join_service_wrapped(vector["kek"], ciphertext) == wrapped
    assert split_service_wrapped(wrapped) == ServiceWrapped(vector["kek"], ciphertext)


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["name"])
def test_refused_vectors(vector: dict[str, Any]) -> None:
    with pytest.raises(KeysError) as caught:
        split_service_wrapped(bytes.fromhex(vector["wrapped"]))
    assert type(caught.value) is getattr(keys, vector["error"])


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)


@given(NAMES, st.binary(min_size=1, max_size=300))
def test_what_is_joined_is_split(kek: str, ciphertext: bytes) -> None:
    wrapped = join_service_wrapped(kek, ciphertext)
    assert split_service_wrapped(wrapped) == ServiceWrapped(kek, ciphertext)
    for length in range(4 + len(kek.encode()) - 1):
        with pytest.raises(UnwrapError):
            split_service_wrapped(wrapped[:length])


@pytest.mark.parametrize(
    ("kek", "ciphertext"), [("", b"x"), ("k", b""), ("k" * 1025, b"x"), ("k", bytes(8193))]
)
def test_parts_that_do_not_fit_are_not_written(kek: str, ciphertext: bytes) -> None:
    with pytest.raises(ValueError, match="expected a name of 1 to 1024 bytes"):
        join_service_wrapped(kek, ciphertext)
