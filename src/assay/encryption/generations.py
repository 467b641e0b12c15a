"""A bounded cache that is read and written without a lock, so that a fork cannot leave one held.

Two generations: what is new or was used lately stands in the young one. When that is full it
becomes the old one, and the old one is forgotten, so what goes was not used for a whole round.
Two threads may lose an entry to each other; they find it missing and make it again.

Example:
    >>> cache: Generations[bytes, int] = Generations(1000)
    >>> cache.put(b"a", 1)
    >>> cache.get(b"a")
    1
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Generations(Generic[K, V]):
    """At most ``2 * capacity`` entries.

    Args:
        capacity: how many entries make a generation full.

    Attributes:
        young: what is new or was used lately; look here first where a call would cost too much.
    """

    __slots__ = ("_capacity", "_old", "young")

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"expected room for at least one entry, found {capacity}")
        self._capacity = capacity
        self.young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """The value, or None."""
        value = self.young.get(key)
        if value is None:
            value = self._old.get(key)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        """Keep a value; what was longest unused may go."""
        if len(self.young) >= self._capacity:
            self._old, self.young = self.young, {}
        self.young[key] = value

    def forget(self, which: Callable[[V], bool]) -> None:
        """Forget the values that a predicate picks; other threads may go on meanwhile."""
        for generation in (self.young, self._old):
            for key, value in list(generation.items()):
                if which(value):
                    generation.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        self.young, self._old = {}, {}
