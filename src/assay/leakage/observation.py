"""What a leak search saw: plain facts that can be recorded, read again and judged later.

Built of text, integers and lists only; no canary value is in them.

Specification: ``spec/leak-test.md``, "Result".

Example:
    >>> msgspec.json.encode(search)                                      # doctest: +SKIP
    b'{"engine":"hyperscan","patterns":1260,…}'
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class FileState(StrEnum):
    """How far a file could be searched. Everything but ``searched`` is a gap."""

    SEARCHED = "searched"
    PARTLY = "partly"
    MISSING = "missing"
    UNREADABLE = "unreadable"
    SPECIAL = "special"


class FileChange(StrEnum):
    """What happened to a file while it was read."""

    NONE = "none"
    WRITTEN = "written"
    GREW = "grew"
    SHRANK = "shrank"
    REPLACED = "replaced"
    VANISHED = "vanished"


class Hit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One place where a canary was found.

    Attributes:
        medium: the name of the medium.
        path: the file, from the name of the medium's root on.
        offset: byte offset in the file; inside a container, that of the outermost member.
        canary: index of the canary.
        piece: ``whole`` or ``shard N``.
        transform: how it was spelled there.
        container: what it was wrapped in, outermost first (``gzip > zlib``); empty when it
            stood in the file as it is.
    """

    medium: str
    path: str
    offset: int
    canary: int
    piece: str
    transform: str
    container: str


class FileSearch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What happened to one file.

    Attributes:
        medium: the name of the medium.
        path: the file, from the name of the medium's root on.
        state: how far it was searched.
        reasons: why it was not searched, or only partly.
        change: what happened to it meanwhile.
        size_before: bytes when it was opened.
        size_after: bytes when it was closed.
        bytes_read: bytes that were searched.
        members_complete: gzip and zlib members that were opened to their end.
        members_broken: members that gave bytes and then broke off; some of them are chance.
        expanded_bytes: bytes that came out of members, and were searched.
        hits: places where a canary was found, of which the first few are in `Search.hits`.
    """

    medium: str
    path: str
    state: FileState
    reasons: tuple[str, ...] = ()
    change: FileChange = FileChange.NONE
    size_before: int = 0
    size_after: int = 0
    bytes_read: int = 0
    members_complete: int = 0
    members_broken: int = 0
    expanded_bytes: int = 0
    hits: int = 0


class MediumSearch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What happened to one medium.

    Attributes:
        name: the name of the medium.
        files: how many things were listed there.
        searched: how many of them were searched from end to end.
        bytes_read: bytes that were searched.
        expanded_bytes: bytes that came out of members, and were searched.
        hits: places where a canary was found.
    """

    name: str
    files: int
    searched: int
    bytes_read: int
    expanded_bytes: int
    hits: int


class Search(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole search.

    Attributes:
        engine: which engine searched.
        canaries: how many canaries it searched for.
        patterns: how many byte strings it searched for.
        media: one entry per medium, also for an empty one.
        files: one entry per file, also for those that could not be searched.
        hits: the first few places per file, piece, transform and container.
        hits_total: how many places there were in all.
    """

    engine: str
    canaries: int
    patterns: int
    media: tuple[MediumSearch, ...]
    files: tuple[FileSearch, ...]
    hits: tuple[Hit, ...]
    hits_total: int
