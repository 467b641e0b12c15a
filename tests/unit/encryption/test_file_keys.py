"""The token that wraps a file key, and what is checked before a Parquet file is believed."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core import DataKeyClass
from assay.encryption import (
    FileKeys,
    FilePlace,
    KeyClassError,
    PlaintextFileError,
    SealedFileError,
    TamperedFileError,
    UnknownFileKeyVersionError,
    UnsupportedFileError,
    WrongFileKeyError,
    unwrap_file_key,
    wrap_file_key,
)
from assay.encryption.parquet_footer import (
    footer_length,
    read_struct,
    refuse_added_bytes,
    refuse_clear_columns,
    refuse_other_algorithm,
)
from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService

KEYRING = Keyring(MemoryKeyService(), MemoryDataKeyTable())
KEY = KEYRING.current("north", DataKeyClass.FILES)
PLACE = FilePlace("north", "documents", "7.parquet")
FILE_KEY = bytes(range(32))
TOKEN = wrap_file_key(KEY, FILE_KEY, PLACE)


@given(st.binary(min_size=32, max_size=32), st.text(), st.text())
def test_what_was_wrapped_is_unwrapped_in_its_place_only(
    file_key: bytes, dataset: str, file: str
) -> None:
    place = FilePlace("north", dataset, file)
    try:
        token = wrap_file_key(KEY, file_key, place)
    except UnsupportedFileError:
        assert any("\ud800" <= char <= "\udfff" for char in dataset + file)
        return
    assert unwrap_file_key(KEY, token, place) == file_key
    for other in (
        FilePlace("north", dataset + "x", file),
        FilePlace("north", dataset, file + "x"),
        FilePlace("south", dataset, file),
    ):
        with pytest.raises(TamperedFileError):
            unwrap_file_key(KEY, token, other)


def test_each_flipped_bit_is_refused_by_its_name() -> None:
    raw = base64.b64decode(TOKEN)
    assert len(raw) == 74
    for position in range(len(raw)):
        for bit in range(8):
            changed = bytearray(raw)
            changed[position] ^= 1 << bit
            wanted = UnknownFileKeyVersionError if position < 2 else TamperedFileError
            with pytest.raises(wanted):
                unwrap_file_key(KEY, base64.b64encode(changed).decode(), PLACE)


@pytest.mark.parametrize("length", range(74))
def test_a_token_that_was_cut_off_is_refused(length: int) -> None:
    cut = base64.b64encode(base64.b64decode(TOKEN)[:length]).decode()
    with pytest.raises(TamperedFileError):
        unwrap_file_key(KEY, cut, PLACE)


def test_a_token_has_one_spelling() -> None:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    for bits in (1, 2, 3):
        last = letters[letters.index(TOKEN[98]) ^ bits]
        other = TOKEN[:98] + last + "="
        assert base64.b64decode(other, validate=True) == base64.b64decode(TOKEN)
        with pytest.raises(TamperedFileError):
            unwrap_file_key(KEY, other, PLACE)


@pytest.mark.parametrize("token", ["", "====", "é", TOKEN + "\n", TOKEN + "AAAA", " " + TOKEN])
def test_other_text_is_refused(token: str) -> None:
    with pytest.raises(TamperedFileError):
        unwrap_file_key(KEY, token, PLACE)


def test_only_file_keys_of_256_bits_and_only_under_keys_of_their_class() -> None:
    with pytest.raises(UnsupportedFileError, match="256 bits"):
        wrap_file_key(KEY, bytes(16), PLACE)
    for each in set(DataKeyClass) - {DataKeyClass.FILES}:
        other = KEYRING.current("north", each)
        with pytest.raises(KeyClassError):
            wrap_file_key(other, FILE_KEY, PLACE)
        with pytest.raises(KeyClassError):
            unwrap_file_key(other, TOKEN, PLACE)


def test_a_key_service_for_one_file() -> None:
    keys = FileKeys(KEYRING, PLACE)
    assert keys.file_key is None
    token = keys.wrap(FILE_KEY, keys.master_key_id())
    reader = FileKeys(KEYRING, PLACE)
    assert reader.unwrap(token, keys.master_key_id()) == FILE_KEY
    assert reader.seal_id == keys.seal_id == base64.b64decode(token)[2:26]
    assert keys.wrap(bytes(32), keys.master_key_id()) != token
    assert (keys.file_key, keys.seal_id) == (FILE_KEY, reader.seal_id)  # the footer's come first
    with pytest.raises(WrongFileKeyError):
        FileKeys(KEYRING, FilePlace("south", "documents", "7.parquet")).unwrap(
            token, keys.master_key_id()
        )
    for name in ("", "kek", keys.master_key_id().upper(), keys.master_key_id() + "\n"):
        with pytest.raises(TamperedFileError):
            reader.unwrap(token, name)


def test_files_of_a_rotated_key_still_open() -> None:
    keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())
    old = FileKeys(keyring, PLACE)
    token = old.wrap(FILE_KEY, old.master_key_id())
    named = old.master_key_id()
    keyring.rotate("north", DataKeyClass.FILES)
    new = FileKeys(keyring, PLACE)
    assert new.master_key_id() != named
    assert new.unwrap(token, named) == FILE_KEY


# Thrift: {1: {1: {2: "a"}}, 2: "key"}, the crypto metadata of a file under AES_GCM_V1.
GCM = bytes.fromhex("1c1c2801610000") + b"\x18\x03key" + b"\0"


@pytest.mark.parametrize("supply", ["", "12"])
def test_crypto_metadata_without_prefix(supply: str) -> None:
    refuse_other_algorithm(bytes.fromhex("1c1c280161" + supply + "000018036b657900"))


def test_crypto_metadata() -> None:
    assert read_struct(GCM) == {1: {1: {2: b"a"}}, 2: b"key"}
    refuse_other_algorithm(GCM + b"the encrypted footer")


@pytest.mark.parametrize(
    ("name", "crypto"),
    [
        ("another algorithm", "1c2c0000" + "18036b6579" + "00"),
        ("two algorithms", "1c1c280161001c0000" + "18036b6579" + "00"),
        ("no file-unique part", "1c1c0000" + "18036b6579" + "00"),
        ("an AAD prefix", "1c1c1801611801610000" + "18036b6579" + "00"),
        ("an AAD prefix to supply", "1c1c280161110000" + "18036b6579" + "00"),
        ("none", "1c00" + "18036b6579" + "00"),
        ("no key metadata", "1c1c2801610000" + "00"),
        ("key metadata of another type", "1c1c2801610000" + "1502" + "00"),
        ("an algorithm of another type", "1502" + "18036b6579" + "00"),
        ("an algorithm twice", "1c2c2801610000" + "0c021c2801610000" + "18036b6579" + "00"),
        ("another field", "1c1c2801610000" + "18036b6579" + "1500" + "00"),
        ("no end", "1c1c2801610000"),
        ("nothing", ""),
        ("an unknown type", "1f00"),
        ("too many levels", "1c" * 30),
        ("more levels than there is stack", "1c" * 20_000),
        ("lists in lists", "19" * 60),
        ("a long number", "15" + "80" * 11 + "00"),
        ("a text that does not end", "18ffffff7f00"),
        ("a list that does not end", "19f5ffffff7f00"),
    ],
)
def test_refused_crypto_metadata(name: str, crypto: str) -> None:
    with pytest.raises(TamperedFileError):
        refuse_other_algorithm(bytes.fromhex(crypto))


def test_refused_columns() -> None:
    # {4: [{1: [column]}]}, the column with crypto metadata (8: {1: {}}) or without.
    sealed, clear = bytes.fromhex("8c1c0000" + "00"), bytes.fromhex("1500" + "00")
    footer = bytes.fromhex("491c" + "192c") + sealed + b"%s" + b"\0\0"
    refuse_clear_columns(footer.replace(b"%s", sealed))
    with pytest.raises(PlaintextFileError):
        refuse_clear_columns(footer.replace(b"%s", clear))
    for other in ("00", "4500" + "00", "491500" + "00", "491c" + "1500" + "00" + "00"):
        with pytest.raises(TamperedFileError):
            refuse_clear_columns(bytes.fromhex(other))


@pytest.mark.parametrize(
    "column",
    ["460a150400", "660a150400", "3ce60a15040000"],
    ids=["offset index", "column index", "bloom filter"],
)
def test_where_the_last_of_a_column_ends(column: str) -> None:
    footer = bytes.fromhex("491c191c" + column + "0000")  # {4: [{1: [column]}]}: 2 bytes from 5 on
    refuse_added_bytes(footer, 4, 7)
    for starts in (5, 6, 8):
        with pytest.raises(TamperedFileError):
            refuse_added_bytes(footer, 4, starts)


@pytest.mark.parametrize("tail", [b"", b"PARE", b"\0\0\0PARE", b"12345678", b"\1\0\0\0PARX"])
def test_refused_endings(tail: bytes) -> None:
    with pytest.raises(TamperedFileError):
        footer_length(tail)


def test_endings() -> None:
    assert footer_length(b"\1\2\0\0PARE") == 513
    for tail in (b"PAR1", b"\1\2\0\0PAR1"):
        with pytest.raises(PlaintextFileError):
            footer_length(tail)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (read_struct, refuse_other_algorithm, refuse_clear_columns, footer_length):
        try:
            read(data)
        except SealedFileError:
            continue
