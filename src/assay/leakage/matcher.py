"""The protocol of an engine that searches one window of bytes for all patterns at once.

Two engines speak it: `assay.leakage.hyperscan` (20 times faster, used when it is installed) and
`assay.leakage.ahocorasick`. Which one searched is recorded in the `Search`.

Specification: ``spec/leak-test.md``, "Search".

Example:
    >>> matcher = load_matcher(patterns(canaries))                       # doctest: +SKIP
    >>> [matcher.patterns[index].transform for index, _ in matcher.find(b"…")]  # doctest: +SKIP
    ['hex lower']
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from assay.leakage.errors import MatcherError
from assay.leakage.patterns import Pattern

Window = bytes | bytearray | memoryview

SHORTEST_PATTERN = 8
"""Fewest bytes of a pattern: shorter ones would be found by chance in a large medium."""


class Matcher(Protocol):
    """Searches windows of bytes. One thread at a time may use one matcher.

    Attributes:
        engine: the name of the engine.
        patterns: what it searches for; results are indexes into it.
    """

    engine: str
    patterns: tuple[Pattern, ...]

    def find(self, window: Window) -> Sequence[tuple[int, int]]:
        """Every place where a pattern stands: (index of the pattern, offset of its first byte).

        Overlapping places are all found; the order is not defined.
        """
        ...

    def compressed_starts(self, window: Window) -> Sequence[int]:
        """Offsets at which a gzip or zlib member may begin; many of them are chance."""
        ...

    def may_have_wrapped_lines(self, window: Window) -> bool:
        """Whether an encoded text (base64, hex) may be broken into lines there.

        May say yes when it is not so, never no when a line of at least 16 encoded characters
        is continued on the next line.
        """
        ...


def load_matcher(patterns: Sequence[Pattern]) -> Matcher:
    """The fastest engine that is installed, ready to search for the patterns.

    Args:
        patterns: what to search for.

    Raises:
        MatcherError: there is nothing to search for, a pattern is too short, or no engine is
            installed.
    """
    if not patterns:
        raise MatcherError("expected patterns to search for, found none")
    if any(len(pattern.data) < SHORTEST_PATTERN for pattern in patterns):
        raise MatcherError(f"expected patterns of at least {SHORTEST_PATTERN} bytes, found less")
    try:
        from assay.leakage.hyperscan import HyperscanMatcher
    except ImportError:
        return _load_fallback(patterns)
    return HyperscanMatcher(patterns)


def _load_fallback(patterns: Sequence[Pattern]) -> Matcher:
    try:
        from assay.leakage.ahocorasick import AhoCorasickMatcher
    except ImportError as exc:
        raise MatcherError(
            "expected hyperscan or ahocorasick-rs to search for many patterns at once, found "
            "neither; install assay[scan]"
        ) from exc
    return AhoCorasickMatcher(patterns)
