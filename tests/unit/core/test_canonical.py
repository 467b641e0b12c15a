import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core import CanonicalJsonError, from_canonical_json, to_canonical_json

_BMP_TEXT = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]))
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(
        st.characters(exclude_categories=["Cs"])
    ),
    lambda inner: st.lists(inner) | st.dictionaries(_BMP_TEXT, inner),
    max_leaves=20,
)  # fmt: skip


@given(_VALUES)
def test_round_trip(value):
    encoded = to_canonical_json(value)
    assert from_canonical_json(encoded) == value
    assert to_canonical_json(from_canonical_json(encoded)) == encoded


def test_keys_are_sorted_and_nothing_is_spaced():
    assert to_canonical_json({"b": 1, "a": [True, None]}) == b'{"a":[true,null],"b":1}'


@pytest.mark.parametrize(
    "value", [1.5, {1: 2}, b"x", 2**53, {"a": {"b": object()}}, "\ud800", {"\U0001f600": 1}, {1, 2}]
)
def test_what_has_no_canonical_form_is_refused(value):
    with pytest.raises(CanonicalJsonError):
        to_canonical_json(value)


@pytest.mark.parametrize(
    "data",
    [b'{"a": 1}', b'{"b":1,"a":2}', b'{"a":1,"a":1}', b'"\\u0061"', b"1.0", b"", b"\xff", b"[1,]",
     b"1e2", b"NaN", b" 1", b"1\n", b"[" * 100_000, b"1" * 5000],
)  # fmt: skip
def test_other_spellings_are_refused(data):
    with pytest.raises(CanonicalJsonError):
        from_canonical_json(data)


@given(st.binary(max_size=60))
def test_any_bytes_are_the_canonical_form_or_refused(data):
    try:
        value = from_canonical_json(data)
    except CanonicalJsonError:
        return
    assert to_canonical_json(value) == data
