"""Search by hyperscan (Vectorscan on ARM): a compiled automaton that uses the vector unit.

https://intel.github.io/hyperscan/dev-reference/

Example:
    >>> HyperscanMatcher(patterns(canaries)).find(b"…")                  # doctest: +SKIP
    []
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import hyperscan

from assay.leakage.containers import GZIP_HEAD, HEAD_LENGTHS, ZLIB_HEAD
from assay.leakage.errors import MatcherError
from assay.leakage.matcher import Window
from assay.leakage.patterns import Pattern

# A line of 16 encoded characters that breaks off: by a line break, or by an escaped one as in JSON.
_WRAPPED = (rb"[A-Za-z0-9+/_=%-]{16}(\r|\n|\\r|\\n)",)
_HEADS = {"gzip": GZIP_HEAD, "zlib": ZLIB_HEAD}


class HyperscanMatcher:
    """A `Matcher` that compiles all patterns into one hyperscan database.

    Args:
        patterns: what to search for.

    Raises:
        MatcherError: the engine refuses the patterns or this processor.
    """

    engine = "hyperscan"

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self.patterns: tuple[Pattern, ...] = tuple(patterns)
        self._lengths = [len(pattern.data) for pattern in patterns]
        literals = [b"".join(b"\\x%02x" % byte for byte in item.data) for item in patterns]
        self._patterns = _compile(literals, hyperscan.HS_FLAG_DOTALL)
        self._heads = _compile(tuple(_HEADS.values()), hyperscan.HS_FLAG_DOTALL)
        self._head_lengths = [HEAD_LENGTHS[kind] for kind in _HEADS]
        self._wrapped = _compile(_WRAPPED, hyperscan.HS_FLAG_DOTALL | hyperscan.HS_FLAG_SINGLEMATCH)

    def find(self, window: Window) -> Sequence[tuple[int, int]]:
        """See `Matcher.find`."""
        lengths = self._lengths
        return [(index, end - lengths[index]) for index, end in _scan(self._patterns, window)]

    def compressed_starts(self, window: Window) -> Sequence[int]:
        """See `Matcher.compressed_starts`."""
        lengths = self._head_lengths
        return sorted(end - lengths[index] for index, end in _scan(self._heads, window))

    def may_have_wrapped_lines(self, window: Window) -> bool:
        """See `Matcher.may_have_wrapped_lines`."""
        return bool(_scan(self._wrapped, window))


def _compile(expressions: Sequence[bytes], flags: int) -> hyperscan.Database:
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    try:
        database.compile(
            expressions=list(expressions),
            ids=list(range(len(expressions))),
            elements=len(expressions),
            flags=[flags] * len(expressions),
        )
    except hyperscan.error as exc:
        raise MatcherError(
            f"expected hyperscan to compile {len(expressions)} patterns, it refused: {exc}"
        ) from exc
    return database


def _scan(database: hyperscan.Database, window: Window) -> list[tuple[int, int]]:
    """(index of the expression, offset after its last byte) of every match."""
    found: list[tuple[int, int]] = []

    def note(index: int, _start: int, end: int, _flags: int, _context: object) -> None:
        found.append((index, end))

    try:
        # The engine takes any buffer; its stub knows bytes and text only.
        database.scan(cast("bytes", window), match_event_handler=note)
    except hyperscan.error as exc:
        raise MatcherError(
            f"expected hyperscan to search {len(window)} bytes, it failed: {exc}"
        ) from exc
    return found
