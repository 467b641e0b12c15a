"""A bounded mapping whose entries expire; read without a lock, written under its owner's lock.

An entry has three moments. Until ``expires`` it is given out. Until ``fresh_until`` it may be given
out again, see `ExpiringCache.hold_back`. Until ``kept_until`` it is kept for whoever asks for what
is stale, and then it is dropped.

Which entry goes when it is full: the least recently used, approximated by the second-chance rule.
A hit only sets a flag, so it costs no more than a dictionary look-up; making room walks from the
oldest entry, gives each one that was used since another round, and drops the first that was not.

Example:
    >>> cache: ExpiringCache[str, int] = ExpiringCache(2)
    >>> cache.put("a", 1, fresh_until=10.0, kept_until=20.0)
    >>> cache.get("a", now=9.0), cache.get("a", now=10.0), cache.stale("a", now=10.0)
    (1, None, 1)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Entry(Generic[V]):
    """One value, its three moments, and whether it was read since room was last made."""

    __slots__ = ("expires", "fresh_until", "kept_until", "used", "value")

    def __init__(self, value: V, fresh_until: float, kept_until: float) -> None:
        self.value = value
        self.expires = fresh_until
        self.fresh_until = fresh_until
        self.kept_until = kept_until
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
        """The value, or None when there is none or it is not fresh; the caller holds its lock."""
        entry = self.entries.get(key)
        if entry is None or entry.fresh_until <= now:
            return None
        entry.expires = max(entry.expires, entry.fresh_until)
        entry.used = True
        return entry.value

    def stale(self, key: K, now: float) -> V | None:
        """The value, also when it is not fresh any more; None when it is not kept."""
        entry = self.entries.get(key)
        if entry is None or entry.kept_until <= now:
            return None
        entry.used = True
        return entry.value

    def put(self, key: K, value: V, *, fresh_until: float, kept_until: float) -> list[V]:
        """Keep a value until its moments; the caller holds its lock.

        Returns:
            The values that had to go for it.
        """
        gone = []
        replaced = self.entries.pop(key, None)
        if replaced is not None:
            gone.append(replaced.value)
        gone += self._make_room()
        self.entries[key] = Entry(value, fresh_until, kept_until)
        return gone

    def hold_back(self) -> None:
        """Nothing is given out before it was asked for by `get` once more; takes no lock."""
        for entry in list(self.entries.values()):
            entry.expires = 0.0

    def lend(self, key: K, until: float) -> None:
        """Give a stale value out until a moment; the caller holds its lock."""
        entry = self.entries.get(key)
        if entry is not None:
            entry.expires = min(until, entry.kept_until)

    def drop(self, which: Callable[[K, V], bool]) -> list[V]:
        """Drop the entries that a predicate picks; the caller holds its lock."""
        picked = [key for key, entry in self.entries.items() if which(key, entry.value)]
        return [self.entries.pop(key).value for key in picked]

    def drop_expired(self, now: float) -> list[V]:
        """Drop what is not kept any longer; the caller holds its lock."""
        picked = [key for key, entry in self.entries.items() if entry.kept_until <= now]
        return [self.entries.pop(key).value for key in picked]

    def values(self) -> Iterator[V]:
        """Every value that is kept; the caller holds its lock."""
        return (entry.value for entry in self.entries.values())

    def _make_room(self) -> Iterator[V]:
        # Readers set the flag without a lock, so the rounds are counted: it ends in any case.
        chances = len(self.entries)
        while len(self.entries) >= self._limit:
            oldest = next(iter(self.entries))
            entry = self.entries.pop(oldest)
            if entry.used and chances > 0:
                chances -= 1
                entry.used = False
                self.entries[oldest] = entry
            else:
                yield entry.value
