"""The canonical form of a request."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.kms.canonical import canonical_request, fold_headers, parse_query, signing_key
from assay.kms.errors import IncompleteSignatureError, SignatureMismatchError
from assay.kms.request import SignedRequest


def canonical_query(query: str) -> str:
    request = SignedRequest("POST", "/", query, (), b"")
    return canonical_request(request, parse_query(query), {}, (), "").decode().split("\n")[2]


@pytest.mark.parametrize(
    ("query", "canonical"),
    [
        ("", ""),
        ("a", "a="),
        ("a=", "a="),
        ("=", "="),
        ("a=b=c", "a=b%3Dc"),
        ("b=1&a=2&a=1", "a=1&a=2&b=1"),
        ("a=1&A=2&a-b=3&a0=4", "A=2&a=1&a-b=3&a0=4"),
        ("a=%2f&b=%7e&c=%41", "a=%2F&b=~&c=A"),
        ("a=1+2", "a=1%2B2"),
        ("a=*'()!", "a=%2A%27%28%29%21"),
        ("%E1%88%B4=bar&Param=1", "%E1%88%B4=bar&Param=1"),
        ("%C3%A9=%FF", "%C3%A9=%FF"),
        ("&&a=1&", "a=1"),
        ("X-Amz-Signature=00&X-Amz-Date=1", "X-Amz-Date=1"),
    ],
)
def test_a_query_is_encoded_anew_and_sorted(query: str, canonical: str) -> None:
    assert canonical_query(query) == canonical


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=6))
def test_a_query_is_read_as_it_was_written(pairs: list[tuple[str, str]]) -> None:
    try:
        encoded = [(quote(n, safe=""), quote(v, safe="")) for n, v in pairs]
    except UnicodeEncodeError:  # half of a surrogate pair
        return
    query = "&".join(f"{name}={value}" for name, value in encoded)
    read = [
        (n.encode("latin-1").decode(), v.encode("latin-1").decode()) for n, v in parse_query(query)
    ]
    assert read == pairs


@pytest.mark.parametrize(
    "query", ["%", "a=%", "a=%2", "a=%zz", "a=%2\N{SUPERSCRIPT TWO}", "\xe9=1"]
)
def test_a_query_that_is_not_encoded_is_refused(query: str) -> None:
    with pytest.raises(IncompleteSignatureError, match="percent-encoded"):
        parse_query(query)


def test_headers_are_folded() -> None:
    sent = (("a", "  x  \t y "), ("b", ""), ("a", ""), ("a", '"1   2"'), ("c", "\xa0\x85z"))
    assert fold_headers(sent) == ({"a": 'x y,,"1 2"', "b": "", "c": "\xa0\x85z"}, {"a"})


def test_a_header_is_signed_as_the_bytes_that_were_sent() -> None:
    value = "é".encode().decode("latin-1")  # as an HTTP parser gives the two bytes of UTF-8
    request = SignedRequest("POST", "/", "", (("x", value),), b"")
    assert "x:é\n".encode() in canonical_request(request, [], {"x": value}, ("x",), "")


@pytest.mark.parametrize("path", ["", "//", "/./", "/a/..", "/%2F", "/a"])
def test_the_only_path_is_the_root(path: str) -> None:
    request = SignedRequest("POST", path, "", (), b"")
    with pytest.raises(SignatureMismatchError, match="the path /"):
        canonical_request(request, [], {}, (), "")


def test_the_signing_key_of_the_documentation(repository: Path) -> None:
    vectors = json.loads((repository / "tests" / "vectors" / "kms-sigv4.json").read_bytes())
    for case in vectors["signing_keys"]:
        key = signing_key(case["secret"], case["date"], case["region"], case["service"])
        assert key.hex() == case["key"]
