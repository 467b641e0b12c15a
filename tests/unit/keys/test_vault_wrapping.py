"""The wrapped form of the transit engine: vectors, and the steps of the specification."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.transit_in_memory import TransitInMemory

from assay import keys
from assay.keys import KeysError, UnwrapError
from assay.keys.service_wrapping import join_service_wrapped, split_service_wrapped

VECTORS = json.loads(
    (Path(__file__).parents[2] / "vectors" / "transit-wrapped-keys.json").read_bytes()
)


def service(vector: dict[str, Any]) -> tuple[TransitInMemory, Any]:
    engine = TransitInMemory(keys={VECTORS["name"]: bytes.fromhex(vector["kek"])})
    return engine, engine.service()


@pytest.mark.parametrize("vector", VECTORS["accepted"], ids=lambda vector: vector["name"])
def test_accepted_vectors(vector: dict[str, Any]) -> None:
    engine, kek = service(vector)
    wrapped, data_key = bytes.fromhex(vector["wrapped"]), bytes.fromhex(vector["data_key"])
    assert kek.unwrap(wrapped, vector["context"]) == data_key
    assert json.loads(engine.seen[-1].body or b"")["associated_data"] == vector["associated_data"]
    again = kek.rewrap(wrapped, vector["context"])
    assert split_service_wrapped(again).kek == split_service_wrapped(wrapped).kek
    assert kek.unwrap(again, vector["context"]) == data_key


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["name"])
def test_refused_vectors(vector: dict[str, Any]) -> None:
    _, kek = service(vector)
    with pytest.raises(KeysError) as caught:
        kek.unwrap(bytes.fromhex(vector["wrapped"]), vector["context"])
    assert type(caught.value) is getattr(keys, vector["error"])


def test_a_data_key_comes_from_the_random_generator_of_this_machine() -> None:
    kek: Any = TransitInMemory().service()
    kek._random_bytes = lambda count: bytes([7]) * count
    data_key, wrapped = kek.generate_data_key({"owner": "a"})
    assert data_key == bytes([7]) * 32
    assert kek.unwrap(wrapped, {"owner": "a"}) == data_key


@given(st.binary(max_size=80).map(lambda end: b"vault:v1:" + end) | st.binary(min_size=1))
def test_what_is_no_ciphertext_of_transit_is_never_sent(ciphertext: bytes) -> None:
    engine = TransitInMemory()
    kek = engine.service()
    asked = len(engine.seen)
    with pytest.raises(UnwrapError):
        kek.unwrap(join_service_wrapped(kek.uri, ciphertext), {"owner": "a"})
    assert len(engine.seen) == asked


@given(st.binary(min_size=60, max_size=60), st.integers(1, 999_999_999))
def test_what_has_its_form_is_asked_and_refused(sealed: bytes, version: int) -> None:
    engine = TransitInMemory()
    kek = engine.service()
    form = f"vault:v{version}:".encode() + base64.b64encode(sealed)
    with pytest.raises(UnwrapError):
        kek.unwrap(join_service_wrapped(kek.uri, form), {"owner": "a"})
    assert engine.calls["transit/decrypt/kek"] == 1
