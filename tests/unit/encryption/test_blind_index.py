"""Blind indexes: equal for equal values of one owner and field, and for nothing else."""

from __future__ import annotations

import unicodedata
from datetime import date, datetime
from decimal import Decimal
from enum import Enum, StrEnum
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core import DataKeyClass
from assay.encryption import (
    BlindIndex,
    BlindIndexError,
    BlindIndexValue,
    KeyClassError,
    Transform,
    UnsupportedValueError,
    casefold,
    digits,
    exact,
)
from assay.encryption.blind_index import index_size_bytes
from assay.keys import DataKey, data_key_id


def index_key(owner: str = "tenant-1", seed: int = 1, version: int = 1) -> DataKey:
    material = bytes([seed]) * 32
    return DataKey(owner, DataKeyClass.INDEXES, version, data_key_id(material), material)


INDEX = BlindIndex("documents", "email", casefold)


def test_everything_that_stands_in_the_hash_changes_it() -> None:
    value = "ada@example.com"
    computed = [
        INDEX.compute(index_key(), value),
        INDEX.compute(index_key("tenant-2"), value),
        INDEX.compute(index_key(seed=2), value),
        BlindIndex("uploads", "email", casefold).compute(index_key(), value),
        BlindIndex("documents", "name", casefold).compute(index_key(), value),
        BlindIndex("documents", "email", exact).compute(index_key(), value),
        INDEX.compute(index_key(), value + " "),
        BlindIndex("documentsemail", "", casefold).compute(index_key(), value),
    ]
    assert len({bytes(each or b"") for each in computed}) == len(computed)
    assert all(type(each) is BlindIndexValue for each in computed)


def test_the_version_of_the_key_stands_beside_the_hash() -> None:
    for version in (1, 258, 65535):
        computed = INDEX.compute(index_key(version=version), "x")
        assert computed is not None
        assert computed[:3] == b"\x01" + version.to_bytes(2, "big")
    for version in (0, 65536):
        with pytest.raises(BlindIndexError, match="65535"):
            INDEX.compute(index_key(version=version), "x")


def test_null_has_no_index() -> None:
    assert INDEX.compute(index_key(), None) is None


def test_a_data_key_of_another_class_is_refused_even_for_null() -> None:
    for key_class in (DataKeyClass.ROWS, DataKeyClass.OBJECTS):
        key = DataKey("tenant-1", key_class, 1, data_key_id(bytes(32)), bytes(32))
        for value in ("x", None):
            with pytest.raises(KeyClassError, match="class indexes"):
                INDEX.compute(key, value)


@given(st.integers(1, 256))
def test_fewer_bits_are_a_prefix(bits: int) -> None:
    whole = BlindIndex("t", "f", exact, 256).compute(index_key(), "x")
    part = BlindIndex("t", "f", exact, bits).compute(index_key(), "x")
    assert whole is not None
    assert part is not None
    assert len(part) == index_size_bytes(bits)
    ones = (1 << 256) - (1 << (256 - bits))
    kept = int.from_bytes(whole[3:], "big") & ones
    assert part[3:] == kept.to_bytes(32, "big")[: (bits + 7) // 8]


@given(st.text())
def test_case_and_composition_do_not_count_when_folded(text: str) -> None:
    for form in ("NFC", "NFD"):
        other = unicodedata.normalize(form, text)
        assert casefold(other) == casefold(text)
    assert casefold(unicodedata.normalize("NFD", text).casefold()) == casefold(text)


def test_text_is_decomposed_before_it_is_folded() -> None:
    """Unicode, D145: an iota below is a letter once it is folded, and letters keep their order."""
    assert casefold("\u1fb4") == casefold("\u03b1\u0345\u0301") == "\u03ac\u03b9".encode()


def test_white_space_counts_when_folded() -> None:
    assert casefold("a ") != casefold("a")


def test_digits_of_any_script_count_and_nothing_else() -> None:
    assert digits(" +49 (0)30-12.34ab ") == b"490301234"
    assert digits("\u0664\u0669 \uff14\uff19") == b"4949"
    assert digits("½ ²") == b""


@pytest.mark.parametrize(
    ("transform", "value"),
    [
        (casefold, b"x"),
        (casefold, 1),
        (casefold, "\ud800"),
        (digits, 1),
        (exact, 1.0),
        (exact, Decimal(1)),
        (exact, datetime(2026, 1, 1)),  # noqa: DTZ001 - refused either way
        (exact, ["x"]),
    ],
)
def test_other_types_are_refused_without_their_value(transform: Transform, value: object) -> None:
    with pytest.raises(UnsupportedValueError) as raised:
        transform(value)
    assert raised.value.__context__ is None
    assert repr(value) not in str(raised.value)


def test_exact_takes_all_its_types() -> None:
    class Colour(Enum):
        RED = "r"

    class Size(StrEnum):
        LARGE = "l"

    values = ["1", b"1", 1, UUID(int=1), date(1, 1, 1), True, False, Colour.RED, Size.LARGE]
    assert [exact(value) for value in values] == [
        b"1", b"1", b"1", bytes(15) + b"\x01", b"0001-01-01", b"true", b"false", b"RED", b"LARGE",
    ]  # fmt: skip
    assert all(exact.takes(type(value)) for value in values)
    assert not casefold.takes(Size)


def test_only_lengths_that_exist_can_be_declared() -> None:
    for bits in (0, -1, 257):
        with pytest.raises(BlindIndexError, match="1 to 256"):
            BlindIndex("t", "f", exact, bits)
