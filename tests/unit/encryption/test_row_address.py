"""Row ids and associated data: one encoding for each place, and no two places with the same."""

from __future__ import annotations

from enum import IntEnum
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core import pae
from assay.encryption import RowAddress, RowIdError, RowIdKind, encode_row_id
from assay.encryption.row_address import row_id_encoder, standard_uuid

KEY = UUID("018f4e5a-7d2c-7b61-9c41-2f3a4b5c6d7e")
OBJECT_ID = bytes.fromhex("6745c0de8f3a4b5c6d7e8f90")


def test_each_kind_has_its_encoding() -> None:
    assert encode_row_id(KEY) == KEY.bytes
    assert encode_row_id(0) == b"0"
    assert encode_row_id(-17) == b"-17"
    assert encode_row_id(10**30) == b"1" + b"0" * 30
    assert encode_row_id("ä\u030a") == "ä\u030a".encode()
    assert encode_row_id(OBJECT_ID) == OBJECT_ID
    assert encode_row_id(1, "a") == pae([b"1", b"a"])


class Level(IntEnum):
    ONE = 1


class Name(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "value",
    [None, True, 1.0, b"1", b"", bytes(13), bytearray(12), Level.ONE, Name("a"), (1,), "\ud800"],
)
def test_other_kinds_are_refused(value: object) -> None:
    with pytest.raises(RowIdError, match="expected"):
        encode_row_id(value)  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(RowIdError):
        encode_row_id(1, value)  # type: ignore[arg-type]  # the same


def test_bytes_of_another_length_are_no_object_id() -> None:
    for wrong in (OBJECT_ID[:-1], OBJECT_ID + b"\0", b""):
        with pytest.raises(RowIdError, match="12 bytes"):
            row_id_encoder([RowIdKind.OBJECT_ID])([wrong])


def test_a_key_without_columns_is_refused() -> None:
    with pytest.raises(RowIdError, match="no column"):
        encode_row_id()


def test_an_encoder_refuses_other_kinds_than_declared() -> None:
    for kind, good in (
        (RowIdKind.UUID, KEY),
        (RowIdKind.INTEGER, 1),
        (RowIdKind.TEXT, "1"),
        (RowIdKind.OBJECT_ID, OBJECT_ID),
    ):
        encode = row_id_encoder([kind])
        assert encode([good])
        for bad in (KEY, 1, "1", OBJECT_ID, True, Level.ONE, Name("1"), None):
            if bad is good:
                continue
            with pytest.raises(RowIdError, match="as declared"):
                encode([bad])


def test_the_order_of_a_composite_key_counts() -> None:
    assert encode_row_id("a", "b") != encode_row_id("b", "a")
    assert encode_row_id("ab", "") != encode_row_id("a", "b")


texts = st.text(max_size=12)
places = st.tuples(texts, texts, texts, st.binary(max_size=12))


@given(places, places)
def test_two_places_never_have_the_same_associated_data(one, other) -> None:
    same = RowAddress(*one).associated_data() == RowAddress(*other).associated_data()

    assert same == (one == other)


@given(places)
def test_associated_data_is_the_encoding_of_the_specification(place) -> None:
    tenant, table, group, row_id = place
    assert RowAddress(*place).associated_data() == pae(
        [b"assay row v1", tenant.encode(), table.encode(), group.encode(), row_id]
    )


def test_names_must_be_text() -> None:
    with pytest.raises(RowIdError, match="Unicode"):
        RowAddress("\ud800", "documents", "default", b"1").associated_data()


class DriversUUID(UUID):
    """As asyncpg has one: equal to a standard UUID, and of another type."""


def test_a_drivers_own_uuids_are_uuids() -> None:
    standard = UUID(int=7)
    for encode in (encode_row_id, row_id_encoder([RowIdKind.UUID])):
        found = DriversUUID(int=7)
        assert encode(found if encode is encode_row_id else [found]) == standard.bytes  # type: ignore[arg-type]  # both forms
    assert type(standard_uuid(DriversUUID(int=7))) is UUID
    assert standard_uuid("7") == "7"
