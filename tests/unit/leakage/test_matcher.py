# ruff: noqa: S311 - seeded, so that a failure can be repeated
from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.leakage import Canary, Matcher, MatcherError, Pattern, load_matcher, patterns
from assay.leakage.ahocorasick import AhoCorasickMatcher
from assay.leakage.hyperscan import HyperscanMatcher

Engine = Callable[[Sequence[Pattern]], Matcher]
SOME = tuple(
    Pattern(0, "whole", name, data)
    for name, data in {
        "plain": b"abcdefgh",
        "inside": b"cdefghij",
        "bytes": bytes(range(8)),
        "meta": b"(a|b)*+?.[]",
        "line": b"\n\r\0\xff\n\r\0\xff",
    }.items()
)


def test_finds_every_place_also_overlapping_ones(engine: Engine) -> None:
    matcher = engine(SOME)
    window = (
        b"..abcdefghij.." + bytes(range(8)) + b"(a|b)*+?.[]" + b"\n\r\0\xff\n\r\0\xff\n\r\0\xff"
    )
    assert sorted(matcher.find(window)) == [(0, 2), (1, 4), (2, 14), (3, 22), (4, 33), (4, 37)]


def test_takes_any_buffer(engine: Engine) -> None:
    matcher = engine(SOME)
    for window in (b"abcdefgh", bytearray(b"abcdefgh"), memoryview(b"xabcdefgh")[1:]):
        assert list(matcher.find(window)) == [(0, 0)]
    assert list(matcher.find(b"")) == []


def test_finds_nothing_in_other_bytes(engine: Engine, canaries: tuple[Canary, ...]) -> None:
    matcher = engine(patterns(canaries))
    assert list(matcher.find(random.Random(7).randbytes(1 << 20))) == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(min_size=8, max_size=12), min_size=1, max_size=6), st.binary(max_size=80))
def test_both_engines_find_the_same(needles: list[bytes], hay: bytes) -> None:
    some = tuple(Pattern(0, "whole", str(n), data) for n, data in enumerate(dict.fromkeys(needles)))
    window = hay + b"".join(needles) + hay
    fast, slow = HyperscanMatcher(some), AhoCorasickMatcher(some)
    assert sorted(fast.find(window)) == sorted(slow.find(window))
    assert list(fast.compressed_starts(window)) == list(slow.compressed_starts(window))


def test_finds_the_heads_of_members_also_one_inside_another(engine: Engine) -> None:
    window = b"\x1f\x8b\x08\x00..\x78\x9c\x78\x01\x02..\x1f\x8b\x08\xe0\x78\x9c\x06"
    assert list(engine(SOME).compressed_starts(window)) == [0, 6, 8]


@pytest.mark.parametrize(
    "lines",
    [
        b"QUJDREVGR0hJSktM\nTU5P",
        b"QUJDREVGR0hJSktM\r\nT",
        b"QUJDREVGR0hJSktM\n  TU5P",
        b"QUJDREVGR0hJSktM\r\n\tTU5P",
        b"QUJDREVGR0hJSktM\rTU5P",
        rb"QUJDREVGR0hJSktM\nTU5P",
        rb"QUJDREVGR0hJSktM\r\nTU5P",
        b"=51=75=69=65=74=\n=52",
        b"61626364616263646162\n6364",
    ],
)
def test_sees_wrapped_lines(engine: Engine, lines: bytes) -> None:
    assert engine(SOME).may_have_wrapped_lines(b"..." + lines + b"...")


def test_prose_is_not_taken_for_wrapped_lines() -> None:
    # This is what makes the fast engine fast; the fallback need not be so clever.
    assert not HyperscanMatcher(SOME).may_have_wrapped_lines(b"a line of a log, status=200\n" * 9)


def test_the_fastest_engine_is_taken() -> None:
    assert load_matcher(SOME).engine == "hyperscan"


@pytest.mark.parametrize("some", [(), (Pattern(0, "whole", "UTF-8", b"1234567"),)])
def test_patterns_that_would_match_by_chance_are_refused(some: tuple[Pattern, ...]) -> None:
    with pytest.raises(MatcherError, match="expected patterns"):
        load_matcher(some)


def test_without_hyperscan_the_fallback_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "assay.leakage.hyperscan", None)
    assert load_matcher(SOME).engine == "ahocorasick_rs"


def test_without_any_engine_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("hyperscan", "ahocorasick"):
        monkeypatch.setitem(__import__("sys").modules, f"assay.leakage.{name}", None)
    with pytest.raises(MatcherError, match=r"assay\[scan\]"):
        load_matcher(SOME)
