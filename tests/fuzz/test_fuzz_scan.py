"""Whatever a scanner prints, reading it raises nothing but the room's own errors."""

from __future__ import annotations

import contextlib
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from assay.scan import ScanError
from assay.scan.bandit_report import read_report

KEYS = st.sampled_from(
    ["errors", "metrics", "results", "_totals", "loc", "nosec", "skipped_tests", "filename",
     "reason", "test_id", "line_number", "issue_text", "issue_severity", "issue_confidence"]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=30,
)


def fuzz(data: bytes) -> None:
    with contextlib.suppress(ScanError):
        report = read_report(data, data)
        assert report.suppressed >= 0 or report.lines


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    fuzz(data)


@settings(max_examples=300)
@given(st.dictionaries(KEYS, JSON))
def test_any_json(value: object) -> None:
    fuzz(json.dumps(value).encode())
