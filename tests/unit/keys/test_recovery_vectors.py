from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest
import shamir_mnemonic
from hypothesis import given, settings
from hypothesis import strategies as st

from assay import keys
from assay.core import WrongInputError
from assay.keys import KeysError, bip39_slip39
from assay.keys.bip39_slip39 import join_words, read_words, split_secret
from assay.keys.embedded_format import ScryptParameters, StoredKey
from assay.keys.embedded_slots import (
    PassphraseSlot,
    RecoverySlot,
    SlottedStore,
    open_any_store,
    parse_slotted,
)
from assay.keys.recovery_shares import GivenShare, join_shares, read_share, refuse_shares

VECTORS = json.loads(
    (Path(__file__).parents[2] / "vectors" / "embedded-recovery.json").read_bytes()
)
THREE_OF_FIVE = VECTORS["accepted"][0]


def by_name(vector: dict[str, Any]) -> str:
    return str(vector["name"])


def keys_of(vector: dict[str, Any]) -> dict[str, StoredKey]:
    return {
        name: StoredKey(key["type"], bytes.fromhex(key["material"]))
        for name, key in vector["keys"].items()
    }


def opened_by(vector: dict[str, Any], texts: list[str]) -> dict[str, StoredKey]:
    store = parse_slotted(vector["file"].encode())
    assert store.recovery is not None
    shares = [read_share(GivenShare(f"share {at}", text)) for at, text in enumerate(texts)]
    refuse_shares(shares, store.store, store.recovery, store.revoked)
    secret = join_shares(shares, store.recovery.threshold)
    assert secret.hex() == vector["secret"]
    return store.keys_under(store.recovery.open(store.store, secret))


@pytest.mark.parametrize("vector", VECTORS["accepted"], ids=by_name)
def test_accepted_files(vector: dict[str, Any]) -> None:
    assert open_any_store(vector["file"].encode(), vector["passphrase"]) == keys_of(vector)
    store, key = bytes.fromhex(vector["store"]), bytes.fromhex(vector["store_key"])
    drawn = iter((bytes.fromhex(vector["salt"]), bytes.fromhex(vector["nonce"])))
    slot = PassphraseSlot.seal(
        key, store, vector["passphrase"], ScryptParameters(n=2**14), lambda _: next(drawn)
    )
    shares = RecoverySlot(
        vector["split"], vector["threshold"], tuple(vector["custodians"])
    ).sealing(key, store, bytes.fromhex(vector["secret"]), bytes.fromhex(vector["slot_nonce"]))
    made = SlottedStore(store, slot, shares, tuple(vector["revoked"]))
    sealed = made.sealed_with(key, keys_of(vector), bytes.fromhex(vector["body_nonce"]))
    assert sealed == vector["file"].encode()


@pytest.mark.parametrize("vector", VECTORS["accepted"], ids=by_name)
def test_shares_open_it_as_files_and_as_words_in_any_case(vector: dict[str, Any]) -> None:
    texts, threshold = vector["shares"], vector["threshold"]
    for chosen in itertools.islice(itertools.combinations(texts, threshold), 10):
        assert opened_by(vector, list(chosen)) == keys_of(vector)
    words = [text.rpartition("words ")[2].upper().replace(" ", "\n ") for text in texts]
    assert opened_by(vector, words[-threshold:]) == keys_of(vector)
    assert opened_by(vector, words) == keys_of(vector)


@pytest.mark.parametrize("vector", VECTORS["accepted"], ids=by_name)
def test_the_authors_of_slip39_read_our_shares(vector: dict[str, Any]) -> None:
    words = [text.rpartition("words ")[2] for text in vector["shares"]]
    joined = shamir_mnemonic.combine_mnemonics(words[: vector["threshold"]])
    assert joined.hex() == vector["secret"]


