"""The search itself: every file of every medium, once, from end to end.

Specification: ``spec/leak-test.md``, "Search"; the steps in `search_file` have its numbers.

Example:
    >>> matcher = load_matcher(patterns(canaries))                       # doctest: +SKIP
    >>> search = search_files([Medium("logs", (Path("logs"),))], matcher)  # doctest: +SKIP
    >>> search.hits_total                                                # doctest: +SKIP
    0
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import FileIO
from pathlib import Path

from assay.core import Progress, SilentProgress
from assay.leakage.layers import Layer, Limits, Record
from assay.leakage.matcher import Matcher
from assay.leakage.media import ListedFile, Medium, list_files
from assay.leakage.observation import (
    FileChange,
    FileSearch,
    FileState,
    Hit,
    MediumSearch,
    Search,
)

_CHUNK = 4 << 20
_GROWTH_ALLOWANCE = 64 << 20


def search_files(
    media: Sequence[Medium],
    matcher: Matcher,
    progress: Progress | None = None,
    *,
    limits: Limits | None = None,
) -> Search:
    """Search every file of every medium.

    A file that cannot be read, or only partly, is an entry in the result and never an exception,
    so that it hides nothing of the others.

    Args:
        media: what to search.
        matcher: what to search for.
        progress: is told bytes done, bytes in all and the file at work.
        limits: what a file may cost.

    Raises:
        MatcherError: the engine failed.
    """
    progress = progress or SilentProgress()
    listed = [(medium.name, item) for medium in media for item in list_files(medium)]
    total = sum(item.size_bytes for _, item in listed)
    done = 0
    files: list[FileSearch] = []
    hits: list[Hit] = []
    for medium, item in listed:
        progress.advance(done, total, item.shown)
        file, found = _search_listed(medium, item, matcher, limits or Limits())
        files.append(file)
        hits += found
        done += item.size_bytes
    progress.advance(total, total, "searched")
    return Search(
        engine=matcher.engine,
        canaries=len({pattern.canary for pattern in matcher.patterns}),
        patterns=len(matcher.patterns),
        media=tuple(_medium(medium.name, files) for medium in media),
        files=tuple(files),
        hits=tuple(hits),
        hits_total=sum(file.hits for file in files),
    )


def search_file(path: Path, matcher: Matcher, *, limits: Limits | None = None) -> Search:
    """Search one file, as a medium of its own with the file's name.

    Args:
        path: the file.
        matcher: what to search for.
        limits: what it may cost.

    Raises:
        MatcherError: the engine failed.
    """
    return search_files([Medium(path.name, (path,))], matcher, limits=limits)


def _medium(name: str, files: Sequence[FileSearch]) -> MediumSearch:
    own = [file for file in files if file.medium == name]
    return MediumSearch(
        name=name,
        files=len(own),
        searched=sum(file.state is FileState.SEARCHED for file in own),
        bytes_read=sum(file.bytes_read for file in own),
        expanded_bytes=sum(file.expanded_bytes for file in own),
        hits=sum(file.hits for file in own),
    )


def _search_listed(
    medium: str, item: ListedFile, matcher: Matcher, limits: Limits
) -> tuple[FileSearch, list[Hit]]:
    if item.obstacle:
        state, _, reason = item.obstacle.partition(": ")
        return FileSearch(medium, item.shown, FileState(state), (reason,)), []
    try:
        # Not blocking: a file may have become a pipe since it was listed.
        descriptor = os.open(item.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as exc:
        gone = isinstance(exc, FileNotFoundError)
        state = FileState.MISSING if gone else FileState.UNREADABLE
        reason = "it vanished before it was opened" if gone else (exc.strerror or "unknown")
        return FileSearch(medium, item.shown, state, (reason,)), []
    with FileIO(descriptor, "r") as file:
        return _search_open(medium, item, file, matcher, limits)


def _search_open(
    medium: str, item: ListedFile, file: FileIO, matcher: Matcher, limits: Limits
) -> tuple[FileSearch, list[Hit]]:
    before = os.fstat(file.fileno())
    record = Record(matcher, limits, before.st_size)
    bytes_read = _search_bytes(file, before.st_size, record)
    after = os.fstat(file.fileno())
    hits = [
        Hit(
            medium=medium,
            path=item.shown,
            offset=offset,
            canary=matcher.patterns[index].canary,
            piece=matcher.patterns[index].piece,
            transform=matcher.patterns[index].transform,
            container=container,
        )
        for index, offset, container in record.hits
    ]
    result = FileSearch(
        medium=medium,
        path=item.shown,
        state=FileState.PARTLY if record.reasons else FileState.SEARCHED,
        reasons=tuple(record.reasons),
        change=_change(item.path, before, after, bytes_read),
        size_before=before.st_size,
        size_after=after.st_size,
        bytes_read=bytes_read,
        members_complete=record.members_complete,
        members_broken=record.members_broken,
        expanded_bytes=record.expanded_bytes,
        hits=record.counts.total(),
    )
    return result, hits


def _search_bytes(file: FileIO, size_bytes: int, record: Record) -> int:
    """Search a file in overlapping windows; returns how many of its bytes were read."""
    overlap = record.overlap
    window = memoryview(bytearray(overlap + _CHUNK))
    layer = Layer(record)
    carried = base = bytes_read = 0
    # A file that grows faster than it is read would never end.
    most = 2 * size_bytes + _GROWTH_ALLOWANCE
    while True:
        try:
            count = file.readinto(window[carried : carried + _CHUNK])
        except OSError as exc:
            record.reasons[f"reading stopped after {bytes_read} bytes: {exc.strerror}"] = None
            break
        if not count:
            break
        bytes_read += count
        filled = carried + count
        layer.search(window[:filled], base, carried)
        if bytes_read > most:
            record.reasons[f"it grew without end; {bytes_read} bytes were searched"] = None
            break
        carried = min(filled, overlap)
        window[:carried] = bytes(window[filled - carried : filled])
        base += filled - carried
    layer.close()
    return bytes_read


def _change(
    path: Path, before: os.stat_result, after: os.stat_result, bytes_read: int
) -> FileChange:
    try:
        now = path.stat()
    except OSError:
        return FileChange.VANISHED
    if (now.st_dev, now.st_ino) != (after.st_dev, after.st_ino):
        return FileChange.REPLACED
    largest = max(after.st_size, bytes_read)
    if largest > before.st_size:
        return FileChange.GREW
    if min(after.st_size, bytes_read) < before.st_size:
        return FileChange.SHRANK
    return FileChange.WRITTEN if after.st_mtime_ns != before.st_mtime_ns else FileChange.NONE
