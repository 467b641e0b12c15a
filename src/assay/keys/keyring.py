"""Data keys by owner, class and key id: made once, unwrapped once, kept for a while.

A keyring stands between the code that seals rows and the key service that holds the KEK. It asks
the service once per data key and time-to-live, however many rows and threads there are. While the
service is away it serves what it keeps for as long as an outage was said to be bearable, and then
nothing: an error, never another way to write.

What memory protection there is. CPython cannot promise that a secret is wiped: ``bytes`` are
immutable, are copied by the interpreter and by OpenSSL, may be swapped out, and stand in a core
dump. While a data key is in the cache, whoever can read this process's memory can read it. What
the keyring does do: it shows material in no ``repr``, refuses to pickle it, drops it and whatever
was derived from it after the time-to-live, though nobody asks any more, and never holds the KEK.
While a key is kept there is one copy of its bytes; afterwards no object has it, and freed memory
may until it is used again, as may what the key service's client left of its answer. Call
`assay.keys.forbid_core_dumps` first, and turn off swap on machines that hold keys. Nothing of
this hides memory from root or from a hypervisor.

Specification: ``spec/data-keys.md``.

Example:
    >>> keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())  # doctest: +SKIP
    >>> keyring.current("tenant-1", DataKeyClass.ROWS).version       # doctest: +SKIP
    1
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from assay.core import (
    AssayError,
    Clock,
    DataKeyClass,
    DataKeyTable,
    Event,
    EventSink,
    IgnoredEvents,
    SystemClock,
    UnavailableError,
    WrappedDataKey,
)
from assay.keys.data_key import DataKey
from assay.keys.errors import KeysError, UnknownDataKeyError
from assay.keys.flights import Flights
from assay.keys.kept_keys import KeptKeys, tell_all
from assay.keys.key_source import FoundKey, KeySource, event_of
from assay.keys.outage import Outage
from assay.keys.rotation import RotationPolicy
from assay.keys.service import KeyService
from assay.keys.upkeep import attend

if TYPE_CHECKING:
    from assay.keys.opentelemetry import KeyMetrics

_RETRY_SECONDS = 5.0
_WATCH_CLOSELY_SECONDS = 60.0


class Keyring:
    """Finds, makes, unwraps and keeps data keys. Safe to share between threads, and over a fork.

    Args:
        service: holds the KEK.
        table: keeps the wrapped data keys.
        clock: for the moment at which a key was made.
        events: told of ``data-key.created``, ``data-key.unwrapped`` and ``data-key.dropped``,
            with class, version and key id; never with the owner, who may be a person. Also of
            ``key-service.away`` and ``key-service.back``, of ``data-key.not-rotated`` when one
            was due and the service made none, and of ``data-keys.not-tended`` when the table
            could not be asked what was destroyed, or told of uses.
        metrics: tell OpenTelemetry; those of the process's own provider when None.
        cache_ttl_seconds: how long an unwrapped key is used before the service is asked again;
            also how long another process's newer version may go unseen.
        cache_entries: how many unwrapped keys are kept at most.
        outage_seconds: how long after that a key is still used while the service, or the table,
            does not answer: the outage that owners whose keys are kept do not notice.
        settling_seconds: how long a rotated index key is only read before it is written under;
            twice the time-to-live and outage when None. In every process that shares the table
            those two together must be shorter than this.
        rotation: when a key that is written under gets a new version by itself. Its age is looked
            at once in a time-to-live, its uses whenever they are stored. Never when None.
        watch_seconds: how soon a key that another process destroyed, or whose time is over, is
            dropped, and how often the uses of keys are stored.
        monotonic: seconds that never go back.
    """

    def __init__(  # noqa: PLR0913 - two parts, and options that all have a name and a default
        self,
        service: KeyService,
        table: DataKeyTable,
        *,
        clock: Clock | None = None,
        events: EventSink | None = None,
        metrics: KeyMetrics | None = None,
        cache_ttl_seconds: float = 300,
        cache_entries: int = 10_000,
        outage_seconds: float = 0,
        settling_seconds: float | None = None,
        rotation: RotationPolicy | None = None,
        watch_seconds: float = 10,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        from assay.keys.opentelemetry import default_metrics

        self._events = events or IgnoredEvents()
        self._metrics = metrics or default_metrics()
        self._metrics.observe(self)
        usable_seconds = cache_ttl_seconds + outage_seconds
        settling = 2 * usable_seconds if settling_seconds is None else settling_seconds
        self._source = KeySource(
            service,
            table,
            clock=clock or SystemClock(),
            events=self._events,
            metrics=self._metrics,
            settling=timedelta(seconds=settling),
            rotation=rotation,
        )
        self._watch_seconds = watch_seconds
        self._monotonic = monotonic
        self._kept = KeptKeys(
            entries=cache_entries, ttl_seconds=cache_ttl_seconds, outage_seconds=outage_seconds
        )
        # Two dictionaries that the hot paths look into without a lock.
        self._current = self._kept.current
        self._by_id = self._kept.by_id
        self._outage = Outage(_RETRY_SECONDS)
        self._begin_flights()
        self._watched_closely_until = 0.0
        self._tending = threading.Lock()

    def current(self, owner: str, key_class: DataKeyClass) -> DataKey:
        """The key to write under: an owner's newest; the first one is made when there is none.

        A rotated index key is not written under while it settles, see `rotate`.

        Raises:
            DestroyedOwnerError: the owner's keys were destroyed.
            KeyCommitmentError: the unwrapped key is not the one that its id commits to.
            UnwrapError: the stored key does not open under this KEK for this owner.
            KeyServiceError: the key service failed.
        """
        # The hot path, once per sealed row: one look-up and one comparison.
        entry = self._current.entries.get((owner, key_class))
        if entry is not None and entry.expires > self._monotonic():
            entry.used = True
            return entry.value
        key = self._find(owner, key_class, None, create=True)
        if key is None:
            raise KeysError("expected the data key that was just made, found none in the table")
        return key

    def by_id(self, owner: str, key_class: DataKeyClass, key_id: bytes) -> DataKey:
        """The key that an envelope names.

        Args:
            owner: whose data it seals.
            key_class: what it is used for.
            key_id: 16 bytes, as in the envelope.

        Raises:
            DestroyedDataKeyError: the key was destroyed.
            UnknownDataKeyError: the owner has no key of this class with this id.
            KeyCommitmentError: the unwrapped key is not the one that its id commits to.
            UnwrapError: the stored key does not open under this KEK for this owner.
            KeyServiceError: the key service failed.
        """
        entry = self._by_id.entries.get((owner, key_class, key_id))
        if entry is not None and entry.expires > self._monotonic():
            entry.used = True
            return entry.value
        key = self._find(owner, key_class, key_id, create=False)
        if key is None:
            raise UnknownDataKeyError(
                f"expected a data key of class {key_class.value} with id {key_id.hex()}, found "
                "none for this owner: the row belongs to another owner, its key was destroyed, or "
                "the key table is another one"
            )
        return key

    def existing(self, owner: str, key_class: DataKeyClass) -> DataKey | None:
        """What `current` gives, or None when the owner has no key; never makes one.

        Raises:
            KeyCommitmentError: the unwrapped key is not the one that its id commits to.
            UnwrapError: the stored key does not open under this KEK for this owner.
            KeyServiceError: the key service failed.
        """
        entry = self._current.entries.get((owner, key_class))
        if entry is not None and entry.expires > self._monotonic():
            entry.used = True
            return entry.value
        return self._find(owner, key_class, None, create=False)

    def versions(self, owner: str, key_class: DataKeyClass) -> tuple[DataKey, ...]:
        """All versions of an owner's key, oldest first; empty when there is none.

        Kept for the time-to-live: another process's newer version may go unseen as long.

        Raises:
            KeyCommitmentError: an unwrapped key is not the one that its id commits to.
            UnwrapError: a stored key does not open under this KEK for this owner.
            KeyServiceError: the key service failed.
        """
        now = self._monotonic()
        with self._lock:
            kept = self._kept.versions.get((owner, key_class), now)
            stale = self._kept.versions.stale((owner, key_class), now)
        if kept is not None:
            return kept
        try:
            rows = self._source.rows(owner, key_class)
        except UnavailableError:
            if stale is None:
                raise
            return stale
        keys = tuple(self.by_id(owner, key_class, row.key_id) for row in rows)
        if keys:  # that there is none may change at any moment, and must be seen then
            with self._lock:
                self._kept.keep_versions(owner, key_class, keys, now)
        return keys

    def rotate(self, owner: str, key_class: DataKeyClass) -> DataKey:
        """Make a new version of an owner's key; what was sealed under older ones still opens.

        Row and object keys are written under at once. An index key settles first: for
        ``settling_seconds`` it is among the `versions` that searches look for, and `current` still
        gives the older one. So no process writes an index that another one, whose cache is older,
        would not search for. See `settles_at`.

        Returns:
            The new version. When another process rotates at the same moment: its version.

        Raises:
            UnknownDataKeyError: the owner has no key of this class yet, so there is none to rotate.
            KeyServiceError: the key service failed; nothing has changed.
        """
        rows = self._rows(
            owner,
            key_class,
            " to rotate, found none; the first one is made when something is sealed for the owner",
        )
        found = self._source.make(owner, key_class, rows[-1].version + 1)
        self._keep(found)
        attend(self)
        with self._lock:
            self._kept.forget_versions(owner, key_class)
        return found.key

    def settles_at(self, owner: str, key_class: DataKeyClass) -> datetime | None:
        """From when on the newest version is written under; None when it is already.

        Raises:
            UnknownDataKeyError: the owner has no key of this class.
        """
        return self._source.settles_at(self._rows(owner, key_class, ", found none"))

    def owners(self, key_class: DataKeyClass) -> Sequence[str]:
        """Every owner who has a key of the class, sorted."""
        return self._source.owners(key_class)

    def forget(self, owner: str) -> None:
        """Drop every key of an owner, and whatever was derived from it, in this process."""
        with self._lock:
            self._kept.forget(lambda key: key.owner == owner)
        self._tell_of_dropped()

    def close(self) -> None:
        """Drop every key and store the uses that were counted; it may be used again.

        Until then nothing asks the table any more, so its engine can be disposed of.

        Raises:
            DatabaseError: the uses could not be stored; they are kept for the next time.
        """
        with self._tending:
            with self._lock:
                self._kept.forget(lambda _: True)
            self._tell_of_dropped()
            self._store_uses()
            self._store_uses()  # a meter that counted nothing since is let go

    @property
    def kept_keys(self) -> int:
        """How many unwrapped keys it keeps."""
        return len(self._by_id.entries)

    @property
    def watch_seconds(self) -> float:
        """How soon it notices that another process destroyed keys."""
        return self._watch_seconds

    def tend(self) -> bool:
        """Drop what is due, see what was destroyed, store uses; the upkeep thread calls this.

        Returns:
            Whether there will be more to do.
        """
        with self._tending:
            return self._tend()

    def _tend(self) -> bool:
        with self._lock:
            self._kept.drop_expired(self._monotonic())
        self._tell_of_dropped()
        if self._kept.is_empty and not self._source.counts:
            return False
        if self._source.is_at_rest():
            # Nobody can say whether these keys were destroyed; whoever needs one wakes the table.
            with self._lock:
                self._kept.forget(lambda _: True)
            self._tell_of_dropped()
            return self._source.counts
        try:
            self._drop_destroyed()
            return self._store_uses() or not self._kept.is_empty
        except Exception as exc:  # noqa: BLE001 - whatever it is, the next round tries again
            self._events.emit(Event("data-keys.not-tended", {"error": type(exc).__name__}))
            return True

    def finish(self) -> None:
        """The process ends: store the uses, if that is possible."""
        try:
            if not self._source.is_at_rest():
                self._store_uses()
        except Exception as exc:  # noqa: BLE001 - there is nobody left to tell
            self._events.emit(Event("data-keys.not-tended", {"error": type(exc).__name__}))

    def begin_afresh(self) -> None:
        """This process was forked off another one.

        Threads do not survive a fork: a lock that one of them held would never be released and
        a flight never land. The kept keys are as good in the child as in the parent, and are
        looked for once more, which begins their upkeep here. What was counted is the parent's.
        """
        self._begin_flights()
        self._tending = threading.Lock()
        self._kept.hold_back()
        self._source.begin_afresh()

    def _begin_flights(self) -> None:
        self._flights: Flights[tuple[str, DataKeyClass], bytes | None, DataKey] = Flights()
        self._lock = self._flights.lock

    def _find(
        self, owner: str, key_class: DataKeyClass, key_id: bytes | None, *, create: bool
    ) -> DataKey | None:
        key = self._flights.find(
            (owner, key_class),
            key_id,
            look=lambda: self._cached(owner, key_class, key_id),
            load=lambda: self._load(owner, key_class, key_id, create=create),
        )
        attend(self)
        return key

    def _cached(self, owner: str, key_class: DataKeyClass, key_id: bytes | None) -> DataKey | None:
        """What is fresh; while the service is known to be away, what is kept."""
        now = self._monotonic()
        if key_id is None:
            fresh = self._current.get((owner, key_class), now)
        else:
            fresh = self._by_id.get((owner, key_class, key_id), now)
        if fresh is not None or self._stale(owner, key_class, key_id, now) is None:
            return fresh
        if self._outage.is_known(now):
            return self._lend(owner, key_class, key_id, now)
        return None

    def _stale(
        self, owner: str, key_class: DataKeyClass, key_id: bytes | None, now: float
    ) -> DataKey | None:
        if key_id is None:
            return self._current.stale((owner, key_class), now)
        return self._by_id.stale((owner, key_class, key_id), now)

    def _lend(
        self, owner: str, key_class: DataKeyClass, key_id: bytes | None, now: float
    ) -> DataKey | None:
        """What is kept, given out until the service is asked again."""
        kept = self._stale(owner, key_class, key_id, now)
        if kept is None:
            return None
        self._metrics.lease(key_class)
        if key_id is None:
            self._current.lend((owner, key_class), self._outage.asked_again_at)
        else:
            self._by_id.lend((owner, key_class, key_id), self._outage.asked_again_at)
        return kept

    def _load(
        self, owner: str, key_class: DataKeyClass, key_id: bytes | None, *, create: bool
    ) -> DataKey | None:
        """Load a key; when nobody answers, go on with one that is kept for that case."""
        self._metrics.miss(key_class)
        try:
            found = self._source.load(owner, key_class, key_id, create=create)
        except UnavailableError as exc:
            now = self._monotonic()
            with self._lock:
                news = self._outage.begin(now)
                kept = self._lend(owner, key_class, key_id, now)
            if news:
                self._events.emit(Event("key-service.away", {"error": type(exc).__name__}))
            if kept is None:
                raise
            return kept
        except AssayError:
            self._end_outage()
            raise
        self._end_outage()
        return None if found is None else self._keep(found)

    def _end_outage(self) -> None:
        with self._lock:
            news = self._outage.end()
        if news:
            self._events.emit(Event("key-service.back"))

    def _keep(self, found: FoundKey) -> DataKey:
        with self._lock:
            self._kept.keep(found.key, self._monotonic(), in_use=found.in_use)
        return found.key

    def _rows(
        self, owner: str, key_class: DataKeyClass, otherwise: str
    ) -> Sequence[WrappedDataKey]:
        rows = self._source.rows(owner, key_class)
        if not rows:
            raise UnknownDataKeyError(
                f"expected an owner with a data key of class {key_class.value}{otherwise}"
            )
        return rows

    def _tell_of_dropped(self) -> None:
        with self._lock:
            dropped = self._kept.take_dropped()
        tell_all(dropped)
        for key in dropped:
            self._metrics.drop(key.key_class)
            self._events.emit(event_of("data-key.dropped", key))

    def _drop_destroyed(self) -> None:
        """Drop keys that were destroyed since anything was read.

        Two who destroy at the same moment may commit in another order than they took their
        numbers, so after a change the table is asked for a while whether the number is new or not.
        """
        now = self._monotonic()
        if self._source.generation_changed():
            self._watched_closely_until = now + _WATCH_CLOSELY_SECONDS
        if now < self._watched_closely_until:
            with self._lock:
                ids = self._kept.ids()
            destroyed = self._source.destroyed_among(ids)
            if destroyed:
                with self._lock:
                    self._kept.forget(lambda key: key.key_id in destroyed)
                self._tell_of_dropped()

    def _store_uses(self) -> bool:
        """Store what was counted; a key that is due by it is looked for anew, and then rotates."""
        with self._lock:
            kept = self._kept.ids()
        more, due = self._source.store_uses(kept)
        if due:
            with self._lock:
                self._kept.look_again(due)
        return more