@pytest.mark.parametrize("vector", VECTORS["refused_files"], ids=by_name)
def test_refused_files(vector: dict[str, Any]) -> None:
    with pytest.raises(KeysError) as caught:
        open_any_store(vector["file"].encode(), THREE_OF_FIVE["passphrase"])
    assert type(caught.value) is getattr(keys, vector["error"])


@pytest.mark.parametrize("vector", VECTORS["refused_shares"], ids=by_name)
def test_refused_shares_are_named_and_no_word_is_told(vector: dict[str, Any]) -> None:
    with pytest.raises(KeysError) as caught:
        opened_by(THREE_OF_FIVE, vector["shares"])
    assert type(caught.value) is getattr(keys, vector["error"])
    assert caught.value.__cause__ is None
    told = set(str(caught.value).split())
    for text in vector["shares"]:
        secret = set(text.rpartition("words ")[2].lower().split()) - ORDINARY
        assert not told & secret
        assert not set(repr(read_or_none(text)).split()) & secret


# Words of the list that messages use in their own right.
ORDINARY = {"document", "short", "verify"}


def read_or_none(text: str) -> object:
    try:
        return read_share(GivenShare("x", text))
    except KeysError:
        return GivenShare("x", text)


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_any_threshold_of_shares_gives_the_secret_and_fewer_do_not(data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 16))
    threshold = data.draw(st.integers(2, count))
    secret = data.draw(st.binary(min_size=32, max_size=32))
    split, words = split_secret(secret, threshold, count)
    chosen = data.draw(st.permutations(words))[:threshold]
    assert join_words(chosen) == secret
    assert shamir_mnemonic.combine_mnemonics(chosen) == secret
    numbers = [read_words(each, "it") for each in words]
    assert [each.index for each in numbers] == list(range(count))
    assert {(each.split, each.threshold) for each in numbers} == {(split, threshold)}
    with pytest.raises(keys.SharesRefusedError):
        join_words(chosen[:-1])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 32), st.integers(0, 1023))
def test_every_other_word_is_noticed(place: int, other: int) -> None:
    from bip39_slip39.mnemonic import WORDLISTS

    words = THREE_OF_FIVE["shares"][0].rpartition("words ")[2].split()
    word = WORDLISTS.wordlist("slip39")[other]
    if word == words[place]:
        return
    words[place] = word
    with pytest.raises(keys.DamagedShareError):
        read_words(" ".join(words), "it")


def test_an_identifier_that_was_revoked_is_not_drawn_again() -> None:
    even = range(0, 2**15, 2)
    assert all(split_secret(os.urandom(32), 2, 2, even)[0] % 2 for _ in range(16))


def test_a_share_that_fits_by_its_numbers_alone_is_refused() -> None:
    vector = THREE_OF_FIVE
    draws = iter([vector["split"].to_bytes(2, "big")])
    _, words = split_secret(
        os.urandom(32), 3, 5, draw=lambda size: next(draws, None) or os.urandom(size)
    )
    with pytest.raises(keys.SharesRefusedError, match="fit together and do"):
        opened_by_any(vector, list(words[:3]))
    ours = [text.rpartition("words ")[2] for text in vector["shares"]]
    with pytest.raises(keys.SharesRefusedError, match="do not belong together"):
        opened_by_any(vector, [ours[0], ours[1], words[2]])
    with pytest.raises(keys.SharesRefusedError, match="do not belong together"):
        opened_by_any(vector, [*ours[:3], words[3]])


def opened_by_any(vector: dict[str, Any], texts: list[str]) -> None:
    store = parse_slotted(vector["file"].encode())
    assert store.recovery is not None
    shares = [read_share(GivenShare(f"share {at}", text)) for at, text in enumerate(texts)]
    refuse_shares(shares, store.store, store.recovery, store.revoked)
    store.recovery.open(store.store, join_shares(shares, 3))


def test_what_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bip39_slip39", None)
    with pytest.raises(WrongInputError, match=r"assay\[recovery\]"):
        bip39_slip39.split_secret(bytes(32), 2, 2)
