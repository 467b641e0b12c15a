"""Whatever a server or a tool says, parsing it raises nothing but the room's own errors."""

from __future__ import annotations

import contextlib
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from assay.transport import TransportError, parse_hsts
from assay.transport.addresses import split_url
from assay.transport.sslyze_report import read_report


def fuzz(data: bytes) -> None:
    text = data.decode("latin-1")
    with contextlib.suppress(TransportError):
        parsed = parse_hsts(text)
        assert 0 <= parsed.max_age_seconds <= 2**31
    for scheme in ("http", "https"):
        with contextlib.suppress(TransportError):
            assert 0 <= split_url(text, scheme).port < 65536
    with contextlib.suppress(TransportError):
        read_report(data, "6.3.1", ["127.0.0.1"])


@settings(max_examples=300)
@given(
    st.binary(max_size=100)
    | st.text('max-age=";includeSubDomains,\\ \t0129x', max_size=60).map(str.encode)
    | st.from_regex(r"https?://[a-z\[\]:@./%0-9-]{0,40}").map(lambda text: text.encode())
)
def test_any_bytes(data: bytes) -> None:
    fuzz(data)


KEYS = st.sampled_from(
    ["sslyze_version", "server_scan_results", "server_location", "ip_address", "scan_result",
     "connectivity_status", "connectivity_result", "scan_status", "status", "result"]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=30,
)


@settings(max_examples=200)
@given(st.dictionaries(KEYS, JSON))
def test_any_json(value: object) -> None:
    fuzz(json.dumps(value).encode())
