"""Whatever bytes a medium holds, the search ends, stays within its limits and raises nothing."""

# ruff: noqa: S311 - seeded, so that a failure can be repeated

from __future__ import annotations

import gzip
import random
import zlib

from hypothesis import given, settings
from hypothesis import strategies as st

from assay.leakage import CanaryKind, Limits, make_canaries, patterns
from assay.leakage.ahocorasick import AhoCorasickMatcher
from assay.leakage.containers import JoinedLines
from assay.leakage.hyperscan import HyperscanMatcher
from assay.leakage.layers import Layer, Record

CANARY = make_canaries({"text": CanaryKind.TEXT}, random.Random(1))
ENGINES = (HyperscanMatcher(patterns(CANARY)), AhoCorasickMatcher(patterns(CANARY)))
LIMITS = Limits(open_members=8, expansion_floor_bytes=1 << 16, expansion_ratio=4)


def fuzz(data: bytes) -> None:
    found = []
    for matcher in ENGINES:
        record = Record(matcher, LIMITS, len(data))
        layer = Layer(record)
        for start in range(0, len(data), 97):
            layer.feed(data[start : start + 97])
        layer.close()
        assert record.expanded_bytes <= (1 << 16) + 4 * len(data) + (1 << 20)
        assert all(0 <= offset < len(data) for _, offset, _ in record.hits)
        found.append({(index, offset) for index, offset, _ in record.hits})
    assert found[0] == found[1], "both engines find the same"
    joined = JoinedLines(data)
    if joined.text:
        first, end = joined.window_span(0, len(joined.text))
        assert 0 <= first < end <= len(data)


PIECES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"\x1f\x8b\x08\x00", b"\x78\x9c", b"\x78\x01", b"\n", b"=\r\n  ", rb"\r\n"]),
    st.binary(max_size=200).map(zlib.compress),
    st.binary(max_size=200).map(gzip.compress),
    st.sampled_from([CANARY[0].value.encode(), CANARY[0].value.encode().hex().encode()]),
    st.sampled_from([zlib.compress(bytes(1 << 18)), gzip.compress(CANARY[0].value.encode())]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=8), st.integers(0, 20), st.integers(0, 255))
def test_any_bytes(pieces: list[bytes], position: int, flip: int) -> None:
    data = bytearray(b"".join(pieces))
    if data:
        data[position % len(data)] ^= flip
    fuzz(bytes(data))
