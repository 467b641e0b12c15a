from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay import transport
from assay.transport import Hsts, HstsError, HstsSyntaxError, parse_hsts

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "hsts.json").read_text())


@pytest.mark.parametrize("vector", VECTORS["accepted"], ids=lambda vector: vector["value"])
def test_accepted_vectors(vector: dict[str, Any]) -> None:
    expected = Hsts(
        max_age_seconds=vector["max_age_seconds"],
        max_age_is_quoted=vector.get("max_age_is_quoted", False),
        include_subdomains=vector.get("include_subdomains", False),
        preload=vector.get("preload", False),
        others=tuple(vector.get("others", ())),
    )
    assert parse_hsts(vector["value"]) == expected


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: repr(vector["value"]))
def test_refused_vectors(vector: dict[str, str]) -> None:
    with pytest.raises(HstsError) as caught:
        parse_hsts(vector["value"])
    assert type(caught.value) is getattr(transport, vector["error"])


def test_a_header_without_end_is_refused() -> None:
    with pytest.raises(HstsSyntaxError, match="8192"):
        parse_hsts("max-age=1; x=" + "y" * 9000)


def test_a_number_of_thousands_of_digits_counts_as_the_largest() -> None:
    assert parse_hsts("max-age=" + "9" * 6000).max_age_seconds == 2**31
    assert parse_hsts("max-age=" + "0" * 6000 + "7").max_age_seconds == 7


TOKENS = st.text("abcXYZ09!#$%&'*+-.^_`|~", min_size=1, max_size=8)
QUOTED = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=8).map(
    lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
)
SPACES = st.text(" \t", max_size=2)


@given(st.data(), st.integers(0, 2**31), st.booleans(), st.booleans(), st.booleans())
def test_what_the_grammar_allows_comes_back(
    data: st.DataObject, seconds: int, quoted: bool, subdomains: bool, preload: bool
) -> None:
    others = data.draw(
        st.dictionaries(TOKENS.map(lambda name: "x-" + name.lower()), st.none() | TOKENS | QUOTED)
    )
    parts: dict[str, str | None] = {"max-age": f'"{seconds}"' if quoted else str(seconds)}
    parts |= {"IncludeSubDomains": None} if subdomains else {}
    parts |= {"preload": None} if preload else {}
    parts |= others
    texts = []
    for name, value in data.draw(st.permutations(sorted(parts.items(), key=str))):
        space = data.draw(SPACES)
        end = "" if value is None else f"{space}={space}{value}"
        texts.append(f"{space}{name}{end}{space}")
    parsed = parse_hsts(";".join(texts))
    assert set(parsed.others) == set(others)
    assert parsed == Hsts(seconds, quoted, subdomains, preload, parsed.others)
