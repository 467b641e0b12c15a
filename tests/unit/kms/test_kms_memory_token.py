from __future__ import annotations

import hmac
from collections.abc import Callable

import pytest
from tests.kms_token_contract import CONTRACT

from assay.core import Fidelity
from assay.kms.key_kinds import KINDS
from assay.kms.memory_token import MemoryToken
from assay.kms.records import KeySpec, KeyUsage
from assay.kms.token import Token


@pytest.mark.parametrize("rule", CONTRACT, ids=lambda rule: rule.__name__)
def test_a_token_in_memory_keeps_the_contract(rule: Callable[[Token], None]) -> None:
    rule(MemoryToken())


def test_it_says_that_it_is_no_token() -> None:
    assert MemoryToken().fidelity is Fidelity.FIXTURE


def test_a_mac_is_hmac_under_the_whole_key() -> None:
    token = MemoryToken()
    handle = token.create_key(KeySpec.HMAC_384, KeyUsage.GENERATE_VERIFY_MAC, "k/1").handle
    (key,) = (key for _, key in token._keys.values())
    assert isinstance(key, bytes)
    assert len(key) == 48
    assert token.mac(handle, "HMAC_SHA_384", b"m") == hmac.digest(key, b"m", "sha384")


def test_it_shows_no_key() -> None:
    token = MemoryToken()
    token.create_key(KeySpec.HMAC_256, KeyUsage.GENERATE_VERIFY_MAC, "k/1")
    (key,) = (key for _, key in token._keys.values())
    assert isinstance(key, bytes)
    assert repr(key) not in repr(token)


def test_every_kind_of_key_can_be_made_and_may_the_least() -> None:
    assert {spec for spec, _ in KINDS} == set(KeySpec)
    for (spec, usage), kind in KINDS.items():
        expected = {
            KeyUsage.SIGN_VERIFY: ("SIGN",),
            KeyUsage.GENERATE_VERIFY_MAC: ("SIGN",),
            KeyUsage.ENCRYPT_DECRYPT: ("DECRYPT",)
            if kind.key_type.paired
            else ("ENCRYPT", "DECRYPT"),
        }
        assert kind.uses == expected[usage], spec
