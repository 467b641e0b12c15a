"""A bounded mapping whose entries expire; read without a lock, written under its owner's lock.

Which entry goes when it is full: the least recently used, approximated by the second-chance rule.
A hit only sets a flag, so it costs no more than a dictionary look-up; making room walks from the
oldest entry, gives each one that was used since another round, and drops the first that was not.

Example:
    >>> cache: ExpiringCache[str, int] = ExpiringCache(2)
    >>> cache.put("a", 1, expires=10.0)
    >>> cache.get("a", now=9.0), cache.get("a", now=10.0)
    (1, None)
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Entry(Generic[V]):
    """One value, when it expires, and whether it was read since room was last made."""

    __slots__ = ("expires", "used", "value")

    def __init__(self, value: V, expires: float) -> None:
        self.value = value
        self.expires = expires
        self.used = False


class ExpiringCache(Generic[K, V]):
    """At most ``limit`` values, each until its own moment.

    Attributes:
        entries: for the hot path of its owner, who must check ``expires`` and set ``used``.
    """

    __slots__ = ("_limit", "entries")

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"expected room for at least one entry, found {limit}")
        self._limit = limit
        self.entries: dict[K, Entry[V]] = {}

    def get(self, key: K, now: float) -> V | None:
        """The value, or None when there is none or it has expired."""
        entry = self.entries.get(key)
        if entry is None or entry.expires <= now:
            return None
        entry.used = True
        return entry.value

    def put(self, key: K, value: V, expires: float) -> None:
        """Keep a value until a moment; the caller holds its lock."""
        self.entries.pop(key, None)
        self._make_room()
        self.entries[key] = Entry(value, expires)

    def _make_room(self) -> None:
        # Readers set the flag without a lock, so the rounds are counted: it ends in any case.
        chances = len(self.entries)
        while len(self.entries) >= self._limit:
            oldest = next(iter(self.entries))
            entry = self.entries.pop(oldest)
            if entry.used and chances > 0:
                chances -= 1
                entry.used = False
                self.entries[oldest] = entry
