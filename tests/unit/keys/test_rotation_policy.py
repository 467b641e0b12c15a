"""When a data key is due for a new version: at its limits and not before."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core import DataKeyClass, KeyUses, WrappedDataKey
from assay.keys import (
    MOST_AGE,
    MOST_MESSAGES,
    MOST_NONCE_PREFIXES,
    ClassRotation,
    RotationPolicy,
)

MADE = datetime(2026, 1, 1, tzinfo=UTC)
KEY = WrappedDataKey("t1", DataKeyClass.ROWS, 1, b"i" * 16, "memory:kek", b"w", MADE)
MOMENT = timedelta(microseconds=1)
SEALING = [DataKeyClass.ROWS, DataKeyClass.OBJECTS, DataKeyClass.FILES]

ages = st.timedeltas(min_value=MOMENT, max_value=MOST_AGE)
counts = st.integers(min_value=1, max_value=MOST_NONCE_PREFIXES)


def of_class(key_class: DataKeyClass) -> WrappedDataKey:
    return replace(KEY, key_class=key_class)


@pytest.mark.parametrize("key_class", list(DataKeyClass))
def test_a_key_is_due_at_its_age_and_not_a_moment_before(key_class: DataKeyClass) -> None:
    policy, key = RotationPolicy(), of_class(key_class)
    days = 730 if key_class is DataKeyClass.INDEXES else 365
    at = MADE + timedelta(days=days)
    assert policy.due(key, KeyUses(), at - MOMENT) is None
    assert policy.due(key, KeyUses(), at) == f"{days} days old or more"


@pytest.mark.parametrize("key_class", SEALING)
def test_a_key_is_due_at_half_of_what_sp_800_38d_allows(key_class: DataKeyClass) -> None:
    policy, key = RotationPolicy(), of_class(key_class)
    assert policy.due(key, KeyUses(0, 2**31 - 1), MADE) is None
    assert policy.due(key, KeyUses(0, 2**31), MADE) == (
        "used for 2147483648 nonce prefixes or more"
    )
    assert policy.due(key, KeyUses(2**40 - 1, 0), MADE) is None
    assert policy.due(key, KeyUses(2**40, 0), MADE) == "used for 1099511627776 messages or more"


def test_index_keys_draw_no_nonces_and_are_due_by_age_alone() -> None:
    key = of_class(DataKeyClass.INDEXES)
    assert RotationPolicy().due(key, KeyUses(2**60, 2**60), MADE) is None


def test_a_key_from_the_future_is_not_due() -> None:
    assert RotationPolicy().due(KEY, KeyUses(), MADE - timedelta(days=4000)) is None


def test_each_class_has_limits_of_its_own() -> None:
    policy = RotationPolicy(objects=ClassRotation(max_age=timedelta(days=1)))
    at = MADE + timedelta(days=2)
    due = {kind: policy.due(of_class(kind), KeyUses(), at) for kind in DataKeyClass}
    assert due == dict.fromkeys(DataKeyClass) | {DataKeyClass.OBJECTS: "1 days old or more"}


@given(ages, counts, counts, st.data())
def test_below_every_limit_nothing_is_due(
    age: timedelta, messages: int, prefixes: int, data: st.DataObject
) -> None:
    policy = RotationPolicy(rows=ClassRotation(age, messages, prefixes))
    lived = data.draw(st.timedeltas(min_value=-MOST_AGE, max_value=age - MOMENT))
    used = KeyUses(data.draw(st.integers(0, messages - 1)), data.draw(st.integers(0, prefixes - 1)))
    assert policy.due(KEY, used, MADE + lived) is None


@given(ages, counts, counts, st.data())
def test_at_any_limit_it_is_due(
    age: timedelta, messages: int, prefixes: int, data: st.DataObject
) -> None:
    policy = RotationPolicy(rows=ClassRotation(age, messages, prefixes))
    over = st.integers(0, 2**50)
    assert policy.due(KEY, KeyUses(), MADE + age + data.draw(over) * MOMENT)
    assert policy.due(KEY, KeyUses(messages + data.draw(over), 0), MADE)
    assert policy.due(KEY, KeyUses(0, prefixes + data.draw(over)), MADE)


@pytest.mark.parametrize(
    ("given_limits", "message"),
    [
        ({"max_age": timedelta(0)}, "expected an age"),
        ({"max_age": MOST_AGE + MOMENT}, "at most 730 days"),
        ({"max_messages": 0}, "expected max_messages of 1"),
        ({"max_messages": MOST_MESSAGES + 1}, "found 1099511627777"),
        ({"max_nonce_prefixes": 0}, "expected max_nonce_prefixes of 1"),
        ({"max_nonce_prefixes": MOST_NONCE_PREFIXES + 1}, "found 4294967297"),
    ],
)
def test_a_limit_beyond_what_is_safe_is_refused(given_limits: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClassRotation(**given_limits)


@pytest.mark.parametrize("key_class", list(DataKeyClass))
def test_the_limits_are_those_of_the_class(key_class: DataKeyClass) -> None:
    mine = ClassRotation(max_age=timedelta(days=3))
    policy = replace(RotationPolicy(), **{key_class.value: mine})
    assert policy.of(key_class) is mine
