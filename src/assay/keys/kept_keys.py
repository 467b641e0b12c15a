"""The unwrapped keys that a keyring keeps for a while, and those who derived something from them.

A key that is dropped leaves three places: the keyring's caches, the callers who are using it, and
whoever keeps ciphers or index keys that were derived from it. The last ones register by
`tell_of_dropped_keys`, are told, and forget them.

Example:
    >>> kept = KeptKeys(entries=100, ttl_seconds=300, outage_seconds=0)
    >>> kept.is_empty
    True
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol
from weakref import WeakSet

from assay.core import DataKeyClass
from assay.keys.cache import ExpiringCache
from assay.keys.data_key import DataKey


class DerivesFromKeys(Protocol):
    """Keeps what it derived from data keys."""

    def forget_keys(self, keys: Collection[DataKey]) -> None:
        """Drop what was derived from exactly these objects; other threads may be using it."""
        ...


_DERIVING: WeakSet[DerivesFromKeys] = WeakSet()


def tell_of_dropped_keys(who: DerivesFromKeys) -> None:
    """From now on ``who.forget_keys`` is called, by another thread, for keys that were dropped.

    Args:
        who: held weakly, so nobody has to take it back.
    """
    _DERIVING.add(who)


class KeptKeys:
    """What a keyring keeps. Its methods are called under the keyring's lock.

    Args:
        entries: how many keys are kept at most.
        ttl_seconds: how long a key is fresh.
        outage_seconds: how long it is kept after that.

    Attributes:
        current: what is written under, by owner and class.
        by_id: every unwrapped key, by owner, class and key id.
        versions: all versions of an owner's key of a class.
    """

    __slots__ = ("_dropped", "_kept_seconds", "_ttl_seconds", "by_id", "current", "versions")

    def __init__(self, *, entries: int, ttl_seconds: float, outage_seconds: float) -> None:
        self._ttl_seconds = ttl_seconds
        self._kept_seconds = ttl_seconds + outage_seconds
        self.current: ExpiringCache[tuple[str, DataKeyClass], DataKey] = ExpiringCache(entries)
        self.by_id: ExpiringCache[tuple[str, DataKeyClass, bytes], DataKey]
        self.by_id = ExpiringCache(entries)
        self.versions: ExpiringCache[tuple[str, DataKeyClass], tuple[DataKey, ...]]
        self.versions = ExpiringCache(entries)
        self._dropped: list[DataKey] = []

    @property
    def is_empty(self) -> bool:
        """Whether nothing is kept, and nobody has to be told of anything."""
        caches = (self.current, self.by_id, self.versions)
        return not self._dropped and not any(cache.entries for cache in caches)

    def keep(self, key: DataKey, now: float, *, in_use: bool) -> None:
        """Keep a key that was just unwrapped or made."""
        until = {"fresh_until": now + self._ttl_seconds, "kept_until": now + self._kept_seconds}
        place = (key.owner, key.key_class)
        self._dropped += self.by_id.put((*place, key.key_id), key, **until)
        if in_use:
            self._dropped += self.current.put(place, key, **until)

    def keep_versions(
        self, owner: str, key_class: DataKeyClass, keys: tuple[DataKey, ...], now: float
    ) -> None:
        """Keep all versions of an owner's key of a class."""
        fresh, kept = now + self._ttl_seconds, now + self._kept_seconds
        gone = self.versions.put((owner, key_class), keys, fresh_until=fresh, kept_until=kept)
        self._dropped += [key for keys in gone for key in keys]

    def forget_versions(self, owner: str, key_class: DataKeyClass) -> None:
        """Forget the list of versions; the keys stay."""
        gone = self.versions.drop(lambda place, _: place == (owner, key_class))
        self._dropped += [key for keys in gone for key in keys]

    def forget(self, which: Callable[[DataKey], bool]) -> None:
        """Forget keys, wherever they stand."""
        self._dropped += self.current.drop(lambda _, key: which(key))
        self._dropped += self.by_id.drop(lambda _, key: which(key))
        lists = self.versions.drop(lambda _, keys: any(map(which, keys)))
        self._dropped += [key for keys in lists for key in keys]

    def look_again(self, key_ids: Collection[bytes]) -> None:
        """Forget that keys are the ones to write under; they still open."""
        self._dropped += self.current.drop(lambda _, key: key.key_id in key_ids)

    def drop_expired(self, now: float) -> None:
        """Forget what is not kept any longer."""
        self._dropped += self.current.drop_expired(now)
        self._dropped += self.by_id.drop_expired(now)
        self._dropped += [key for keys in self.versions.drop_expired(now) for key in keys]

    def take_dropped(self) -> list[DataKey]:
        """The keys that were dropped since this was called last, and stand nowhere any more."""
        dropped, self._dropped = self._dropped, []
        if not dropped:
            return []
        standing = {id(key) for key in (*self.current.values(), *self.by_id.values())}
        standing |= {id(key) for keys in self.versions.values() for key in keys}
        return list({id(key): key for key in dropped if id(key) not in standing}.values())

    def hold_back(self) -> None:
        """Each key is looked for once more before it is given out again."""
        self.current.hold_back()
        self.by_id.hold_back()

    def ids(self) -> set[bytes]:
        """The ids of all keys that are kept."""
        listed = (key for keys in self.versions.values() for key in keys)
        return {key.key_id for key in (*self.current.values(), *self.by_id.values(), *listed)}


def tell_all(dropped: Collection[DataKey]) -> None:
    """Tell everyone who may have derived something from these keys; takes no keyring's lock."""
    if dropped:
        for who in list(_DERIVING):
            who.forget_keys(dropped)
