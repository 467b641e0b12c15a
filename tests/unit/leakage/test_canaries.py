# ruff: noqa: S311 - seeded, so that a failure can be repeated
from __future__ import annotations

import random
import re
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.leakage import Canary, CanaryError, CanaryKind, make_canaries


@given(st.sampled_from(CanaryKind), st.integers())
def test_shards_are_distinct_pieces_of_the_value(kind: CanaryKind, seed: int) -> None:
    (canary,) = make_canaries({"field": kind}, random.Random(seed))
    assert canary.field == "field"
    assert canary.kind is kind
    assert len(canary.shards) >= 2
    assert len(set(canary.shards)) == len(canary.shards)
    assert all(8 <= len(shard) <= 12 and shard in canary.value for shard in canary.shards)


@given(st.integers())
def test_text_survives_case_folding_number_parsing_and_word_splitting(seed: int) -> None:
    (canary,) = make_canaries({"text": CanaryKind.TEXT}, random.Random(seed))
    assert canary.value == canary.value.lower()
    assert tuple(re.findall(r"\w+", canary.value)) == canary.shards
    assert all(shard[0].isalpha() and shard[-1].isdigit() for shard in canary.shards)


@given(st.integers())
def test_email_is_an_address_that_reaches_nobody(seed: int) -> None:
    (canary,) = make_canaries({"email": CanaryKind.EMAIL}, random.Random(seed))
    assert re.fullmatch(r"[a-z0-9]{10}\.[a-z0-9]{10}@[a-z0-9]{10}\.example", canary.value)


@given(st.integers())
def test_number_fills_a_64_bit_integer_and_has_no_zero_at_its_ends(seed: int) -> None:
    (canary,) = make_canaries({"number": CanaryKind.NUMBER}, random.Random(seed))
    assert 2**56 < int(canary.value) < 2**63
    assert len(canary.value) == 18
    assert canary.value[0] != "0"
    assert canary.value[-1] != "0"


def test_each_call_makes_new_values() -> None:
    source = secrets.SystemRandom()
    first = make_canaries({"a": CanaryKind.TEXT, "b": CanaryKind.EMAIL}, source)
    second = make_canaries({"a": CanaryKind.TEXT, "b": CanaryKind.EMAIL}, source)
    assert len({canary.value for canary in (*first, *second)}) == 4


class _StuckSource:
    def choice(self, seq: str, /) -> str:
        return seq[0]


def test_a_source_that_repeats_itself_is_refused() -> None:
    with pytest.raises(CanaryError, match="different shards"):
        make_canaries({"a": CanaryKind.NUMBER, "b": CanaryKind.NUMBER}, _StuckSource())


@pytest.mark.parametrize(
    ("kind", "value", "shards"),
    [
        (CanaryKind.TEXT, "quietriver", ()),
        (CanaryKind.TEXT, "quietriver", ("quiet",)),
        (CanaryKind.TEXT, "quietriver", ("quietriver", "quietriver")),
        (CanaryKind.TEXT, "quietriver", ("loudrivers",)),
        (CanaryKind.NUMBER, "12345678x", ("12345678",)),
        (CanaryKind.NUMBER, "99999999999999999999", ("99999999",)),
        (CanaryKind.NUMBER, "000000000000", ("00000000",)),
    ],
)
def test_a_canary_that_could_not_be_found_again_is_refused(
    kind: CanaryKind, value: str, shards: tuple[str, ...]
) -> None:
    with pytest.raises(CanaryError):
        Canary("field", kind, value, shards)
