from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay import keys
from assay.core import to_canonical_json
from assay.keys import (
    KeysError,
    KeyStoreFormatError,
    KeyStoreKdfError,
    PassphraseError,
    embedded_format,
)
from assay.keys.embedded_format import (
    LARGEST_FILE_BYTES,
    ScryptParameters,
    StoredKey,
    open_store,
    parse_keys,
    parse_store,
    seal_store,
)

PATH = Path(__file__).parents[2] / "vectors" / "embedded-key-store.json"
VECTORS = json.loads(PATH.read_bytes())
CHEAP = ScryptParameters(n=2**14)
NAMES = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)
KEYS = st.builds(
    StoredKey, st.sampled_from(["aes-256", "ed25519"]), st.binary(min_size=32, max_size=32)
)


@pytest.mark.parametrize("vector", VECTORS["accepted"], ids=lambda vector: vector["name"])
def test_accepted_vectors(vector: dict[str, Any]) -> None:
    expected = {
        name: StoredKey(key["type"], bytes.fromhex(key["material"]))
        for name, key in vector["keys"].items()
    }
    data = vector["file"].encode()
    assert open_store(data, vector["passphrase"]) == expected
    assert parse_store(data).associated_data() == vector["associated_data"].encode()
    parameters = ScryptParameters(n=vector["n"], p=vector["p"])
    salt, nonce = bytes.fromhex(vector["salt"]), bytes.fromhex(vector["nonce"])
    assert seal_store(expected, vector["passphrase"], parameters, salt, nonce) == data


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["name"])
def test_refused_vectors(vector: dict[str, Any]) -> None:
    with pytest.raises(KeysError) as caught:
        open_store(base64.b64decode(vector["file_base64"]), vector["passphrase"])
    assert type(caught.value) is getattr(keys, vector["error"])


@settings(max_examples=8)
@given(st.dictionaries(NAMES, KEYS, min_size=1, max_size=4), st.text())
def test_what_is_sealed_opens_again(stored: dict[str, StoredKey], passphrase: str) -> None:
    try:
        passphrase.encode()
    except UnicodeEncodeError:
        with pytest.raises(PassphraseError):
            seal_store(stored, passphrase, CHEAP, os.urandom(16), os.urandom(12))
        return
    sealed = seal_store(stored, passphrase, CHEAP, os.urandom(16), os.urandom(12))
    assert open_store(sealed, passphrase) == stored


def test_every_one_byte_change_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = {"kek": StoredKey("aes-256", os.urandom(32))}
    sealed = seal_store(stored, "correct horse", CHEAP, os.urandom(16), os.urandom(12))
    key = embedded_format.passphrase_key("correct horse", CHEAP, parse_store(sealed).salt)
    # The derivation is not what is tested here, and would take minutes: a fixed outcome.
    monkeypatch.setattr(embedded_format, "passphrase_key", lambda *_: key)
    assert open_store(sealed, "correct horse") == stored
    for position in range(len(sealed)):
        altered = bytearray(sealed)
        altered[position] ^= 1
        with pytest.raises(KeysError):
            open_store(bytes(altered), "correct horse")


def test_a_hostile_cost_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = {"kek": StoredKey("aes-256", bytes(32))}
    sealed = seal_store(stored, "correct horse", CHEAP, bytes(16), bytes(12))
    monkeypatch.setattr(embedded_format, "Scrypt", None)
    for hostile in (b'"n":1048576', b'"n":8192', b'"n":0'):
        with pytest.raises(KeyStoreKdfError, match="N a power of two"):
            open_store(sealed.replace(b'"n":16384', hostile), "correct horse")


@pytest.mark.parametrize(
    "data", [b"[" * 60_000, b"x" * (LARGEST_FILE_BYTES + 1), b'{"a":' * 10_000], ids=len
)
def test_a_file_that_would_exhaust_the_parser_is_refused(data: bytes) -> None:
    with pytest.raises(KeyStoreFormatError):
        open_store(data, "correct horse")


def test_a_file_beyond_the_limit_is_refused_however_well_formed() -> None:
    vector = json.loads(VECTORS["accepted"][0]["file"])
    for size_bytes, refused in ((48_000, False), (49_200, True)):
        vector["sealed"] = base64.b64encode(bytes(size_bytes)).decode()
        data = to_canonical_json(vector)
        assert (len(data) > LARGEST_FILE_BYTES) is refused
        if not refused:
            parse_store(data)
            continue
        with pytest.raises(KeyStoreFormatError, match="at most 65536 bytes"):
            parse_store(data)


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"a/b": StoredKey("aes-256", bytes(32))},
        {"a": StoredKey("aes-128", bytes(32))},
        {"a": StoredKey("aes-256", bytes(16))},
    ],
    ids=["no keys", "name", "type", "length"],
)
def test_what_the_format_does_not_have_is_not_written(stored: dict[str, StoredKey]) -> None:
    with pytest.raises(KeyStoreFormatError):
        seal_store(stored, "correct horse", CHEAP, bytes(16), bytes(12))


def test_a_cost_out_of_bounds_is_not_written() -> None:
    stored = {"a": StoredKey("aes-256", bytes(32))}
    with pytest.raises(KeyStoreKdfError):
        seal_store(stored, "correct horse", ScryptParameters(n=2**13), bytes(16), bytes(12))


def test_the_default_cost_is_that_of_the_specification() -> None:
    assert ScryptParameters() == ScryptParameters(n=131_072, r=8, p=1)


def test_errors_do_not_quote_what_was_opened() -> None:
    with pytest.raises(KeyStoreFormatError) as caught:
        parse_keys(b'{"kek":{"material":"SECRET"}}')
    assert "SECRET" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert repr(StoredKey("aes-256", b"SECRET")) == "StoredKey(type='aes-256')"
