"""The layers of one file: its own bytes, and what comes out of the members inside it.

Each layer is searched in windows that overlap, so that nothing is lost where a window ends; each
member that begins in a layer feeds a layer of its own.

Specification: ``spec/leak-test.md``, "Search".

Example:
    >>> record = Record(matcher, Limits(), size_bytes=0)                 # doctest: +SKIP
    >>> layer = Layer(record)                                            # doctest: +SKIP
    >>> layer.feed(b"…"); layer.close(); record.hits                     # doctest: +SKIP
    []
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from assay.leakage.containers import HEAD_LENGTHS, JoinedLines, Member, member_kind
from assay.leakage.matcher import SHORTEST_PATTERN, Matcher

LINE_BREAKS = "line breaks"
"""The container of a text that was found after its line breaks were taken out."""

_NESTED_WINDOW = 1 << 20
_NOTEWORTHY_BYTES = 64


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may cost, so that a decompression bomb cannot stop a search.

    Whatever meets a limit is reported as partly searched, never as searched.

    Attributes:
        depth: containers within containers that are opened.
        open_members: members of one layer that are open at the same time.
        expansion_floor_bytes: bytes that may come out of the members of any file.
        expansion_ratio: more bytes that may come out, per byte of the file.
        hits_kept: places kept per file, piece, transform and container; the rest are counted.
    """

    depth: int = 3
    open_members: int = 64
    expansion_floor_bytes: int = 256 << 20
    expansion_ratio: int = 100
    hits_kept: int = 3


@dataclass(slots=True)
class Record:
    """What is known about one file while it is searched.

    Attributes:
        matcher: what is searched for.
        limits: what it may cost.
        size_bytes: the file's size, for the expansion limit.
        hits: (pattern index, offset, container) of the places that are kept.
        counts: how many places there were, by pattern index and container.
        reasons: why it is only partly searched, in the order of their appearance.
        members_complete: see `FileSearch`.
        members_broken: see `FileSearch`.
        expanded_bytes: see `FileSearch`.
        lengths: bytes of each pattern.
        overlap: bytes carried from one window into the next; four times the longest pattern
            leaves room for line breaks and indentation inside it.
    """

    matcher: Matcher
    limits: Limits
    size_bytes: int
    hits: list[tuple[int, int, str]] = field(default_factory=list)
    counts: Counter[tuple[int, str]] = field(default_factory=Counter)
    reasons: dict[str, None] = field(default_factory=dict)
    members_complete: int = 0
    members_broken: int = 0
    expanded_bytes: int = 0
    lengths: tuple[int, ...] = field(init=False)
    overlap: int = field(init=False)

    def __post_init__(self) -> None:
        """Work out what every window needs to know about the patterns."""
        self.lengths = tuple(len(pattern.data) for pattern in self.matcher.patterns)
        self.overlap = max(4096, 4 * max(self.lengths))

    def note(self, pattern: int, offset: int, container: str) -> None:
        """Take note of a place."""
        self.counts[pattern, container] += 1
        if self.counts[pattern, container] <= self.limits.hits_kept:
            self.hits.append((pattern, offset, container))

    def may_expand(self) -> bool:
        """Whether more may come out of members; if not, the reason is noted."""
        limits = self.limits
        allowance = limits.expansion_floor_bytes + limits.expansion_ratio * self.size_bytes
        if self.expanded_bytes <= allowance:
            return True
        self.reasons[f"compressed members hold more than {allowance} bytes"] = None
        return False


class Layer:
    """One layer of a file.

    Args:
        record: where findings go.
        container: what this layer is wrapped in, outermost first.
        anchor: offset in the file of the outermost container; None for the file itself.
    """

    def __init__(
        self, record: Record, container: tuple[str, ...] = (), anchor: int | None = None
    ) -> None:
        self._record = record
        self._container = container
        self._anchor = anchor
        self._members: list[tuple[Member, Layer]] = []
        self._carry = b""
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._base = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the layer; they are searched when there are enough of them."""
        self._pending.append(data)
        self._pending_bytes += len(data)
        if self._pending_bytes >= _NESTED_WINDOW:
            self._search_pending()

    def close(self) -> None:
        """Search what is left, in this layer and in those that are still open."""
        if len(self._carry) + self._pending_bytes >= SHORTEST_PATTERN:
            self._search_pending()
        for member, layer in self._members:
            self._finish(member, layer)
        self._members.clear()

    def _search_pending(self) -> None:
        window = b"".join((self._carry, *self._pending))
        self._pending.clear()
        self._pending_bytes = 0
        self.search(memoryview(window), self._base, len(self._carry))
        kept = min(len(window), self._record.overlap)
        self._base += len(window) - kept
        self._carry = window[len(window) - kept :]

    def search(self, window: memoryview, base: int, fresh: int) -> None:
        """Search one window.

        Args:
            window: bytes of the layer.
            base: offset of its first byte in the layer.
            fresh: offset in the window of the first byte that no earlier window held.
        """
        # 1. Patterns as they are. Those that end in the carried part were found before.
        matcher = self._record.matcher
        lengths = self._record.lengths
        for index, start in matcher.find(window):
            if start + lengths[index] > fresh:
                self._note(index, base + start)
        # 2. Members: those that are open go on, those that begin here are opened.
        for member, layer in self._members:
            self._expand(member, layer, window[fresh:])
        self._members = [(member, layer) for member, layer in self._members if member.is_open]
        for start in matcher.compressed_starts(window):
            kind = member_kind(window[start : start + 2])
            if start + HEAD_LENGTHS[kind] > fresh:
                self._open(kind, base + start, window[start:])
        # 3. Text that is broken into lines.
        if matcher.may_have_wrapped_lines(window):
            self._search_joined(bytes(window), base, fresh)

    def _search_joined(self, window: bytes, base: int, fresh: int) -> None:
        joined = JoinedLines(window)
        for index, start in self._record.matcher.find(joined.text):
            length = self._record.lengths[index]
            first, end = joined.window_span(start, length)
            # What is as long as in the window had no line break in it, and was found in step 1.
            if end > fresh and end - first > length:
                self._note(index, base + first, LINE_BREAKS)

    def _note(self, index: int, offset: int, *inner: str) -> None:
        place = offset if self._anchor is None else self._anchor
        self._record.note(index, place, " > ".join((*self._container, *inner)))

    def _open(self, kind: str, offset: int, data: memoryview) -> None:
        if not Member.is_plausible(kind, data):
            return
        limits = self._record.limits
        if len(self._container) >= limits.depth:
            if kind == "gzip":  # the head of a zlib member is chance too often to be a reason
                self._record.reasons[f"containers nested deeper than {limits.depth}"] = None
            return
        if len(self._members) >= limits.open_members:
            self._record.reasons[f"more than {limits.open_members} members at once"] = None
            return
        member = Member(kind)
        anchor = offset if self._anchor is None else self._anchor
        layer = Layer(self._record, (*self._container, kind), anchor)
        self._expand(member, layer, data)
        if member.is_open:
            self._members.append((member, layer))

    def _expand(self, member: Member, layer: Layer, data: memoryview) -> None:
        for output in member.feed(data):
            self._record.expanded_bytes += len(output)
            if not self._record.may_expand():
                member.is_open = False
                break
            layer.feed(output)
        if not member.is_open:
            self._finish(member, layer)

    def _finish(self, member: Member, layer: Layer) -> None:
        layer.close()
        if member.is_complete:
            self._record.members_complete += 1
        elif member.produced_bytes >= _NOTEWORTHY_BYTES:
            self._record.members_broken += 1
