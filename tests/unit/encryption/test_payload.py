"""Payloads keep their types, refuse what would lose something, and keep what they do not know."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from math import isnan
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.encryption import (
    FrozenValueError,
    MalformedPayloadError,
    UnsupportedValueError,
    decode_payload,
    encode_payload,
)
from assay.encryption.extensions import decode_extension
from assay.encryption.frozen import FrozenDict, FrozenList, freeze
from assay.encryption.padding import padme_length

BERLIN = ZoneInfo("Europe/Berlin")


def round_trip(value: object) -> object:
    return decode_payload(encode_payload({"value": value}))["value"]


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        2**64 - 1,
        2**64,
        -(2**63),
        -(2**63) - 1,
        2**4096,
        1.5,
        float("inf"),
        "",
        "\x00",
        "🜁",
        b"",
        UUID(int=0),
        Decimal("1.10"),
        Decimal("-0"),
        Decimal("Infinity"),
        date.min,
        date.max,
        time(0),
        time.max,
        time(1, tzinfo=UTC),
        datetime.min,  # noqa: DTZ901 - a moment without zone is meant
        datetime.max,  # noqa: DTZ901 - the same
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 1, tzinfo=ZoneInfo("UTC")),
        datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=-11, minutes=-59))),
        datetime(1800, 1, 1, tzinfo=BERLIN),
        datetime(2026, 3, 29, 2, 30, tzinfo=BERLIN),
        datetime(2026, 3, 29, 2, 30, tzinfo=BERLIN, fold=1),
        [],
        {},
        [1, [b"x", {"a": Decimal(1)}]],
    ],
    ids=repr,
)
def test_values_come_back_as_they_were(value: object) -> None:
    back = round_trip(value)

    assert back == value
    assert type(back) is type(value)
    assert repr(back) == repr(value)


def test_not_a_number_stays_not_a_number() -> None:
    assert isnan(round_trip(float("nan")))
    assert str(round_trip(Decimal("sNaN7"))) == "sNaN7"


def test_the_repeated_hour_in_autumn_keeps_its_place() -> None:
    for fold in (0, 1):
        moment = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=fold)
        back = round_trip(moment)
        assert isinstance(back, datetime)
        assert (back.fold, back.utcoffset(), back.tzinfo) == (fold, moment.utcoffset(), BERLIN)


def test_when_the_rules_of_a_zone_changed_the_instant_is_kept() -> None:
    back = decode_extension(6, memoryview(b"2026-07-01T12:00:00+05:00[Europe/Berlin]"))

    assert isinstance(back, datetime)
    assert back == datetime(2026, 7, 1, 7, tzinfo=UTC)
    assert back.tzinfo == BERLIN


class Colour(Enum):
    RED = 1


class Size(IntEnum):
    SMALL = 1


class Word(StrEnum):
    HELLO = "hello"


class Text(str):
    __slots__ = ()


class Moment(datetime):
    pass


class OtherZone(tzinfo):
    def utcoffset(self, _: datetime | None) -> timedelta:
        return timedelta(hours=1)


Pair = namedtuple("Pair", "one other")
CYCLE: list[object] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    "value",
    [
        Colour.RED,
        Size.SMALL,
        Word.HELLO,
        Text("x"),
        Moment(2026, 1, 1),
        Pair(1, 2),
        (1, 2),
        {1, 2},
        OrderedDict(a=1),
        bytearray(b"x"),
        memoryview(b"x"),
        1j,
        object(),
        timedelta(1),
        {1: 2},
        {Word.HELLO: 1},
        "\ud800",
        {"\ud800": 1},
        ["\ud800"],
        datetime(2026, 1, 1, tzinfo=OtherZone()),
        datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1), "CET")),
        time(1, tzinfo=timezone(timedelta(hours=1), "CET")),
        time(1, tzinfo=BERLIN),
        CYCLE,
        [Colour.RED],
        {"a": [{"b": (1,)}]},
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_would_lose_something_is_refused_with_the_name_of_its_field(value: object) -> None:
    for padded in (False, True):
        with pytest.raises(UnsupportedValueError, match="field 'value': expected"):
            encode_payload({"fine": 1, "value": value}, padded=padded)


def test_zones_without_a_key_are_refused() -> None:
    with open("/usr/share/zoneinfo/Europe/Berlin", "rb") as file:  # noqa: PTH123 - a fixed path
        zone = ZoneInfo.from_file(file)
    with pytest.raises(UnsupportedValueError, match="key"):
        encode_payload({"value": datetime(2026, 1, 1, tzinfo=zone)})


def test_names_of_fields_are_text_and_not_empty() -> None:
    for fields in ({"": 1}, {1: 1}, {"a": 1, None: 2}):
        with pytest.raises(UnsupportedValueError, match="field names"):
            encode_payload(fields)  # type: ignore[arg-type]  # the point of the test


def test_unknown_fields_and_extensions_survive_a_rewrite() -> None:
    unknown = msgspec.msgpack.Ext(99, b"\x01\x02")
    newer = msgspec.msgpack.encode({"text": "x", "later": {"a": unknown}, "new": unknown})

    fields = decode_payload(newer)
    fields["text"] = "y"
    again = decode_payload(encode_payload(fields))

    assert again == {"text": "y", "later": {"a": unknown}, "new": unknown}


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc0",
        b"\x90",
        b"\x81",
        b"\x81\xa1a",
        b"\x80\x80",
        b"\x81\x01\x02",
        b"\x81\xa1\xff\x01",
        b"\x81\xa1a\xa1\xff",
        b"\xc1",
        b"\x81\xa1a" + b"\x91" * 100_000 + b"\xc0",
        b"\x81\xa1a\xc7\x0f\x01" + bytes(15),
        b"\x81\xa1a\xd4\x02x",
        b"\x81\xa1a\xc7\x03\x02\xe4\xb8\x80",
        b"\x81\xa1a\xc7\x04\x02+1.0",
        b"\x81\xa1a\xc7\x0a\x032000-1-001",
        b"\x81\xa1a\xc7\x05\x0412:00",
        b"\x81\xa1a\xc7\x19\x052026-01-01T00:00:00+01:00",
        b"\x81\xa1a\xc7\x13\x062026-01-01T00:00:00",
        b"\x81\xa1a\xc7\x26\x062026-01-01T00:00:00+01:00[Europe/Nowhen]",
        b"\x81\xa1a\xc7\x21\x062026-01-01T00:00:00+01:00[Europe]",
        b"\x81\xa1a\xc7\x26\x062026-01-01T00:00:00+01:00[../../etc/pwd]",
        b"\x81\xa1a\xc7\x1b\x062026-01-01T00:00:00+01:00[]",
        b"\x81\xa1a\xd5\x07\x00\x01",
        b"\x81\xa1a\xc7\x00\x07",
        b"\x81\xa1a\xc7\x0b\x07\x00\x00\x01" + bytes(8),
    ],
    ids=lambda payload: payload[:20].hex(),
)
def test_malformed_payloads_are_refused(payload: bytes) -> None:
    with pytest.raises(MalformedPayloadError):
        decode_payload(payload)


def test_padme_gives_few_lengths_at_little_cost() -> None:
    lengths = {length: padme_length(length) for length in range(2, 100_000)}
    for length, padded in lengths.items():
        assert length <= padded <= length * 1.12 + 1
        assert padme_length(padded) == padded
    assert len(set(lengths.values())) < 500


@pytest.mark.parametrize("size", [0, 1, 10, 200, 243, 260, 1000, 8180, 66_000, 70_000, 10**6])
def test_padded_payloads_have_padme_lengths_and_lose_nothing(size: int) -> None:
    for extra in range(12):
        fields = {"text": "x" * (size + extra)}
        padded = encode_payload(fields, padded=True)
        assert len(padded) == padme_length(len(padded))
        assert decode_payload(padded) == fields
        assert len(padded) > len(encode_payload(fields))


@given(st.integers(2, 10**7))
def test_filler_always_reaches_a_padme_length(length: int) -> None:
    from assay.encryption.padding import filler_bytes

    size = filler_bytes(length)
    growth = 0 if size <= 255 else 1 if size <= 65535 else 3
    assert padme_length(length + size + growth) == length + size + growth


def test_padding_hides_the_number_of_characters() -> None:
    lengths = {len(encode_payload({"text": "x" * n}, padded=True)) for n in range(1000, 1030)}

    assert len(lengths) <= 2


def test_frozen_values_refuse_every_change_and_copy_to_ordinary_ones() -> None:
    frozen = freeze({"a": [1, {"b": 2}], "c": 3})
    assert isinstance(frozen, FrozenDict)
    assert isinstance(frozen["a"], FrozenList)
    changes = [
        (frozen, "update", {"a": 1}),
        (frozen, "pop", "a"),
        (frozen, "setdefault", "z", 1),
        (frozen, "popitem"),
        (frozen, "clear"),
        (frozen, "__setitem__", "a", 1),
        (frozen, "__delitem__", "a"),
        (frozen, "__ior__", {"a": 1}),
        (frozen["a"], "append", 1),
        (frozen["a"], "extend", [1]),
        (frozen["a"], "insert", 0, 1),
        (frozen["a"], "remove", 1),
        (frozen["a"], "pop"),
        (frozen["a"], "clear"),
        (frozen["a"], "sort"),
        (frozen["a"], "reverse"),
        (frozen["a"], "__setitem__", 0, 1),
        (frozen["a"], "__delitem__", 0),
        (frozen["a"], "__iadd__", [1]),
        (frozen["a"], "__imul__", 2),
        (frozen["a"][1], "__setitem__", "b", 1),
        (freeze([[1]])[0], "append", 1),
    ]
    for value, method, *arguments in changes:
        with pytest.raises(FrozenValueError, match="assign a changed copy"):
            getattr(value, method)(*arguments)
    assert frozen == {"a": [1, {"b": 2}], "c": 3}
    assert encode_payload({"value": frozen}) == encode_payload({"value": dict(frozen)})


def test_copies_of_frozen_values_can_be_changed() -> None:
    import copy
    import pickle

    frozen = freeze({"a": [1, {"b": 2}]})
    for make in (copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))):  # noqa: S301 - made here
        thawed = make(frozen)
        assert type(thawed) is dict
        assert type(thawed["a"]) is list
        thawed["a"][1]["b"] = 3
    assert type(frozen.copy()) is dict
    assert type(frozen["a"].copy()) is list
    assert {**frozen, "z": 1}["z"] == 1
    assert frozen["a"][1]["b"] == 2
